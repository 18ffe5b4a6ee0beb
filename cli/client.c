#include "cli/client.h"

#include <windows.h>

#include <assert.h>
#include <limits.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/rpc/grpc_engine.h"
#include "daemon/rpc/pipe_dial.h"
#include "daemon/rpc/pipe_endpoint.h"
#include "daemon/rpc/status.h"

struct client {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    char *containerd_namespace;
    SRWLOCK lock;
    CONDITION_VARIABLE changed; /* a batch or the queue has ended */
    bool queue_ended;
    bool cancelled;
    struct client_stream *streams; /* what client_cancel reaches */
    grpc_completion_queue_functor queue_functor;
};

/* A batch's tag. */
struct wait {
    grpc_completion_queue_functor functor; /* first */
    struct client *client;
    bool busy, ok;
};

struct client_stream {
    struct client *client;
    struct client_stream *next;
    grpc_call *call;
    char *method;
    const ProtobufCMessageDescriptor *response;
    struct wait send, receive, status;
    grpc_byte_buffer *request, *received;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice text;
    bool ended; /* `status` has been waited for */
};

/* ---- waiting ---- */

static void wait_done(grpc_completion_queue_functor *functor, int ok)
{
    struct wait *wait = (struct wait *)functor;
    struct client *client = wait->client;
    AcquireSRWLockExclusive(&client->lock);
    wait->busy = false;
    wait->ok = ok != 0;
    WakeAllConditionVariable(&client->changed);
    ReleaseSRWLockExclusive(&client->lock);
}

static void queue_done(grpc_completion_queue_functor *functor, int ok)
{
    (void)ok;
    struct client *client = (struct client *)((char *)functor - offsetof(struct client, queue_functor));
    AcquireSRWLockExclusive(&client->lock);
    client->queue_ended = true;
    WakeAllConditionVariable(&client->changed);
    ReleaseSRWLockExclusive(&client->lock);
}

static void batch_start(struct client_stream *stream, const grpc_op *ops, size_t count, struct wait *wait)
{
    *wait =
        (struct wait){.functor = {.functor_run = wait_done, .inlineable = 1}, .client = stream->client, .busy = true};
    grpc_call_error error = grpc_call_start_batch(stream->call, ops, count, wait, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

/* No bound of its own: each batch ends with its call, and a call has a deadline, or an end that client_cancel makes. */
static void wait_for(struct wait *wait)
{
    struct client *client = wait->client;
    AcquireSRWLockExclusive(&client->lock);
    while (wait->busy)
        SleepConditionVariableSRW(&client->changed, &client->lock, INFINITE, 0);
    ReleaseSRWLockExclusive(&client->lock);
}

/* ---- connection ---- */

static grpc_arg integer_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

struct error *client_dial(const struct client_options *options, struct client **ret_client)
{
    const char *address = options->address != NULL ? options->address : CLIENT_ADDRESS_DEFAULT;
    void *handle;
    struct error *error = pipe_dial(address, options->dial_ms != 0 ? options->dial_ms : 5000, &handle);
    if (error != NULL)
        return error;
    struct client *client = mem_new(struct client);
    InitializeSRWLock(&client->lock);
    InitializeConditionVariable(&client->changed);
    client->containerd_namespace = str_copy(options->containerd_namespace);
    grpc_engine_init();
    client->queue_functor = (grpc_completion_queue_functor){.functor_run = queue_done, .inlineable = 1};
    client->queue = grpc_completion_queue_create_for_callback(&client->queue_functor, NULL);
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1),
        /* BDP probing stays on: without it a connection takes 64 KiB at a time, and waits for each. */
        integer_arg(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 1 << 17),
        integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, INT_MAX),
        integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        integer_arg(GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0),
        integer_arg(GRPC_ARG_MAX_METADATA_SIZE, 32768),
    };
    grpc_channel_args channel_args = {sizeof args / sizeof args[0], args};
    client->channel = pipe_endpoint_channel(handle, &channel_args);
    if (client->channel == NULL) {
        error = error_win32(ERROR_NO_SYSTEM_RESOURCES, "dial", address, NULL);
        client_close(client);
        return error;
    }
    *ret_client = client;
    return NULL;
}

void client_close(struct client *client)
{
    if (client == NULL)
        return;
    assert(client->streams == NULL);
    if (client->channel != NULL)
        grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->queue);
    AcquireSRWLockExclusive(&client->lock);
    while (!client->queue_ended)
        SleepConditionVariableSRW(&client->changed, &client->lock, INFINITE, 0);
    ReleaseSRWLockExclusive(&client->lock);
    grpc_completion_queue_destroy(client->queue);
    free(client->containerd_namespace);
    free(client);
    grpc_shutdown();
}

void client_cancel(struct client *client)
{
    AcquireSRWLockExclusive(&client->lock);
    client->cancelled = true;
    size_t count = 0;
    grpc_call *calls[64];
    for (struct client_stream *stream = client->streams; stream != NULL && count < 64; stream = stream->next) {
        grpc_call_ref(stream->call);
        calls[count++] = stream->call;
    }
    ReleaseSRWLockExclusive(&client->lock);
    /* Not under the lock: the batches may end in here. */
    for (size_t i = 0; i < count; i++) {
        grpc_call_cancel(calls[i], NULL);
        grpc_call_unref(calls[i]);
    }
}

/* ---- calls ---- */

static grpc_byte_buffer *encode(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* Takes what was received. */
static struct error *decode(struct client_stream *stream, ProtobufCMessage **ret_message)
{
    grpc_slice_buffer *slices = &stream->received->data.raw.slice_buffer;
    grpc_slice joined = grpc_empty_slice();
    const grpc_slice *data = &joined;
    grpc_byte_buffer_reader reader;
    if (slices->count == 1) {
        data = &slices->slices[0];
    } else if (slices->count > 1 && grpc_byte_buffer_reader_init(&reader, stream->received)) {
        joined = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    static const uint8_t empty[1];
    size_t size = GRPC_SLICE_LENGTH(*data);
    ProtobufCMessage *message =
        protobuf_c_message_unpack(stream->response, NULL, size, size != 0 ? GRPC_SLICE_START_PTR(*data) : empty);
    grpc_slice_unref(joined);
    grpc_byte_buffer_destroy(stream->received);
    stream->received = NULL;
    if (message == NULL)
        return error_make(ERROR_KIND_INTERNAL, stream->method, stream->response->name,
                          "the response cannot be decoded; hcsctl and hcsd may be of different versions");
    *ret_message = message;
    return NULL;
}

/* Waits for the call's status; NULL when it is OK. */
static struct error *finish(struct client_stream *stream)
{
    wait_for(&stream->status);
    stream->ended = true;
    if (stream->code == GRPC_STATUS_OK)
        return NULL;
    const uint8_t *details = NULL;
    size_t details_size = 0;
    for (size_t i = 0; i < stream->trailing.count; i++) {
        if (grpc_slice_str_cmp(stream->trailing.metadata[i].key, STATUS_DETAILS_KEY) == 0) {
            details = GRPC_SLICE_START_PTR(stream->trailing.metadata[i].value);
            details_size = GRPC_SLICE_LENGTH(stream->trailing.metadata[i].value);
        }
    }
    struct error *error = status_to_error((int)stream->code, (const char *)GRPC_SLICE_START_PTR(stream->text),
                                          GRPC_SLICE_LENGTH(stream->text), details, details_size, stream->method, NULL);
    /* hcsd's own errors have details; this one is gRPC's, about the connection. */
    if (details == NULL && stream->code == GRPC_STATUS_UNAVAILABLE)
        error = error_wrap(
            error, "hcsd went away during the call, which may have been carried out or go on; look whether it runs "
                   "(sc.exe query hcsd), and then at what became of it");
    return error;
}

/* Joins the client's list, so that client_cancel finds it; false: it was cancelled before. */
static bool enlist(struct client_stream *stream)
{
    struct client *client = stream->client;
    AcquireSRWLockExclusive(&client->lock);
    bool cancelled = client->cancelled;
    stream->next = client->streams;
    client->streams = stream;
    ReleaseSRWLockExclusive(&client->lock);
    return !cancelled;
}

/* Begins a call. `unary`: everything is one batch, whose end is the call's. */
static struct client_stream *stream_new(struct client *client, const char *method, const ProtobufCMessage *request,
                                        const ProtobufCMessageDescriptor *response, unsigned timeout_ms, bool unary)
{
    struct client_stream *stream = mem_new(struct client_stream);
    stream->client = client;
    stream->method = str_copy(method);
    stream->response = response;
    stream->text = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    gpr_timespec deadline =
        timeout_ms == CLIENT_NO_LIMIT
            ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
            : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    /* Copies: the transport may hold on to them for longer than the call lives. */
    grpc_slice path = grpc_slice_from_copied_string(method);
    stream->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue, path, NULL,
                                            deadline, NULL);
    grpc_slice_unref(path);
    if (!enlist(stream))
        grpc_call_cancel(stream->call, NULL);

    stream->request = encode(request);
    grpc_metadata metadata = {.key = grpc_slice_from_static_string("containerd-namespace"),
                              .value = grpc_empty_slice()};
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = stream->request},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata.recv_initial_metadata = &stream->initial},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {&stream->trailing, &stream->code, &stream->text, NULL}},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->received},
    };
    if (client->containerd_namespace != NULL) {
        metadata.value = grpc_slice_from_copied_string(client->containerd_namespace);
        ops[0].data.send_initial_metadata.metadata = &metadata;
        ops[0].data.send_initial_metadata.count = 1;
    }
    if (unary) {
        batch_start(stream, ops, 6, &stream->status);
    } else {
        batch_start(stream, &ops[4], 1, &stream->status);
        batch_start(stream, ops, 4, &stream->send);
    }
    grpc_slice_unref(metadata.value);
    return stream;
}

struct error *client_stream_open(struct client *client, const char *method, const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *response, unsigned timeout_ms,
                                 struct client_stream **ret_stream)
{
    *ret_stream = stream_new(client, method, request, response, timeout_ms, false);
    return NULL;
}

struct error *client_stream_next(struct client_stream *stream, ProtobufCMessage **ret_message)
{
    *ret_message = NULL;
    if (!stream->ended) {
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->received};
        batch_start(stream, &op, 1, &stream->receive);
        wait_for(&stream->receive);
        if (stream->received != NULL)
            return decode(stream, ret_message);
    }
    return finish(stream);
}

void client_stream_close(struct client_stream *stream)
{
    if (stream == NULL)
        return;
    struct client *client = stream->client;
    if (!stream->ended)
        grpc_call_cancel(stream->call, NULL);
    wait_for(&stream->status);
    if (stream->send.client != NULL)
        wait_for(&stream->send);
    AcquireSRWLockExclusive(&client->lock);
    struct client_stream **at = &client->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    ReleaseSRWLockExclusive(&client->lock);
    grpc_call_unref(stream->call);
    grpc_byte_buffer_destroy(stream->request);
    grpc_byte_buffer_destroy(stream->received);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_slice_unref(stream->text);
    free(stream->method);
    free(stream);
}

struct error *client_call(struct client *client, const char *method, const ProtobufCMessage *request,
                          const ProtobufCMessageDescriptor *response, unsigned timeout_ms,
                          ProtobufCMessage **ret_response)
{
    struct client_stream *stream = stream_new(client, method, request, response, timeout_ms, true);
    struct error *error = finish(stream);
    if (error == NULL && stream->received != NULL)
        error = decode(stream, ret_response);
    else if (error == NULL)
        error = error_make(ERROR_KIND_INTERNAL, method, NULL, "the call ended without a response");
    client_stream_close(stream);
    return error;
}
