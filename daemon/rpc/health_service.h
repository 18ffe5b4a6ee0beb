/* The standard health service, grpc.health.v1.Health (grpc/doc/health-checking.md): Check, List, and Watch, which tells
 * each change. The service "" is the whole server. Thread-safe. */
#ifndef HCSD_DAEMON_RPC_HEALTH_SERVICE_H
#define HCSD_DAEMON_RPC_HEALTH_SERVICE_H

#include <stdbool.h>

#include "daemon/rpc/call.h"

struct health_service;

/* Knows "" and the names of `services` (aliases too), all NOT_SERVING until health_service_set. */
struct health_service *health_service_open(const struct rpc_service *const *services, size_t count);
/* The table to serve; lives as long as the health service. */
const struct rpc_service *health_service_table(const struct health_service *health);
/* Sets the status of one service, or of all and "" (NULL), and tells those who watch. */
void health_service_set(struct health_service *health, const char *service, bool serving);
/* Only after the server was closed. Takes NULL. */
void health_service_close(struct health_service *health);

#endif
