/* The error object on the wire, there and back: gRPC status code and message, and in the trailing metadata
 * "grpc-status-details-bin" an hcsd.v1.Status (field for field google.rpc.Status) with an hcsd.v1.ErrorDetail in it.
 * Knows no gRPC. Pure; thread-safe. */
#ifndef HCSD_DAEMON_RPC_STATUS_H
#define HCSD_DAEMON_RPC_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define STATUS_DETAILS_KEY "grpc-status-details-bin"

/* A client may limit all headers of a response to 8 KiB (gRPC's default), and bytes travel as base64: what would not fit is
 * left out from the end, events first. */
#define STATUS_DETAILS_MAX 3072u
#define STATUS_TEXT_MAX    1024u

struct status {
    int code;      /* gRPC's */
    char *message; /* error_text, cut to STATUS_TEXT_MAX */
    uint8_t *details;
    size_t details_size;
};

/* Does not take the error. Free with status_free. */
void status_from_error(const struct error *error, struct status *ret_status);
void status_free(struct status *status);

/* What a client makes of a status that is not OK. Details that are absent, damaged or another program's leave kind and
 * message; operation is then `operation` and object `object` (may be NULL). */
struct error *status_to_error(int code, const char *message, size_t message_size, const uint8_t *details,
                              size_t details_size, const char *operation, const char *object) ERROR_MUST_CHECK;

#endif
