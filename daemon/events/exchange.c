#include "daemon/events/exchange.h"

#include <windows.h>

#include "base/memory.h"

#define QUEUE_FIRST 32u

struct subscriber {
    struct exchange *exchange;
    struct subscriber *next;
    struct rpc_call *call;
    struct filters *filters;
    struct envelope **queue; /* a ring */
    size_t capacity, first, count, bytes;
    uint64_t lost; /* not 0: nothing is queued any more */
    bool sending;  /* a message is under way, or its end: then nobody else may free it */
    bool gone;
    bool ending; /* by exchange_end */
};

struct exchange {
    SRWLOCK lock; /* calls of rpc/call.h may be made with it held */
    struct subscriber *subscribers;
    size_t count;
    bool ended;
};

struct exchange *exchange_open(void)
{
    struct exchange *exchange = mem_new(struct exchange);
    InitializeSRWLock(&exchange->lock);
    return exchange;
}

void exchange_close(struct exchange *exchange)
{
    free(exchange);
}

/* ---- a subscriber's queue; the lock held ---- */

static void enqueue(struct subscriber *subscriber, struct envelope *envelope)
{
    if (subscriber->count == subscriber->capacity) {
        size_t capacity = subscriber->capacity == 0 ? QUEUE_FIRST : 2 * subscriber->capacity;
        struct envelope **queue = mem_new_array(capacity, struct envelope *);
        for (size_t i = 0; i < subscriber->count; i++)
            queue[i] = subscriber->queue[(subscriber->first + i) % subscriber->capacity];
        free(subscriber->queue);
        subscriber->queue = queue;
        subscriber->capacity = capacity;
        subscriber->first = 0;
    }
    subscriber->queue[(subscriber->first + subscriber->count++) % subscriber->capacity] = envelope_ref(envelope);
    subscriber->bytes += envelope_size(envelope);
}

static struct envelope *dequeue(struct subscriber *subscriber)
{
    struct envelope *envelope = subscriber->queue[subscriber->first];
    subscriber->first = (subscriber->first + 1) % subscriber->capacity;
    subscriber->count--;
    subscriber->bytes -= envelope_size(envelope);
    return envelope;
}

static void on_sent(void *context, bool ok);

static void send_next(struct subscriber *subscriber)
{
    if (subscriber->sending || subscriber->gone || subscriber->count == 0)
        return;
    struct envelope *envelope = dequeue(subscriber);
    subscriber->sending = true;
    rpc_call_send(subscriber->call, &envelope_message(envelope)->base, on_sent, subscriber);
    envelope_unref(envelope); /* it is encoded */
}

/* ---- its end; without the lock ---- */

static void unlink_subscriber(struct subscriber *subscriber)
{
    struct exchange *exchange = subscriber->exchange;
    AcquireSRWLockExclusive(&exchange->lock);
    struct subscriber **at = &exchange->subscribers;
    while (*at != subscriber)
        at = &(*at)->next;
    *at = subscriber->next;
    exchange->count--;
    ReleaseSRWLockExclusive(&exchange->lock);
}

/* Nothing is under way for it, and nobody will tell it anything more. */
static void subscriber_end(struct subscriber *subscriber, struct error *error)
{
    unlink_subscriber(subscriber);
    if (error != NULL)
        rpc_call_fail(subscriber->call, error);
    else
        rpc_call_finish(subscriber->call);
    while (subscriber->count > 0)
        envelope_unref(dequeue(subscriber));
    free(subscriber->queue);
    filters_free(subscriber->filters);
    free(subscriber);
}

/* Why its stream is ended by us, or NULL; the lock held. */
static struct error *reason_to_end(const struct subscriber *subscriber)
{
    if (subscriber->exchange->ended)
        return error_make(ERROR_KIND_UNAVAILABLE, "subscribe", NULL,
                          "hcsd is stopping; subscribe again once it is back");
    if (subscriber->lost == 0 || subscriber->count > 0)
        return NULL;
    return error_make(ERROR_KIND_DATA_LOSS, "subscribe", NULL,
                      "events come faster than they are read: %llu were lost after the last one; look at the present "
                      "state and subscribe again",
                      (unsigned long long)subscriber->lost);
}

/* `sending` is ours. Ends the stream, unless its client's going away is being told at this moment: then whoever comes second does. */
static void end_by_us(struct subscriber *subscriber, struct error *error)
{
    if (rpc_call_off_gone(subscriber->call)) {
        subscriber_end(subscriber, error);
        return;
    }
    error_free(error);
    AcquireSRWLockExclusive(&subscriber->exchange->lock);
    subscriber->sending = false;
    bool gone = subscriber->gone;
    ReleaseSRWLockExclusive(&subscriber->exchange->lock);
    if (gone)
        subscriber_end(subscriber, NULL);
}

static void on_sent(void *context, bool ok)
{
    struct subscriber *subscriber = context;
    AcquireSRWLockExclusive(&subscriber->exchange->lock);
    bool gone = subscriber->gone;
    struct error *reason = ok && !gone ? reason_to_end(subscriber) : NULL;
    if (reason == NULL) {
        subscriber->sending = false;
        if (ok)
            send_next(subscriber);
    }
    ReleaseSRWLockExclusive(&subscriber->exchange->lock);
    if (gone)
        subscriber_end(subscriber, NULL);
    else if (reason != NULL)
        end_by_us(subscriber, reason);
}

static void on_gone(void *context)
{
    struct subscriber *subscriber = context;
    AcquireSRWLockExclusive(&subscriber->exchange->lock);
    subscriber->gone = true;
    bool sending = subscriber->sending;
    ReleaseSRWLockExclusive(&subscriber->exchange->lock);
    if (!sending)
        subscriber_end(subscriber, NULL);
}

/* ---- what others call ---- */

void exchange_publish(struct exchange *exchange, struct envelope *envelope)
{
    AcquireSRWLockExclusive(&exchange->lock);
    struct subscriber *subscriber = exchange->ended ? NULL : exchange->subscribers;
    for (; subscriber != NULL; subscriber = subscriber->next) {
        if (subscriber->gone || !filters_match(subscriber->filters, envelope_field, envelope))
            continue;
        if (subscriber->lost != 0 || subscriber->count == EXCHANGE_QUEUE_MAX ||
            subscriber->bytes + envelope_size(envelope) > EXCHANGE_QUEUE_BYTES) {
            subscriber->lost++;
            continue;
        }
        enqueue(subscriber, envelope);
        send_next(subscriber);
    }
    ReleaseSRWLockExclusive(&exchange->lock);
    envelope_unref(envelope);
}

struct error *exchange_subscribe(struct exchange *exchange, struct rpc_call *call, struct filters *filters)
{
    struct subscriber *subscriber = mem_new(struct subscriber);
    subscriber->exchange = exchange;
    subscriber->call = call;
    subscriber->filters = filters;
    AcquireSRWLockExclusive(&exchange->lock);
    bool full = exchange->count == EXCHANGE_SUBSCRIBERS_MAX, ended = exchange->ended;
    if (!full && !ended) {
        struct subscriber **last = &exchange->subscribers;
        while (*last != NULL)
            last = &(*last)->next;
        *last = subscriber;
        exchange->count++;
    }
    ReleaseSRWLockExclusive(&exchange->lock);
    if (full || ended) {
        filters_free(filters);
        free(subscriber);
    }
    if (ended)
        return error_make(ERROR_KIND_UNAVAILABLE, "subscribe", NULL,
                          "hcsd is stopping; subscribe again once it is back");
    if (full)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "subscribe", NULL, "there are %u subscribers already",
                          EXCHANGE_SUBSCRIBERS_MAX);
    rpc_call_on_gone(call, on_gone, subscriber); /* from here on it may be gone */
    return NULL;
}

void exchange_end(struct exchange *exchange)
{
    AcquireSRWLockExclusive(&exchange->lock);
    exchange->ended = true;
    for (;;) {
        struct subscriber *idle = exchange->subscribers;
        while (idle != NULL && (idle->sending || idle->gone || idle->ending))
            idle = idle->next;
        if (idle == NULL)
            break;
        idle->sending = idle->ending = true;
        struct error *reason = reason_to_end(idle);
        ReleaseSRWLockExclusive(&exchange->lock);
        end_by_us(idle, reason);
        AcquireSRWLockExclusive(&exchange->lock);
    }
    ReleaseSRWLockExclusive(&exchange->lock);
}
