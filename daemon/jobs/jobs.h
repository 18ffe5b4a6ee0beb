/* Jobs: work that is done in a worker process. A bounded queue, fair between clients, feeds a pool of warm workers; the
 * watchdog looks after each. This header is all that handlers know of it.
 *
 * Thread-safe. No function blocks. Listener functions are called one at a time per job, in order, on the pool's threads,
 * and must not block; they may call into this module. */
#ifndef HCSD_DAEMON_JOBS_H
#define HCSD_DAEMON_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "export/export.h"

struct jobs;
struct job;

struct jobs_options {
    unsigned workers;         /* export.workers */
    unsigned queue;           /* export.queue */
    unsigned stall_seconds;   /* watchdog.stall_seconds */
    unsigned destroy_seconds; /* watchdog.destroy_seconds */
    const char *staging_dir;  /* absolute; exists */
    const char *state_dir;    /* absolute; exists: where job documents are journalled */
    const char *hcs_library;  /* NULL: System32's */
    const char *worker_image; /* NULL: this process's own image, with --worker */
    unsigned call_seconds;    /* hcs.call_seconds: the bound of each mount and release */
};

struct job_listener {
    void (*progress)(void *context, const struct export_counters *counters, const char *phase, const char *path);
    /* Streamed output. The next piece comes only after job_data_taken. */
    void (*data)(void *context, const uint8_t *data, size_t size);
    /* The archive is complete (and, written to a file, in place). Comes after the last `data` was taken. */
    void (*result)(void *context, const struct export_result *result);
    /* The outcome of the cleanup, after `result`: "done" or "quarantined"; "pending" when a stall is being dealt with and
     * another call will follow. */
    void (*cleanup)(void *context, const char *outcome, double seconds, const struct export_deviation *left,
                    size_t count);
    /* The job failed or was cancelled before `result`; nothing follows. The listener takes the error. */
    void (*failed)(void *context, struct error *error);
    /* Nothing more will be called; `context` may be freed. Always the last one, exactly once. */
    void (*closed)(void *context);
};

/* Starts the pool: spawns nothing yet but the first worker. */
struct error *jobs_open(const struct jobs_options *options, struct jobs **ret_jobs) ERROR_MUST_CHECK;
/* Takes the numbers of `options` over; paths stay. Bounds count for what is under way, too; workers beyond the new number end
 * when they have been idle for a while. */
void jobs_set_limits(struct jobs *jobs, const struct jobs_options *options);
/* Refuses new jobs with UNAVAILABLE from here on. */
void jobs_drain(struct jobs *jobs);
unsigned jobs_in_flight(struct jobs *jobs);
/* Cancels what is left, because hcsd is stopping: who waits for it is told so. */
void jobs_cancel_all(struct jobs *jobs);
/* Cancels what is left, ends the workers (within `milliseconds` in all, then by force), frees. False: a thread did not end, and what
 * it uses stays till the end of the process. */
bool jobs_close(struct jobs *jobs, unsigned milliseconds);

struct job_submit {
    const struct export_request *request; /* copied */
    const char *client;                   /* "pid 12, DOMAIN\\user", for logs and job show */
    uint64_t fairness_key;                /* the connection: the queue takes turns between these */
    const struct job_listener *listener;
    void *context;
};

/* Queues an export. RESOURCE_EXHAUSTED when the queue is full, UNAVAILABLE when draining, FAILED_PRECONDITION when the layer
 * has another owner, INVALID_ARGUMENT for paths that are not absolute. On failure the listener is never called. *ret_id is
 * the job's id (caller frees); the listener may be called before this returns. */
struct error *jobs_submit_export(struct jobs *jobs, const struct job_submit *submit, char **ret_id) ERROR_MUST_CHECK;
void jobs_data_taken(struct jobs *jobs, const char *id);
/* Cancels: `reason` goes into the error. NOT_FOUND; FAILED_PRECONDITION when it has ended. After `result` was told it is no
 * longer cancellable (its cleanup goes on); until then it is, also when only the reader of its stream is slow. */
struct error *jobs_cancel(struct jobs *jobs, const char *id, const char *reason) ERROR_MUST_CHECK;

/* Mounts the layers of a container: activate and prepare `scratch` over `parents` (nearest first), ask for its volume path
 * (`\\?\Volume{guid}`, no trailing backslash). Runs in a worker of a lane of its own, so that it never waits behind an
 * export; PrepareLayer is one at a time. Journalled before it is made. Blocks for at most call_seconds (then
 * DEADLINE_EXCEEDED naming the call; the worker is replaced and a fresh one undoes what was done). `holder` ("container web")
 * owns the layer until release: anybody else is refused with FAILED_PRECONDITION naming it. NOT_FOUND: no such folder. A scratch
 * folder without its disk is given one. */
struct error *jobs_mount_layer(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                               size_t parent_count, char **ret_volume) ERROR_MUST_CHECK;
/* Unprepares and deactivates, every step tried, first error kept; what could not be undone stays journalled for the janitor.
 * Same bound. */
struct error *jobs_release_layer(struct jobs *jobs, const char *holder, const char *scratch) ERROR_MUST_CHECK;

/* Once after jobs_open, when it is known which containers are still there: what earlier lives mounted for others is released
 * by the janitor. Until then it stays mounted and claimed by its holder. Does not block. */
void jobs_keep_mounts(struct jobs *jobs, const char *const *holders, size_t count);

/* A snapshot, for job ls/show and diag. Strings belong to the snapshot. Times are wall nanoseconds, 0: not yet. */
struct job_view {
    char *id, *kind, *object, *state, *phase, *cleanup, *client, *step, *path;
    int64_t submitted_ns, started_ns, ended_ns;
    double age_seconds, last_progress_seconds;
    uint32_t worker_pid;
    unsigned attempts;
    struct export_counters counters;
    struct export_result *result; /* NULL until there is one */
    struct error *error;          /* NULL unless failed or cancelled */
    struct {
        int64_t at_ns;
        char *text;
    } * history;
    size_t history_count;
};
/* Newest first; the last 256 that ended are kept. `id` NULL: all. The caller frees with job_views_free. */
void jobs_view(struct jobs *jobs, const char *id, struct job_view **ret_views, size_t *ret_count);
void job_views_free(struct job_view *views, size_t count);

struct worker_view {
    uint32_t pid;
    const char *state; /* "idle", "busy", "ending", "abandoned" */
    const char *lane;  /* "export", "mount", "clean"; "" once it is abandoned: it is in nobody's way */
    char job[40];      /* "" when none */
};
void jobs_workers(struct jobs *jobs, struct worker_view **ret_workers, size_t *ret_count); /* free() */
/* Staging folders in quarantine; each string and the array are the caller's to free. */
void jobs_quarantined(struct jobs *jobs, char ***ret_folders, size_t *ret_count);

#endif
