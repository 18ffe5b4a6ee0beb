#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

enum delivery_kind {
    DELIVERY_PROGRESS,
    DELIVERY_DATA,
    DELIVERY_RESULT,
    DELIVERY_CLEANUP,
    DELIVERY_FAILED,
    DELIVERY_CLOSED
};

struct delivery {
    struct delivery *next;
    enum delivery_kind kind;
    uint8_t *data;
    size_t size;
    struct export_counters counters;
    const char *text; /* phase or outcome, static */
    char *path;
    double seconds;
    struct export_deviation *left;
    size_t left_count;
    struct export_result *result;
    struct error *error;
};

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"queued", "running", "done", "failed", "cancelled"};
    return names[state];
}

/* ---- what the listener is told ------------------------------------------------------------------------------- */

static void delivery_free(struct delivery *delivery)
{
    free(delivery->data);
    free(delivery->path);
    message_free_deviations(delivery->left, delivery->left_count);
    export_result_free(delivery->result);
    error_free(delivery->error);
    free(delivery);
}

static struct delivery *delivery_take(struct job *job)
{
    struct delivery *delivery = job->deliveries;
    job->deliveries = delivery->next;
    if (job->deliveries == NULL)
        job->last_delivery = &job->deliveries;
    return delivery;
}

static void deliver_one(struct job *job, const struct job_listener *listener, struct delivery *delivery)
{
    switch (delivery->kind) {
    case DELIVERY_PROGRESS:
        if (listener->progress != NULL)
            listener->progress(job->context, &delivery->counters, delivery->text, delivery->path);
        break;
    case DELIVERY_DATA:
        listener->data(job->context, delivery->data, delivery->size);
        break;
    case DELIVERY_RESULT:
        listener->result(job->context, delivery->result);
        break;
    case DELIVERY_CLEANUP:
        if (listener->cleanup != NULL)
            listener->cleanup(job->context, delivery->text, delivery->seconds, delivery->left, delivery->left_count);
        break;
    case DELIVERY_FAILED:
        listener->failed(job->context, delivery->error);
        delivery->error = NULL;
        break;
    case DELIVERY_CLOSED:
        listener->closed(job->context);
        break;
    }
}

/* Until its piece is taken, a listener is told nothing more. */
static bool can_deliver(const struct job *job)
{
    return job->deliveries != NULL && !job->untaken && job->listener != NULL;
}

static void CALLBACK deliver(PTP_CALLBACK_INSTANCE instance, void *context, PTP_WORK work)
{
    struct job *job = context;
    struct jobs *jobs = job->jobs;
    (void)instance;
    (void)work;
    AcquireSRWLockExclusive(&jobs->lock);
    while (can_deliver(job)) {
        struct delivery *delivery = delivery_take(job);
        const struct job_listener *listener = job->listener;
        job->piece = delivery->kind == DELIVERY_DATA ? delivery->size : 0;
        job->untaken = job->piece > 0;
        if (delivery->kind == DELIVERY_RESULT)
            job->result_told = true;
        if (delivery->kind == DELIVERY_CLOSED)
            job->listener = NULL;
        ReleaseSRWLockExclusive(&jobs->lock);
        deliver_one(job, listener, delivery);
        delivery_free(delivery);
        AcquireSRWLockExclusive(&jobs->lock);
    }
    job->delivering = false;
    jobs->delivering--;
    job_drop(job);
    WakeAllConditionVariable(&jobs->changed);
    ReleaseSRWLockExclusive(&jobs->lock);
}

static void deliver_soon(struct job *job)
{
    if (job->delivering || !can_deliver(job))
        return;
    job->delivering = true;
    job->jobs->delivering++;
    job_hold(job);
    SubmitThreadpoolWork(job->deliver);
}

static void tell(struct job *job, struct delivery *delivery)
{
    if (job->listener == NULL) {
        delivery_free(delivery);
        return;
    }
    *job->last_delivery = delivery;
    job->last_delivery = &delivery->next;
    deliver_soon(job);
}

static struct delivery *delivery_new(enum delivery_kind kind)
{
    struct delivery *delivery = mem_new(struct delivery);
    delivery->kind = kind;
    return delivery;
}

/* Only the newest progress that was not yet told is of interest, and none after the result. */
void job_tell_progress(struct job *job)
{
    if (job->complete)
        return;
    struct delivery *last = job->deliveries;
    while (last != NULL && last->next != NULL)
        last = last->next;
    bool fresh = last == NULL || last->kind != DELIVERY_PROGRESS;
    if (fresh)
        last = delivery_new(DELIVERY_PROGRESS);
    free(last->path);
    last->counters = job->counters;
    last->text = job->phase;
    last->path = str_copy(job->path != NULL ? job->path : "");
    if (fresh)
        tell(job, last);
}

void job_tell_data(struct job *job, uint8_t *data, size_t size)
{
    struct delivery *delivery = delivery_new(DELIVERY_DATA);
    delivery->data = data;
    delivery->size = size;
    tell(job, delivery);
}

void job_tell_result(struct job *job)
{
    struct delivery *delivery = delivery_new(DELIVERY_RESULT);
    delivery->result = export_result_copy(job->result);
    tell(job, delivery);
}

void job_tell_cleanup(struct job *job, const char *outcome, const struct export_deviation *left, size_t count)
{
    struct delivery *delivery = delivery_new(DELIVERY_CLEANUP);
    delivery->text = outcome;
    delivery->seconds = (double)(clock_ms() - job->cleaning_since_ms) / 1000;
    delivery->left = message_copy_deviations(left, count);
    delivery->left_count = count;
    tell(job, delivery);
}

/* What was not yet told before is of no use now. */
void job_tell_failed(struct job *job)
{
    struct delivery *delivery = delivery_new(DELIVERY_FAILED);
    delivery->error = error_copy(job->error);
    while (job->deliveries != NULL)
        delivery_free(delivery_take(job));
    job->untaken = false;
    tell(job, delivery);
}

void job_tell_closed(struct job *job)
{
    tell(job, delivery_new(DELIVERY_CLOSED));
}

void job_data_taken(struct job *job)
{
    if (!job->untaken)
        return;
    job->untaken = false;
    job->unreturned -= job->piece;
    watch_pause(&job->watch, job->unreturned >= STREAM_WINDOW, clock_ms());
    watchdog_expect(job->jobs, &job->watch); /* whose time stood still may run again */
    if (job->worker != NULL)
        worker_post(job->worker,
                    json_pack("{s:s, s:s, s:I}", "type", "credit", "job", job->id, "bytes", (json_int_t)job->piece));
    deliver_soon(job);
}

/* ---- its life -------------------------------------------------------------------------------------------------- */

struct job *job_new(struct jobs *jobs, const char *kind, enum lane_id lane, const char *object)
{
    struct job *job = mem_new(struct job);
    job->jobs = jobs;
    job->references = 1;
    snprintf(job->id, sizeof job->id, "%s-%llu", jobs->life, (unsigned long long)++jobs->next_number);
    job->kind = kind;
    job->lane = lane;
    job->object = str_copy(object);
    job->phase = "queued";
    job->cleanup = "none";
    job->step = "";
    job->answer_ms = WATCH_NEVER;
    job->submitted_ns = clock_wall_ns();
    job->submitted_ms = clock_ms();
    job->last_delivery = &job->deliveries;
    job->deliver = CreateThreadpoolWork(deliver, job, NULL);
    if (job->deliver == NULL)
        abort(); /* as when memory is gone */
    job->next = jobs->jobs;
    jobs->jobs = job;
    return job;
}

void job_hold(struct job *job)
{
    job->references++;
}

void job_drop(struct job *job)
{
    if (--job->references > 0)
        return;
    while (job->deliveries != NULL)
        delivery_free(delivery_take(job));
    CloseThreadpoolWork(job->deliver);
    for (size_t i = 0; i < job->history_count; i++)
        free(job->history[i].text);
    json_decref(job->order);
    json_decref(job->end);
    message_free_request(job->request);
    export_result_free(job->result);
    error_free(job->error);
    error_free(job->failure);
    error_free(job->kill_error);
    free(job->cancel_reason);
    free(job->object);
    free(job->client);
    free(job->path);
    free(job);
}

bool job_is_call(const struct job *job)
{
    static const char *const kinds[] = {"mount", "release", "layer", "import"};
    bool call = false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        call = call || strcmp(job->kind, kinds[i]) == 0;
    return call;
}

struct job *job_find(struct jobs *jobs, const char *id)
{
    struct job *job = jobs->jobs;
    while (job != NULL && strcmp(job->id, id) != 0)
        job = job->next;
    return job;
}

void job_note(struct job *job, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (job->history_count == JOB_HISTORY_MAX) {
        /* The beginning tells more than the middle. */
        size_t at = JOB_HISTORY_MAX / 2;
        free(job->history[at].text);
        memmove(&job->history[at], &job->history[at + 1], (JOB_HISTORY_MAX - at - 1) * sizeof job->history[0]);
        job->history_count--;
    }
    job->history[job->history_count].at_ns = clock_wall_ns();
    job->history[job->history_count++].text = text_printable(text, strlen(text), 0);
}

/* Exports are kept for views; the rest is forgotten as soon as it is over. */
void job_forget_old(struct jobs *jobs)
{
    unsigned kept = 0;
    for (struct job **place = &jobs->jobs; *place != NULL;) {
        struct job *job = *place;
        bool shown = strcmp(job->kind, "export") == 0;
        bool over = job->state >= JOB_DONE && job->worker == NULL && job->remains == NULL;
        if (over && shown)
            kept++;
        if (over && (!shown || kept > JOBS_KEPT)) {
            *place = job->next;
            job->next = NULL;
            job_drop(job);
        } else {
            place = &job->next;
        }
    }
}

void job_end(struct job *job, enum job_state state, struct error *error)
{
    job->state = state;
    job->error = error;
    job->ended_ns = clock_wall_ns();
    job->ended_ms = clock_ms();
    WakeAllConditionVariable(&job->jobs->changed);
}

void job_holder(const struct job *job, char holder[64])
{
    snprintf(holder, 64, "export %s", job->id);
}

struct error *job_claim(struct job *job)
{
    struct claims *claims = job->jobs->claims;
    char holder[64];
    job_holder(job, holder);
    struct error *error = claims_take(claims, job->request->layer, CLAIM_OWN, holder);
    for (size_t i = 0; i < job->request->parent_count && error == NULL; i++)
        error = claims_take(claims, job->request->parents[i], CLAIM_USE, holder);
    if (error != NULL)
        claims_release_all(claims, holder);
    return error;
}
