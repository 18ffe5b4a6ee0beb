/* Opening what the client gave: its pipes, and files that take output.
 *
 * Pipes are local ones only and dialled with identification level: whoever serves one cannot act as the relay, which is SYSTEM.
 * A file is opened as SYSTEM, so whoever may use hcsd's pipe is as good as an administrator (docs/configuration.md,
 * pipe_access); what other users may have put in a file's place, a link, is refused. */
#ifndef HCSD_DAEMON_RELAY_DIAL_H
#define HCSD_DAEMON_RELAY_DIAL_H

#include "daemon/relay/loop.h"
#include "relay/endpoint.h"

#define DIAL_MS 10000u /* for a pipe that is busy, a file that does not open */

/* One try, which does not wait. *ret_code is the reason when an error comes back. */
struct error *dial_pipe(const char *path, bool input, HANDLE *ret_handle, DWORD *ret_code) ERROR_MUST_CHECK;

/* Opens a PIPE or a FILE: `done` is called once, on the loop's thread, not before this returns. It takes the error, or the
 * handle, which is not tied to the loop yet. NOT_FOUND for a pipe that nobody serves; DEADLINE_EXCEEDED. */
struct dial;
typedef void (*dial_done)(void *context, struct error *error, HANDLE handle);
struct dial *dial_begin(struct loop *loop, const struct endpoint *endpoint, bool input, dial_done done, void *context);
/* `done` is not called any more. The dial frees itself in either case. */
void dial_cancel(struct dial *dial);

#endif
