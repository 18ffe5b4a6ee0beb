/* The exchange with a transport of the test's own: rpc_call_… are here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/events/exchange.h"

struct rpc_call {
    char *sent; /* topics, a blank behind each */
    void (*sent_function)(void *context, bool ok);
    void *sent_context;
    void (*gone)(void *context);
    void *gone_context;
    bool finished;
    struct error *error;
};

void rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message, void (*sent)(void *context, bool ok),
                   void *context)
{
    const Containerd__Types__Envelope *envelope = (const Containerd__Types__Envelope *)message;
    assert_null(call->sent_function); /* one at a time */
    char *more = str_format("%s%s ", call->sent == NULL ? "" : call->sent, envelope->topic);
    free(call->sent);
    call->sent = more;
    call->sent_function = sent;
    call->sent_context = context;
}

void rpc_call_fail(struct rpc_call *call, struct error *error)
{
    assert_false(call->finished);
    call->finished = true;
    call->error = error;
}

void rpc_call_finish(struct rpc_call *call)
{
    rpc_call_fail(call, NULL);
}

void rpc_call_on_gone(struct rpc_call *call, void (*gone)(void *context), void *context)
{
    call->gone = gone;
    call->gone_context = context;
}

bool rpc_call_off_gone(struct rpc_call *call)
{
    bool had = call->gone != NULL;
    call->gone = NULL;
    return had;
}

/* What is under way leaves. False: nothing was. */
static bool deliver(struct rpc_call *call, bool ok)
{
    void (*sent)(void *, bool) = call->sent_function;
    call->sent_function = NULL;
    if (sent != NULL)
        sent(call->sent_context, ok);
    return sent != NULL;
}

static void deliver_all(struct rpc_call *call)
{
    while (deliver(call, true))
        ;
}

static void go(struct rpc_call *call)
{
    void (*gone)(void *) = call->gone;
    call->gone = NULL;
    gone(call->gone_context);
}

static void call_end(struct rpc_call *call)
{
    assert_true(call->finished);
    error_free(call->error);
    free(call->sent);
}

static void subscribe(struct exchange *exchange, struct rpc_call *call, const char *filter)
{
    struct filters *filters;
    assert_null(filters_parse((char *const *)(uintptr_t)&filter, filter == NULL ? 0 : 1, &filters));
    assert_null(exchange_subscribe(exchange, call, filters));
}

static void publish(struct exchange *exchange, const char *topic)
{
    exchange_publish(exchange, envelope_new(1, "default", topic, "a.B", "x", 1));
}

static void order_and_filters(void **state)
{
    (void)state;
    struct exchange *exchange = exchange_open();
    struct rpc_call all = {0}, some = {0}, late = {0};
    subscribe(exchange, &all, NULL);
    subscribe(exchange, &some, "topic~=^/b");
    publish(exchange, "/a1");
    publish(exchange, "/b1");
    subscribe(exchange, &late, "");
    publish(exchange, "/a2");
    publish(exchange, "/b2");
    deliver_all(&all);
    deliver_all(&some);
    deliver_all(&late);
    assert_string_equal(all.sent, "/a1 /b1 /a2 /b2 ");
    assert_string_equal(some.sent, "/b1 /b2 ");
    assert_string_equal(late.sent, "/a2 /b2 "); /* nothing is replayed */
    publish(exchange, "/b3");
    deliver_all(&some);
    assert_string_equal(some.sent, "/b1 /b2 /b3 ");
    go(&some);
    publish(exchange, "/b4"); /* `all` and `late` have one under way each */
    assert_string_equal(some.sent, "/b1 /b2 /b3 ");
    deliver_all(&all);
    deliver_all(&late);
    go(&all);
    go(&late);
    call_end(&all);
    call_end(&some);
    call_end(&late);
    exchange_close(exchange);
}

/* Who goes away with a message under way is ended when that has come back. */
static void gone_while_sending(void **state)
{
    (void)state;
    struct exchange *exchange = exchange_open();
    struct rpc_call call = {0};
    subscribe(exchange, &call, NULL);
    publish(exchange, "/a");
    publish(exchange, "/b");
    go(&call);
    assert_false(call.finished);
    deliver(&call, false);
    assert_true(call.finished);
    assert_null(call.error);
    assert_string_equal(call.sent, "/a ");
    call_end(&call);
    publish(exchange, "/c");
    exchange_close(exchange);
}

static void a_slow_one_is_told(void **state)
{
    (void)state;
    struct exchange *exchange = exchange_open();
    struct rpc_call slow = {0}, quick = {0};
    char topic[32];
    subscribe(exchange, &slow, NULL);
    subscribe(exchange, &quick, "topic==/e5000");
    for (unsigned i = 0; i < EXCHANGE_QUEUE_MAX + 1000; i++) {
        snprintf(topic, sizeof topic, "/e%u", i);
        publish(exchange, topic);
    }
    deliver_all(&quick);
    assert_string_equal(quick.sent, "/e5000 ");
    /* One is under way, 4,096 wait; then come the end and the number. */
    unsigned count = 0;
    while (deliver(&slow, true)) {
        free(slow.sent);
        slow.sent = NULL;
        count++;
    }
    assert_int_equal(count, EXCHANGE_QUEUE_MAX + 1);
    assert_true(slow.finished);
    assert_non_null(slow.error);
    assert_int_equal(slow.error->kind, ERROR_KIND_DATA_LOSS);
    assert_non_null(strstr(slow.error->message, " 999 were lost"));
    publish(exchange, "/e5000"); /* nobody writes to it any more */
    deliver_all(&quick);
    go(&quick);
    call_end(&slow);
    call_end(&quick);
    exchange_close(exchange);
}

static void bytes_count_too(void **state)
{
    (void)state;
    struct exchange *exchange = exchange_open();
    struct rpc_call call = {0};
    unsigned count = 0;
    uint8_t *data = mem_zero(ENVELOPE_EVENT_MAX);
    subscribe(exchange, &call, NULL);
    for (unsigned i = 0; i < 200; i++)
        exchange_publish(exchange, envelope_new(1, "default", "/large", "a.B", data, ENVELOPE_EVENT_MAX));
    while (deliver(&call, true))
        count++;
    assert_int_equal(count, 1 + EXCHANGE_QUEUE_BYTES / ENVELOPE_EVENT_MAX - 1); /* an envelope is a little larger */
    assert_int_equal(call.error->kind, ERROR_KIND_DATA_LOSS);
    call_end(&call);
    exchange_close(exchange);
    free(data);
}

/* The client's end and ours at the same moment: `gone` was taken off by the transport and is called late. */
static void both_ends_at_once(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct exchange *exchange = exchange_open();
        struct rpc_call call = {0};
        subscribe(exchange, &call, NULL);
        for (unsigned i = 0; i < EXCHANGE_QUEUE_MAX + 2; i++)
            publish(exchange, "/e");
        for (unsigned i = 0; i < EXCHANGE_QUEUE_MAX; i++)
            deliver(&call, true);
        void (*gone)(void *) = call.gone;
        call.gone = NULL;
        if (first == 0)
            gone(call.gone_context);
        deliver(&call, true); /* the last one: its queue is empty, and some were lost */
        if (first == 1) {
            assert_false(call.finished);
            gone(call.gone_context);
        }
        assert_true(call.finished);
        call_end(&call);
        exchange_close(exchange);
    }
}

static void the_end_of_all(void **state)
{
    (void)state;
    struct exchange *exchange = exchange_open();
    struct rpc_call idle = {0}, busy = {0}, leaving = {0}, late = {0};
    struct filters *filters;
    subscribe(exchange, &idle, "topic==/never");
    subscribe(exchange, &busy, NULL);
    subscribe(exchange, &leaving, NULL);
    publish(exchange, "/a");
    publish(exchange, "/b");
    go(&leaving);
    exchange_end(exchange);
    assert_true(idle.finished);
    assert_int_equal(idle.error->kind, ERROR_KIND_UNAVAILABLE);
    assert_false(busy.finished);
    publish(exchange, "/c");
    deliver(&busy, true);
    assert_true(busy.finished);
    assert_int_equal(busy.error->kind, ERROR_KIND_UNAVAILABLE);
    assert_string_equal(busy.sent, "/a ");
    deliver(&leaving, false);
    assert_null(leaving.error);
    assert_null(filters_parse(NULL, 0, &filters));
    struct error *error = exchange_subscribe(exchange, &late, filters);
    assert_int_equal(error->kind, ERROR_KIND_UNAVAILABLE);
    error_free(error);
    call_end(&idle);
    call_end(&busy);
    call_end(&leaving);
    exchange_close(exchange);
}

static void limits(void **state)
{
    (void)state;
    struct exchange *exchange = exchange_open();
    static struct rpc_call calls[EXCHANGE_SUBSCRIBERS_MAX];
    struct rpc_call more = {0};
    struct filters *filters;
    for (unsigned i = 0; i < EXCHANGE_SUBSCRIBERS_MAX; i++)
        subscribe(exchange, &calls[i], NULL);
    assert_null(filters_parse(NULL, 0, &filters));
    struct error *error = exchange_subscribe(exchange, &more, filters);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
    error_free(error);
    go(&calls[7]);
    subscribe(exchange, &more, NULL);
    publish(exchange, "/x");
    for (unsigned i = 0; i < EXCHANGE_SUBSCRIBERS_MAX; i++) {
        if (i != 7) {
            deliver_all(&calls[i]);
            assert_string_equal(calls[i].sent, "/x ");
            go(&calls[i]);
        }
        call_end(&calls[i]);
    }
    deliver_all(&more);
    go(&more);
    call_end(&more);
    exchange_close(exchange);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order_and_filters),
                                       cmocka_unit_test(gone_while_sending),
                                       cmocka_unit_test(a_slow_one_is_told),
                                       cmocka_unit_test(both_ends_at_once),
                                       cmocka_unit_test(bytes_count_too),
                                       cmocka_unit_test(the_end_of_all),
                                       cmocka_unit_test(limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
