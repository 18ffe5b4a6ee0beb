/* The yardstick: a gRPC server on the same pipe transport that does nothing but gRPC.
 *
 *   bench_server.exe PIPE
 *
 * "/bench/Stream" answers with 1,000 messages of 64 KiB, every other method with the request. It ends when stdin does. */
#include <windows.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/rpc/pipe_access.h"
#include "daemon/rpc/pipe_endpoint.h"

#define CHUNK    65536u
#define MESSAGES 1000u
#define REQUESTS 16u

enum phase { REQUESTED, RECEIVED, SENT, ENDED };

struct call {
    grpc_completion_queue_functor functor; /* first; one step at a time */
    enum phase phase;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *message;
    uint32_t left;
    bool begun;
    int cancelled;
};

static grpc_server *server;
static grpc_completion_queue *queue;
static grpc_slice chunk;

static void step(grpc_completion_queue_functor *functor, int ok);

static void request(void)
{
    struct call *call = mem_new(struct call);
    call->functor = (grpc_completion_queue_functor){.functor_run = step, .inlineable = 1};
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    grpc_server_request_call(server, &call->call, &call->details, &call->metadata, queue, queue, call);
}

static void batch(struct call *call, enum phase next, const grpc_op *ops, size_t count)
{
    call->phase = next;
    grpc_call_error error = grpc_call_start_batch(call->call, ops, count, call, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

static void end(struct call *call)
{
    grpc_op ops[4] = {0};
    size_t count = 0;
    if (!call->begun) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = call->message;
    }
    ops[count++].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[count++].data.recv_close_on_server.cancelled = &call->cancelled;
    batch(call, ENDED, ops, count);
}

static void send_chunk(struct call *call)
{
    grpc_op ops[2] = {0};
    size_t count = 0;
    if (!call->begun)
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    call->begun = true;
    call->left--;
    grpc_byte_buffer_destroy(call->message);
    call->message = grpc_raw_byte_buffer_create(&chunk, 1);
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = call->message;
    batch(call, SENT, ops, count);
}

static void step(grpc_completion_queue_functor *functor, int ok)
{
    struct call *call = (struct call *)functor;
    if (call->phase == REQUESTED && ok) {
        request();
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->message};
        batch(call, RECEIVED, &op, 1);
        return;
    }
    if (call->phase == RECEIVED && ok && call->message != NULL) {
        if (grpc_slice_str_cmp(call->details.method, "/bench/Stream") != 0) {
            end(call);
            return;
        }
        call->left = MESSAGES;
    }
    if ((call->phase == RECEIVED || call->phase == SENT) && ok && call->left > 0) {
        send_chunk(call);
        return;
    }
    if (call->phase == SENT && ok) {
        end(call);
        return;
    }
    grpc_byte_buffer_destroy(call->message);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->call != NULL && (call->phase != REQUESTED || ok))
        grpc_call_unref(call->call);
    free(call);
}

static void nothing(grpc_completion_queue_functor *functor, int ok)
{
    (void)functor, (void)ok;
}

int wmain(int count, wchar_t **arguments);
int wmain(int count, wchar_t **arguments)
{
    if (count != 2) {
        fputs("usage: bench_server PIPE\n", stderr);
        return 2;
    }
    char *pipe = win_text(arguments[1]), *sddl = NULL;
    struct pipe_listener *listener = NULL;
    struct error *error = pipe_access_sddl(NULL, 0, &sddl);
    struct pipe_listener_options options = {.pipe = pipe, .sddl = sddl};
    if (error == NULL)
        error = pipe_listener_open(&options, &listener);
    if (error != NULL) {
        fprintf(stderr, "bench_server: %s\n", error_text(error));
        return 1;
    }
    grpc_init(); /* not grpc_engine_init: gRPC as it comes, with its own timers and threads */
    chunk = grpc_slice_malloc(CHUNK);
    memset(GRPC_SLICE_START_PTR(chunk), 'x', CHUNK);
    memcpy(GRPC_SLICE_START_PTR(chunk), "\x12\xfc\xff\x03", 4); /* a StateResponse whose `bundle` is the rest */
    static grpc_completion_queue_functor ended = {.functor_run = nothing, .inlineable = 1};
    queue = grpc_completion_queue_create_for_callback(&ended, NULL);
    server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(server, queue, NULL);
    pipe_endpoint_attach(server, listener);
    grpc_server_start(server);
    for (unsigned i = 0; i < REQUESTS; i++)
        request();
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    TerminateProcess(GetCurrentProcess(), 0);
    return 0;
}
