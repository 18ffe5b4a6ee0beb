/* Publish, Forward and Subscribe over the pipe. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "cli/client.h"
#include "daemon/events/exchange.h"
#include "daemon/rpc/grpc_server.h"
#include "daemon/services/services.h"

#include <containerd/services/events/v1/events.pb-c.h>
#include <google/protobuf/empty.pb-c.h>

#define METHOD_OF(name) "/containerd.services.events.v1.Events/" name

static struct exchange *exchange;
static const struct rpc_service *service;
static struct rpc_server *server;
static char pipe_name[64];
static struct client *publisher, *reader;

static void must_succeed(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    print_error("%s\n", text);
    free(text);
    fail();
}

static void must_fail(struct error *error, enum error_kind kind)
{
    assert_non_null(error);
    print_message("%s: %s\n", error_kind_name(error->kind), error->message);
    assert_int_equal(error->kind, kind);
    error_free(error);
}

static int open_server(void **state)
{
    (void)state;
    snprintf(pipe_name, sizeof pipe_name, "\\\\.\\pipe\\hcsd-test-events-%lu", GetCurrentProcessId());
    exchange = exchange_open();
    service = events_service_open(exchange);
    struct rpc_server_options options = {.pipe = pipe_name, .services = &service, .service_count = 1};
    must_succeed(rpc_server_open(&options, &server));
    rpc_server_start(server);
    must_succeed(
        client_dial(&(struct client_options){.address = pipe_name, .containerd_namespace = "k8s.io"}, &publisher));
    must_succeed(client_dial(&(struct client_options){.address = pipe_name}, &reader));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    client_close(publisher);
    client_close(reader);
    exchange_end(exchange);
    assert_int_equal(rpc_server_close(server, 10000), 0);
    service_close(service);
    exchange_close(exchange);
    return 0;
}

static struct error *call(const char *method, const ProtobufCMessage *request)
{
    ProtobufCMessage *response = NULL;
    struct error *error =
        client_call(publisher, method, request, &google__protobuf__empty__descriptor, 30000, &response);
    if (response != NULL)
        protobuf_c_message_free_unpacked(response, NULL);
    return error;
}

static struct error *publish(const char *topic, size_t size)
{
    Containerd__Services__Events__V1__PublishRequest request = CONTAINERD__SERVICES__EVENTS__V1__PUBLISH_REQUEST__INIT;
    Google__Protobuf__Any event = GOOGLE__PROTOBUF__ANY__INIT;
    uint8_t *data = mem_zero(size);
    request.topic = (char *)(uintptr_t)topic;
    request.event = &event;
    event.type_url = (char *)(uintptr_t) "somebody.Event";
    event.value.data = data;
    event.value.len = size;
    struct error *error = call(METHOD_OF("Publish"), &request.base);
    free(data);
    return error;
}

static struct client_stream *subscribe(const char *filter)
{
    Containerd__Services__Events__V1__SubscribeRequest request =
        CONTAINERD__SERVICES__EVENTS__V1__SUBSCRIBE_REQUEST__INIT;
    char *filters[] = {(char *)(uintptr_t)filter};
    struct client_stream *stream;
    request.filters = filters;
    request.n_filters = filter == NULL ? 0 : 1;
    must_succeed(client_stream_open(reader, METHOD_OF("Subscribe"), &request.base,
                                    &containerd__types__envelope__descriptor, CLIENT_NO_LIMIT, &stream));
    return stream;
}

struct probe {
    struct client_stream *stream;
    HANDLE seen;
};

/* Reads the first event and says so. */
static DWORD WINAPI wait_for_first(void *context)
{
    struct probe *probe = context;
    ProtobufCMessage *message = NULL;
    must_succeed(client_stream_next(probe->stream, &message));
    protobuf_c_message_free_unpacked(message, NULL);
    SetEvent(probe->seen);
    return 0;
}

/* A subscription begins at some time after its request was sent: events are published until one has come. */
static unsigned begin(struct client_stream *stream)
{
    struct probe probe = {stream, CreateEventW(NULL, TRUE, FALSE, NULL)};
    HANDLE thread = CreateThread(NULL, 0, wait_for_first, &probe, 0, NULL);
    unsigned published = 0;
    do {
        must_succeed(publish("/probe", 1));
        published++;
        assert_true(published < 3000);
    } while (WaitForSingleObject(probe.seen, 10) != WAIT_OBJECT_0);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    CloseHandle(probe.seen);
    return published;
}

/* The next one that is no probe; the caller frees it. */
static Containerd__Types__Envelope *next(struct client_stream *stream)
{
    for (;;) {
        ProtobufCMessage *message = NULL;
        must_succeed(client_stream_next(stream, &message));
        assert_non_null(message);
        Containerd__Types__Envelope *envelope = (Containerd__Types__Envelope *)message;
        if (strcmp(envelope->topic, "/probe") != 0)
            return envelope;
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

static void what_is_published_comes(void **state)
{
    (void)state;
    struct client_stream *stream = subscribe("namespace==k8s.io");
    begin(stream);
    must_succeed(publish("/images/create", 3));
    Containerd__Types__Envelope *envelope = next(stream);
    assert_string_equal(envelope->topic, "/images/create");
    assert_string_equal(envelope->namespace_, "k8s.io"); /* the caller's */
    assert_string_equal(envelope->event->type_url, "somebody.Event");
    assert_int_equal(envelope->event->value.len, 3);
    assert_true(envelope->timestamp->seconds > 1600000000); /* hcsd's */
    protobuf_c_message_free_unpacked(&envelope->base, NULL);

    Containerd__Services__Events__V1__ForwardRequest forward = CONTAINERD__SERVICES__EVENTS__V1__FORWARD_REQUEST__INIT;
    Containerd__Types__Envelope made = CONTAINERD__TYPES__ENVELOPE__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Any event = GOOGLE__PROTOBUF__ANY__INIT;
    char space[] = "k8s.io", topic[] = "/tasks/exit", type[] = "a.B";
    must_fail(call(METHOD_OF("Forward"), &forward.base), ERROR_KIND_INVALID_ARGUMENT);
    forward.envelope = &made;
    made.namespace_ = space;
    made.topic = topic;
    made.event = &event;
    event.type_url = type;
    must_fail(call(METHOD_OF("Forward"), &forward.base), ERROR_KIND_INVALID_ARGUMENT); /* no time */
    made.timestamp = &time;
    must_fail(call(METHOD_OF("Forward"), &forward.base), ERROR_KIND_INVALID_ARGUMENT); /* a zero time */
    time.seconds = 7;
    time.nanos = 8;
    must_succeed(call(METHOD_OF("Forward"), &forward.base));
    envelope = next(stream);
    assert_int_equal(envelope->timestamp->seconds, 7); /* the envelope's */
    assert_int_equal(envelope->timestamp->nanos, 8);
    protobuf_c_message_free_unpacked(&envelope->base, NULL);
    topic[0] = 'x';
    must_fail(call(METHOD_OF("Forward"), &forward.base), ERROR_KIND_INVALID_ARGUMENT);
    must_fail(publish("no-topic", 1), ERROR_KIND_INVALID_ARGUMENT);
    must_fail(publish("/large", ENVELOPE_EVENT_MAX + 1), ERROR_KIND_RESOURCE_EXHAUSTED);
    client_stream_close(stream);
}

static void a_bad_filter_ends_the_stream(void **state)
{
    (void)state;
    ProtobufCMessage *message = NULL;
    struct client_stream *stream = subscribe("topic~=(");
    must_fail(client_stream_next(stream, &message), ERROR_KIND_INVALID_ARGUMENT);
    client_stream_close(stream);
}

#define LARGE_EVENT  60000u
#define LARGE_EVENTS 1000u

/* Whoever publishes never waits for a client that does not read; that one gets what was queued and is told how many it missed. */
static void a_client_that_does_not_read(void **state)
{
    (void)state;
    struct client_stream *deaf = subscribe("topic~=^/(probe|e)"), *quick = subscribe("topic==/probe");
    begin(deaf);
    begin(quick);
    char topic[32];
    /* More than its queue and all buffers on the way to it hold. */
    for (unsigned i = 0; i < LARGE_EVENTS; i++) {
        snprintf(topic, sizeof topic, "/e%u", i);
        must_succeed(publish(topic, LARGE_EVENT));
    }
    begin(quick); /* the others are served */
    unsigned count = 0;
    struct error *error;
    ProtobufCMessage *message;
    while ((error = client_stream_next(deaf, &message)) == NULL) {
        Containerd__Types__Envelope *envelope = (Containerd__Types__Envelope *)message;
        assert_non_null(envelope);
        snprintf(topic, sizeof topic, "/e%u", count);
        if (strcmp(envelope->topic, "/probe") != 0) {
            assert_string_equal(envelope->topic, topic); /* each in its turn, none left out */
            count++;
        }
        protobuf_c_message_free_unpacked(message, NULL);
    }
    print_message("%u events, then: %s\n", count, error->message);
    assert_true(count >= EXCHANGE_QUEUE_BYTES / LARGE_EVENT / 2 && count < LARGE_EVENTS);
    must_fail(error, ERROR_KIND_DATA_LOSS);
    client_stream_close(deaf);
    client_stream_close(quick);
}

static void the_end_is_told(void **state)
{
    (void)state;
    struct client_stream *stream = subscribe(NULL);
    begin(stream);
    exchange_end(exchange);
    ProtobufCMessage *message = NULL;
    struct error *error;
    while ((error = client_stream_next(stream, &message)) == NULL)
        protobuf_c_message_free_unpacked(message, NULL);
    must_fail(error, ERROR_KIND_UNAVAILABLE);
    client_stream_close(stream);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)
    const struct CMUnitTest tests[] = {TEST(what_is_published_comes), TEST(a_bad_filter_ends_the_stream),
                                       TEST(a_client_that_does_not_read), TEST(the_end_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
