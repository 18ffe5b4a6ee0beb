#include "daemon/rpc/grpc_server.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include <grpc/grpc_security.h>
#include <grpc/impl/codegen/compression_types.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "daemon/rpc/grpc_call.h"
#include "daemon/rpc/grpc_engine.h"
#include "daemon/rpc/pipe_access.h"
#include "daemon/rpc/pipe_endpoint.h"

/* Of max_calls one process may have this part. */
#define PROCESS_SHARE 8u
/* So many it may have whatever others do. */
#define FEW_CALLS     64u

struct entry {
    char *path; /* "/containerd.task.v3.Task/State"; NULL: free */
    const struct rpc_service *service;
    const struct rpc_method *method;
};

struct rpc_server {
    struct rpc_server_options options; /* the numbers; the pointers are not ours */
    struct pipe_listener *listener;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    bool started;
    struct entry *entries; /* a hash table with open addressing */
    size_t entry_mask;
    atomic_bool draining;
    atomic_uint calls; /* and one for the server itself until it is closed */
    _Atomic uint64_t begun, failed;
    struct step shutdown_step, queue_step;
    HANDLE shut_down, queue_ended; /* manual-reset events */
    HANDLE no_calls;               /* the same: the last call was freed after the close began */
};

/* ---- the table of methods ---- */

static uint64_t hash(const uint8_t *data, size_t size)
{
    uint64_t value = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        value = (value ^ data[i]) * 1099511628211u;
    return value;
}

static struct entry *find(const struct rpc_server *server, const uint8_t *path, size_t size)
{
    for (size_t i = hash(path, size);; i++) {
        struct entry *entry = &server->entries[i & server->entry_mask];
        if (entry->path == NULL || (strlen(entry->path) == size && memcmp(entry->path, path, size) == 0))
            return entry;
    }
}

static void add_methods(struct rpc_server *server, const struct rpc_service *service, const char *name)
{
    for (size_t i = 0; name != NULL && i < service->method_count; i++) {
        char *path = str_format("/%s/%s", name, service->methods[i].name);
        struct entry *entry = find(server, (const uint8_t *)path, strlen(path));
        assert(entry->path == NULL);
        *entry = (struct entry){path, service, &service->methods[i]};
    }
}

static void build_table(struct rpc_server *server)
{
    size_t count = 0, size = 64;
    for (size_t i = 0; i < server->options.service_count; i++)
        count += 2 * server->options.services[i]->method_count;
    while (size < 2 * count)
        size *= 2;
    server->entries = mem_new_array(size, struct entry);
    server->entry_mask = size - 1;
    for (size_t i = 0; i < server->options.service_count; i++) {
        add_methods(server, server->options.services[i], server->options.services[i]->name);
        add_methods(server, server->options.services[i], server->options.services[i]->alias);
    }
}

/* ---- calls ---- */

static void on_request(void *context, bool ok)
{
    struct rpc_call *call = context;
    (void)ok;
    atomic_fetch_add(&call->server->begun, 1);
    grpc_call_begin(call);
}

/* gRPC fills it in, and runs its step. */
static void take(void *context, struct pipe_endpoint_call *ret_call)
{
    struct rpc_server *server = context;
    struct rpc_call *call = grpc_call_new(server);
    atomic_fetch_add(&server->calls, 1);
    step_init(&call->request_step, on_request, call);
    *ret_call = (struct pipe_endpoint_call){&call->request_step.functor, &call->call, &call->metadata, &call->details};
}

struct pipe_connection *rpc_server_connection(struct rpc_server *server, const char *peer)
{
    uint64_t number;
    unsigned slot;
    return pipe_peer_parse(peer, &number, &slot) ? pipe_listener_find(server->listener, number, slot) : NULL;
}

/* Whoever takes more than a share leaves the rest to the others. Who does not take the refusals either is disconnected: they
 * are calls under way, too, as long as they cannot be sent. A process with few calls is not refused for what others do. */
static struct error *check_share(struct rpc_server *server, struct pipe_connection *connection, const char *path)
{
    unsigned most = server->options.max_calls, calls = atomic_load(&server->calls), user, process;
    pipe_connection_count_calls(connection, &user, &process);
    if (process > most / PROCESS_SHARE * 2)
        pipe_connection_drop_process(connection, "it makes calls and does not take the answers");
    if (process > most / PROCESS_SHARE)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "call", path,
                          "%u calls of this process are under way; try again when some have ended", process - 1);
    if (process > FEW_CALLS && user > most / 8 * 7)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "call", path,
                          "%u calls of this user are under way; try again when some have ended", user - 1);
    if (calls > (process > FEW_CALLS ? most : 2 * most))
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "call", path, "%u calls are under way; try again later",
                          calls);
    return NULL;
}

struct error *rpc_server_admit(struct rpc_server *server, struct pipe_connection *connection, grpc_slice path,
                               const struct rpc_service **ret_service, const struct rpc_method **ret_method)
{
    const struct entry *entry = find(server, GRPC_SLICE_START_PTR(path), GRPC_SLICE_LENGTH(path));
    if (entry->path == NULL || entry->method->handle == NULL) {
        char *name = text_printable((char *)GRPC_SLICE_START_PTR(path), GRPC_SLICE_LENGTH(path), 200);
        struct error *error = error_make(ERROR_KIND_UNIMPLEMENTED, "call", name, "hcsd has no such method%s",
                                         entry->path != NULL ? " yet" : "");
        free(name);
        return error;
    }
    if (atomic_load(&server->draining))
        return error_make(ERROR_KIND_UNAVAILABLE, "call", entry->path, "hcsd is stopping and takes no new calls");
    struct error *error = check_share(server, connection, entry->path);
    if (error != NULL)
        return error;
    *ret_service = entry->service;
    *ret_method = entry->method;
    return NULL;
}

void rpc_server_call_failed(struct rpc_server *server)
{
    atomic_fetch_add(&server->failed, 1);
}

void rpc_server_call_freed(struct rpc_server *server)
{
    HANDLE no_calls = server->no_calls; /* the server may be gone once the count is down */
    if (atomic_fetch_sub(&server->calls, 1) == 1)
        SetEvent(no_calls);
}

/* ---- opening ---- */

static grpc_arg integer_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

static grpc_server *make_grpc(const struct rpc_server_options *options)
{
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)options->max_message),
        integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1),
        integer_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)options->max_streams),
        /* A compressed message of a few bytes could fill all memory; who sends one is told UNIMPLEMENTED. */
        integer_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),
        integer_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1u << GRPC_COMPRESS_NONE),
        /* A pipe breaks by itself when its other end is gone: no pings, no probing of bandwidth, and so no timers. */
        integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, INT_MAX),
        integer_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        /* Clients may ping as they like it, within reason. */
        integer_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000),
        integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        integer_arg(GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0),
    };
    grpc_channel_args channel_args = {sizeof args / sizeof args[0], args};
    return grpc_server_create(&channel_args, NULL);
}

static void set_event(void *context, bool ok)
{
    (void)ok;
    SetEvent(context);
}

static struct error *open_listener(struct rpc_server *server, const struct rpc_server_options *options)
{
    char *sddl = NULL;
    struct error *error = pipe_access_sddl(options->pipe_access, options->pipe_access_count, &sddl);
    if (error != NULL)
        return error;
    struct pipe_listener_options listener_options = {
        .pipe = options->pipe,
        .sddl = sddl,
        .handshake_ms = options->handshake_ms,
        .stall_ms = options->stall_ms,
        .max_connections = options->max_connections,
        .max_user_connections = options->max_user_connections,
        .max_process_connections = options->max_process_connections,
        .max_handshakes = options->max_handshakes,
        .any_conduct = options->any_conduct,
        .max_process_calls = server->options.max_calls / PROCESS_SHARE,
    };
    error = pipe_listener_open(&listener_options, &server->listener);
    free(sddl);
    return error;
}

struct error *rpc_server_set_access(struct rpc_server *server, const char *const *members, size_t count)
{
    char *sddl = NULL;
    struct error *error = pipe_access_sddl(members, count, &sddl);
    if (error == NULL)
        error = pipe_listener_set_access(server->listener, sddl);
    free(sddl);
    return error;
}

static unsigned or_default(unsigned value, unsigned initial)
{
    return value != 0 ? value : initial;
}

static void free_server(struct rpc_server *server)
{
    for (size_t i = 0; server->entries != NULL && i <= server->entry_mask; i++)
        free(server->entries[i].path);
    free(server->entries);
    pipe_listener_close(server->listener);
    CloseHandle(server->shut_down);
    CloseHandle(server->queue_ended);
    CloseHandle(server->no_calls);
    free(server);
}

struct error *rpc_server_open(const struct rpc_server_options *options, struct rpc_server **ret_server)
{
    struct rpc_server *server = mem_new(struct rpc_server);
    server->options = *options;
    atomic_init(&server->calls, 1);
    server->options.max_message = or_default(options->max_message, 16u << 20);
    server->options.max_streams = or_default(options->max_streams, 1024);
    server->options.max_calls = or_default(options->max_calls, 8192);
    server->shut_down = CreateEventW(NULL, TRUE, FALSE, NULL);
    server->queue_ended = CreateEventW(NULL, TRUE, FALSE, NULL);
    server->no_calls = CreateEventW(NULL, TRUE, FALSE, NULL);
    struct error *error = NULL;
    if (server->shut_down == NULL || server->queue_ended == NULL || server->no_calls == NULL)
        error = error_win32(GetLastError(), "CreateEvent", NULL, NULL);
    if (error == NULL)
        error = open_listener(server, options);
    if (error != NULL) {
        free_server(server);
        return error;
    }
    build_table(server);
    step_init(&server->shutdown_step, set_event, server->shut_down);
    step_init(&server->queue_step, set_event, server->queue_ended);
    grpc_engine_init();
    server->queue = grpc_completion_queue_create_for_callback(&server->queue_step.functor, NULL);
    server->grpc = make_grpc(&server->options);
    grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
    pipe_endpoint_on_call(server->grpc, server->queue, take, server);
    pipe_endpoint_attach(server->grpc, server->listener);
    *ret_server = server;
    return NULL;
}

void rpc_server_start(struct rpc_server *server)
{
    server->started = true;
    grpc_server_start(server->grpc);
}

void rpc_server_drain(struct rpc_server *server)
{
    atomic_store(&server->draining, true);
}

void rpc_server_count(struct rpc_server *server, struct rpc_server_counters *ret_counters)
{
    struct pipe_listener_counters pipe;
    pipe_listener_count(server->listener, &pipe);
    *ret_counters = (struct rpc_server_counters){
        .connections_accepted = pipe.accepted,
        .clients_refused = pipe.refused,
        .calls_begun = atomic_load(&server->begun),
        .calls_failed = atomic_load(&server->failed),
        .connections = pipe.served,
        .handshakes = pipe.handshakes,
        .calls = atomic_load(&server->calls) - 1,
    };
}

/* ---- closing ---- */

static bool wait_until(HANDLE event, uint64_t end)
{
    uint64_t now = clock_ms();
    return WaitForSingleObject(event, end > now ? (DWORD)(end - now) : 0) == WAIT_OBJECT_0;
}

unsigned rpc_server_close(struct rpc_server *server, unsigned milliseconds)
{
    if (server == NULL)
        return 0;
    uint64_t start = clock_ms(), end = start + milliseconds;
    rpc_server_drain(server);
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->shutdown_step.functor);
    bool done = wait_until(server->shut_down, start + milliseconds / 2);
    if (!done) {
        grpc_server_cancel_all_calls(server->grpc);
        /* A transport with a write in flight closes for nothing else. */
        pipe_listener_abort(server->listener, 1);
        done = wait_until(server->shut_down, start + milliseconds / 2 + milliseconds / 4);
    }
    if (!done) {
        pipe_listener_abort(server->listener, PIPE_LISTENER_ABORT_ALL);
        done = wait_until(server->shut_down, end);
    }
    /* What is left are calls whose handlers have not ended them; the server is theirs then. */
    if (atomic_fetch_sub(&server->calls, 1) != 1 && !wait_until(server->no_calls, end))
        return atomic_load(&server->calls);
    if (!done)
        return 1;
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_shutdown(server->queue);
    if (!wait_until(server->queue_ended, end + 1000))
        return 1;
    grpc_completion_queue_destroy(server->queue);
    free_server(server);
    grpc_shutdown();
    return 0;
}
