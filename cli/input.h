/* A named pipe of hcsctl's own for a process's input: a thread copies what comes from a standard handle into it. */
#ifndef HCSD_CLI_INPUT_H
#define HCSD_CLI_INPUT_H

#include <windows.h>

#include "base/error.h"

struct input;

/* Makes `\\.\pipe\hcsctl-PID-ID-stdin`, which whoever reads the input connects to. The end of `source` ends the pipe. */
struct error *input_open(const char *id, HANDLE source, struct input **ret_input) ERROR_MUST_CHECK;
const char *input_path(const struct input *input);
/* Stops copying. A read of `source` that cannot be broken off (a console's, without a key) is left to the end of the process, with
 * what it uses. NULL is fine. */
void input_close(struct input *input);

#endif
