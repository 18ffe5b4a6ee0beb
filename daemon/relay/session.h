/* The sessions of a relay: the stdio of one process each, from the opening of what the client gave until all has been passed on.
 * Messages come in from the control pipe and answers go out by the function given; hcsd may come and go meanwhile. */
#ifndef HCSD_DAEMON_RELAY_SESSION_H
#define HCSD_DAEMON_RELAY_SESSION_H

#include "daemon/relay/loop.h"
#include "relay/protocol.h"

#define SESSIONS_MAX 65536u

struct sessions;

struct sessions_options {
    struct loop *loop;
    /* To hcsd, when it is there; nothing is kept for one that is not: it asks with LIST. */
    void (*send)(void *context, const struct relay_message *message);
    void (*emptied)(void *context); /* the last session is gone */
    void *context;
};
struct sessions *sessions_new(const struct sessions_options *options);

/* Anything but HELLO and END. */
void sessions_message(struct sessions *sessions, const struct relay_message *message);
/* hcsd is gone: answers that are due are not, and what was being opened for it is given up. */
void sessions_abandon(struct sessions *sessions);
size_t sessions_count(const struct sessions *sessions);
/* Whether there is output to come. */
bool sessions_hold(const struct sessions *sessions);

#endif
