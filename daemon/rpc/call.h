/* What a handler sees of a call: request and response messages, who calls, and the error object. Nothing of gRPC or of
 * pipes; a transport implements struct rpc_call behind these functions (today: grpc_server.c).
 *
 * A handler is called on one of the transport's threads, those of different calls at the same time, and must return soon:
 * it replies at once, or keeps the call and replies later from any thread. Each call is ended exactly once, by
 * rpc_call_reply, rpc_call_fail or rpc_call_finish; after that the handler must not touch it. All functions are thread-safe,
 * none blocks, and none calls a handler's function before it returns (but rpc_call_on_gone, where it says so): they may be
 * called with locks held. */
#ifndef HCSD_DAEMON_RPC_CALL_H
#define HCSD_DAEMON_RPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

struct rpc_call;

/* Who calls. The strings live as long as the call. */
struct rpc_caller {
    const char
        *containerd_namespace; /* metadata containerd-namespace, checked to be an identifier; "default" when absent */
    uint32_t pid;              /* for logs only: pids are recycled and can be faked */
    const char *sid;           /* from the token after the first bytes, "S-1-5-18" */
    const char *user;          /* DOMAIN\name, or the SID where the name is not known */
    uint64_t connection;       /* a number of the daemon's life */
};

enum rpc_shape {
    RPC_UNARY,         /* one request, one reply */
    RPC_SERVER_STREAM, /* one request, any number of messages */
    RPC_BIDI_STREAM,   /* each request message calls the handler's `message` */
};

struct rpc_method {
    const char *name; /* "Create" */
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    enum rpc_shape shape;
    /* `request` was decoded and checked (every string is UTF-8 without NUL) and lives until the call ends. NULL: answered
     * UNIMPLEMENTED, naming the method. For RPC_BIDI_STREAM it is called once for each message, which lives until the next
     * one, and with NULL after the client's last; the next comes when the handler has returned and what it sent has left. */
    void (*handle)(struct rpc_call *call, const ProtobufCMessage *request, void *context);
};

struct rpc_service {
    const char *name;  /* "containerd.task.v3.Task" */
    const char *alias; /* a second name for the same table, or NULL: "containerd.task.v2.Task" */
    const struct rpc_method *methods;
    size_t method_count;
    void *context; /* handed to each handler */
};

const struct rpc_caller *rpc_call_caller(const struct rpc_call *call);

/* Unary: sends the response and ends the call with OK. The message is encoded before this returns. */
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *response);
/* Ends any call with the error, which it takes. */
void rpc_call_fail(struct rpc_call *call, struct error *error);

/* Streams: queues one message. `sent` (may be NULL) is called once, when the message has left or never will: `ok` false
 * means the client is gone. At most one message may be under way: the next only after `sent`. The message is encoded
 * before this returns. */
void rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message, void (*sent)(void *context, bool ok),
                   void *context);
/* Streams: ends with OK after what was sent. */
void rpc_call_finish(struct rpc_call *call);

/* Calls `gone` once if the call is cancelled by its client, its deadline or a lost connection before it was ended; at once
 * when that has happened already. The handler must still end the call. NULL takes it back: returns false when `gone` has
 * been or is being called. */
void rpc_call_on_gone(struct rpc_call *call, void (*gone)(void *context), void *context);
bool rpc_call_off_gone(struct rpc_call *call);

#endif
