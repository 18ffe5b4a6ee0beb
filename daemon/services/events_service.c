/* containerd.services.events.v1.Events. */
#include <containerd/services/events/v1/events.pb-c.h>
#include <google/protobuf/empty.pb-c.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/events/exchange.h"
#include "daemon/services/service.h"

struct events_service {
    struct service service; /* first */
    struct exchange *exchange;
};

static const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

static struct exchange *exchange_of(void *context)
{
    return ((struct events_service *)context)->exchange;
}

static void publish(struct rpc_call *call, struct exchange *exchange, int64_t wall_ns, const char *containerd_namespace,
                    const char *topic, const Google__Protobuf__Any *event)
{
    struct error *error = envelope_check(containerd_namespace, topic, event);
    if (error != NULL) {
        rpc_call_fail(call, error);
        return;
    }
    exchange_publish(exchange, envelope_new(wall_ns, containerd_namespace, topic, event->type_url, event->value.data,
                                            event->value.len));
    rpc_call_reply(call, &empty.base);
}

static void handle_publish(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Services__Events__V1__PublishRequest *request =
        (const Containerd__Services__Events__V1__PublishRequest *)message;
    publish(call, exchange_of(context), clock_wall_ns(), rpc_call_caller(call)->containerd_namespace, request->topic,
            request->event);
}

static void handle_forward(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Services__Events__V1__ForwardRequest *request =
        (const Containerd__Services__Events__V1__ForwardRequest *)message;
    const Containerd__Types__Envelope *envelope = request->envelope;
    const Google__Protobuf__Timestamp *time = envelope == NULL ? NULL : envelope->timestamp;
    /* Go's zero time is year 1. */
    bool timed = time != NULL && time->seconds > -62135596800 && (time->seconds != 0 || time->nanos != 0) &&
                 time->seconds > INT64_MIN / 1000000000 && time->seconds < INT64_MAX / 1000000000 && time->nanos >= 0 &&
                 time->nanos <= 999999999;
    if (!timed) {
        rpc_call_fail(call,
                      error_make(ERROR_KIND_INVALID_ARGUMENT, "forward", envelope == NULL ? NULL : envelope->topic,
                                 "the envelope is missing, or its time, or the time is out of range"));
        return;
    }
    publish(call, exchange_of(context), time->seconds * 1000000000 + time->nanos, envelope->namespace_, envelope->topic,
            envelope->event);
}

static void handle_subscribe(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Services__Events__V1__SubscribeRequest *request =
        (const Containerd__Services__Events__V1__SubscribeRequest *)message;
    struct filters *filters;
    struct error *error = filters_parse(request->filters, request->n_filters, &filters);
    if (error == NULL)
        error = exchange_subscribe(exchange_of(context), call, filters);
    if (error != NULL)
        rpc_call_fail(call, error);
}

static const struct rpc_method methods[] = {
    METHOD("Publish", containerd__services__events__v1__publish_request, google__protobuf__empty, RPC_UNARY,
           handle_publish),
    METHOD("Forward", containerd__services__events__v1__forward_request, google__protobuf__empty, RPC_UNARY,
           handle_forward),
    METHOD("Subscribe", containerd__services__events__v1__subscribe_request, containerd__types__envelope,
           RPC_SERVER_STREAM, handle_subscribe),
};

const struct rpc_service *events_service_open(struct exchange *exchange)
{
    struct service *service = service_new(sizeof(struct events_service), "containerd.services.events.v1.Events", NULL,
                                          methods, sizeof methods / sizeof *methods);
    ((struct events_service *)service)->exchange = exchange;
    return &service->table;
}
