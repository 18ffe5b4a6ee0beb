/* gRPC C core over named pipes: what of it needs gRPC's C++ internals (1.51.1), behind a C interface. Everything that
 * touches those internals is in pipe_endpoint.cc and nowhere else. */
#ifndef HCSD_DAEMON_RPC_PIPE_ENDPOINT_H
#define HCSD_DAEMON_RPC_PIPE_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "daemon/rpc/pipe_listener.h"

#ifdef __cplusplus
extern "C" {
#endif

/* grpc_init, with timers and a task pool of our own and without gRPC's threads (which wake up several times a second even
 * when there is nothing to do). Pairs with grpc_shutdown. gRPC must not have been initialised in another way before. */
void pipe_endpoint_init(void);

/* Between grpc_server_create and grpc_server_start: starting the server then starts the listener, and the server's shutdown
 * is complete only when the listener has stopped and every connection is closed. The listener stays the caller's, and is
 * closed after the server was destroyed. */
void pipe_endpoint_attach(grpc_server *server, struct pipe_listener *listener);

/* A client channel on a connected HANDLE (overlapped), which it takes, also on failure. The channel is that one connection:
 * when it is lost, calls fail with UNAVAILABLE and the caller dials again. NULL when there are no resources. */
grpc_channel *pipe_endpoint_channel(void *handle, const grpc_channel_args *args);

#ifdef __cplusplus
}
#endif

#endif
