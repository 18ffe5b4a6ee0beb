/* What gRPC needs of a process, with timers and a task pool of our own. Its C++ internals are in grpc_engine.cc. */
#ifndef HCSD_DAEMON_RPC_GRPC_ENGINE_H
#define HCSD_DAEMON_RPC_GRPC_ENGINE_H

#ifdef __cplusplus
extern "C" {
#endif

/* grpc_init, with timers and a task pool of our own and without gRPC's threads (which wake up several times a second even
 * when there is nothing to do). Pairs with grpc_shutdown. gRPC must not have been initialised in another way before. */
void grpc_engine_init(void);

#ifdef __cplusplus
}
#endif

#endif
