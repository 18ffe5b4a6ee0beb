/* The pipe's name: making it ours, and saying whose it is. */
#ifndef HCSD_DAEMON_RPC_PIPE_NAME_H
#define HCSD_DAEMON_RPC_PIPE_NAME_H

#include <windows.h>

#include <stdbool.h>

#include "base/error.h"

/* Creates an instance of the pipe; INVALID_HANDLE_VALUE on failure (GetLastError). Overlapped, bytes, both ways, local
 * clients only; its access can be changed (pipe_access_apply). */
HANDLE pipe_name_instance(const wchar_t *pipe, PSECURITY_DESCRIPTOR descriptor, bool first);

/* Makes the first instance of `pipe` and puts it into the disconnected state, in which it takes no client but holds the
 * name (DisconnectNamedPipe: a client can connect only after another ConnectNamedPipe). FAILED_PRECONDITION when somebody
 * holds the name; PERMISSION_DENIED when the descriptor shuts ourselves out. *ret_held false: this system would let clients connect to it all the same (never documented; found by
 * trying), so the caller must treat it as an instance like any other. */
struct error *pipe_name_hold(const wchar_t *pipe, PSECURITY_DESCRIPTOR descriptor, HANDLE *ret_handle,
                             bool *ret_held) ERROR_MUST_CHECK;

#endif
