/* One call of gRPC, between grpc_server.c, which takes it in, and call.h, which handlers see. Private to daemon/rpc. */
#ifndef HCSD_DAEMON_RPC_GRPC_CALL_H
#define HCSD_DAEMON_RPC_GRPC_CALL_H

#include <windows.h>

#include <stdatomic.h>
#include <stdbool.h>

#include <grpc/grpc.h>

#include "daemon/rpc/arena.h"
#include "daemon/rpc/call.h"
#include "daemon/rpc/pipe_listener.h"
#include "daemon/rpc/status.h"

struct rpc_server;

/* What gRPC calls when a batch has ended; a tag is a pointer to one. */
struct step {
    grpc_completion_queue_functor functor; /* first */
    void (*run)(void *context, bool ok);
    void *context;
};
void step_init(struct step *step, void (*run)(void *context, bool ok), void *context);
/* Runs `run` on a thread of the pool, as if a batch of gRPC had ended. */
void step_post(struct step *step);
/* Whether this thread is in a step: then gRPC may be called from here, and what follows comes after the step. */
bool step_is_running(void);

/* A unary call's life, with what each step holds:
 *
 *   request ─▶ begin ─▶ receive ─▶ handle ──┬─ ended in the handler: one batch with reply, status and close
 *                                           └─ kept: `closed` watches for the client's end; the reply comes later
 *
 * A call is freed when its last reference goes: one for who must end it, one for each batch in flight. */
struct rpc_call {
    struct rpc_server *server;
    grpc_call *call;
    atomic_int references;
    struct step request_step, receive_step, closed_step, send_step, end_step, post_step;

    grpc_call_details details;
    grpc_metadata_array metadata;
    const struct rpc_service *service;
    const struct rpc_method *method;
    struct pipe_connection *connection;
    struct rpc_caller caller;
    char containerd_namespace[80];
    char *change; /* what the log says of it when it ends; NULL: it only looks */

    grpc_byte_buffer *received;
    int cancelled; /* written by gRPC before `closed` runs */

    SRWLOCK lock;      /* the flags, and who is told */
    bool ended;        /* by the handler */
    bool close_asked;  /* the batch that tells of the client's end was started */
    bool gone;         /* the client's end came first */
    bool initial_sent; /* initial metadata */
    bool sending;      /* a stream's message is under way */
    bool handling;     /* in the handler of a bidi message, or its reply not sent */
    bool receiving, half_closed;
    void (*gone_function)(void *context);
    void *gone_context;
    void (*sent_function)(void *context, bool ok);
    void *sent_context;

    grpc_byte_buffer *message; /* the reply, or the stream's message under way */
    bool failed;               /* the status below is set */
    struct status status;
    grpc_slice status_text;
    grpc_metadata trailing;

    struct arena arena; /* the request, unpacked */
};

/* What a call asks of its server (grpc_server.c). */
struct pipe_connection *rpc_server_connection(struct rpc_server *server, const char *peer);
/* Finds the method and says whether the call may go on. */
struct error *rpc_server_admit(struct rpc_server *server, struct pipe_connection *connection, grpc_slice path,
                               const struct rpc_service **ret_service,
                               const struct rpc_method **ret_method) ERROR_MUST_CHECK;
void rpc_server_call_failed(struct rpc_server *server);
/* The last thing a call does. */
void rpc_server_call_freed(struct rpc_server *server);

struct rpc_call *grpc_call_new(struct rpc_server *server);
/* gRPC has filled in call, details and metadata: looks at them and takes the call where it belongs. */
void grpc_call_begin(struct rpc_call *call);
void grpc_call_unref_ours(struct rpc_call *call);

#endif
