/* Between the task messages and lib/task. */
#ifndef HCSD_DAEMON_SERVICES_STATE_H
#define HCSD_DAEMON_SERVICES_STATE_H

/* The messages have members of these names, which the C library makes macros of. */
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include <containerd/task/v3/shim.pb-c.h>

#include "daemon/services/rootfs.h"
#include "daemon/services/runtime_options.h"
#include "daemon/services/service.h"

/* The response points into view and storage; nothing is allocated. */
void state_response(const struct task_view *view, Containerd__Task__V3__StateResponse *ret_response,
                    Google__Protobuf__Timestamp *storage);

/* Points into request and call. */
struct task_create_storage {
    struct task_create create;
    struct rootfs rootfs;
    struct runtime_options options;
    char *client;
};
struct error *task_create_from(const struct rpc_call *call, const Containerd__Task__V3__CreateTaskRequest *request,
                               struct task_create_storage *ret_storage) ERROR_MUST_CHECK;
void task_create_storage_free(struct task_create_storage *storage);

#endif
