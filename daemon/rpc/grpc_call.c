#include "daemon/rpc/grpc_call.h"

#include <assert.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/text.h"
#include "daemon/rpc/change.h"
#include "daemon/rpc/message.h"

/* ---- steps ---- */

static _Thread_local unsigned steps_running;

static void step_run(grpc_completion_queue_functor *functor, int ok)
{
    struct step *step = (struct step *)functor;
    steps_running++;
    step->run(step->context, ok != 0);
    steps_running--;
}

void step_init(struct step *step, void (*run)(void *context, bool ok), void *context)
{
    /* Inlineable: on the thread that finds the batch ended, after gRPC's own work. There is no other thread to wake. */
    *step = (struct step){.functor = {.functor_run = step_run, .inlineable = 1}, .run = run, .context = context};
}

/* Not counted as running: gRPC is not below us here, so a batch that ends at once would call its step from inside the call
 * that started it, maybe with the caller's locks held. What is asked for from in here is posted once more. */
static void CALLBACK post_run(TP_CALLBACK_INSTANCE *instance, void *context)
{
    (void)instance;
    struct step *step = context;
    step->run(step->context, true);
}

void step_post(struct step *step)
{
    if (!TrySubmitThreadpoolCallback(post_run, step, NULL))
        post_run(NULL, step); /* no resources: here, rather than never */
}

bool step_is_running(void)
{
    return steps_running > 0;
}

/* ---- life ---- */

static void on_received(void *context, bool ok);
static void on_closed(void *context, bool ok);
static void on_sent(void *context, bool ok);
static void on_end(void *context, bool ok);

struct rpc_call *grpc_call_new(struct rpc_server *server)
{
    struct rpc_call *call = mem_new(struct rpc_call);
    call->server = server;
    atomic_init(&call->references, 1);
    InitializeSRWLock(&call->lock);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    call->status_text = grpc_empty_slice();
    call->trailing.key = grpc_empty_slice();
    call->trailing.value = grpc_empty_slice();
    step_init(&call->receive_step, on_received, call);
    step_init(&call->closed_step, on_closed, call);
    step_init(&call->send_step, on_sent, call);
    step_init(&call->end_step, on_end, call);
    arena_init(&call->arena);
    return call;
}

void grpc_call_unref_ours(struct rpc_call *call)
{
    if (atomic_fetch_sub(&call->references, 1) != 1)
        return;
    struct rpc_server *server = call->server;
    bool was_call = call->call != NULL;
    grpc_byte_buffer_destroy(call->received);
    grpc_byte_buffer_destroy(call->message);
    grpc_slice_unref(call->status_text);
    grpc_slice_unref(call->trailing.key);
    grpc_slice_unref(call->trailing.value);
    status_free(&call->status);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    free(call->change);
    if (call->connection != NULL)
        pipe_connection_call_ended(call->connection);
    pipe_connection_unref(call->connection);
    arena_reset(&call->arena);
    if (was_call)
        grpc_call_unref(call->call);
    free(call);
    if (was_call)
        rpc_server_call_freed(server);
}

/* Starts a batch that holds a reference until its step has run. */
static void batch_start(struct rpc_call *call, const grpc_op *ops, size_t count, struct step *step)
{
    atomic_fetch_add(&call->references, 1);
    if (grpc_call_start_batch(call->call, ops, count, &step->functor, NULL) != GRPC_CALL_OK)
        step_post(step); /* a mistake of ours; the step goes on as the end of the call would make it */
}

/* ---- ending ---- */

static void end_start(void *context, bool ok)
{
    (void)ok;
    struct rpc_call *call = context;
    grpc_op ops[4] = {0};
    size_t count = 0;
    if (!call->initial_sent)
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (call->message != NULL) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = call->message;
    }
    grpc_op *status = &ops[count++];
    status->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    if (call->failed) {
        call->status_text = grpc_slice_from_copied_string(call->status.message);
        call->trailing.key = grpc_slice_from_static_string(STATUS_DETAILS_KEY);
        call->trailing.value = grpc_slice_from_copied_buffer((char *)call->status.details, call->status.details_size);
        status->data.send_status_from_server.status = (grpc_status_code)call->status.code;
        status->data.send_status_from_server.status_details = &call->status_text;
        status->data.send_status_from_server.trailing_metadata = &call->trailing;
        status->data.send_status_from_server.trailing_metadata_count = 1;
    }
    if (!call->close_asked) {
        call->close_asked = true;
        ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
        ops[count++].data.recv_close_on_server.cancelled = &call->cancelled;
    }
    batch_start(call, ops, count, &call->end_step);
    grpc_call_unref_ours(call); /* who had to end it has */
}

static void on_end(void *context, bool ok)
{
    (void)ok;
    grpc_call_unref_ours(context);
}

/* `gone`: nobody is there to be told. */
static void end_now(struct rpc_call *call, bool gone)
{
    if (gone) {
        grpc_call_unref_ours(call);
    } else if (step_is_running()) {
        end_start(call, true);
    } else {
        step_init(&call->post_step, end_start, call);
        step_post(&call->post_step);
    }
}

static void end(struct rpc_call *call, grpc_byte_buffer *reply, struct error *error)
{
    struct status status = {0};
    if (call->change != NULL)
        log_debug("%s: %s", call->change, error == NULL ? "OK" : error_kind_name(error->kind));
    if (error != NULL) {
        status_from_error(error, &status);
        error_free(error);
        rpc_server_call_failed(call->server);
    }
    AcquireSRWLockExclusive(&call->lock);
    assert(!call->ended);
    call->ended = true;
    call->gone_function = NULL;
    bool gone = call->gone, sending = call->sending;
    call->failed = error != NULL;
    call->status = status;
    if (reply != NULL)
        call->message = reply;
    ReleaseSRWLockExclusive(&call->lock);
    if (!sending)
        end_now(call, gone);
    /* else on_sent goes on */
}

/* ---- encoding ---- */

static grpc_byte_buffer *encode(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* ---- the client's end ---- */

static void close_ask(struct rpc_call *call)
{
    AcquireSRWLockExclusive(&call->lock);
    bool ask = !call->ended && !call->close_asked;
    call->close_asked = call->close_asked || ask;
    if (ask)
        atomic_fetch_add(&call->references, 1); /* so that the call outlives this function when it is ended meanwhile */
    ReleaseSRWLockExclusive(&call->lock);
    if (!ask)
        return;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &call->cancelled};
    batch_start(call, &op, 1, &call->closed_step);
    grpc_call_unref_ours(call);
}

static void on_closed(void *context, bool ok)
{
    (void)ok;
    struct rpc_call *call = context;
    AcquireSRWLockExclusive(&call->lock);
    call->gone = !call->ended;
    void (*function)(void *) = call->gone_function;
    void *function_context = call->gone_context;
    call->gone_function = NULL;
    ReleaseSRWLockExclusive(&call->lock);
    if (function != NULL)
        function(function_context);
    grpc_call_unref_ours(call);
}

/* ---- receiving ---- */

static void receive(struct rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
    batch_start(call, &op, 1, &call->receive_step);
}

/* Bidi: the next message, once the handler is done with the last and its answer has left. Asked for even when the client is
 * gone: then there is none, which is how the handler learns that it is to end the call. */
static void receive_next(struct rpc_call *call)
{
    AcquireSRWLockExclusive(&call->lock);
    bool next = !call->ended && !call->sending && !call->handling && !call->receiving && !call->half_closed;
    call->receiving = call->receiving || next;
    if (next)
        atomic_fetch_add(&call->references, 1);
    ReleaseSRWLockExclusive(&call->lock);
    if (!next)
        return;
    receive(call);
    grpc_call_unref_ours(call);
}

static struct error *decode(struct rpc_call *call, ProtobufCMessage **ret_message)
{
    if (call->received->data.raw.compression != GRPC_COMPRESS_NONE)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "decode request", call->method->name,
                          "compressed messages are not accepted");
    grpc_slice_buffer *slices = &call->received->data.raw.slice_buffer;
    grpc_slice joined = grpc_empty_slice();
    const grpc_slice *data = &joined;
    if (slices->count == 1) {
        data = &slices->slices[0];
    } else if (slices->count > 1) {
        grpc_byte_buffer_reader reader;
        if (!grpc_byte_buffer_reader_init(&reader, call->received))
            return error_make(ERROR_KIND_INTERNAL, "decode request", call->method->name, "the message cannot be read");
        joined = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    struct error *error = message_unpack(call->method->request, GRPC_SLICE_START_PTR(*data), GRPC_SLICE_LENGTH(*data),
                                         &call->arena.allocator, ret_message);
    if (error != NULL && call->arena.exhausted)
        error = error_set_kind(error_wrap(error, "it takes more than %u MiB of memory", ARENA_MAX >> 20),
                               ERROR_KIND_RESOURCE_EXHAUSTED);
    grpc_slice_unref(joined);
    return error;
}

static void on_received(void *context, bool ok)
{
    (void)ok;
    struct rpc_call *call = context;
    bool bidi = call->method->shape == RPC_BIDI_STREAM;
    ProtobufCMessage *message = NULL;
    struct error *error = NULL;
    AcquireSRWLockExclusive(&call->lock);
    call->receiving = false;
    call->handling = true;
    call->half_closed = call->received == NULL;
    bool ended = call->ended;
    ReleaseSRWLockExclusive(&call->lock);
    if (ended) {
        grpc_call_unref_ours(call);
        return;
    }
    arena_reset(&call->arena);
    if (call->received != NULL)
        error = decode(call, &message);
    else if (!bidi)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "decode request", call->method->name,
                           "there is no request message");
    grpc_byte_buffer_destroy(call->received);
    call->received = NULL;
    if (error != NULL)
        end(call, NULL, error);
    else {
        /* A bidi call is told by its first message. */
        if (call->change == NULL && message != NULL)
            call->change = change_text(call->service, call->method, &call->caller, message);
        call->method->handle(call, message, call->service->context);
    }
    AcquireSRWLockExclusive(&call->lock);
    call->handling = false;
    ReleaseSRWLockExclusive(&call->lock);
    close_ask(call);
    if (bidi)
        receive_next(call);
    grpc_call_unref_ours(call);
}

/* ---- beginning ---- */

static struct error *take_caller(struct rpc_call *call)
{
    struct rpc_caller *caller = &call->caller;
    const struct pipe_identity *identity = pipe_connection_identity(call->connection);
    caller->pid = identity->pid;
    caller->sid = identity->sid;
    caller->user = identity->user;
    caller->connection = pipe_connection_number(call->connection);
    caller->containerd_namespace = "default";
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *entry = &call->metadata.metadata[i];
        if (grpc_slice_str_cmp(entry->key, "containerd-namespace") != 0)
            continue;
        size_t size = GRPC_SLICE_LENGTH(entry->value);
        if (size < sizeof call->containerd_namespace) {
            memcpy(call->containerd_namespace, GRPC_SLICE_START_PTR(entry->value), size);
            call->containerd_namespace[size] = 0;
            if (strlen(call->containerd_namespace) == size && text_is_identifier(call->containerd_namespace)) {
                caller->containerd_namespace = call->containerd_namespace;
                return NULL;
            }
        }
        char *value = text_printable((char *)GRPC_SLICE_START_PTR(entry->value), size, 100);
        struct error *error =
            error_make(ERROR_KIND_INVALID_ARGUMENT, "containerd-namespace", value,
                       "a namespace has 1 to 76 letters, digits, and single '.', '_' or '-' between them");
        free(value);
        return error;
    }
    return NULL;
}

void grpc_call_begin(struct rpc_call *call)
{
    char *peer = grpc_call_get_peer(call->call);
    call->connection = rpc_server_connection(call->server, peer);
    gpr_free(peer);
    if (call->connection == NULL) {
        grpc_call_unref_ours(call); /* lost before its call was taken up */
        return;
    }
    pipe_connection_call_begun(call->connection);
    struct error *error = take_caller(call);
    if (error == NULL)
        error = rpc_server_admit(call->server, call->connection, call->details.method, &call->service, &call->method);
    if (error != NULL) {
        end(call, NULL, error);
        return;
    }
    /* A unary call is watched for its client's end only when its handler keeps it. */
    if (call->method->shape == RPC_BIDI_STREAM) {
        atomic_fetch_add(&call->references, 1);
        close_ask(call);
        receive_next(call);
        grpc_call_unref_ours(call);
    } else {
        receive(call);
    }
}

/* ---- what handlers call ---- */

const struct rpc_caller *rpc_call_caller(const struct rpc_call *call)
{
    return &call->caller;
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *response)
{
    end(call, encode(response), NULL);
}

void rpc_call_fail(struct rpc_call *call, struct error *error)
{
    end(call, NULL, error);
}

void rpc_call_finish(struct rpc_call *call)
{
    end(call, NULL, NULL);
}

static void send_start(void *context, bool ok)
{
    struct rpc_call *call = context;
    if (!ok) {
        on_sent(call, false);
        return;
    }
    grpc_op ops[2] = {0};
    size_t count = 0;
    if (!call->initial_sent)
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    call->initial_sent = true;
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = call->message;
    batch_start(call, ops, count, &call->send_step);
    grpc_call_unref_ours(call);
}

/* The client is gone already: says so from a thread of the pool, as for any other message. */
static void send_nowhere(void *context, bool ok)
{
    (void)ok;
    on_sent(context, false);
}

void rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message, void (*sent)(void *context, bool ok),
                   void *context)
{
    grpc_byte_buffer *buffer = encode(message);
    AcquireSRWLockExclusive(&call->lock);
    assert(!call->ended && !call->sending);
    call->sending = true;
    call->message = buffer;
    call->sent_function = sent;
    call->sent_context = context;
    bool gone = call->gone;
    ReleaseSRWLockExclusive(&call->lock);
    atomic_fetch_add(&call->references, 1);
    if (!gone && step_is_running()) {
        send_start(call, true);
    } else {
        step_init(&call->post_step, gone ? send_nowhere : send_start, call);
        step_post(&call->post_step);
    }
}

static void on_sent(void *context, bool ok)
{
    struct rpc_call *call = context;
    AcquireSRWLockExclusive(&call->lock);
    call->sending = false;
    grpc_byte_buffer *message = call->message;
    call->message = NULL;
    void (*function)(void *, bool) = call->sent_function;
    void *function_context = call->sent_context;
    bool ended = call->ended, gone = call->gone;
    ReleaseSRWLockExclusive(&call->lock);
    grpc_byte_buffer_destroy(message);
    if (function != NULL)
        function(function_context, ok && !gone);
    if (ended)
        end_now(call, gone);
    else if (call->method->shape == RPC_BIDI_STREAM)
        receive_next(call);
    grpc_call_unref_ours(call);
}

void rpc_call_on_gone(struct rpc_call *call, void (*gone)(void *context), void *context)
{
    AcquireSRWLockExclusive(&call->lock);
    bool now = call->gone;
    call->gone_function = now ? NULL : gone;
    call->gone_context = context;
    ReleaseSRWLockExclusive(&call->lock);
    if (now && gone != NULL)
        gone(context);
}

bool rpc_call_off_gone(struct rpc_call *call)
{
    AcquireSRWLockExclusive(&call->lock);
    bool had = call->gone_function != NULL;
    call->gone_function = NULL;
    ReleaseSRWLockExclusive(&call->lock);
    return had;
}
