/* What the services share. Internal to daemon/services. */
#ifndef HCSD_DAEMON_SERVICES_SERVICE_H
#define HCSD_DAEMON_SERVICES_SERVICE_H

#include <google/protobuf/timestamp.pb-c.h>

#include "daemon/services/services.h"

struct service {
    struct rpc_service table; /* first: this is what service_close is given */
    struct tasks *tasks;
    struct jobs *jobs;
    void (*free_more)(struct service *service); /* NULL: nothing */
};

/* `methods` must be static. handlers are given the service as their context. */
struct service *service_new(size_t size, const char *name, const char *alias, const struct rpc_method *methods,
                            size_t method_count);

#define METHOD(method, request_name, response_name, method_shape, handler)                                             \
    {                                                                                                                  \
        .name = method, .request = &request_name##__descriptor, .response = &response_name##__descriptor,              \
        .shape = method_shape, .handle = handler                                                                       \
    }

/* Messages have pointers to non-const text, but sending one changes nothing. NULL is "". */
char *service_text(const char *text);

/* Fills *storage and returns it; NULL for 0, which is "never". */
Google__Protobuf__Timestamp *service_time(int64_t wall_ns, Google__Protobuf__Timestamp *storage);

/* "pid 12, DOMAIN\user". The caller frees it. */
char *service_client(const struct rpc_call *call);

#endif
