/* Where a client wants a stream to come from or go to. The parsing is pure.
 *
 *   \\.\pipe\NAME                  a pipe that the client serves (npipe:////./pipe/NAME is the same)
 *   file:///C:/dir/name            output is added to a file
 *   binary:///C:/dir/name.exe?k=v  output goes to a logger, a program that is started with the arguments k and v
 *   binary-v2:///…                 the same; it must say that it is ready
 *
 * Forms: facts containerd.md 4 (containerd's pkg/cio/io.go, hcsshim's internal/cmd/io_binary.go). */
#ifndef HCSD_RELAY_ENDPOINT_H
#define HCSD_RELAY_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum endpoint_kind { ENDPOINT_NONE, ENDPOINT_PIPE, ENDPOINT_FILE, ENDPOINT_LOGGER };

#define ENDPOINT_ARGUMENTS_MAX 32

struct endpoint {
    enum endpoint_kind kind;
    char *path;       /* what to open or run: a pipe's own name, a path with backslashes; NULL of NONE */
    char **arguments; /* LOGGER: each key and its first value, as they stand in the URL */
    size_t argument_count;
    bool must_answer; /* LOGGER: binary-v2 */
};

/* "" (or NULL) is ENDPOINT_NONE. INVALID_ARGUMENT for another scheme, a pipe of another machine, a UNC path, or a name that a
 * path parser would take elsewhere (".."); `stream` names it in the error. Files and loggers are for outputs only. */
struct error *endpoint_parse(const char *text, const char *stream, struct endpoint *ret_endpoint) ERROR_MUST_CHECK;

/* The three of a process: each by itself, and a logger must have both outputs (or stderr is not there). */
struct error *endpoint_parse_all(const char *const texts[3], struct endpoint ret_endpoints[3]) ERROR_MUST_CHECK;

void endpoint_clear(struct endpoint *endpoint); /* frees what is in it, not the struct */

#endif
