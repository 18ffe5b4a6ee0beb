/* The stdio of one process: copies between the process's pipes and what the client gave.
 *
 * Asynchronous: overlapped IO on the thread pool, no thread per stream, one buffer per stream that grows to 64 KiB while it is
 * filled. A client that goes away does not stop the process: its output is then read and dropped, and counted. Everything is
 * here, behind functions that take handles and call back, so that it can move into a process of its own.
 *
 * Thread-safe; nothing blocks but relay_dial, which waits at most RELAY_DIAL_MS for a busy pipe. */
#ifndef HCSD_TASK_RELAY_H
#define HCSD_TASK_RELAY_H

#include <windows.h>

#include "base/error.h"
#include "task/operations.h"

#define RELAY_DIAL_MS 10000u

struct relay;

/* Opens what the client gave, in the order stdin, stdout, stderr; "" is none. Pipes are dialled with identification level, so
 * that whoever serves them cannot act as hcsd. INVALID_ARGUMENT for anything but a local pipe or a file:/// URL; NOT_FOUND
 * for a pipe that nobody serves. `timers` must outlive the relay. */
struct error *relay_dial(struct operations *timers, const char *stdin_path, const char *stdout_path,
                         const char *stderr_path, struct relay **ret_relay) ERROR_MUST_CHECK;

/* Takes the process's ends (NULL: none), also when it fails, and begins. `stdin_ended` is called once when the client has
 * closed its end of stdin and all of it was passed on; the process's end is closed by then. */
struct error *relay_attach(struct relay *relay, HANDLE process_stdin, HANDLE process_stdout, HANDLE process_stderr,
                           void (*stdin_ended)(void *context), void *context) ERROR_MUST_CHECK;

/* Ends stdin, as if the client had closed it. */
void relay_close_stdin(struct relay *relay);

/* Calls `drained` once, maybe before it returns: when all output has been passed on and the process's ends are closed; or when
 * nothing was left to pass on for quiet_ms (0: that does not count), as when another process still holds the pipe; or after
 * `milliseconds`. `lost` is how many bytes could not be passed on so far. Once more only after `drained`. */
void relay_drain(struct relay *relay, unsigned quiet_ms, unsigned milliseconds,
                 void (*drained)(void *context, uint64_t lost), void *context);

/* Closes all ends and frees the relay when the last transfer has come back. True: a `drained` was outstanding and is not called
 * any more. False: there was none, or it was or is being called. NULL is fine (false). */
bool relay_close(struct relay *relay);

#endif
