/* Calling hcsd: a blocking client over the pipe.
 *
 * A client is one connection. It is used by one thread; client_cancel may be called from any other, such as a console
 * control handler's. When the connection is lost, calls fail with UNAVAILABLE; dial again. */
#ifndef HCSD_CLI_CLIENT_H
#define HCSD_CLI_CLIENT_H

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

#define CLIENT_ADDRESS_DEFAULT "npipe:////./pipe/hcsd"

struct client;
struct client_stream;

struct client_options {
    const char *address;              /* npipe:////./pipe/NAME or \\.\pipe\NAME; NULL: the default */
    const char *containerd_namespace; /* sent with each call; NULL: none */
    unsigned dial_ms;                 /* 0: 5,000. How long to try: see pipe_dial */
};

/* No time limit: the call takes as long as it takes, or until client_cancel. */
#define CLIENT_NO_LIMIT 0u

struct error *client_dial(const struct client_options *options, struct client **ret_client) ERROR_MUST_CHECK;
/* Streams must be closed before. Takes NULL. */
void client_close(struct client *client);

/* A unary call of `method` ("/hcsd.v1.Jobs/List"). The response is freed with protobuf_c_message_free_unpacked(…, NULL). An
 * error of the server comes back as it was made there: kind, code, operation, object, message and HCS's events. */
struct error *client_call(struct client *client, const char *method, const ProtobufCMessage *request,
                          const ProtobufCMessageDescriptor *response, unsigned timeout_ms,
                          ProtobufCMessage **ret_response) ERROR_MUST_CHECK;

/* A call whose responses come one by one. */
struct error *client_stream_open(struct client *client, const char *method, const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *response, unsigned timeout_ms,
                                 struct client_stream **ret_stream) ERROR_MUST_CHECK;
/* Waits for the next message; NULL: the stream has ended well. */
struct error *client_stream_next(struct client_stream *stream, ProtobufCMessage **ret_message) ERROR_MUST_CHECK;
/* Cancels it when it has not ended. Takes NULL. */
void client_stream_close(struct client_stream *stream);

/* Cancels the calls and streams under way and all later ones: they fail with CANCELLED. Never waits; thread-safe; may be
 * called more than once, but not after client_close has begun. */
void client_cancel(struct client *client);

#endif
