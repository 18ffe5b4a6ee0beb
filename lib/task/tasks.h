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

/* Numbers as containerd.v1.types.Status. */
enum task_status { TASK_UNKNOWN = 0, TASK_CREATED = 1, TASK_RUNNING = 2, TASK_STOPPED = 3, TASK_PAUSED = 4, TASK_PAUSING = 5 };

#define TASK_EXIT_NONE 255u            /* on the wire while not exited */
#define TASK_EXIT_UNKNOWN 0xFFFFFFFFu  /* -1: nobody held a handle */
#define TASK_EXIT_NOT_STARTED 127u     /* the init could not be started */

struct task_view {
    char *containerd_namespace, *id, *exec_id, *bundle;
    char *stdin_path, *stdout_path, *stderr_path;
    bool terminal;
    enum task_status status;
    uint32_t pid; /* 0 until started */
    uint32_t exit_status;
    int64_t exited_ns; /* wall, 0: not exited */
    char *stuck;       /* NULL, or why it cannot be ended and since when */
};
void task_view_free(struct task_view *view);
void task_views_free(struct task_view *views, size_t count);

struct task_create {
    const char *containerd_namespace, *id, *bundle;
    const char *stdin_path, *stdout_path, *stderr_path; /* "" : none */
    bool terminal;
    /* A rootfs mount of type windows-layer, instead of windows.layerFolders; count 0 or 1. */
    const char *rootfs_source;       /* NULL: none */
    const char *const *rootfs_parents;
    size_t rootfs_parent_count;
    const char *client; /* for logs */
};

struct tasks_options {
    const char *owner;               /* "hcsd" */
    unsigned call_seconds;           /* hcs.call_seconds */
    unsigned kill_answer_seconds;    /* kill.answer_seconds */
    unsigned drain_seconds;          /* stdio.drain_seconds */
    const char *state_dir;           /* absolute; where task documents are journalled */
    bool terminate_survivors;
    /* Layers are mounted and released by whoever runs storage calls (workers); both may take long and are called on
     * operation threads. mount gives the volume path `\\?\Volume{guid}` (no trailing backslash). */
    struct error *(*mount_layers)(void *context, const char *holder, const char *scratch, const char *const *parents,
                                  size_t parent_count, char **ret_volume);
    struct error *(*release_layers)(void *context, const char *holder, const char *scratch);
    /* Called in order per container, on some thread; must not block. `topic` as containerd's, exec_id "" for init. */
    void (*event)(void *context, const char *topic, const struct task_view *view);
    void *context;
};

struct error *tasks_open(const struct tasks_options *options, struct tasks **ret_tasks) ERROR_MUST_CHECK;
void tasks_drain(struct tasks *tasks);        /* refuses new containers with UNAVAILABLE */
unsigned tasks_in_flight(struct tasks *tasks); /* operations under way */
void tasks_close(struct tasks *tasks);        /* containers go on running */

typedef void (*task_done)(void *context, struct error *error, const struct task_view *view);

void task_create(struct tasks *tasks, const struct task_create *create, task_done done, void *context);
void task_start(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, task_done done,
                void *context);
void task_kill(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, uint32_t sig,
               bool all, task_done done, void *context);
/* force: deletes in any state; what cannot be ended is journalled for the janitor. */
void task_delete(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, bool force,
                 const char *client, task_done done, void *context);

/* Waits for the exit (for init: until the teardown is over and the exit event is out). Costs no thread. *ret_ticket takes it
 * back; 0 when it was already called. */
void task_wait(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, task_done done,
               void *context, uint64_t *ret_ticket);
/* The completion is not called any more after this returns true; false: it was or is being called. */
bool task_wait_cancel(struct tasks *tasks, uint64_t ticket);

struct error *task_state(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                         struct task_view *ret_view) ERROR_MUST_CHECK;
void task_list(struct tasks *tasks, const char *containerd_namespace, struct task_view **ret_views, size_t *ret_count);

/* Operations under way, for diag. */
struct task_operation_view {
    char kind[16];  /* create, start, kill, delete, reap */
    char *object;
    const char *phase;
    double age_seconds;
    char *step; /* of the kill ladder, "" */
};
void tasks_operations(struct tasks *tasks, struct task_operation_view **ret_views, size_t *ret_count);
void task_operation_views_free(struct task_operation_view *views, size_t count);

#endif
