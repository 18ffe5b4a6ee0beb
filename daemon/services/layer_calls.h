/* The calls of hcsd.v1.Layers that are not Export. They block for as long as their worker takes, so each runs on a thread of a
 * pool of its own, bounded; RESOURCE_EXHAUSTED when too many wait. Internal to daemon/services. */
#ifndef HCSD_DAEMON_SERVICES_LAYER_CALLS_H
#define HCSD_DAEMON_SERVICES_LAYER_CALLS_H

#include "daemon/services/service.h"

struct operations;
struct machines;

struct layers_service {
    struct service service; /* first */
    struct machines *machines;
    struct operations *operations;
};

void layer_calls_open(struct layers_service *layers);

void layer_handle_mount(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_unmount(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_list(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_create_scratch(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_expand(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_stat(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_process_image(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_destroy(struct rpc_call *call, const ProtobufCMessage *message, void *context);
void layer_handle_import(struct rpc_call *call, const ProtobufCMessage *message, void *context);

#endif
