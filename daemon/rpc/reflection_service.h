/* Server reflection, grpc.reflection.v1.ServerReflection and its elder v1alpha (grpc/doc/server-reflection.md), so that
 * generic clients (grpcurl and the like) can list, describe and call what is served. Thread-safe. */
#ifndef HCSD_DAEMON_RPC_REFLECTION_SERVICE_H
#define HCSD_DAEMON_RPC_REFLECTION_SERVICE_H

#include "daemon/rpc/call.h"

struct reflection_service;

/* Tells of `services`, their aliases, and itself. `set` is a serialized FileDescriptorSet with all imports (the build embeds
 * it: hcsd_descriptor_set.h); all of them must stay. INTERNAL: it is none. */
struct error *reflection_service_open(const struct rpc_service *const *services, size_t count, const uint8_t *set,
                                      size_t size, struct reflection_service **ret_reflection) ERROR_MUST_CHECK;
const struct rpc_service *reflection_service_table(const struct reflection_service *reflection);
/* Only after the server was closed. Takes NULL. */
void reflection_service_close(struct reflection_service *reflection);

#endif
