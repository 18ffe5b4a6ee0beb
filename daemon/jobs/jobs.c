/* Opening, closing, submitting, cancelling. */
#include "daemon/jobs/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

#define MOUNT_WORKERS 4
#define CLEAN_WORKERS 2

static void jobs_free(struct jobs *jobs)
{
    for (int i = 0; i < LANE_COUNT; i++)
        queue_free(jobs->lanes[i].queue);
    claims_free(jobs->claims);
    journal_free(jobs->journal);
    win_close(jobs->process_job);
    free(jobs->staging_dir);
    free(jobs->hcs_library);
    free(jobs->worker_image);
    json_decref(jobs->kept_folders);
    free(jobs);
}

struct error *jobs_open(const struct jobs_options *options, struct jobs **ret_jobs)
{
    struct jobs *jobs = mem_new(struct jobs);
    InitializeSRWLock(&jobs->lock);
    InitializeConditionVariable(&jobs->changed);
    jobs->limits = watch_limits_from(options->stall_seconds, options->destroy_seconds, options->call_seconds);
    jobs->queue_limit = options->queue;
    jobs->staging_dir = str_copy(options->staging_dir);
    jobs->hcs_library = str_copy(options->hcs_library);
    jobs->worker_image = str_copy(options->worker_image);
    jobs->claims = claims_new();
    for (int i = 0; i < LANE_COUNT; i++)
        jobs->lanes[i].queue = queue_new();
    jobs->lanes[LANE_EXPORT].most = options->workers;
    jobs->lanes[LANE_EXPORT].kept = options->workers;
    jobs->lanes[LANE_MOUNT].most = MOUNT_WORKERS;
    jobs->lanes[LANE_CLEAN].most = CLEAN_WORKERS;

    struct error *error = process_job_new(&jobs->process_job);
    if (error == NULL)
        error = remains_open(jobs, options->state_dir);
    if (error == NULL)
        error = watchdog_start(jobs);
    if (error != NULL) {
        janitor_close(jobs);
        jobs_free(jobs);
        return error_wrap(error, "open the job queue");
    }
    AcquireSRWLockExclusive(&jobs->lock);
    janitor_sweep(jobs); /* which needs the first worker anyway */
    ReleaseSRWLockExclusive(&jobs->lock);
    *ret_jobs = jobs;
    return NULL;
}

void jobs_set_limits(struct jobs *jobs, const struct jobs_options *options)
{
    AcquireSRWLockExclusive(&jobs->lock);
    jobs->limits = watch_limits_from(options->stall_seconds, options->destroy_seconds, options->call_seconds);
    jobs->queue_limit = options->queue;
    pool_resize(jobs, options->workers);
    watchdog_kick(jobs);
    ReleaseSRWLockExclusive(&jobs->lock);
}

void jobs_drain(struct jobs *jobs)
{
    AcquireSRWLockExclusive(&jobs->lock);
    jobs->draining = true;
    ReleaseSRWLockExclusive(&jobs->lock);
}

static unsigned count_in_flight(struct jobs *jobs)
{
    unsigned count = 0;
    for (const struct job *job = jobs->jobs; job != NULL; job = job->next)
        if (job->state < JOB_DONE && strcmp(job->kind, "sweep") != 0 && job->lane != LANE_CLEAN)
            count++;
    return count;
}

unsigned jobs_in_flight(struct jobs *jobs)
{
    AcquireSRWLockShared(&jobs->lock);
    unsigned count = count_in_flight(jobs);
    ReleaseSRWLockShared(&jobs->lock);
    return count;
}

/* ---- submitting ---------------------------------------------------------------------------------------------------- */

static struct error *check_path(const char *path, const char *what)
{
    char *verbatim = NULL;
    if (path == NULL || path[0] == '\0')
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "submit export", NULL, "the path of %s is missing", what);
    if (!text_is_utf8(path, strlen(path)))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "submit export", path, "the path of %s is no UTF-8", what);
    struct error *error = path_verbatim(path, &verbatim);
    free(verbatim);
    return error_wrap(error, "the path of %s", what);
}

static struct error *check_request(const struct export_request *request)
{
    static const int highest_level[] = {[EXPORT_GZIP] = 12, [EXPORT_ZSTD] = 19, [EXPORT_NONE] = 0};
    struct error *error = check_path(request->layer, "the layer");
    for (size_t i = 0; i < request->parent_count && error == NULL; i++)
        error = check_path(request->parents[i], "a parent layer");
    if (error == NULL && request->output != NULL && request->output[0] != '\0')
        error = check_path(request->output, "the output");
    if (error != NULL)
        return error;
    if ((unsigned)request->compression > EXPORT_NONE)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "submit export", request->layer,
                          "compression %d is none that is known", (int)request->compression);
    int highest = highest_level[request->compression];
    if (request->level < 0 || (request->compression != EXPORT_NONE && request->level > highest))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "submit export", request->layer,
                          "compression level %d is none: 0 is the default, the highest is %d", request->level, highest);
    return NULL;
}

struct error *jobs_submit_export(struct jobs *jobs, const struct job_submit *submit, char **ret_id)
{
    struct error *error = check_request(submit->request);
    if (error != NULL)
        return error;
    AcquireSRWLockExclusive(&jobs->lock);
    if (jobs->draining) {
        error = error_make(ERROR_KIND_UNAVAILABLE, "submit export", submit->request->layer, "hcsd is stopping");
        goto out;
    }
    if (queue_count(jobs->lanes[LANE_EXPORT].queue) >= jobs->queue_limit) {
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "submit export", submit->request->layer,
                           "%u jobs are waiting already (export.queue); try again later", jobs->queue_limit);
        goto out;
    }
    struct job *job = job_new(jobs, "export", LANE_EXPORT, submit->request->layer);
    job->request = message_copy_request(submit->request);
    error = job_claim(job);
    if (error != NULL) {
        jobs->jobs = job->next;
        job_drop(job);
        goto out;
    }
    job->client = str_copy(submit->client != NULL ? submit->client : "");
    job->fairness_key = submit->fairness_key;
    job->listener = submit->listener;
    job->context = submit->context;
    job_note(job, "submitted by %s", job->client);
    *ret_id = str_copy(job->id);
    pool_submit(job);

out:
    ReleaseSRWLockExclusive(&jobs->lock);
    return error;
}

void jobs_data_taken(struct jobs *jobs, const char *id)
{
    AcquireSRWLockExclusive(&jobs->lock);
    struct job *job = job_find(jobs, id);
    if (job != NULL)
        job_data_taken(job);
    ReleaseSRWLockExclusive(&jobs->lock);
}

/* ---- cancelling ---------------------------------------------------------------------------------------------------- */

/* Locked. */
static void cancel(struct job *job, const char *reason)
{
    struct jobs *jobs = job->jobs;
    if (job->cancel_requested)
        return;
    job->cancel_requested = true;
    job->cancel_reason = str_copy(reason);
    job_note(job, "to be cancelled: %s", reason);
    bool taking_down = strcmp(job->phase, "deactivate") == 0 || strcmp(job->phase, "cleanup") == 0;
    if (job->worker != NULL) {
        if (!taking_down)
            watch_phase(&job->watch, "cancel", clock_ms());
        worker_post(job->worker, json_pack("{s:s, s:s}", "type", "cancel", "job", job->id));
        watchdog_kick(jobs);
    } else if (queue_remove(jobs->lanes[job->lane].queue, job)) {
        char holder[64];
        job_holder(job, holder);
        claims_release_all(jobs->claims, holder);
        supervise_answer(job);
        job_drop(job);
    }
    /* Else its remains are being taken down, and then it says so. */
}

/* Locked. The archive is complete, but its reader has not taken all of it and will not. */
static void cancel_undelivered(struct job *job, const char *reason)
{
    struct error *error = error_make(ERROR_KIND_CANCELLED, job->kind, job->object, "%s", reason);
    job_note(job, "cancelled before all of it was taken: %s", reason);
    event_emit(EVENT_EXPORT_CANCELLED, job->id, job->object, reason);
    job_end(job, JOB_CANCELLED, error);
    job_tell_failed(job);
    job_tell_closed(job);
}

struct error *jobs_cancel(struct jobs *jobs, const char *id, const char *reason)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&jobs->lock);
    struct job *job = job_find(jobs, id);
    if (job == NULL || strcmp(job->kind, "export") != 0)
        error = error_make(ERROR_KIND_NOT_FOUND, "cancel job", id, "there is no such job");
    else if (job->state == JOB_DONE && !job->result_told && job->listener != NULL)
        cancel_undelivered(job, reason);
    else if (job->state >= JOB_DONE)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "cancel job", id, "the job has ended (%s)",
                           job_state_name(job->state));
    else
        cancel(job, reason);
    ReleaseSRWLockExclusive(&jobs->lock);
    return error;
}

/* ---- closing ------------------------------------------------------------------------------------------------------- */

/* Locked. */
static void wait_until(struct jobs *jobs, bool (*reached)(struct jobs *jobs), uint64_t deadline_ms)
{
    while (!reached(jobs)) {
        uint64_t now = clock_ms();
        if (now >= deadline_ms)
            return;
        SleepConditionVariableSRW(&jobs->changed, &jobs->lock, (DWORD)(deadline_ms - now), 0);
    }
}

static bool nothing_runs(struct jobs *jobs)
{
    for (const struct job *job = jobs->jobs; job != NULL; job = job->next)
        if (job->worker != NULL || job->state < JOB_DONE)
            return false;
    return true;
}

static bool no_thread_is_left(struct jobs *jobs)
{
    return jobs->threads == 0;
}

static bool nobody_is_told(struct jobs *jobs)
{
    return jobs->delivering == 0;
}

static void cancel_all(struct jobs *jobs)
{
    for (struct job *job = jobs->jobs; job != NULL; job = job->next) {
        if (job->state < JOB_DONE && strcmp(job->kind, "export") == 0)
            cancel(job, "hcsd is stopping");
        else if (job->state == JOB_QUEUED && job_is_call(job))
            mounts_answer(job, error_make(ERROR_KIND_UNAVAILABLE, job->kind, job->object, "hcsd is stopping"));
    }
}

void jobs_cancel_all(struct jobs *jobs)
{
    AcquireSRWLockExclusive(&jobs->lock);
    jobs->draining = true;
    cancel_all(jobs);
    ReleaseSRWLockExclusive(&jobs->lock);
}

static bool no_caller_is_left(struct jobs *jobs)
{
    return jobs->callers == 0;
}

static void end_workers(struct jobs *jobs, bool by_force)
{
    for (struct worker *worker = jobs->workers; worker != NULL; worker = worker->next) {
        if (by_force)
            worker_kill(worker);
        SetEvent(worker->wake);
    }
}

bool jobs_close(struct jobs *jobs, unsigned milliseconds)
{
    uint64_t began = clock_ms();
    AcquireSRWLockExclusive(&jobs->lock);
    jobs->draining = true;
    cancel_all(jobs);
    /* What is taken down by now need not be found at the next start. */
    wait_until(jobs, nothing_runs, began + milliseconds / 2);
    jobs->closing = true;
    end_workers(jobs, false);
    wait_until(jobs, no_thread_is_left, began + milliseconds * 3ull / 4);
    end_workers(jobs, true);
    wait_until(jobs, no_thread_is_left, began + milliseconds);
    for (struct worker *worker = jobs->workers; worker != NULL; worker = worker->next)
        worker_abandon(worker);
    wait_until(jobs, no_thread_is_left, began + milliseconds + 1000);
    wait_until(jobs, nobody_is_told, began + milliseconds + 2000);
    wait_until(jobs, no_caller_is_left, began + milliseconds + 2000);
    bool ended = jobs->threads == 0 && jobs->delivering == 0 && jobs->callers == 0;
    ReleaseSRWLockExclusive(&jobs->lock);

    watchdog_stop(jobs);
    if (!ended)
        return false; /* a thread is stuck in the kernel: what it uses stays, and the process is about to end */
    while (jobs->jobs != NULL) {
        struct job *job = jobs->jobs;
        jobs->jobs = job->next;
        job->references = 1;
        job_drop(job);
    }
    janitor_close(jobs);
    jobs_free(jobs);
    return true;
}
