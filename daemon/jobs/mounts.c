/* Mounting and releasing layers for containers: the caller waits, bounded; the work is a job of its own lane. How other storage
 * calls that are waited for (layers.c) end is told here too. */
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "daemon/jobs/layers.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

#define MARGIN_MS 5000 /* the watchdog answers in time; this is for when it does not */

/* ---- how it ends --------------------------------------------------------------------------------------------------- */

/* Locked. */
static void finish_call(struct job *job, struct error *error)
{
    if (job->finished) {
        error_free(error);
        return;
    }
    job->finished = true;
    job_note(job, "%s", error == NULL ? "done" : error->message);
    job_end(job, error == NULL ? JOB_DONE : JOB_FAILED, error);
}

/* A worker that is lost cannot take away the folder that it was making a layer of; whoever asked for it is told who does. */
static struct error *tell_half_layer(const struct remains *remains, struct error *error)
{
    if (error == NULL || remains == NULL || !remains->making)
        return error;
    return error_wrap(error, "hcsd removes what was made of it");
}

void mounts_answer(struct job *job, struct error *error)
{
    struct jobs *jobs = job->jobs;
    struct remains *remains = job->remains;
    bool queued = job->worker == NULL && queue_remove(jobs->lanes[job->lane].queue, job);
    finish_call(job, tell_half_layer(remains, error));
    if (!queued)
        return; /* its worker's end tells what is left */
    job->remains = NULL;
    watch_end(&job->watch);
    if (remains == NULL) {
        job_drop(job);
        return;
    }
    if (strcmp(remains->kind, "mount") != 0) { /* nothing was begun */
        free(remains->staging);
        remains->staging = NULL;
    }
    if (remains->activated)
        janitor_take(jobs, remains, NULL);
    else
        remains_settle(jobs, remains);
    job_drop(job);
}

/* Locked. True: the document is to be written. */
static bool mount_ended(struct job *job, const char *lost, struct error **ret_error)
{
    struct jobs *jobs = job->jobs;
    struct remains *remains = job->remains;
    struct error *error = NULL;
    job->remains = NULL;
    if (lost == NULL) {
        error = message_unpack_error(json_object_get(job->end, "error"));
        remains->activated = json_is_true(json_object_get(job->end, "activated"));
    } else {
        error = job->kill_error != NULL ? error_copy(job->kill_error) : error_copy(job->failure);
    }
    *ret_error = error;
    if (error == NULL && !job->finished) {
        remains->mounted = true;
        return true;
    }
    /* Also what came after its caller had given up: nobody knows of that mount. */
    janitor_take(jobs, remains, NULL);
    return false;
}

static void release_ended(struct job *job, const char *lost, struct error **ret_error)
{
    struct jobs *jobs = job->jobs;
    struct remains *remains = job->remains;
    struct error *error = NULL;
    job->remains = NULL;
    if (lost == NULL)
        error = message_unpack_error(json_object_get(job->end, "release_error"));
    else
        error = job->kill_error != NULL ? error_copy(job->kill_error) : error_copy(job->failure);
    if (error == NULL) {
        remains->activated = false;
        remains_settle(jobs, remains);
        return;
    }
    *ret_error = error;
    remains->release_told = true;
    event_emit(EVENT_LAYER_RELEASE_FAILED, remains->layer, error->message);
    janitor_take(jobs, remains, NULL);
}

/* Locked. A call that makes a layer. What its worker could not take away, or was not there to, is the janitor's. True: nothing is
 * left to be done but to forget it. */
static bool making_ended(struct job *job, struct remains *remains, const char *lost, struct error **error)
{
    struct jobs *jobs = job->jobs;
    bool removed = lost == NULL && message_number(job->end, "left_total") == 0;
    /* A layer that is complete after its caller was told of failure is nobody's. */
    if (lost == NULL && !(*error == NULL && job->finished))
        remains->making = json_is_true(json_object_get(job->end, "made_left"));
    if (removed) {
        free(remains->staging);
        remains->staging = NULL;
    }
    *error = tell_half_layer(remains, *error);
    if (remains_is_empty(remains) && remains->made_ns != 0)
        return true;
    if (remains_is_empty(remains))
        remains_settle(jobs, remains);
    else
        janitor_take(jobs, remains, lost == NULL && !removed ? "the import could not remove it" : NULL);
    return false;
}

/* Unlocked. The layer is made, or nothing of it is left: its document goes before its claims do. */
static struct error *forget_making(struct jobs *jobs, struct remains *remains, struct error *error)
{
    struct error *journal = remains_forget(jobs, remains);
    AcquireSRWLockExclusive(&jobs->lock);
    if (journal == NULL) {
        remains_settle(jobs, remains);
    } else {
        /* A layer that the next start would take away is none. */
        remains->making = true;
        error_keep_first(&error, error_wrap(journal, "that the layer is made could not be journalled"));
        error = tell_half_layer(remains, error);
        janitor_take(jobs, remains, NULL);
    }
    ReleaseSRWLockExclusive(&jobs->lock);
    return error;
}

/* Locked. Another storage call. Of those that make nothing only destroy leaves something: from the rename on it is the janitor's.
 * True: what it made is to be forgotten. */
static bool layer_ended(struct job *job, const char *lost, struct error **ret_error)
{
    struct jobs *jobs = job->jobs;
    struct remains *remains = job->remains;
    struct error *error = lost == NULL ? message_unpack_error(json_object_get(job->end, "error"))
                                       : error_copy(job->kill_error != NULL ? job->kill_error : job->failure);
    job->remains = NULL;
    *ret_error = error;
    if (remains == NULL)
        return false;
    if (strcmp(remains->kind, "destroy") != 0)
        return making_ended(job, remains, lost, ret_error);
    bool renamed = lost != NULL || json_is_true(json_object_get(job->end, "renamed"));
    if (error == NULL || !renamed) {
        free(remains->staging);
        remains->staging = NULL;
        remains_settle(jobs, remains);
        return false;
    }
    if (error->kind == ERROR_KIND_INTERNAL && strcmp(job->phase, "destroy") == 0 && lost != NULL) {
        /* 0xC0000420 and the like: the folder was being deleted when it came. */
        event_emit(EVENT_LAYER_DAMAGED, job->object, error->message);
        error = error_set_kind(error, ERROR_KIND_DATA_LOSS);
    }
    *ret_error = error_wrap(error, "what is left of it is called %s and hcsd goes on removing it", remains->staging);
    janitor_take(jobs, remains, (*ret_error)->message);
    return false;
}

void mounts_done(struct job *job, const char *lost)
{
    struct jobs *jobs = job->jobs;
    struct error *error = NULL;
    bool write = false, forget = false;
    AcquireSRWLockExclusive(&jobs->lock);
    struct remains *remains = job->remains;
    if (strcmp(job->kind, "layer") == 0 || strcmp(job->kind, "import") == 0)
        forget = layer_ended(job, lost, &error);
    else if (strcmp(job->kind, "mount") == 0)
        write = mount_ended(job, lost, &error);
    else
        release_ended(job, lost, &error);
    watch_end(&job->watch);
    ReleaseSRWLockExclusive(&jobs->lock);
    if (write) {
        struct error *journal = remains_sync(jobs, remains);
        AcquireSRWLockExclusive(&jobs->lock);
        if (journal != NULL) {
            /* A mount that would be forgotten by a crash is none. */
            error = error_wrap(journal, "the mount could not be journalled");
            janitor_take(jobs, remains, NULL);
        } else if (job->finished) {
            janitor_take(jobs, remains, NULL);
        }
        finish_call(job, error);
        ReleaseSRWLockExclusive(&jobs->lock);
        return;
    }
    if (forget)
        error = forget_making(jobs, remains, error);
    AcquireSRWLockExclusive(&jobs->lock);
    finish_call(job, error);
    ReleaseSRWLockExclusive(&jobs->lock);
}

/* ---- the calls ----------------------------------------------------------------------------------------------------- */

/* The job's end, or the time; then the caller's reference is still there. */
static void wait_for_call(struct job *job)
{
    struct jobs *jobs = job->jobs;
    jobs->callers++;
    /* An import may take hours; its worker's end, of whatever kind, ends it. */
    bool bounded = strcmp(job->kind, "import") != 0;
    uint64_t deadline = bounded ? clock_ms() + jobs->limits.ms[WATCH_CALL] + MARGIN_MS : WATCH_NEVER;
    while (!job->finished) {
        uint64_t now = clock_ms();
        if (now >= deadline) {
            mounts_answer(job, error_make(ERROR_KIND_DEADLINE_EXCEEDED, supervise_operation(job), job->object,
                                          "it has not returned within %u seconds",
                                          (unsigned)(jobs->limits.ms[WATCH_CALL] / 1000)));
            break;
        }
        SleepConditionVariableSRW(&jobs->changed, &jobs->lock, bounded ? (DWORD)(deadline - now) : INFINITE, 0);
    }
    jobs->callers--;
    WakeAllConditionVariable(&jobs->changed);
}

struct job *mounts_call_new(struct jobs *jobs, const char *kind, const char *holder, const char *layer)
{
    struct job *job = job_new(jobs, kind, strcmp(kind, "import") == 0 ? LANE_EXPORT : LANE_MOUNT, layer);
    job->client = str_copy(holder);
    watch_begin(&job->watch, watch_kind_find(kind), &jobs->limits, "queued", clock_ms());
    job_hold(job); /* the caller's */
    return job;
}

void mounts_call_run(struct job *job)
{
    pool_submit(job);
    watchdog_expect(job->jobs, &job->watch);
    wait_for_call(job);
}

struct error *mounts_check_path(const char *operation, const char *path, const char *what)
{
    char *verbatim = NULL;
    if (!text_is_utf8(path, strlen(path)))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, operation, path, "the path of %s is no UTF-8", what);
    struct error *error = path_verbatim(path, &verbatim);
    free(verbatim);
    return error_wrap(error, "the path of %s", what);
}

static struct error *claim(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                           size_t count)
{
    struct error *error = claims_take(jobs->claims, scratch, CLAIM_OWN, holder);
    size_t taken = 0;
    if (error != NULL)
        return error;
    while (taken < count && error == NULL) {
        error = claims_take(jobs->claims, parents[taken], CLAIM_USE, holder);
        if (error == NULL)
            taken++;
    }
    if (error == NULL)
        return NULL;
    while (taken > 0)
        claims_release(jobs->claims, parents[--taken], CLAIM_USE, holder);
    claims_release(jobs->claims, scratch, CLAIM_OWN, holder);
    return error;
}

json_t *mounts_pack_paths(const char *const *paths, size_t count)
{
    json_t *packed = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(packed, json_string(paths[i]));
    return packed;
}

static struct error *mount(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                           size_t parent_count, const char *target, bool make, char **ret_volume)
{
    struct error *error = mounts_check_path("mount layer", scratch, "the scratch layer");
    for (size_t i = 0; i < parent_count && error == NULL; i++)
        error = mounts_check_path("mount layer", parents[i], "a parent layer");
    if (error == NULL && target != NULL)
        error = mounts_check_path("mount layer", target, "the mount point");
    if (error != NULL)
        return error;
    AcquireSRWLockExclusive(&jobs->lock);
    if (jobs->draining)
        error = error_make(ERROR_KIND_UNAVAILABLE, "mount layer", scratch, "hcsd is stopping");
    else
        error = claim(jobs, holder, scratch, parents, parent_count);
    if (error != NULL)
        goto out;
    struct job *job = mounts_call_new(jobs, "mount", holder, scratch);
    struct remains *remains = remains_new(jobs, "mount", job, scratch, holder);
    remains->parents = mem_new_array(parent_count + 1, char *);
    for (size_t i = 0; i < parent_count; i++)
        remains->parents[remains->parent_count++] = str_copy(parents[i]);
    remains->target = str_copy(target);
    job->order =
        json_pack("{s:s, s:o, s:s, s:b}", "layer", scratch, "parents", mounts_pack_paths(parents, parent_count),
                  "target", target != NULL ? target : "", "make", make);
    mounts_call_run(job);
    if (job->error != NULL)
        error = error_copy(job->error);
    else
        *ret_volume = str_copy(message_text(job->end, "volume"));
    job_drop(job);

out:
    ReleaseSRWLockExclusive(&jobs->lock);
    return error;
}

struct error *jobs_mount_layer(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                               size_t parent_count, char **ret_volume)
{
    return mount(jobs, holder, scratch, parents, parent_count, NULL, true, ret_volume);
}

struct error *jobs_mount_layer_at(struct jobs *jobs, const char *holder, const char *scratch,
                                  const char *const *parents, size_t parent_count, const char *target,
                                  char **ret_volume)
{
    return mount(jobs, holder, scratch, parents, parent_count, target, false, ret_volume);
}

struct error *jobs_release_layer(struct jobs *jobs, const char *holder, const char *scratch)
{
    struct error *error = mounts_check_path("release layer", scratch, "the scratch layer");
    if (error != NULL)
        return error;
    AcquireSRWLockExclusive(&jobs->lock);
    struct remains *remains = jobs->remains;
    while (remains != NULL &&
           !(remains->mounted && strcmp(remains->holder, holder) == 0 && claims_same_layer(remains->layer, scratch)))
        remains = remains->next;
    if (remains == NULL) {
        const char *other = claims_holder(jobs->claims, scratch);
        error =
            other != NULL
                ? error_make(ERROR_KIND_FAILED_PRECONDITION, "release layer", scratch, "the layer belongs to %s", other)
                : error_make(ERROR_KIND_NOT_FOUND, "release layer", scratch, "%s has not mounted it", holder);
        goto out;
    }
    struct job *job = mounts_call_new(jobs, "release", holder, remains->layer);
    job->remains = remains;
    remains->mounted = false;
    job->order =
        json_pack("{s:s, s:s}", "layer", remains->layer, "target", remains->target != NULL ? remains->target : "");
    mounts_call_run(job);
    error = error_copy(job->error);
    job_drop(job);

out:
    ReleaseSRWLockExclusive(&jobs->lock);
    return error;
}

/* ---- after a restart ----------------------------------------------------------------------------------------------- */

void jobs_keep_mounts(struct jobs *jobs, const char *const *holders, size_t count)
{
    AcquireSRWLockExclusive(&jobs->lock);
    for (struct remains *remains = jobs->remains, *next; remains != NULL; remains = next) {
        bool owned = false;
        next = remains->next;
        for (size_t i = 0; i < count; i++)
            owned = owned || strcmp(holders[i], remains->holder) == 0;
        if (remains->mounted && remains->recovered && !owned)
            janitor_take(jobs, remains, NULL);
        remains->recovered = false;
    }
    watchdog_kick(jobs);
    ReleaseSRWLockExclusive(&jobs->lock);
}
