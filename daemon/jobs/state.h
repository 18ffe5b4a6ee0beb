/* The inside of daemon/jobs.
 *
 *   jobs.c        opening, closing, submitting, cancelling
 *   job.c         a job: its life, its history, what its listener is told
 *   pool.c        lanes and workers: who works on what; a worker's thread
 *   supervise.c   what a worker says while it has a job, and what its end means
 *   turn.c        PrepareLayer's turn
 *   watchdog.c    the thread that runs the ladders (lib/watch)
 *   remains.c     what a job may leave behind, and its document in the journal
 *   janitor.c     taking remains down
 *   mounts.c      jobs_mount_layer, jobs_release_layer, and how calls that a caller waits for end
 *   layers.c      the other storage calls
 *   views.c       snapshots
 *   queue.c, process.c   see their headers
 *
 * One lock (jobs->lock) guards all of it; "locked" functions are called with it held. Nothing blocks while it is held: no
 * file, no pipe, no listener. Events are sent with it held (the sink queues). Each worker has one thread, which does what
 * blocks: starting the process, writing to its pipe, the journal. A remains' document is written by the thread that has
 * the remains in hand, which is one at a time. */
#ifndef HCSD_DAEMON_JOBS_STATE_H
#define HCSD_DAEMON_JOBS_STATE_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/clock.h"
#include "daemon/jobs/jobs.h"
#include "daemon/jobs/process.h"
#include "daemon/jobs/queue.h"
#include "daemon/worker/wire.h"
#include "journal/journal.h"
#include "layer/claims.h"
#include "watch/watch.h"

#define JOBS_KEPT         256 /* jobs that ended, for views */
#define JOB_HISTORY_MAX   64
#define STREAM_WINDOW     (1u << 20) /* bytes of a stream that hcsd holds at most */
#define LANE_IDLE_MS      30000      /* how long a worker on demand stays without work */
#define FAILURE_ANSWER_MS 5000 /* a failed job waits this long for its remains to be taken down before it says so */

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };
const char *job_state_name(enum job_state state);

/* Exports have the pool; mounts must never wait behind them, nor behind what is stuck in cleaning. */
enum lane_id { LANE_EXPORT, LANE_MOUNT, LANE_CLEAN, LANE_COUNT };

struct lane {
    struct queue *queue;
    unsigned most;           /* workers */
    unsigned kept;           /* of these, this many stay without work */
    unsigned count;          /* workers, starting ones included */
    unsigned start_failures; /* in a row */
};

/* What an attempt at something may leave if its worker dies; journalled before it is made. */
struct remains {
    struct remains *next;
    char id[16];  /* also the staging folder's name */
    char *kind;   /* "export", "mount", "import", "create", "destroy"; "sweep": a folder that no document tells of */
    char *job;    /* its id, for people */
    char *holder; /* of the claims on the layer and its parents */
    char *layer;  /* to be released when `activated`, to be destroyed when `making` */
    char **parents;
    size_t parent_count;
    bool activated;      /* Activate was begun and its undoing is not known to have succeeded */
    bool mounted;        /* and that is as it should be */
    bool making;         /* the layer's folder, which was not there or empty, is being made, or half of it is left */
    char *made_id;       /* which folder it is; "": not known, it goes by the time */
    int64_t made_ns;     /* when its making was allowed; 0: never */
    bool making_told;    /* LAYER_HALF_MADE was sent */
    bool claimed;        /* the claims are held */
    char *target;        /* the folder that the volume is mounted on, NULL: none */
    char *staging;       /* NULL: none */
    char *output;        /* beside which an unfinished file may be; NULL: none */
    uint32_t output_pid; /* the worker that wrote it, whoever cleans up after it */
    bool quarantined;
    bool release_told; /* LAYER_RELEASE_FAILED was sent */
    int64_t since_ns;
    uint32_t worker_pid; /* who may hold it open */
    uint64_t worker_created;
    struct zombie *zombie; /* that one does not die: nothing is touched until it does */
    unsigned tries;
    uint64_t next_ms;    /* of the next try; WATCH_NEVER: none is due */
    struct job *cleaner; /* the job that is at it */
    struct job *waiter;  /* who wants to know */
    bool journalled;
    bool writing;     /* its document is being written: no cleaner is to have it in hand */
    bool recovered;   /* found at start */
    bool first_sweep; /* and not yet tried */
};

/* A worker that was terminated and does not end. */
struct zombie {
    struct zombie *next;
    struct jobs *jobs;
    struct process process;
    HANDLE wait;
    char *object; /* what it worked on */
    bool gone;
};

struct delivery; /* to a listener: job.c */

struct job {
    struct job *next;
    struct jobs *jobs;
    unsigned references; /* the list's, a worker's, a caller's, a delivery's */
    char id[40];
    const char *kind; /* static: "export", "mount", "release", "layer", "import", "clean", "destroy", "sweep" */
    enum lane_id lane;
    char *object, *client;
    uint64_t fairness_key;

    enum job_state state;
    const char *phase, *cleanup, *step; /* static */
    struct watch watch;
    struct worker *worker;
    uint32_t worker_pid; /* the last one's */
    unsigned attempts;
    json_t *order; /* of other kinds than export: the fields of the message that begins it */
    struct export_request *request;
    struct remains *remains;

    struct export_counters counters;
    uint64_t io;
    char *path;
    bool wants_turn;
    bool turn_lent; /* it has PrepareLayer's turn since its beginning, and may not need it */
    uint64_t turn_order;

    bool cancel_requested;
    char *cancel_reason;
    struct error *kill_error; /* why the watchdog ended its worker */
    bool complete;            /* the archive is */
    struct error *failure;    /* what the worker said, or what became of it */
    bool retry;               /* once its remains are taken down */
    uint64_t answer_ms;       /* when a failure is told although they are not; WATCH_NEVER */
    json_t *end;              /* the worker's last message */
    uint64_t cleaning_since_ms;

    struct export_result *result;
    struct error *error;
    int64_t submitted_ns, started_ns, ended_ns; /* wall */
    uint64_t submitted_ms, ended_ms;
    struct {
        int64_t at_ns;
        char *text;
    } history[JOB_HISTORY_MAX];
    size_t history_count;

    const struct job_listener *listener; /* NULL: none, or closed */
    void *context;
    struct delivery *deliveries, **last_delivery;
    PTP_WORK deliver;
    bool result_told;
    bool delivering, untaken;      /* a callback runs; a piece was given and not yet taken */
    size_t piece;                  /* the size of that one */
    uint64_t streamed, unreturned; /* bytes that came, and of these those whose credit was not given back */

    bool finished; /* mounts: the caller may look */
};

enum worker_state { WORKER_STARTING, WORKER_IDLE, WORKER_BUSY, WORKER_ENDING, WORKER_ABANDONED };

struct outgoing {
    struct outgoing *next;
    json_t *message;
};

struct worker {
    struct worker *next;
    struct jobs *jobs;
    enum lane_id lane;
    enum worker_state state;
    HANDLE thread, wake;
    DWORD thread_id;
    struct process process;
    struct wire *wire;
    struct watch watch; /* of its start, and of its end after it was told to */
    struct job *job;
    struct outgoing *outgoing, **last_outgoing;
    unsigned served;    /* jobs it was given */
    bool killed;        /* terminated by us */
    bool abandon;       /* does not die: the thread is to leave it */
    bool expected_dead; /* the thread's own: its pipe broke and it was ended */
    char crash[96];     /* what it could still say about its end */
};

struct jobs {
    SRWLOCK lock;
    CONDITION_VARIABLE changed; /* a mount ended, a job ended, a worker's thread ended */
    struct watch_limits limits;
    unsigned queue_limit;
    char *staging_dir, *hcs_library, *worker_image;
    char life[4]; /* three letters that tell this life's ids and folders from others' */
    struct journal *journal;
    struct claims *claims;
    HANDLE process_job;
    struct lane lanes[LANE_COUNT];
    struct worker *workers;
    struct zombie *zombies;
    struct job *jobs;                  /* newest first, ended ones included */
    struct remains *remains, *settled; /* settled: their documents are still to be removed */
    uint64_t next_number, next_turn;
    struct job *turn_holder;
    unsigned delivering; /* listener callbacks that run or are about to */
    bool draining, closing;
    bool privileges_told;
    HANDLE watchdog, watchdog_wake;
    uint64_t watchdog_ms; /* when it looks next unless it is kicked */
    unsigned threads;     /* of workers */
    unsigned callers;     /* threads in jobs_mount_layer and jobs_release_layer */
    /* The sweep at start. */
    json_t *kept_folders; /* names that it leaves alone */
    unsigned sweeping;    /* its parts that have not ended */
    unsigned swept_folders, swept_layers, swept_stay;
};

/* ---- job.c; all locked but job_release ---------------------------------------------------------------------- */

struct job *job_new(struct jobs *jobs, const char *kind, enum lane_id lane,
                    const char *object); /* one reference: the list's */
void job_hold(struct job *job);
void job_drop(struct job *job);
struct job *job_find(struct jobs *jobs, const char *id);
/* A caller waits for it: "mount", "release", "layer" (within hcs.call_seconds), "import" (while it makes progress). */
bool job_is_call(const struct job *job);
void job_note(struct job *job, const char *format, ...) ERROR_PRINTF(2, 3); /* into its history */
/* How it ended, as far as whoever asked is concerned. Takes the error (NULL: done). */
void job_end(struct job *job, enum job_state state, struct error *error);
/* Forgets what is over and no longer of interest. Not while the list is walked. */
void job_forget_old(struct jobs *jobs);
/* Who the claims of an export belong to. */
void job_holder(const struct job *job, char holder[64]);
/* The export's layer and its parents; from its beginning on the claims go with its remains. */
struct error *job_claim(struct job *job) ERROR_MUST_CHECK;

void job_tell_progress(struct job *job);
void job_tell_data(struct job *job, uint8_t *data, size_t size); /* takes the data */
void job_tell_result(struct job *job);
void job_tell_cleanup(struct job *job, const char *outcome, const struct export_deviation *left, size_t count);
void job_tell_failed(struct job *job); /* job->error */
void job_tell_closed(struct job *job);
void job_data_taken(struct job *job);

/* ---- pool.c ------------------------------------------------------------------------------------------------- */

/* Locked. Into the lane's queue; a worker is woken or started. */
void pool_submit(struct job *job);
void pool_resize(struct jobs *jobs, unsigned workers); /* LANE_EXPORT */
void pool_submit_first(struct job *job);
/* Locked. A message for the worker's thread to send; takes it. */
void worker_post(struct worker *worker, json_t *message);
/* Locked. */
void worker_kill(struct worker *worker);
void worker_abandon(struct worker *worker);

/* ---- supervise.c: on the worker's thread, unlocked ------------------------------------------------------------ */

/* The message that begins the job, its remains journalled before. On an error the job has failed already. */
struct error *supervise_begin(struct worker *worker, struct job *job, json_t **ret_message) ERROR_MUST_CHECK;
/* One message or piece of data of a job; takes the frame's data. *ret_ended: the job is through and the worker free. */
struct error *supervise_frame(struct worker *worker, struct job *job, struct wire_frame *frame,
                              bool *ret_ended) ERROR_MUST_CHECK;
/* The phase that the worker's exception came in, "" outside of a job. */
void supervise_crashed(struct worker *worker, const char *phase);
/* The worker is no more (or abandoned) while it had the job. `how`: "ended by itself with code …". */
void supervise_lost(struct worker *worker, struct job *job, uint32_t code, bool abandoned);
/* A job that could not even be begun. Takes the error. */
void supervise_fail(struct job *job, struct error *error);
/* Locked. What the job left is taken down ("done"), or for the janitor ("quarantined"); `released`: the layer is free. */
void supervise_remains_done(struct job *job, const char *outcome, bool released, const struct export_deviation *left,
                            size_t count);
/* Locked. Says now that the job failed, though its remains may not be taken down yet. */
void supervise_answer(struct job *job);
/* The call that a phase is about, for errors: "ActivateLayer". */
const char *supervise_operation(const struct job *job);

/* ---- turn.c: PrepareLayer's; all locked ----------------------------------------------------------------------- */

/* Just before the message that begins the job is posted. A mount is given the turn along with it while that is free: nobody is
 * kept from it, for it is asked back when somebody wants it, and where nobody does a mount is one message each way. */
void turn_lend(struct job *job, json_t *message);
/* The job's worker asks for it: it is granted now or when it is free. */
void turn_take(struct job *job);
/* Given on when the job has it. */
void turn_pass(struct job *job);

/* ---- watchdog.c ---------------------------------------------------------------------------------------------- */

struct error *watchdog_start(struct jobs *jobs) ERROR_MUST_CHECK;
void watchdog_kick(struct jobs *jobs);                              /* deadlines may have moved nearer */
void watchdog_expect(struct jobs *jobs, const struct watch *watch); /* locked: this one's may have */
void watchdog_stop(struct jobs *jobs);

/* ---- remains.c ------------------------------------------------------------------------------------------------ */

struct error *remains_open(struct jobs *jobs, const char *state_dir) ERROR_MUST_CHECK; /* reads the journal */
struct remains *remains_new(struct jobs *jobs, const char *kind, struct job *job, const char *layer,
                            const char *holder);                  /* locked */
void remains_unclaim(struct jobs *jobs, struct remains *remains); /* locked: the layer is free again */
/* Locked. Nothing is left: its claims end; it is off the list and not to be touched any more. */
void remains_settle(struct jobs *jobs, struct remains *remains);
/* Unlocked: writes the document. */
struct error *remains_sync(struct jobs *jobs, struct remains *remains) ERROR_MUST_CHECK;
void remains_flush(struct jobs *jobs); /* unlocked: removes the documents of what is settled */
/* Unlocked: removes the document now. Before a layer that was being made is anybody's: on a document that is out of date it would be
 * taken away at the next start. */
struct error *remains_forget(struct jobs *jobs, struct remains *remains) ERROR_MUST_CHECK;
/* Locked. A folder of an earlier life that resisted the sweep and that no document tells of. */
struct remains *remains_adopt(struct jobs *jobs, const char *folder);
/* The layer itself is not as it should be, and nobody else's. */
bool remains_has_layer(const struct remains *remains);
bool remains_is_empty(const struct remains *remains);
void remains_free(struct remains *remains);

/* ---- janitor.c ------------------------------------------------------------------------------------------------ */

/* Locked, when the worker that made the remains is out of the way. `reason` is for the event that says why the folder is
 * quarantined; NULL: it is not, a fresh worker just takes it down. */
void janitor_take(struct jobs *jobs, struct remains *remains, const char *reason);
/* Unlocked, on the cleaner's worker's thread: what came of it. `lost` (NULL: the job ended properly) says how its worker
 * ended. */
void janitor_done(struct job *cleaner, const char *lost);
/* Locked. Starts what is due; returns when the next is. */
uint64_t janitor_tick(struct jobs *jobs, uint64_t now_ms);
void janitor_sweep(struct jobs *jobs); /* locked, at open */
void janitor_swept(struct job *sweep); /* unlocked: the sweep of unknown folders ended */
struct zombie *janitor_add_zombie(struct jobs *jobs, struct process *process,
                                  const char *object); /* locked; takes it */
void janitor_close(struct jobs *jobs);                 /* unlocked, at the end */

/* ---- mounts.c ------------------------------------------------------------------------------------------------- */

void mounts_done(struct job *job, const char *lost);      /* unlocked, on the worker's thread */
void mounts_answer(struct job *job, struct error *error); /* locked: the caller's time is up; takes the error */
/* Locked. A job that a caller waits for, with a reference for the caller; into its lane, and until its end or its bound. */
struct job *mounts_call_new(struct jobs *jobs, const char *kind, const char *holder, const char *layer);
void mounts_call_run(struct job *job);
struct error *mounts_check_path(const char *operation, const char *path, const char *what) ERROR_MUST_CHECK;
json_t *mounts_pack_paths(const char *const *paths, size_t count);

/* A folder that layer destroy has renamed so: only those are removed on a document's word, besides staging folders. */
#define DOOMED_SUFFIX "-hcsd-removing"

#endif
