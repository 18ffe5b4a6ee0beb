/* The relay's control pipe: one hcsd at a time, found again after a restart of hcsd. Its access list lets SYSTEM and whoever
 * owns the relay in and nobody else, local clients only. What hcsd does not read is queued up to a limit, after which the
 * connection is given up: it comes back and asks with LIST.
 *
 * The relay ends when hcsd has gone and there are no sessions; when hcsd says END and there are none; when no hcsd has come
 * within CONTROL_FIRST_MS of its start; and, CONTROL_LINGER_MS after hcsd went, when no output is to come any more. */
#ifndef HCSD_DAEMON_RELAY_CONTROL_H
#define HCSD_DAEMON_RELAY_CONTROL_H

#include "daemon/relay/loop.h"

#define CONTROL_FIRST_MS  30000u
#define CONTROL_LINGER_MS 600000u

struct control;

/* Serves the pipe: FAILED_PRECONDITION when somebody else has the name. loop_stop is called when the relay is to end. */
struct error *control_open(struct loop *loop, const wchar_t *pipe, struct control **ret_control) ERROR_MUST_CHECK;

#endif
