/* One container: its processes, its lane of slow steps, its ladder. Internal to lib/task.
 *
 * Locks. tasks->lock (the registry), then container->lock, then tasks->wait_lock; none is held across a call into HCS, a
 * completion or an event. Slow steps of one container run one after the other on its *lane*, wherever a pool has a thread;
 * the calls of the kill ladder run beside it, so that a kill overtakes a start that hangs. */
#ifndef HCSD_TASK_CONTAINER_H
#define HCSD_TASK_CONTAINER_H

#include "hcs/compute.h" /* before all else: windows.h */

#include <stdatomic.h>

#include <uthash.h>

#include "relay/relays.h"
#include "task/ladder.h"
#include "task/operations.h"
#include "task/phases.h"
#include "task/tasks.h"

struct container;
struct journal;
struct storage;

/* The texts of a process, shared by it and every view of it; one block. */
struct task_texts {
    _Atomic unsigned references;
    const char *containerd_namespace, *id, *exec_id, *bundle, *stdin_path, *stdout_path, *stderr_path;
    char data[];
};
struct task_texts *texts_new(const char *containerd_namespace, const char *id, const char *exec_id, const char *bundle,
                             const char *stdin_path, const char *stdout_path, const char *stderr_path);
void texts_release(struct task_texts *texts);

struct waiter {
    struct waiter *next, *previous;
    struct process *process; /* whose list it is in */
    uint64_t ticket;
    task_done done;
    void *context;
    UT_hash_handle hh; /* tasks->waiters, by ticket */
};

/* The init or an exec. Under the container's lock, but for what is marked: lane = touched by the lane only. */
struct process {
    _Atomic unsigned references; /* of an exec; the init lives as long as its container */
    struct container *container;
    struct task_texts *texts;
    enum phase phase;
    bool terminal, ran;
    uint32_t pid;
    uint32_t exit_status; /* final once STOPPED */
    int64_t exited_ns;
    struct hcs_process *handle; /* written by the lane, under the lock */
    struct session *session;    /* likewise: its stdio, NULL: none */
    char *document;             /* lane: what HcsCreateProcess is given; NULL: to be made from the bundle */
    struct waiter *waiters;     /* under tasks->wait_lock */
    bool code_known;            /* it has ended, and … */
    uint32_t exit_code;         /* … with this; of an exec also while it is not known, until it is latched */
    int64_t begun_ns;           /* when HcsCreateProcess was called, … */
    int64_t started_ns;         /* … and when it had returned */
    uint64_t number;    /* of an exec's document, 0: none; this and the next under the container's journal_lock */
    bool forgotten;     /* the document was removed for good */
    bool kill_wanted;   /* an exec that was killed while it was being started */
    bool exit_seen;     /* its exit was noticed … */
    int64_t noticed_ns; /* … at this time */
    bool attached;      /* the stdio relay has its pipes */
    uint64_t lost;      /* bytes of output that nobody took */
    UT_hash_handle hh;  /* container->execs, by exec id */
};

struct step {
    struct step *next;
    const char *kind; /* "create", "start", "reap", "delete" */
    void (*run)(struct container *container, void *argument);
    void *argument;
};

/* A request that is answered when the container gets somewhere, and after a bound at the latest. */
enum pending_kind {
    PENDING_KILL,   /* when a rung was accepted, or the end */
    PENDING_END,    /* when the end is latched: a kill before the start, a start that failed (with its error) */
    PENDING_DELETE, /* when the end is latched: removes the container */
    PENDING_FORCE,  /* the same; at the bound it is removed all the same */
};
struct pending {
    struct pending *next;
    _Atomic unsigned references; /* the list, the armed timer */
    struct container *container;
    enum pending_kind kind;
    task_done done;
    void *context;
    const char *call;    /* what it waits for, where that is not the ladder; static */
    struct error *error; /* what PENDING_END answers */
    char *client;        /* PENDING_FORCE: who asked */
    struct timer timer;
};

struct container {
    _Atomic unsigned references;
    SRWLOCK lock;
    struct tasks *tasks;
    struct process init;
    struct process *execs;
    struct hcs_system *system; /* written by the lane, under the lock */
    HANDLE cancel;             /* manual reset: breaks off the waits of a start when it is killed */
    HANDLE ended;              /* manual reset: breaks off all other waits once the system has exited */
    bool isolated;             /* in a VM: it can be paused */
    bool linux_container;
    char instance[20]; /* tells it from others that had or will have its id */
    char *sandbox;     /* the pod that it belongs to, its own id for the sandbox itself; NULL: none */
    char *scratch;     /* lane: the layer that we mounted, NULL: none */
    char *volume;

    /* The lane. */
    struct step *first_step, *last_step;
    bool stepping;
    const char *step_kind;  /* of the step that runs */
    const char *step_phase; /* what it does right now; static */
    uint64_t step_since_ms;

    bool pause_doubt;   /* whether it is paused is not known: its pause was not answered */
    bool init_unopened; /* taken up again while it was paused: its init is opened when it is resumed */

    /* The end. */
    bool asked;         /* somebody asked for it: any signal, a delete */
    bool killed;        /* by force: every graceful wait is cut short */
    bool system_exited; /* or gone */
    uint32_t system_status;
    uint32_t exit_code; /* what will be latched */
    int64_t exit_noticed_ns;
    uint64_t drain_end_ms;   /* output is waited for until then */
    unsigned drains;         /* sessions whose rest is waited for */
    bool waiting_for_system; /* ENDING, and the ladder is climbed until system_exited */
    bool ending_rest;        /* the system is gone and the rest is being taken down */
    unsigned ladder_calls;   /* calls beside the lane that use system or handles */
    bool finish_waits;       /* for the last of them */
    struct ladder ladder;
    struct timer ladder_timer;
    bool accepted;     /* a rung at or above terminate was accepted */
    char *stuck;       /* why and since when, or NULL */
    char *last_result; /* of the ladder: what its last call said; NULL: none has come back */
    char *left;        /* pids that were seen in it, "12, 16" */
    struct pending *pendings;

    bool hidden; /* deleted by force: the id stays taken until HCS lets go of it */
    bool exit_published;
    bool removed;         /* it is out of the registry */
    bool recovered;       /* from the journal */
    SRWLOCK journal_lock; /* orders the writes of its documents, before `lock` */
    unsigned reattach_tries;
    struct timer reattach_timer;
    UT_hash_handle hh; /* tasks->containers, by id */
};

struct tasks {
    _Atomic unsigned
        references; /* its owner, and each container: HCS may still call back for one when the owner is gone */
    struct compute *compute;
    struct guard *guard;
    struct relays *relays;
    struct storage *storage; /* for the ids of layers */
    char *owner, *linux_boot_files;
    char **unread; /* ids of containers whose documents cannot be read */
    size_t unread_count;
    _Atomic uint32_t call_ms, answer_ms, drain_ms, stall_ms; /* tasks_set_bounds */
    bool terminate_survivors;
    uint32_t os_build;
    struct error *(*mount_layers)(void *context, const char *holder, const char *scratch, const char *const *parents,
                                  size_t parent_count, char **ret_volume);
    struct error *(*release_layers)(void *context, const char *holder, const char *scratch);
    struct error *(*mount_in_vm)(void *context, const struct machines_mount *mount, struct uvm_mounted *ret_mounted);
    bool (*is_machine)(void *context, const char *id);
    void (*event)(void *context, const char *topic, const struct task_view *view);
    void (*reconnected)(void *context, unsigned running);
    void *context;

    SRWLOCK lock;
    struct container *containers;
    bool draining, closing;
    SRWLOCK wait_lock;
    struct waiter *waiters;
    uint64_t last_ticket;

    struct operations *requests; /* creates and starts: what clients ask for, bounded */
    struct operations *endings;  /* reaps, ladders, deletes: must never wait behind a create that hangs. Timers too */
    _Atomic unsigned in_flight;
    struct journal *journal, *exec_journal;
    _Atomic uint64_t last_exec; /* the highest number of an exec's document */
    _Atomic unsigned execs_journalled;
    struct sweep {
        bool under_way; /* under `lock` */
        bool again;     /* the connection broke meanwhile */
        bool reconnect; /* whoever asked is to be told */
        unsigned tries;
        uint64_t late_ms; /* until when what an earlier life asked HCS for may still come */
        struct timer timer;
    } sweep;
};

void tasks_unref(struct tasks *tasks);
struct container *container_new(struct tasks *tasks, struct task_texts *texts, bool terminal);
struct container *container_ref(struct container *container);
void container_unref(struct container *container);

/* "container web": who holds its layers. The caller frees it. */
char *container_holder(const struct container *container);
char *holder_of(const char *id);

/* Puts a step on the lane. `submit`: from a client, on the bounded pool; RESOURCE_EXHAUSTED. */
void container_post(struct container *container, const char *kind, void (*run)(struct container *, void *),
                    void *argument);
struct error *container_submit(struct container *container, const char *kind, void (*run)(struct container *, void *),
                               void *argument) ERROR_MUST_CHECK;
void container_step_phase(struct container *container, const char *phase); /* for diag */

/* The lock held. Texts are referenced by the view. */
void process_view(const struct process *process, struct task_view *ret_view);
/* Takes the lock, then the event function is called without it. */
void process_event(struct process *process, const char *topic);

/* A reference to a process holds its container too. */
struct process *process_ref(struct process *process);
void process_unref(struct process *process);

/* The registry. NOT_FOUND unless it is there, visible, and of this namespace. A container that is still being created is found
 * only when `creating`. *ret_process is the init when exec_id is empty or NULL; it is the caller's to process_unref. */
struct error *tasks_find(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                         bool creating, struct process **ret_process) ERROR_MUST_CHECK;
void tasks_forget(struct container *container); /* takes it out of the registry, with the registry's reference */

/* Calls every waiter of the process with its state, or fails them with a copy of `error`. */
void process_release_waiters(struct process *process, const struct error *error);

/* Pending requests. add takes `error` and arms the bound; the lock is held and the end not yet latched. */
struct pending *pending_add(struct container *container, enum pending_kind kind, task_done done, void *context,
                            struct error *error, const char *client);
/* A share of one, for who answers it by itself: once, without the lock. It takes the error; nothing happens when it has been
 * answered before. */
struct pending *pending_ref(struct pending *pending);
void pending_answer(struct pending *pending, struct error *error);
/* Answers all that wait for a kill to be accepted. */
void pendings_accept(struct container *container);
/* On the lane, the end is latched: answers all; one that deletes removes the container first. */
void pendings_finish(struct container *container);
/* The program ends: fails all with UNAVAILABLE. */
void pendings_abandon(struct container *container);

/* The lane's entry points and what leads to them. */
void container_create_step(struct container *container, void *argument);

/* From any thread: an end begins, or goes faster. `code` is latched unless a process that ran says otherwise. */
void container_end(struct container *container, enum rung rung, uint32_t code);
/* Begins or raises the ladder, unless the system is gone. */
void container_raise(struct container *container, enum rung rung);
/* hcs_exit_functions: the context is a container and a process, of which a reference is given back. */
void container_system_exit(void *context, const struct hcs_exit *exit);
void container_process_exit(void *context, const struct hcs_exit *exit);
/* The lock held: the system is gone, by a notification or by what a call said. */
void container_system_gone(struct container *container, uint32_t status);
void container_system_over_post(void *context); /* a reference: its step is put on the lane */
/* A call beside the lane, begun with ladder_calls++ under the lock, is over. Takes the lock. */
void container_call_over(struct container *container);
/* The last call of the ladder has come back, and the end waits for it. */
void container_finish_post(struct container *container);
/* Deletes what cannot be ended: it disappears for clients, its id stays taken, the ladder goes on. From any thread. False: it
 * has ended, and is only to be removed. */
bool container_force(struct container *container, const char *client) ERROR_MUST_CHECK;
void container_remove_step(struct container *container, void *argument);
/* On the lane: STOPPED -> gone, with the delete event. */
void container_remove(struct container *container);
/* On the lane: takes the system and the processes up again after a restart or a lost connection. */
void container_reattach_step(struct container *container, void *argument);

/* ---- containers in a utility VM of hcsd's own (hosted.c) ---- */
struct bundle;
struct bundle_render;
/* Whether the container goes into one: the build and its spec allow it, and there is what such a VM boots from (an image's
 * template disk, a kernel). Otherwise HCS makes a VM of its own from the v1 document. */
bool hosted_wanted(const struct tasks *tasks, struct bundle *bundle, const struct task_create *create,
                   uint32_t os_build);
/* Whether it is in one. */
bool hosted_is(const struct container *container);
/* The container's document as it would be, in a VM that is made for it: what can be judged is judged. */
struct error *hosted_render(struct tasks *tasks, struct bundle *bundle, const struct task_create *create,
                            const struct bundle_render *render, char **ret_document) ERROR_MUST_CHECK;
/* Mounts its layers in the VM (journalled before), and gives its document. */
struct error *hosted_mount(struct container *container, struct bundle *bundle, const struct task_create *create,
                           const struct bundle_render *render, char **ret_document) ERROR_MUST_CHECK;

/* ---- pods (pod.c) ---- */

/* Whether a container may join the pod that its bundle names; sets container->sandbox. `hosted`: it is to go into a utility VM. */
struct error *pod_join(struct container *container, const struct bundle *bundle, bool hosted) ERROR_MUST_CHECK;
bool container_is_sandbox(const struct container *container); /* the lock held */
/* Sends the signal to every workload of a sandbox. The kill of the sandbox itself then has to call the completion that *done and
 * *context are changed to; theirs is called when all have been answered, with the first error there was. */
void pod_kill_workloads(struct container *sandbox, uint32_t sig, task_done *done, void **context);

/* On the lane: opens the init of a container that was taken up again, and has its stdin watched. NOT_FOUND: it ended while nobody
 * held a handle. */
struct error *container_reopen_init(struct container *container, struct hcs_system *system) ERROR_MUST_CHECK;
/* On the lane: whether HCS says that it is paused. */
struct error *container_ask_paused(struct container *container, struct hcs_system *system,
                                   bool *ret_paused) ERROR_MUST_CHECK;

/* On the lane: asks for the exit code; TASK_EXIT_UNKNOWN when it cannot be had within a rung's bound. */
uint32_t process_exit_code(struct process *process);
/* Has the relay open what the client gave; *ret_session is NULL when that is nothing. */
struct error *process_open_stdio(const struct process *process, struct session **ret_session) ERROR_MUST_CHECK;
/* On the lane: when the client has closed stdin, HCS is told. */
void process_watch_stdin(struct process *process);
/* On the lane, or of an exec that never ran: closes the stdio and the handle, tells of output that nobody took. */
void process_shut(struct process *process);
/* hcsd is going, the process is not: its stdio goes on in the relay. */
void process_leave(struct process *process);
/* An exec's exit was noticed. */
void exec_exited(struct process *process);
/* On the lane: an exec that has stopped is deleted. False: it was already. */
bool exec_remove(struct process *process);
void exec_start_failed(struct process *process); /* on the lane */
/* The lock held: latches the exit of an exec that does not run; its waiters are the caller's to release. */
void exec_stop(struct process *process, uint32_t code);
/* References to all execs, for steps that must not hold the lock; the array is the caller's to free, each process to unref. */
struct process **execs_all(struct container *container, size_t *ret_count);
/* The container is deleted by force: what of its execs has not ended is told as ended, with an unknown code. From any thread. */
void execs_give_up(struct container *container);
/* On the lane, with the system gone: ends every exec that has not, before the init's exit is told. */
void execs_finish(struct container *container);

/* ---- execs in the journal (exec_journal.c) ---- */

/* Its document; all block on the disk, and may be called from any thread. save logs what fails. */
struct error *exec_try_save(struct process *exec) ERROR_MUST_CHECK;
void exec_save(struct process *exec);
void exec_unsave(struct process *exec);
void execs_unsave(struct container *container);
/* Gives the containers, before anybody else knows them, the execs that they had. */
struct error *execs_recover(struct tasks *tasks) ERROR_MUST_CHECK;
/* On the lane: opens the execs that run, those of a lost connection too. One that has ended since is told with an unknown code. An
 * error is worth another try. */
struct error *execs_reopen(struct container *container, struct hcs_system *system) ERROR_MUST_CHECK;

/* Its document in the journal; both block on the disk. save logs what fails: the container goes on. */
struct error *container_try_save(struct container *container) ERROR_MUST_CHECK;
void container_save(struct container *container);
void container_unsave(struct container *container);                               /* those of its execs too */
void container_log_error(const struct container *container, struct error *error); /* takes it; NULL is fine */

/* Whether its document could not be read. */
bool tasks_is_unread(const struct tasks *tasks, const char *id);
/* Makes the containers that the journal knows, and begins to take them up again. */
struct error *tasks_recover(struct tasks *tasks) ERROR_MUST_CHECK;
/* Ends what runs in our name and nobody knows, as soon and as often as it takes. Does not block. */
void tasks_sweep(struct tasks *tasks);
/* Ends a system by its id alone; that there is none is success and *ret_gone. */
struct error *system_end_by_id(struct tasks *tasks, const char *id, const struct guard_wait *wait,
                               bool *ret_gone) ERROR_MUST_CHECK;

/* Bounds for the calls of lanes and ladders. */
static inline uint32_t rung_ms(const struct tasks *tasks)
{
    return tasks->stall_ms < tasks->call_ms ? tasks->stall_ms : tasks->call_ms;
}

#endif
