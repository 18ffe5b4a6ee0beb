/* Tasks: containers and their processes. This header is all that handlers know of them.
 *
 * Keys are (namespace, id); the HCS id is the container id, so an id that is taken in another namespace is ALREADY_EXISTS.
 * No lock is held across an HCS call: a change of state is a short critical section, slow steps run on operation threads
 * that end with their operation. Reads (state, list) never wait for anything.
 *
 * Thread-safe. Functions that take a completion return at once and call it exactly once, from any thread, maybe before they
 * return; the completion takes the error. */
#ifndef HCSD_TASK_TASKS_H
#define HCSD_TASK_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tasks;
struct machines_mount;
struct uvm_mounted;

/* Numbers as containerd.v1.types.Status. */
enum task_status {
    TASK_UNKNOWN = 0,
    TASK_CREATED = 1,
    TASK_RUNNING = 2,
    TASK_STOPPED = 3,
    TASK_PAUSED = 4,
    TASK_PAUSING = 5
};

#define TASK_EXIT_NONE        255u        /* on the wire while not exited */
#define TASK_EXIT_UNKNOWN     0xFFFFFFFFu /* -1: nobody held a handle */
#define TASK_EXIT_NOT_STARTED 127u        /* the init could not be started */

/* A snapshot. The texts are shared and immutable, so that taking one allocates nothing (but `stuck`, where there is one);
 * they live until task_view_free. */
struct task_view {
    const char *containerd_namespace, *id, *exec_id, *bundle;
    const char *stdin_path, *stdout_path, *stderr_path;
    struct task_texts *texts; /* what the above belong to */
    bool terminal;
    enum task_status status;
    uint32_t pid; /* 0 until started */
    uint32_t exit_status;
    int64_t exited_ns; /* wall, 0: not exited */
    /* Of the event of a create that had one, and then as task_create's. */
    const char *rootfs_source;
    const char *const *rootfs_parents;
    size_t rootfs_parent_count;
    char
        *stuck; /* NULL, or why it cannot be ended and since when; after a forced delete: what is left to the janitor */
};
void task_view_free(struct task_view *view); /* frees what is in it, not the struct */
void task_views_free(struct task_view *views, size_t count);

/* What the configuration of the client's runtime asks for, beside the spec. All zero: nothing. */
struct task_runtime {
    bool given; /* anything at all; then */
    bool
        hypervisor; /* isolation in a VM though the spec does not say so; false: a spec that does is INVALID_ARGUMENT */
    const char *platform; /* "windows/amd64": what the spec must be of, else INVALID_ARGUMENT; "": anything */
    uint32_t vm_processors, vm_memory_mb; /* of its VM, where the spec has no limit; 0: not said */
    const char *const *annotations;       /* name, value, name, …: where the spec does not have the name */
    size_t annotation_count;
};

struct task_create {
    const char *containerd_namespace, *id, *bundle;
    const char *stdin_path, *stdout_path, *stderr_path; /* "" : none */
    bool terminal;
    /* A rootfs mount of type windows-layer, instead of windows.layerFolders; count 0 or 1. */
    const char *rootfs_source; /* NULL: none */
    const char *const *rootfs_parents;
    size_t rootfs_parent_count;
    struct task_runtime runtime;
    const char *client; /* for logs */
};

struct tasks_options {
    struct hcs_library *library;  /* hcs/library.h; this and the next two must outlive the tasks */
    struct guard *guard;          /* hcs/guard.h: the one that `compute` uses */
    struct compute *compute;      /* hcs/compute.h */
    struct relays *relays;        /* relay/relays.h; must outlive the tasks too */
    const char *owner;            /* "hcsd" */
    unsigned call_seconds;        /* hcs.call_seconds */
    unsigned kill_answer_seconds; /* kill.answer_seconds */
    unsigned drain_seconds;       /* stdio.drain_seconds */
    unsigned stall_seconds;       /* watchdog.stall_seconds: what each rung of the kill ladder gets */
    const char *state_dir;        /* absolute; where task documents are journalled; made when it is not there */
    bool terminate_survivors;
    /* Folder of vmlinux or kernel, and rootfs.vhd or initrd.img; NULL: Linux containers are UNIMPLEMENTED. */
    const char *linux_boot_files;
    /* Layers are mounted and released by whoever runs storage calls (workers); both may take long and are called on
     * operation threads. mount gives the volume path `\\?\Volume{guid}` (no trailing backslash). */
    struct error *(*mount_layers)(void *context, const char *holder, const char *scratch, const char *const *parents,
                                  size_t parent_count, char **ret_volume);
    struct error *(*release_layers)(void *context, const char *holder, const char *scratch);
    /* Containers in a utility VM of hcsd's own (uvm/machines.h): mounts one's layers there, making the VM when it must be;
     * release_layers takes them out again. NULL: HCS makes the VM from the v1 document, as on old Windows. */
    struct error *(*mount_in_vm)(void *context, const struct machines_mount *mount, struct uvm_mounted *ret_mounted);
    /* Whether a compute system in our name is a utility VM, and so nothing that was left over. NULL: none is. */
    bool (*is_machine)(void *context, const char *id);
    /* Called in order per container, on some thread; must not block nor call into this module. `topic` as containerd's
     * ("/tasks/exit"), exec_id "" for init. The view lives for the call. */
    void (*event)(void *context, const char *topic, const struct task_view *view);
    /* The compute service answers again after tasks_reconnect; so many containers run. On an operation thread. May be NULL. */
    void (*reconnected)(void *context, unsigned running);
    void *context;
};

/* Reads the journal and knows from then on what ran before; taking it up again (and ending what is left over) goes on in
 * the background, so that a service that does not answer cannot hold up the start. DATA_LOSS or FAILED_PRECONDITION for a
 * journal that cannot be used. */
struct error *tasks_open(const struct tasks_options *options, struct tasks **ret_tasks) ERROR_MUST_CHECK;
/* The bounds of `options` (all that are in seconds) for what begins from now on. */
void tasks_set_bounds(struct tasks *tasks, const struct tasks_options *options);
/* The connection to the compute service broke (compute_disconnected). Containers are taken up again each by itself; this asks
 * the service until it answers, ends what runs in our name and nobody knows, and calls `reconnected`. Does not block. */
void tasks_reconnect(struct tasks *tasks);
void tasks_drain(struct tasks *tasks);         /* refuses new containers with UNAVAILABLE */
unsigned tasks_in_flight(struct tasks *tasks); /* operations under way */
size_t tasks_count(struct tasks *tasks);       /* containers, stopped ones too */
/* Answers everybody who waits for an exit with UNAVAILABLE: hcsd is stopping. */
void tasks_end_waits(struct tasks *tasks);
/* Containers go on running. Waits, and whoever waits for an answer, are failed with UNAVAILABLE. Takes at most
 * `milliseconds`. False: something did not end, and what it uses, that of `options` too, must stay till the end of the process. */
bool tasks_close(struct tasks *tasks, unsigned milliseconds);

/* `view` is NULL when there is an error, and lives for the call. */
typedef void (*task_done)(void *context, struct error *error, const struct task_view *view);

void task_create(struct tasks *tasks, const struct task_create *create, task_done done, void *context);
/* A further process in a running container; task_start runs it. `spec` is the OCI process object as JSON. ALREADY_EXISTS for an
 * exec id that is taken or empty, FAILED_PRECONDITION when the container does not run or a terminal has a stderr. */
struct task_exec {
    const char *containerd_namespace, *id, *exec_id;
    const char *stdin_path, *stdout_path, *stderr_path; /* "": none */
    bool terminal;
    const char *spec;
    size_t spec_size;
};
void task_exec(struct tasks *tasks, const struct task_exec *exec, task_done done, void *context);
void task_start(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                task_done done, void *context);
void task_kill(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, uint32_t sig,
               bool all, task_done done, void *context);
/* force: deletes in any state; what cannot be ended is journalled for the janitor. */
void task_delete(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, bool force,
                 const char *client, task_done done, void *context);

/* Waits for the exit (for init: until the teardown is over and the exit event is out). Costs no thread. *ret_ticket takes it
 * back; 0 when it was already called. */
void task_wait(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
               task_done done, void *context, uint64_t *ret_ticket);
/* The completion is not called any more after this returns true; false: it was or is being called. */
bool task_wait_cancel(struct tasks *tasks, uint64_t ticket);

struct error *task_state(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                         struct task_view *ret_view) ERROR_MUST_CHECK;
/* Who may hold layers, as `mount_layers` was told: "container ID" of each that has not stopped, those that were deleted by force
 * included. One that has stopped holds none: they were released before, or are for whoever could not release them. Those whose
 * documents cannot be read (a newer hcsd's, damaged ones) may run, so neither they nor what they hold is ended or released. The
 * caller frees the texts and the array. */
void tasks_holders(struct tasks *tasks, char ***ret_holders, size_t *ret_count);
/* The containers of a namespace, sorted by id. NULL: of all, and those too that were deleted by force and have not ended. */
void task_list(struct tasks *tasks, const char *containerd_namespace, struct task_view **ret_views, size_t *ret_count);

/* The processes in a container, from HCS; without a running one just `fallback`, so that it is never empty. NOT_FOUND once it
 * has ended. What it gives lives for the call. */
struct task_process_view {
    uint32_t pid;
    const char *exec_id; /* the container's id for the init, an exec's for that, "" for what they have started */
    char *image;         /* "" with all figures 0: nothing but the pid is known */
    int64_t created_ns;  /* wall, 0: not known */
    uint64_t kernel_100ns, user_100ns;
    uint64_t commit_bytes, private_bytes, shared_bytes;
};
void task_processes_free(struct task_process_view *processes, size_t count);
typedef void (*task_processes_done)(void *context, struct error *error, const struct task_process_view *processes,
                                    size_t count);
void task_processes(struct tasks *tasks, const char *containerd_namespace, const char *id, uint32_t fallback,
                    task_processes_done done, void *context);

/* What a container uses, from HCS. NOT_FOUND once it has ended and while it is paused: containerd's metrics pass that over in
 * silence. */
struct task_statistics {
    bool linux_container;
    int64_t timestamp_ns, started_ns; /* wall, 0: not known */
    uint64_t uptime_ns;
    uint64_t runtime_ns, user_ns, kernel_ns;
    uint64_t commit_bytes, commit_peak_bytes, private_bytes;
    uint64_t read_count, read_bytes, write_count, write_bytes; /* of the storage, normalized by HCS */
};
typedef void (*task_statistics_done)(void *context, struct error *error, const struct task_statistics *statistics);
void task_statistics(struct tasks *tasks, const char *containerd_namespace, const char *id, task_statistics_done done,
                     void *context);

/* Only containers in a VM can be paused: UNIMPLEMENTED for others. FAILED_PRECONDITION unless it runs, or is paused. */
void task_pause(struct tasks *tasks, const char *containerd_namespace, const char *id, task_done done, void *context);
void task_resume(struct tasks *tasks, const char *containerd_namespace, const char *id, task_done done, void *context);

/* The console's size in characters. INVALID_ARGUMENT beyond 16 bits, FAILED_PRECONDITION without a terminal; success without
 * any effect when the process does not run. */
void task_resize(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                 uint32_t width, uint32_t height, task_done done, void *context);

/* Ends the process's stdin as if the client had closed its pipe. Success in any phase, and again. */
void task_close_stdin(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                      task_done done, void *context);

/* Changes the limits of a container, or maps a folder into it (spec/update.h: what `type_url` and `value` may be, and the
 * errors). All of it is judged before anything is changed; should HCS refuse a later part, the error says what was done. */
void task_update(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *type_url,
                 const char *value, size_t value_size, task_done done, void *context);

/* The document that task_create would send, without sending it; os_build 0: this machine's. */
typedef void (*task_render_done)(void *context, struct error *error, const char *document, char *const *warnings,
                                 size_t warning_count);
void task_render(struct tasks *tasks, const struct task_create *create, uint32_t os_build, task_render_done done,
                 void *context);

/* Operations under way, for diag. */
struct task_operation_view {
    char kind[16]; /* create, start, kill, delete, reap */
    char *object;
    const char *phase;
    double age_seconds;
    char *step;     /* of the kill ladder, "" */
    char *evidence; /* of a kill: what the last call said, the pids that were seen; or NULL */
};
void tasks_operations(struct tasks *tasks, struct task_operation_view **ret_views, size_t *ret_count);
void task_operation_views_free(struct task_operation_view *views, size_t count);

#endif
