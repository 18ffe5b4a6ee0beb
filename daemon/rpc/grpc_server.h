/* The gRPC server on the pipe: answers tables of struct rpc_service (call.h) with gRPC C core.
 *
 * There is no polling thread: requests, and all that follows from them, run on the threads of the pool on which
 * the pipe's reads complete (pipe_pool.h). Handlers of different connections run at the same time, so that one that is slow holds up its
 * own client only; but a connection's next few calls are read only once its last ones have been taken up (pipe_endpoint.h), so that
 * one that asks for much waits itself. What rpc_call_… is asked to do from another thread is handed to the pool, so that a handler's function is
 * never called back from inside it. */
#ifndef HCSD_DAEMON_RPC_GRPC_SERVER_H
#define HCSD_DAEMON_RPC_GRPC_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/rpc/call.h"

struct rpc_server;

struct rpc_server_options {
    const char *pipe;               /* \\.\pipe\NAME */
    const char *const *pipe_access; /* SIDs or names that may use the pipe besides SYSTEM and Administrators */
    size_t pipe_access_count;
    const struct rpc_service *const *services; /* stay as long as the server */
    size_t service_count;
    /* 0 means the default, in brackets; those of the pipe are in pipe_listener.h. */
    unsigned handshake_ms, stall_ms, max_connections, max_user_connections, max_process_connections, max_handshakes;
    bool any_conduct;
    unsigned max_message; /* [16 MiB] bytes of one request message */
    unsigned
        max_streams; /* [1,024] calls of one connection at a time; more wait at the client. Twice as many end the connection */
    unsigned
        max_calls; /* [8,192] calls of all clients at a time, 7/8 of them of one user, 1/8 of one process (and as many again in processes with at most 64); more are
                             RESOURCE_EXHAUSTED: who floods hcsd does so to itself */
};

/* Makes the pipe's name ours and prepares; nothing is answered yet. FAILED_PRECONDITION: the name is held by another
 * process; INVALID_ARGUMENT: pipe_access. */
struct error *rpc_server_open(const struct rpc_server_options *options,
                              struct rpc_server **ret_server) ERROR_MUST_CHECK;
/* From here on clients are answered. */
void rpc_server_start(struct rpc_server *server);
/* New calls are refused with UNAVAILABLE; those under way go on. Health and reflection too. */
void rpc_server_drain(struct rpc_server *server);

/* Who may use the pipe from here on, as in rpc_server_options; who may not any more is disconnected. INVALID_ARGUMENT names a
 * member that is not known; any other error: this system does not let it be changed. Nothing has changed then. May block on
 * a domain controller. */
struct error *rpc_server_set_access(struct rpc_server *server, const char *const *members,
                                    size_t count) ERROR_MUST_CHECK;

struct rpc_server_counters {
    uint64_t connections_accepted, clients_refused, calls_begun, calls_failed;
    unsigned connections, handshakes, calls;
};
void rpc_server_count(struct rpc_server *server, struct rpc_server_counters *ret_counters);

/* Ends the server within `milliseconds`: the first half for calls to end by themselves, then they are cancelled (their
 * `gone` is called), writes that wait are aborted and connections closed. Returns how many calls their handlers have not
 * ended even so; the server then stays in memory, because they may still touch it. Takes NULL. */
unsigned rpc_server_close(struct rpc_server *server, unsigned milliseconds);

#endif
