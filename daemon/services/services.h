/* The services on the pipe: one constructor each, and nothing else. A service is the table that the transport serves
 * (daemon/rpc/call.h) plus what its handlers need; the handlers know neither gRPC nor pipes.
 *
 * What is passed in must outlive the service; the service must outlive the last call of the transport (close the server
 * first, then the services, then tasks and jobs). Handlers are thread-safe. */
#ifndef HCSD_DAEMON_SERVICES_SERVICES_H
#define HCSD_DAEMON_SERVICES_SERVICES_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/jobs/jobs.h"
#include "daemon/rpc/call.h"
#include "task/tasks.h"

struct exchange;
struct guard;

/* containerd.task.v3.Task, with containerd.task.v2.Task as the alias. Checkpoint is UNIMPLEMENTED, saying why. */
const struct rpc_service *task_service_open(struct tasks *tasks);

/* hcsd.v1.Tasks: List, ForceDelete, RenderCreate. */
const struct rpc_service *tasks_service_open(struct tasks *tasks);

/* containerd.services.events.v1.Events: Publish, Forward, Subscribe. Outlived by the exchange (daemon/events/exchange.h). */
const struct rpc_service *events_service_open(struct exchange *exchange);

/* hcsd.v1.Layers: Export, Import, and storage calls. `machines` may be NULL: List then knows no utility VMs. */
struct machines;
const struct rpc_service *layers_service_open(struct jobs *jobs, struct machines *machines);

/* hcsd.v1.Jobs: List, Get, Cancel. */
const struct rpc_service *jobs_service_open(struct jobs *jobs);

/* hcsd.v1.Diagnostics: Get, Version. Strings are copied. */
struct diagnostics_library {
    const char *name, *version;
};
struct diagnostics_options {
    struct tasks *tasks;
    struct jobs *jobs;
    struct relays *relays;   /* relay/relays.h; NULL: none are shown */
    struct guard *guard;     /* hcs/guard.h: whose stuck calls are shown; NULL: none */
    const char *version;     /* of hcsd */
    const char *hcs_library; /* the path that is in use */
    const char *windows;     /* "10.0.20348"; NULL: asked of the system */
    /* For the host probe; NULL: it is UNAVAILABLE. */
    const char *service, *config_file, *state_dir;
    /* What only the process knows of: libgrpc, libarchive, … ; protobuf-c, jansson, zlib and zstd too. */
    const struct diagnostics_library *libraries;
    size_t library_count;
    /* Open connections of the transport; NULL: reported as 0. Must not block. */
    uint64_t (*connections)(void *context);
    void *context;
};
const struct rpc_service *diagnostics_service_open(const struct diagnostics_options *options);

/* Frees any of them; NULL is fine. */
void service_close(const struct rpc_service *service);

#endif
