/* Where a client wants a stream to come from or go to: `\\.\pipe\NAME` or `file:///C:/dir/name`. The parsing is pure. */
#ifndef HCSD_TASK_ENDPOINT_H
#define HCSD_TASK_ENDPOINT_H

#include "base/error.h"

enum endpoint_kind { ENDPOINT_NONE, ENDPOINT_PIPE, ENDPOINT_FILE };

/* "" is ENDPOINT_NONE. *ret_path is what to open (a pipe's own name; a file's path with backslashes), the caller's to free.
 * INVALID_ARGUMENT for another scheme, a pipe of another machine, or a name that a path parser would take elsewhere ("..");
 * `stream` names it in the error. Files are outputs only. */
struct error *endpoint_parse(const char *text, const char *stream, enum endpoint_kind *ret_kind,
                             char **ret_path) ERROR_MUST_CHECK;

#endif
