/* The journalled form of a container. Pure; thread-safe. */
#ifndef HCSD_TASK_RECORD_H
#define HCSD_TASK_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "task/phases.h"

#define RECORD_VERSION 1

struct record {
    const char *bundle, *stdin_path, *stdout_path, *stderr_path;
    const char *scratch; /* the layer that was mounted for it, "": none */
    const char *sandbox; /* the pod that it belongs to, "": none */
    const char
        *session; /* what finds its stdio in the relay again (relay/relays.h); "": none, and in older documents */
    enum phase phase;
    bool terminal, ran;
    bool isolated, linux_container;
    bool asked;  /* somebody wanted its end */
    bool hidden; /* deleted by force */
    uint32_t pid, exit_status;
    int64_t exited_ns;
};

json_t *record_encode(const struct record *record);
/* The texts live as long as `body`. DATA_LOSS naming the member that is missing or of the wrong type; members that are not
 * known are ignored. */
struct error *record_decode(const json_t *body, const char *id, struct record *ret_record) ERROR_MUST_CHECK;

#endif
