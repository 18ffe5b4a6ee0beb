/* gRPC C core over named pipes: what of it needs gRPC's C++ internals (1.51.1), behind a C interface. Everything that
 * touches those internals is in pipe_endpoint.cc and grpc_engine.cc and nowhere else.
 *
 * A client's bytes are taken in turns of 64 frames of HTTP/2: the next turn comes when the calls of the last one have been taken
 * up, on a thread of the listener's pool, behind others if there is more than a turn. */
#ifndef HCSD_DAEMON_RPC_PIPE_ENDPOINT_H
#define HCSD_DAEMON_RPC_PIPE_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "daemon/rpc/pipe_listener.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Between grpc_server_create and grpc_server_start: starting the server then starts the listener, and the server's shutdown
 * is complete only when the listener has stopped and every connection is closed. The listener stays the caller's, and is
 * closed after the server was destroyed. */
void pipe_endpoint_attach(grpc_server *server, struct pipe_listener *listener);

/* Where a call that arrives is put. */
struct pipe_endpoint_call {
    grpc_completion_queue_functor *tag; /* run when it is there */
    grpc_call **call;
    grpc_metadata_array *metadata;
    grpc_call_details *details;
};
/* Before grpc_server_start, instead of grpc_server_request_call: every call is taken at once, in gRPC's thread and without
 * waiting, so that there is no queue in which calls of one client stand before those of another. */
void pipe_endpoint_on_call(grpc_server *server, grpc_completion_queue *queue,
                           void (*take)(void *context, struct pipe_endpoint_call *ret_call), void *context);

/* A client channel on a connected HANDLE (overlapped), which it takes, also on failure. The channel is that one connection:
 * when it is lost, calls fail with UNAVAILABLE and the caller dials again. NULL when there are no resources. */
grpc_channel *pipe_endpoint_channel(void *handle, const grpc_channel_args *args);

#ifdef __cplusplus
}
#endif

#endif
