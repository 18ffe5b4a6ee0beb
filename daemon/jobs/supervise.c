/* What a worker says while it has a job, and what its end means for the job. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

static bool is_kind(const struct job *job, const char *kind)
{
    return strcmp(job->kind, kind) == 0;
}

const char *supervise_operation(const struct job *job)
{
    static const struct {
        const char *phase, *operation;
    } operations[] = {
        {"activate", "ActivateLayer"},
        {"turn", "wait for PrepareLayer's turn"},
        {"prepare", "PrepareLayer"},
        {"stage", "ExportLayer"},
        {"archive", "write archive"},
        {"deactivate", "DeactivateLayer"},
        {"unprepare", "UnprepareLayer"},
        {"cleanup", "remove staging folder"},
        {"destroy", "DestroyLayer"},
        {"path", "GetLayerMountPath"},
        {"queued", "wait for a worker"},
        {"exists", "LayerExists"},
        {"create", "CreateSandboxLayer"},
        {"expand", "ExpandSandboxSize"},
        {"image", "ProcessBaseImage"},
        {"import", "ImportLayer"},
        {"grant", "GrantVmAccess"},
        {"copy", "copy the VM's template disk"},
        {"target", "SetVolumeMountPoint"},
        {"apply", "apply whiteouts and links"},
        {"utility_image", "ProcessUtilityImage"},
    };
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (strcmp(operations[i].phase, job->phase) == 0)
            return operations[i].operation;
    return job->kind;
}

/* ---- an export's end; locked ----------------------------------------------------------------------------------- */

void supervise_answer(struct job *job)
{
    job->answer_ms = WATCH_NEVER;
    if (job->state >= JOB_DONE)
        return;
    struct error *error = job->failure;
    job->failure = NULL;
    bool cancelled = job->cancel_requested;
    if (cancelled) {
        error_free(error);
        error = error_make(ERROR_KIND_CANCELLED, job->kind, job->object, "%s", job->cancel_reason);
    } else if (error == NULL) {
        error = error_make(ERROR_KIND_INTERNAL, job->kind, job->object, "it failed without a reason");
    }
    job_note(job, "%s: %s", cancelled ? "cancelled" : "failed", error->message);
    /* A caller's mistake is told to the caller. */
    if (cancelled || !error_is_callers(error))
        event_emit(cancelled ? EVENT_EXPORT_CANCELLED : EVENT_EXPORT_FAILED, job->id, job->object,
                   cancelled ? job->cancel_reason : error->message);
    job_end(job, cancelled ? JOB_CANCELLED : JOB_FAILED, error);
    job_tell_failed(job);
    job_tell_closed(job);
    if (job->worker == NULL)
        watch_end(&job->watch);
}

static void tell_cleanup_done(struct job *job, const char *outcome, const struct export_deviation *left, size_t count)
{
    job->cleanup = outcome;
    job_note(job, "cleanup: %s", outcome);
    job_tell_cleanup(job, outcome, left, count);
    job_tell_closed(job);
    watch_end(&job->watch);
}

/* Its remains are in other hands now; it hears of them. */
static void wait_for_remains(struct job *job, const char *reason)
{
    struct remains *remains = job->remains;
    job->cleanup = "pending";
    watch_end(&job->watch);
    if (remains->waiter == NULL) {
        remains->waiter = job;
        job_hold(job);
    }
    if (!job->complete && !job->retry) {
        job->answer_ms = clock_ms() + FAILURE_ANSWER_MS;
        watchdog_kick(job->jobs);
    }
    janitor_take(job->jobs, remains, reason);
}

static bool try_again(struct job *job)
{
    char text[64];
    struct error *error = job_claim(job);
    if (error != NULL) {
        error_free(error);
        return false;
    }
    snprintf(text, sizeof text, "attempt %u", job->attempts + 1);
    event_emit(EVENT_JOB_RETRIED, job->id, text);
    job_note(job, "tried once more");
    error_free(job->failure);
    job->failure = NULL;
    job->retry = false;
    job->state = JOB_QUEUED;
    job->phase = "queued";
    job->cleanup = "none";
    job->counters = (struct export_counters){0};
    job->unreturned = 0;
    watch_end(&job->watch);
    pool_submit_first(job);
    return true;
}

void supervise_remains_done(struct job *job, const char *outcome, bool released, const struct export_deviation *left,
                            size_t count)
{
    job->remains = NULL;
    if (job->complete) {
        tell_cleanup_done(job, outcome, left, count);
    } else if (!(job->retry && released && !job->cancel_requested && !job->jobs->closing && try_again(job))) {
        job->cleanup = outcome;
        supervise_answer(job);
    }
    job_drop(job);
}

/* ---- the beginning --------------------------------------------------------------------------------------------- */

static struct error *begin_export(struct job *job, struct worker *worker)
{
    struct jobs *jobs = job->jobs;
    const struct export_request *request = job->request;
    char holder[64];
    job_holder(job, holder);
    AcquireSRWLockExclusive(&jobs->lock);
    struct remains *remains = remains_new(jobs, "export", job, request->layer, holder);
    remains->parents = mem_new_array(request->parent_count + 1, char *);
    for (size_t i = 0; i < request->parent_count; i++)
        remains->parents[remains->parent_count++] = str_copy(request->parents[i]);
    if (request->parent_count > 0)
        remains->staging = path_join(jobs->staging_dir, remains->id);
    if (request->output[0] != '\0') {
        remains->output = str_copy(request->output);
        remains->output_pid = worker->process.pid;
    }
    remains->worker_pid = worker->process.pid;
    remains->worker_created = worker->process.created;
    ReleaseSRWLockExclusive(&jobs->lock);
    /* Nothing that would outlive the worker is made for a base layer that is streamed. */
    return remains_is_empty(remains) ? NULL : remains_sync(jobs, remains);
}

static struct error *begin_call(struct job *job, struct worker *worker)
{
    struct jobs *jobs = job->jobs;
    struct remains *remains = job->remains;
    AcquireSRWLockExclusive(&jobs->lock);
    remains->worker_pid = worker->process.pid;
    remains->worker_created = worker->process.created;
    if (is_kind(job, "mount")) /* is about to be */
        remains->activated = true;
    bool known = remains->activated || remains->staging != NULL;
    if (is_kind(job, "release"))
        remains->mounted = false;
    ReleaseSRWLockExclusive(&jobs->lock);
    struct error *error = known ? remains_sync(jobs, remains) : NULL;
    if (error != NULL && is_kind(job, "mount")) {
        AcquireSRWLockExclusive(&jobs->lock);
        remains->activated = false;
        ReleaseSRWLockExclusive(&jobs->lock);
    }
    return error;
}

struct error *supervise_begin(struct worker *worker, struct job *job, json_t **ret_message)
{
    struct error *error = NULL;
    json_t *message = job->order != NULL ? json_copy(job->order) : json_object();
    if (is_kind(job, "export")) {
        error = begin_export(job, worker);
        json_object_set_new(message, "request", message_pack_request(job->request));
        json_object_set_new(message, "staging",
                            json_string(error == NULL && job->remains->staging != NULL ? job->remains->staging : ""));
        json_object_set_new(message, "credit", json_integer(STREAM_WINDOW));
    } else if (job->remains != NULL) {
        error = begin_call(job, worker);
    }
    json_object_set_new(message, "type", json_string("job"));
    json_object_set_new(message, "job", json_string(job->id));
    json_object_set_new(message, "kind", json_string(job->kind));
    if (error == NULL)
        *ret_message = message;
    else
        json_decref(message);
    return error;
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static void post(struct job *job, json_t *message)
{
    json_object_set_new(message, "job", json_string(job->id));
    if (job->worker != NULL)
        worker_post(job->worker, message);
    else
        json_decref(message);
}

static const struct watch_rule *phase_rule(const struct job *job, const char *name)
{
    return job->watch.kind != NULL ? watch_rule_find(job->watch.kind, name) : NULL;
}

static void on_phase(struct job *job, const json_t *message)
{
    struct jobs *jobs = job->jobs;
    const char *name = message_text(message, "phase");
    AcquireSRWLockExclusive(&jobs->lock);
    const struct watch_rule *rule = phase_rule(job, name);
    /* A cancelled job has its grace for all that is not taking down. */
    bool taking_down = strcmp(name, "deactivate") == 0 || strcmp(name, "cleanup") == 0;
    if (rule != NULL)
        job->phase = rule->phase;
    /* One that nobody knows has no bounds of its own: those of the last one go on. */
    if (rule != NULL && (!job->cancel_requested || job->complete || taking_down))
        watch_phase(&job->watch, job->phase, clock_ms());
    free(job->path); /* it was in hand in the phase before */
    job->path = NULL;
    job_note(job, "phase %s", name);
    if (is_kind(job, "export"))
        job_tell_progress(job);
    watchdog_expect(jobs, &job->watch);
    ReleaseSRWLockExclusive(&jobs->lock);
}

static void on_progress(struct job *job, const json_t *message)
{
    struct jobs *jobs = job->jobs;
    AcquireSRWLockExclusive(&jobs->lock);
    job->counters = (struct export_counters){.entries = message_number(message, "entries"),
                                             .bytes = message_number(message, "bytes"),
                                             .output_bytes = message_number(message, "output_bytes"),
                                             .removed = message_number(message, "removed")};
    job->io = message_number(message, "io");
    free(job->path);
    job->path = str_copy(message_text(message, "path"));
    uint64_t sum =
        job->counters.entries + job->counters.bytes + job->counters.output_bytes + job->counters.removed + job->io;
    if (watch_progress(&job->watch, sum, clock_ms()))
        job_note(job, "it goes on");
    if (is_kind(job, "export"))
        job_tell_progress(job);
    ReleaseSRWLockExclusive(&jobs->lock);
}

static void grant(struct job *job, const char *step)
{
    post(job, json_pack("{s:s, s:s}", "type", "grant", "step", step));
}

/* What a step may leave behind is written down before the step is made. */
static void on_request(struct job *job, const json_t *message)
{
    struct jobs *jobs = job->jobs;
    struct error *error = NULL;
    const char *step = message_text(message, "step");
    bool turn = strcmp(step, "prepare") == 0, make = strcmp(step, "make") == 0;
    if (!turn && job->remains != NULL) {
        AcquireSRWLockExclusive(&jobs->lock);
        *(make ? &job->remains->making : &job->remains->activated) = true;
        if (make)
            job->remains->made_ns = clock_wall_ns();
        ReleaseSRWLockExclusive(&jobs->lock);
        error = remains_sync(jobs, job->remains);
    }
    AcquireSRWLockExclusive(&jobs->lock);
    if (error != NULL) {
        *(make ? &job->remains->making : &job->remains->activated) = false;
        post(job, json_pack("{s:s, s:o}", "type", "refuse", "error", message_pack_error(error)));
    } else if (turn) {
        turn_take(job);
    } else {
        grant(job, make ? "make" : "activate");
    }
    ReleaseSRWLockExclusive(&jobs->lock);
    error_free(error);
}

/* The folder of the layer that is being made is there. */
static void on_made(struct job *job, const json_t *message)
{
    struct jobs *jobs = job->jobs;
    if (job->remains == NULL || !job->remains->making)
        return;
    AcquireSRWLockExclusive(&jobs->lock);
    free(job->remains->made_id);
    job->remains->made_id = str_copy(message_text(message, "id"));
    ReleaseSRWLockExclusive(&jobs->lock);
    struct error *error = remains_sync(jobs, job->remains);
    if (error != NULL)
        log_debug("job %s: which folder it makes could not be journalled: %s", job->id, error->message);
    error_free(error);
}

static void on_release(struct job *job, const json_t *message)
{
    (void)message;
    AcquireSRWLockExclusive(&job->jobs->lock);
    turn_pass(job);
    ReleaseSRWLockExclusive(&job->jobs->lock);
}

static void on_complete(struct job *job, const json_t *message)
{
    struct jobs *jobs = job->jobs;
    struct export_result *result = NULL;
    struct error *error = message_unpack_result(json_object_get(message, "result"), &result);
    AcquireSRWLockExclusive(&jobs->lock);
    if (error != NULL || job->complete) {
        error_free(error);
        export_result_free(result);
        ReleaseSRWLockExclusive(&jobs->lock);
        return;
    }
    job->result = result;
    job->complete = true;
    job->cleanup = "pending";
    job->cleaning_since_ms = clock_ms();
    job->counters.entries = result->entries;
    job->counters.output_bytes = result->size;
    error_free(job->kill_error);
    job->kill_error = NULL;
    if (job->remains != NULL) { /* it is in place */
        free(job->remains->output);
        job->remains->output = NULL;
    }
    job_note(job, "the archive is complete: %s", result->digest);
    job_end(job, JOB_DONE, NULL);
    job_tell_result(job);
    uint64_t deviations = export_result_content_deviations(result);
    if (deviations > 0) { /* how this system was read is in the result, and no news with every export */
        char count[24];
        snprintf(count, sizeof count, "%llu", (unsigned long long)deviations);
        event_emit(EVENT_EXPORT_DEVIATIONS, job->id, job->object, count);
    }
    ReleaseSRWLockExclusive(&jobs->lock);
}

/* The layer is free again, whatever becomes of the folder. */
static void on_released(struct job *job, const json_t *message)
{
    struct jobs *jobs = job->jobs;
    (void)message;
    if (job->remains == NULL)
        return;
    AcquireSRWLockExclusive(&jobs->lock);
    job->remains->activated = false;
    remains_unclaim(jobs, job->remains);
    ReleaseSRWLockExclusive(&jobs->lock);
    struct error *error = remains_sync(jobs, job->remains);
    if (error != NULL)
        log_debug("job %s: that its layer is released could not be journalled: %s", job->id, error->message);
    error_free(error);
}

static void on_failed(struct job *job, const json_t *message)
{
    AcquireSRWLockExclusive(&job->jobs->lock);
    if (job->failure == NULL)
        job->failure = message_unpack_error(json_object_get(message, "error"));
    ReleaseSRWLockExclusive(&job->jobs->lock);
}

/* The export's worker is through with it, taking down included. */
static void export_ended(struct job *job)
{
    struct jobs *jobs = job->jobs;
    struct export_deviation *left = NULL;
    size_t count = 0;
    AcquireSRWLockExclusive(&jobs->lock);
    struct remains *remains = job->remains;
    struct error *release_error = message_unpack_error(json_object_get(job->end, "release_error"));
    struct error *remove_error = message_unpack_error(json_object_get(job->end, "remove_error"));
    message_unpack_deviations(json_object_get(job->end, "left"), &left, &count);
    uint64_t total = message_number(job->end, "left_total");
    char *reason = NULL;
    if (release_error == NULL)
        remains->activated = false;
    free(remains->output);
    remains->output = NULL;
    if (remove_error == NULL && total == 0) {
        free(remains->staging);
        remains->staging = NULL;
    } else if (remove_error != NULL) {
        reason = str_copy(remove_error->message);
    } else {
        reason = str_format("%llu entries resisted, such as %s: %s", (unsigned long long)total,
                            count > 0 ? left[0].path : "", count > 0 ? left[0].detail : "");
    }
    if (!remains_is_empty(remains)) {
        if (job->complete)
            job_tell_cleanup(job, "pending", left, count);
        wait_for_remains(job, reason);
    } else {
        remains_settle(jobs, remains);
        job->remains = NULL;
        if (job->complete) {
            tell_cleanup_done(job, "done", left, count);
        } else {
            job->cleanup = "done";
            supervise_answer(job);
        }
    }
    ReleaseSRWLockExclusive(&jobs->lock);
    message_free_deviations(left, count);
    error_free(release_error);
    error_free(remove_error);
    free(reason);
}

static void on_end(struct job *job, json_t *message)
{
    AcquireSRWLockExclusive(&job->jobs->lock);
    json_decref(job->end);
    job->end = json_incref(message);
    ReleaseSRWLockExclusive(&job->jobs->lock);
    if (is_kind(job, "export"))
        export_ended(job);
    else if (job_is_call(job))
        mounts_done(job, NULL);
    else if (is_kind(job, "sweep"))
        janitor_swept(job);
    else
        janitor_done(job, NULL);
}

static void on_data(struct job *job, struct wire_frame *frame)
{
    AcquireSRWLockExclusive(&job->jobs->lock);
    job->streamed += frame->size;
    job->unreturned += frame->size;
    watch_pause(&job->watch, job->unreturned >= STREAM_WINDOW, clock_ms());
    job_tell_data(job, frame->data, frame->size);
    frame->data = NULL;
    ReleaseSRWLockExclusive(&job->jobs->lock);
}

struct error *supervise_frame(struct worker *worker, struct job *job, struct wire_frame *frame, bool *ret_ended)
{
    static const struct {
        const char *type;
        void (*handle)(struct job *job, const json_t *message);
    } handlers[] = {{"phase", on_phase},     {"progress", on_progress}, {"request", on_request},
                    {"release", on_release}, {"complete", on_complete}, {"released", on_released},
                    {"failed", on_failed},   {"made", on_made}};
    json_t *message = NULL;
    (void)worker;
    if (frame->type == WIRE_DATA) {
        on_data(job, frame);
        return NULL;
    }
    struct error *error = wire_frame_json(frame, &message);
    if (error != NULL)
        return error;
    const char *type = message_text(message, "type");
    if (strcmp(message_text(message, "job"), job->id) == 0) {
        for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
            if (strcmp(handlers[i].type, type) == 0)
                handlers[i].handle(job, message);
        if (strcmp(type, "end") == 0) {
            on_end(job, message);
            *ret_ended = true;
        }
    }
    json_decref(message);
    return NULL;
}

/* ---- the worker is gone ---------------------------------------------------------------------------------------- */

void supervise_crashed(struct worker *worker, const char *phase)
{
    AcquireSRWLockExclusive(&worker->jobs->lock);
    const struct watch_rule *rule = worker->job != NULL ? phase_rule(worker->job, phase) : NULL;
    if (rule != NULL)
        worker->job->phase = rule->phase;
    ReleaseSRWLockExclusive(&worker->jobs->lock);
}

static struct error *crash_error(const struct job *job, const struct worker *worker, uint32_t code)
{
    /* An exception's number is the system's word that the worker itself went wrong. */
    enum error_kind kind = code >= 0xC0000000u ? ERROR_KIND_INTERNAL : ERROR_KIND_UNAVAILABLE;
    return error_make(kind, supervise_operation(job), job->object, "its worker process %u ended with code 0x%08X%s%s",
                      (unsigned)worker->process.pid, (unsigned)code, worker->crash[0] != '\0' ? ": " : "",
                      worker->crash);
}

static void export_lost(struct worker *worker, struct job *job, uint32_t code, struct zombie *zombie, const char *how)
{
    struct jobs *jobs = job->jobs;
    struct remains *remains = job->remains;
    const struct watch_rule *rule = watch_rule_find(watch_kind_find("export"), job->phase);
    bool quarantine = zombie != NULL || (rule != NULL && rule->after == WATCH_QUARANTINE);
    char *reason = !quarantine ? NULL
                               : str_format("its worker %s in phase %s%s%s", how, job->phase,
                                            job->path != NULL && job->path[0] != '\0' ? ", in hand: " : "",
                                            job->path != NULL ? job->path : "");
    if (!job->complete && job->failure == NULL) {
        job->retry = job->kill_error == NULL && !job->cancel_requested && job->streamed == 0 && job->attempts < 2 &&
                     zombie == NULL && !jobs->closing;
        job->failure = job->kill_error != NULL ? job->kill_error : crash_error(job, worker, code);
        job->kill_error = NULL;
    }
    if (job->complete)
        job_tell_cleanup(job, "pending", NULL, 0);
    remains->zombie = zombie;
    wait_for_remains(job, reason);
    free(reason);
}

void supervise_lost(struct worker *worker, struct job *job, uint32_t code, bool abandoned)
{
    struct jobs *jobs = job->jobs;
    struct zombie *zombie = NULL;
    char how[160];
    AcquireSRWLockExclusive(&jobs->lock);
    if (abandoned)
        snprintf(how, sizeof how, "was terminated but does not end");
    else if (job->kill_error != NULL || worker->killed)
        snprintf(how, sizeof how, "was terminated");
    else
        snprintf(how, sizeof how, "ended with 0x%08X%s%s", (unsigned)code, worker->crash[0] != '\0' ? ": " : "",
                 worker->crash);
    job_note(job, "worker %u %s", (unsigned)worker->process.pid, how);
    if (job->failure == NULL && job->kill_error == NULL && !is_kind(job, "export") && !is_kind(job, "sweep"))
        job->failure = crash_error(job, worker, code);
    if (abandoned) {
        char *object = str_format("%s %s of %s", job->kind, job->id, job->object);
        zombie = janitor_add_zombie(jobs, &worker->process, object);
        free(object);
    }
    if (job->remains != NULL && zombie != NULL)
        job->remains->zombie = zombie;
    if (is_kind(job, "export"))
        export_lost(worker, job, code, zombie, how);
    ReleaseSRWLockExclusive(&jobs->lock);
    if (job_is_call(job))
        mounts_done(job, how);
    else if (is_kind(job, "sweep"))
        janitor_swept(job);
    else if (!is_kind(job, "export"))
        janitor_done(job, how);
}

/* Nothing of it was begun. */
void supervise_fail(struct job *job, struct error *error)
{
    struct jobs *jobs = job->jobs;
    char *text = str_copy(error->message);
    AcquireSRWLockExclusive(&jobs->lock);
    error_free(job->failure);
    job->failure = error;
    if (is_kind(job, "export")) {
        char holder[64];
        job_holder(job, holder);
        if (job->remains != NULL)
            remains_settle(jobs, job->remains);
        else
            claims_release_all(jobs->claims, holder);
        job->remains = NULL;
        supervise_answer(job);
    }
    ReleaseSRWLockExclusive(&jobs->lock);
    if (job_is_call(job))
        mounts_done(job, text);
    else if (is_kind(job, "sweep"))
        janitor_swept(job);
    else if (!is_kind(job, "export"))
        janitor_done(job, text);
    free(text);
}
