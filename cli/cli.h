/* What a command of hcsctl works with. One thread. */
#ifndef HCSD_CLI_CLI_H
#define HCSD_CLI_CLI_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "cli/arguments.h"
#include "cli/client.h"

struct cli {
    struct arguments arguments;
    bool json;
    const char *containerd_namespace; /* "default" unless given */
    struct client *client;            /* dialled at the first call */
};

/* How long calls that only look may take; others are bounded by hcsd itself. */
#define CLI_LOOK_MS 30000u

/* A client of its own, for another thread. */
struct error *cli_dial(const struct cli *cli, struct client **ret_client) ERROR_MUST_CHECK;

/* A unary call with cli's client. `request` and *ret_response are protobuf-c messages; free the latter with cli_free. */
struct error *cli_call(struct cli *cli, const char *method, const void *request,
                       const ProtobufCMessageDescriptor *response, unsigned timeout_ms,
                       void *ret_response) ERROR_MUST_CHECK;
void cli_free(void *message); /* NULL is fine */

/* The tables of the nouns, each ended by an entry without a noun. */
extern const struct command task_commands[], task_control_commands[], layer_commands[], job_commands[],
    events_commands[], health_commands[], diag_commands[], version_commands[];

#endif
