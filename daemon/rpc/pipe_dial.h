/* The client's side of the pipe: dialling it. */
#ifndef HCSD_DAEMON_RPC_PIPE_DIAL_H
#define HCSD_DAEMON_RPC_PIPE_DIAL_H

#include "base/error.h"

/* Opens `address`, which is \\.\pipe\NAME or npipe:////./pipe/NAME, within `milliseconds`: while all instances are busy it
 * goes on trying for all of that time, while there is no such pipe for at most a second of it (a service that is just
 * starting). *ret_handle is an overlapped HANDLE. The server may learn who we are, never act as us. INVALID_ARGUMENT: the
 * address; UNAVAILABLE: nobody answers there; PERMISSION_DENIED; DEADLINE_EXCEEDED: busy until the end. */
struct error *pipe_dial(const char *address, unsigned milliseconds, void **ret_handle) ERROR_MUST_CHECK;

#endif
