/* Signals by name, as people type them. Pure. */
#ifndef HCSD_CLI_SIGNAL_H
#define HCSD_CLI_SIGNAL_H

#include <stdint.h>

#include "base/error.h"

#define SIGNAL_KILL 9u
#define SIGNAL_TERM 15u

/* "9", "KILL", "SIGKILL" or "sigkill"; "CtrlC" and so on for Windows' console events. The numbers of Unix names are those that
 * containerd's clients send. INVALID_ARGUMENT naming what there is. */
struct error *signal_parse(const char *text, uint32_t *ret_number) ERROR_MUST_CHECK;

#endif
