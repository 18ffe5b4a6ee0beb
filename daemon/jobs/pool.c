/* Lanes and workers: who works on what, and a worker's thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

#define THREAD_STACK       (256u << 10)
#define WRITE_MS           5000 /* a worker that does not read its pipe for so long is ended */
#define GRACE_MS           500  /* between a broken pipe and the process's end */
#define START_FAILURES_MAX 3
#define DRAIN_MS           2000 /* for what a dead worker's pipe still holds */

/* ---- messages to a worker; locked ------------------------------------------------------------------------------ */

void worker_post(struct worker *worker, json_t *message)
{
    struct outgoing *outgoing = mem_new(struct outgoing);
    outgoing->message = message;
    *worker->last_outgoing = outgoing;
    worker->last_outgoing = &outgoing->next;
    if (GetCurrentThreadId() != worker->thread_id) /* which sends before it waits */
        SetEvent(worker->wake);
}

static json_t *outgoing_take(struct worker *worker)
{
    struct outgoing *outgoing = worker->outgoing;
    if (outgoing == NULL)
        return NULL;
    json_t *message = outgoing->message;
    worker->outgoing = outgoing->next;
    if (worker->outgoing == NULL)
        worker->last_outgoing = &worker->outgoing;
    free(outgoing);
    return message;
}

void worker_kill(struct worker *worker)
{
    worker->killed = true;
    process_end_by_force(&worker->process);
    SetEvent(worker->wake);
}

void worker_abandon(struct worker *worker)
{
    worker->abandon = true;
    SetEvent(worker->wake);
}

/* ---- who works on what; locked --------------------------------------------------------------------------------- */

static DWORD WINAPI worker_thread(void *context);

static bool worker_new(struct jobs *jobs, enum lane_id lane)
{
    struct worker *worker = mem_new(struct worker);
    worker->jobs = jobs;
    worker->lane = lane;
    worker->last_outgoing = &worker->outgoing;
    worker->wake = CreateEventW(NULL, FALSE, FALSE, NULL);
    worker->thread = worker->wake == NULL ? NULL
                                          : CreateThread(NULL, THREAD_STACK, worker_thread, worker,
                                                         STACK_SIZE_PARAM_IS_A_RESERVATION, &worker->thread_id);
    if (worker->thread == NULL) {
        win_close(worker->wake);
        free(worker);
        return false;
    }
    worker->next = jobs->workers;
    jobs->workers = worker;
    jobs->threads++;
    jobs->lanes[lane].count++;
    return true;
}

/* Enough workers for what waits, within the lane's limit. Starting ones count: each takes something when it is up. */
static void lane_staff(struct jobs *jobs, enum lane_id id)
{
    struct lane *lane = &jobs->lanes[id];
    unsigned coming = 0;
    for (struct worker *worker = jobs->workers; worker != NULL; worker = worker->next) {
        if (worker->lane != id || worker->killed)
            continue;
        if (worker->state == WORKER_IDLE && coming < queue_count(lane->queue))
            SetEvent(worker->wake);
        if (worker->state == WORKER_IDLE || worker->state == WORKER_STARTING)
            coming++;
    }
    while (!jobs->closing && lane->count < lane->most && queue_count(lane->queue) > coming && worker_new(jobs, id))
        coming++;
}

void pool_resize(struct jobs *jobs, unsigned workers)
{
    jobs->lanes[LANE_EXPORT].most = jobs->lanes[LANE_EXPORT].kept = workers;
    lane_staff(jobs, LANE_EXPORT);
}

void pool_submit(struct job *job)
{
    job_hold(job);
    queue_add(job->jobs->lanes[job->lane].queue, job->fairness_key, job);
    lane_staff(job->jobs, job->lane);
}

void pool_submit_first(struct job *job)
{
    job_hold(job);
    queue_add_first(job->jobs->lanes[job->lane].queue, job);
    lane_staff(job->jobs, job->lane);
}

/* The queue's reference becomes the worker's. */
static struct job *take_job(struct worker *worker)
{
    struct jobs *jobs = worker->jobs;
    struct job *job = queue_take(jobs->lanes[worker->lane].queue);
    if (job == NULL)
        return NULL;
    worker->state = WORKER_BUSY;
    worker->served++;
    worker->job = job;
    job->worker = worker;
    job->worker_pid = worker->process.pid;
    job->state = JOB_RUNNING;
    job->attempts++;
    if (job->started_ns == 0)
        job->started_ns = clock_wall_ns();
    job->phase = "begin";
    job_note(job, "attempt %u begins in worker %u", job->attempts, (unsigned)worker->process.pid);
    uint64_t now = clock_ms();
    if (job->watch.kind == NULL)
        watch_begin(&job->watch, watch_kind_find(job->kind), &jobs->limits, "begin", now);
    else
        watch_phase(&job->watch, "begin", now);
    watchdog_expect(jobs, &job->watch);
    return job;
}

/* ---- a worker's thread ------------------------------------------------------------------------------------------- */

enum pump { PUMP_GO_ON, PUMP_IDLE, PUMP_JOB_ENDED, PUMP_DEAD, PUMP_ABANDONED };

static struct error *send_outgoing(struct worker *worker)
{
    struct error *error = NULL;
    for (;;) {
        AcquireSRWLockExclusive(&worker->jobs->lock);
        json_t *message = outgoing_take(worker);
        ReleaseSRWLockExclusive(&worker->jobs->lock);
        if (message == NULL || error != NULL) {
            json_decref(message);
            return error;
        }
        error = wire_write_json(worker->wire, message, WRITE_MS);
    }
}

/* Not about a job. */
static struct error *take_own_message(struct worker *worker, const struct wire_frame *frame, bool *ret_taken)
{
    json_t *message = NULL;
    if (frame->type != WIRE_JSON)
        return NULL;
    struct error *error = wire_frame_json(frame, &message);
    if (error != NULL)
        return error;
    const char *type = message_text(message, "type");
    if (strcmp(type, "crash") == 0) {
        snprintf(worker->crash, sizeof worker->crash, "exception 0x%08llX at %s",
                 (unsigned long long)message_number(message, "code"), message_text(message, "address"));
        supervise_crashed(worker, message_text(message, "phase"));
        *ret_taken = true;
    } else if (strcmp(type, "hello") == 0) {
        if (message_number(message, "protocol") != MESSAGE_PROTOCOL)
            error = error_make(ERROR_KIND_INTERNAL, "start a worker", NULL,
                               "the worker speaks protocol %llu, not %d: its file was replaced while hcsd ran",
                               (unsigned long long)message_number(message, "protocol"), MESSAGE_PROTOCOL);
        struct error *privileges = message_unpack_error(json_object_get(message, "privileges"));
        AcquireSRWLockExclusive(&worker->jobs->lock);
        if (privileges != NULL && !worker->jobs->privileges_told) {
            worker->jobs->privileges_told = true;
            event_emit(EVENT_SERVICE_FALLBACK, privileges->message, "storage calls may be refused.");
        }
        worker->state = WORKER_IDLE;
        worker->jobs->lanes[worker->lane].start_failures = 0;
        watch_end(&worker->watch);
        ReleaseSRWLockExclusive(&worker->jobs->lock);
        error_free(privileges);
        *ret_taken = true;
    }
    json_decref(message);
    return error;
}

static enum pump take_frame(struct worker *worker, struct wire_frame *frame)
{
    bool taken = false, ended = false;
    struct error *error = take_own_message(worker, frame, &taken);
    if (error == NULL && !taken && worker->job != NULL)
        error = supervise_frame(worker, worker->job, frame, &ended);
    free(frame->data);
    if (error == NULL)
        return ended ? PUMP_JOB_ENDED : PUMP_GO_ON;
    log_debug("worker %u: %s", (unsigned)worker->process.pid, error->message);
    snprintf(worker->crash, sizeof worker->crash, "%s", error->message);
    error_free(error);
    AcquireSRWLockExclusive(&worker->jobs->lock);
    worker_kill(worker);
    ReleaseSRWLockExclusive(&worker->jobs->lock);
    return PUMP_GO_ON;
}

/* What the pipe still holds, or what just came. */
static enum pump read_once(struct worker *worker, bool *ret_broken)
{
    bool whole = false;
    struct wire_frame frame = {0};
    struct error *error = wire_read_end(worker->wire, &whole, &frame);
    if (error != NULL) {
        *ret_broken = true;
        error_free(error);
        return PUMP_GO_ON;
    }
    return whole ? take_frame(worker, &frame) : PUMP_GO_ON;
}

static enum pump drain_dead(struct worker *worker)
{
    bool broken = false, ended = false;
    while (!broken) {
        struct error *error = wire_read_begin(worker->wire);
        if (error != NULL || WaitForSingleObject(wire_read_event(worker->wire), DRAIN_MS) != WAIT_OBJECT_0) {
            error_free(error);
            break;
        }
        if (read_once(worker, &broken) == PUMP_JOB_ENDED)
            ended = true;
    }
    return ended ? PUMP_JOB_ENDED : PUMP_DEAD;
}

/* A worker whose pipe is broken is going, or is to. */
static void expect_end(struct worker *worker)
{
    /* Its exit code is worth a moment: ending it by force would replace it. */
    if (worker->expected_dead || WaitForSingleObject(worker->process.handle, GRACE_MS) == WAIT_OBJECT_0)
        return;
    worker->expected_dead = true;
    AcquireSRWLockExclusive(&worker->jobs->lock);
    if (!worker->killed)
        process_end_by_force(&worker->process);
    watch_begin(&worker->watch, watch_kind_find("worker"), &worker->jobs->limits, "killed", clock_ms());
    watchdog_kick(worker->jobs);
    ReleaseSRWLockExclusive(&worker->jobs->lock);
}

/* One round of waiting. */
static enum pump pump(struct worker *worker, bool *broken, uint32_t milliseconds)
{
    struct error *error = *broken ? NULL : send_outgoing(worker);
    if (error == NULL && !*broken)
        error = wire_read_begin(worker->wire);
    if (error != NULL) {
        error_free(error);
        *broken = true;
    }
    if (*broken)
        expect_end(worker);
    HANDLE handles[3] = {worker->wake, worker->process.handle, *broken ? NULL : wire_read_event(worker->wire)};
    DWORD waited = WaitForMultipleObjects(*broken ? 2 : 3, handles, FALSE, milliseconds);
    AcquireSRWLockShared(&worker->jobs->lock);
    bool abandon = worker->abandon;
    ReleaseSRWLockShared(&worker->jobs->lock);
    if (waited == WAIT_OBJECT_0 + 1 || (abandon && WaitForSingleObject(worker->process.handle, 0) == WAIT_OBJECT_0))
        return *broken ? PUMP_DEAD : drain_dead(worker);
    if (abandon)
        return PUMP_ABANDONED;
    if (waited == WAIT_OBJECT_0 + 2)
        return read_once(worker, broken);
    return waited == WAIT_TIMEOUT ? PUMP_IDLE : PUMP_GO_ON;
}

static bool begin_job(struct worker *worker, struct job *job)
{
    json_t *message = NULL;
    struct error *error = supervise_begin(worker, job, &message);
    if (error != NULL) {
        supervise_fail(job, error);
        return false;
    }
    AcquireSRWLockExclusive(&worker->jobs->lock);
    turn_lend(job, message);
    worker_post(worker, message);
    /* What asked for it between its being taken and now. */
    if (job->cancel_requested)
        worker_post(worker, json_pack("{s:s, s:s}", "type", "cancel", "job", job->id));
    ReleaseSRWLockExclusive(&worker->jobs->lock);
    return true;
}

/* The worker is free again: the job lets go of it. */
static void part(struct worker *worker)
{
    struct jobs *jobs = worker->jobs;
    AcquireSRWLockExclusive(&jobs->lock);
    struct job *job = worker->job;
    worker->job = NULL;
    if (worker->state == WORKER_BUSY)
        worker->state = WORKER_IDLE;
    if (job != NULL) {
        if (job->worker == worker)
            job->worker = NULL;
        turn_pass(job);
        job_drop(job);
        job_forget_old(jobs);
    }
    WakeAllConditionVariable(&jobs->changed);
    ReleaseSRWLockExclusive(&jobs->lock);
    remains_flush(jobs);
}

/* Gives the worker something to do, or says how long it may wait for it. */
static struct job *next_job(struct worker *worker, uint32_t *ret_milliseconds)
{
    struct jobs *jobs = worker->jobs;
    struct job *job = NULL;
    AcquireSRWLockExclusive(&jobs->lock);
    struct lane *lane = &jobs->lanes[worker->lane];
    *ret_milliseconds = INFINITE;
    if (worker->state == WORKER_IDLE && !worker->killed) {
        job = take_job(worker);
        if (job == NULL && jobs->closing) {
            worker->state = WORKER_ENDING;
            watch_begin(&worker->watch, watch_kind_find("worker"), &jobs->limits, "end", clock_ms());
            watchdog_kick(jobs);
            worker_post(worker, json_pack("{s:s}", "type", "end"));
        } else if (job == NULL && lane->count > lane->kept) {
            *ret_milliseconds = LANE_IDLE_MS;
        }
    }
    ReleaseSRWLockExclusive(&jobs->lock);
    return job;
}

/* It had nothing to do for long enough. */
static void retire(struct worker *worker)
{
    struct jobs *jobs = worker->jobs;
    AcquireSRWLockExclusive(&jobs->lock);
    if (worker->state == WORKER_IDLE && queue_count(jobs->lanes[worker->lane].queue) == 0) {
        worker->state = WORKER_ENDING;
        watch_begin(&worker->watch, watch_kind_find("worker"), &jobs->limits, "end", clock_ms());
        watchdog_kick(jobs);
        worker_post(worker, json_pack("{s:s}", "type", "end"));
    }
    ReleaseSRWLockExclusive(&jobs->lock);
}

/* Until the process is dead or abandoned. */
static enum pump work(struct worker *worker)
{
    bool broken = false;
    for (;;) {
        uint32_t milliseconds = INFINITE;
        struct job *job = worker->job == NULL ? next_job(worker, &milliseconds) : NULL;
        if (job != NULL && !begin_job(worker, job)) {
            part(worker);
            continue;
        }
        enum pump result = pump(worker, &broken, milliseconds);
        if (result == PUMP_DEAD || result == PUMP_ABANDONED)
            return result;
        if (result == PUMP_JOB_ENDED) {
            part(worker);
            uint32_t code;
            if (process_has_ended(&worker->process, &code))
                return PUMP_DEAD;
        } else if (result == PUMP_IDLE) {
            retire(worker);
        }
    }
}

/* Nobody is left in the lane to take what waits, or one after the other fails to start: what waits is told why. */
static void fail_queue(struct worker *worker, const struct error *cause)
{
    struct jobs *jobs = worker->jobs;
    struct lane *lane = &jobs->lanes[worker->lane];
    AcquireSRWLockExclusive(&jobs->lock);
    bool hopeless = lane->count == 1 || ++lane->start_failures >= START_FAILURES_MAX;
    if (hopeless)
        lane->start_failures = 0;
    ReleaseSRWLockExclusive(&jobs->lock);
    while (hopeless) {
        AcquireSRWLockExclusive(&jobs->lock);
        struct job *job = queue_take(lane->queue);
        ReleaseSRWLockExclusive(&jobs->lock);
        if (job == NULL)
            return;
        supervise_fail(job, error_make(ERROR_KIND_UNAVAILABLE, "start a worker", job->object, "%s", cause->message));
        AcquireSRWLockExclusive(&jobs->lock);
        job_drop(job);
        ReleaseSRWLockExclusive(&jobs->lock);
    }
}

static void tell_death(struct worker *worker, uint32_t code)
{
    struct jobs *jobs = worker->jobs;
    AcquireSRWLockExclusive(&jobs->lock);
    bool expected = worker->killed || worker->state == WORKER_ENDING || jobs->closing;
    char *object = worker->job == NULL
                       ? str_copy("nothing")
                       : str_format("%s %s of %s", worker->job->kind, worker->job->id, worker->job->object);
    ReleaseSRWLockExclusive(&jobs->lock);
    if (!expected) {
        char pid[16], text[160];
        snprintf(pid, sizeof pid, "%u", (unsigned)worker->process.pid);
        snprintf(text, sizeof text, "0x%08X%s%s", (unsigned)code, worker->crash[0] != '\0' ? ": " : "", worker->crash);
        event_emit(EVENT_WORKER_DIED, pid, text, object);
    }
    free(object);
}

static void leave(struct worker *worker, bool replace)
{
    struct jobs *jobs = worker->jobs;
    enum lane_id lane = worker->lane;
    json_t *message;
    AcquireSRWLockExclusive(&jobs->lock);
    for (struct worker **place = &jobs->workers; *place != NULL; place = &(*place)->next) {
        if (*place == worker) {
            *place = worker->next;
            break;
        }
    }
    jobs->lanes[lane].count--;
    while ((message = outgoing_take(worker)) != NULL)
        json_decref(message);
    if (replace && !jobs->closing && jobs->lanes[lane].count < jobs->lanes[lane].kept)
        worker_new(jobs, lane);
    lane_staff(jobs, lane);
    jobs->threads--;
    process_close(&worker->process);
    WakeAllConditionVariable(&jobs->changed);
    ReleaseSRWLockExclusive(&jobs->lock);
    wire_free(worker->wire);
    win_close(worker->wake);
    win_close(worker->thread);
    free(worker);
}

static DWORD WINAPI worker_thread(void *context)
{
    struct worker *worker = context;
    struct jobs *jobs = worker->jobs;
    struct process_start start = {jobs->worker_image, jobs->hcs_library, jobs->process_job};
    struct process process = {0};
    HANDLE pipe = NULL;
    uint32_t code = 0;
    struct error *error = process_begin(&start, &process, &pipe);
    if (error != NULL) {
        event_emit(EVENT_WORKER_START_FAILED, error->message);
        fail_queue(worker, error);
        error_free(error);
        leave(worker, false);
        return 0;
    }
    worker->wire = wire_new(pipe);
    AcquireSRWLockExclusive(&jobs->lock);
    worker->process = process;
    watch_begin(&worker->watch, watch_kind_find("worker"), &jobs->limits, "start", clock_ms());
    watchdog_kick(jobs);
    ReleaseSRWLockExclusive(&jobs->lock);

    bool abandoned = work(worker) == PUMP_ABANDONED;
    bool came_up = worker->state != WORKER_STARTING;
    if (!abandoned && process_has_ended(&worker->process, &code))
        tell_death(worker, code);
    struct job *job = worker->job;
    if (job != NULL)
        supervise_lost(worker, job, code, abandoned);
    else if (abandoned) {
        AcquireSRWLockExclusive(&jobs->lock);
        janitor_add_zombie(jobs, &worker->process, "nothing");
        ReleaseSRWLockExclusive(&jobs->lock);
    }
    part(worker);
    if (!came_up) {
        error = error_make(ERROR_KIND_UNAVAILABLE, "start a worker", NULL,
                           "the worker process ended at its start with 0x%08X", (unsigned)code);
        event_emit(EVENT_WORKER_START_FAILED, error->message);
        fail_queue(worker, error);
        error_free(error);
    }
    /* One that dies without ever having had anything to do is not replaced before there is something to do. */
    leave(worker, worker->served > 0);
    return 0;
}
