#include "fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

struct fixture fixture;

/* ---- events ---- */

static struct {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
    unsigned counts[512];
    char *last;
} seen = {.lock = SRWLOCK_INIT, .changed = CONDITION_VARIABLE_INIT};

static void on_event(void *context, const struct event_entry *entry, const char *const *arguments)
{
    (void)context;
    char *text = event_text(entry, arguments);
    AcquireSRWLockExclusive(&seen.lock);
    seen.counts[entry->id]++;
    free(seen.last);
    seen.last = text;
    WakeAllConditionVariable(&seen.changed);
    ReleaseSRWLockExclusive(&seen.lock);
}

static void on_debug(void *context, const char *line)
{
    (void)context, (void)line;
}

bool fixture_event_wait(enum event_id id)
{
    uint64_t end = clock_ms() + 10000, now;
    AcquireSRWLockExclusive(&seen.lock);
    while (seen.counts[id] == 0 && (now = clock_ms()) < end)
        SleepConditionVariableSRW(&seen.changed, &seen.lock, (DWORD)(end - now), 0);
    bool came = seen.counts[id] > 0;
    ReleaseSRWLockExclusive(&seen.lock);
    return came;
}

char *fixture_event_last(void)
{
    AcquireSRWLockExclusive(&seen.lock);
    char *text = str_copy(seen.last != NULL ? seen.last : "");
    ReleaseSRWLockExclusive(&seen.lock);
    return text;
}

unsigned fixture_event_count(enum event_id id)
{
    AcquireSRWLockExclusive(&seen.lock);
    unsigned count = seen.counts[id];
    ReleaseSRWLockExclusive(&seen.lock);
    return count;
}

/* ---- the service ---- */

static void answer(struct rpc_call *call, const ProtobufCMessage *message, bool stream)
{
    const Containerd__Task__V3__StateRequest *request = (const Containerd__Task__V3__StateRequest *)message;
    const struct rpc_caller *caller = rpc_call_caller(call);
    Containerd__Task__V3__StateResponse response = CONTAINERD__TASK__V3__STATE_RESPONSE__INIT;
    response.id = request->id;
    response.exec_id = request->exec_id;
    response.bundle = (char *)caller->containerd_namespace;
    response.stdin = (char *)caller->sid;
    response.stdout = (char *)caller->user;
    response.pid = caller->pid;
    if (stream)
        rpc_call_send(call, &response.base, NULL, NULL);
    else
        rpc_call_reply(call, &response.base);
}

static void handle_echo(struct rpc_call *call, const ProtobufCMessage *request, void *context)
{
    (void)context;
    answer(call, request, false);
}

static void handle_fail(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)context;
    const Containerd__Task__V3__StateRequest *request = (const Containerd__Task__V3__StateRequest *)message;
    struct error *error = error_hresult(0xC037010E, "HcsOpenComputeSystem", request->id, "looking for %s", request->id);
    error_add_hcs_result(
        error, "{\"Error\":-1,\"ErrorEvents\":[{\"Message\":\"not there\",\"Provider\":\"p\",\"EventId\":7}]}");
    rpc_call_fail(call, error_set_kind(error, ERROR_KIND_NOT_FOUND));
}

struct later {
    struct rpc_call *call;
    const ProtobufCMessage *request;
};

static DWORD WINAPI reply_later(void *context)
{
    struct later *later = context;
    answer(later->call, later->request, false);
    free(later);
    return 0;
}

static void handle_later(struct rpc_call *call, const ProtobufCMessage *request, void *context)
{
    (void)context;
    struct later *later = mem_new(struct later);
    *later = (struct later){call, request};
    CloseHandle(CreateThread(NULL, 0, reply_later, later, 0, NULL));
}

static void hold_gone(void *context)
{
    rpc_call_fail(context, error_make(ERROR_KIND_CANCELLED, "hold", NULL, "the client is gone"));
    InterlockedIncrement(&fixture.gone);
    SetEvent(fixture.gone_event);
}

static void handle_hold(struct rpc_call *call, const ProtobufCMessage *request, void *context)
{
    (void)context, (void)request;
    rpc_call_on_gone(call, hold_gone, call);
    SetEvent(fixture.held_event);
}

static struct rpc_call *volatile kept;

static void handle_keep(struct rpc_call *call, const ProtobufCMessage *request, void *context)
{
    (void)context, (void)request;
    kept = call;
    SetEvent(fixture.held_event);
}

void fixture_release(void)
{
    struct rpc_call *call = kept;
    kept = NULL;
    if (call != NULL)
        rpc_call_fail(call, error_make(ERROR_KIND_ABORTED, "keep", NULL, "released"));
}

struct stream {
    struct rpc_call *call;
    uint32_t index, count;
    char *data;
};

static void stream_step(void *context, bool ok)
{
    struct stream *stream = context;
    if (ok && stream->index < stream->count) {
        Containerd__Task__V3__StateResponse response = CONTAINERD__TASK__V3__STATE_RESPONSE__INIT;
        response.bundle = stream->data;
        response.pid = stream->index++;
        rpc_call_send(stream->call, &response.base, stream_step, stream);
        return;
    }
    InterlockedIncrement(ok ? &fixture.streams_ended : &fixture.streams_lost);
    rpc_call_finish(stream->call);
    free(stream->data);
    free(stream);
}

static void handle_stream(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)context;
    const Containerd__Task__V3__StateRequest *request = (const Containerd__Task__V3__StateRequest *)message;
    size_t size = strtoul(request->exec_id, NULL, 10);
    struct stream *stream = mem_new(struct stream);
    stream->call = call;
    stream->count = (uint32_t)strtoul(request->id, NULL, 10);
    stream->data = mem_zero(size + 1);
    memset(stream->data, 'x', size);
    stream_step(stream, true);
}

static void handle_talk(struct rpc_call *call, const ProtobufCMessage *request, void *context)
{
    (void)context;
    if (request == NULL)
        rpc_call_finish(call);
    else
        answer(call, request, true);
}

#define METHOD(text, form, function)                                                                                   \
    {                                                                                                                  \
        text, &containerd__task__v3__state_request__descriptor, &containerd__task__v3__state_response__descriptor,     \
            form, function                                                                                             \
    }

static const struct rpc_method methods[] = {
    METHOD("Echo", RPC_UNARY, handle_echo),       METHOD("Fail", RPC_UNARY, handle_fail),
    METHOD("Later", RPC_UNARY, handle_later),     METHOD("Hold", RPC_UNARY, handle_hold),
    METHOD("Keep", RPC_UNARY, handle_keep),       METHOD("Stream", RPC_SERVER_STREAM, handle_stream),
    METHOD("Talk", RPC_BIDI_STREAM, handle_talk), METHOD("Missing", RPC_UNARY, NULL),
};

static const struct rpc_service service = {"test.Echo", "test.Alias", methods, sizeof methods / sizeof methods[0],
                                           NULL};

/* ---- the server ---- */

struct error *fixture_open(struct rpc_server_options options)
{
    static const struct rpc_service *const services[] = {&service};
    static const struct event_sink sink = {on_event, on_debug, NULL};
    static unsigned serial;
    event_set_sink(&sink);
    AcquireSRWLockExclusive(&seen.lock);
    memset(seen.counts, 0, sizeof seen.counts);
    ReleaseSRWLockExclusive(&seen.lock);
    snprintf(fixture.pipe, sizeof fixture.pipe, "\\\\.\\pipe\\hcsd-test-%lu-%u", GetCurrentProcessId(), ++serial);
    if (fixture.gone_event == NULL) {
        fixture.gone_event = CreateEventW(NULL, FALSE, FALSE, NULL);
        fixture.held_event = CreateEventW(NULL, FALSE, FALSE, NULL);
    }
    ResetEvent(fixture.gone_event);
    ResetEvent(fixture.held_event);
    fixture.gone = fixture.streams_ended = fixture.streams_lost = 0;
    if (options.pipe == NULL)
        options.pipe = fixture.pipe;
    options.services = services;
    options.service_count = 1;
    struct error *error = rpc_server_open(&options, &fixture.server);
    if (error == NULL)
        rpc_server_start(fixture.server);
    return error;
}

unsigned fixture_close(unsigned milliseconds)
{
    unsigned left = rpc_server_close(fixture.server, milliseconds);
    fixture.server = NULL;
    return left;
}
