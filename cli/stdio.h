/* Named pipes of hcsctl's own for a container's output: hcsd writes into them, a thread copies what comes to a standard
 * handle. */
#ifndef HCSD_CLI_STDIO_H
#define HCSD_CLI_STDIO_H

#include <windows.h>

#include "base/error.h"

struct stdio;

/* Makes `\\.\pipe\hcsctl-PID-ID-NAME` and starts copying what is written into it to `target`. */
struct error *stdio_open(const char *id, const char *name, HANDLE target, struct stdio **ret_stdio) ERROR_MUST_CHECK;
const char *stdio_path(const struct stdio *stdio);
/* Waits until all that was written has been copied, which is when hcsd closes its end: without a bound as long as bytes
 * come or the reader of `target` is slow, and for at most `milliseconds` when nothing moves. NULL is fine. */
void stdio_close(struct stdio *stdio, unsigned milliseconds);

#endif
