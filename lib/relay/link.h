/* hcsd's end of one relay's control pipe: messages out are queued, messages in are called back. */
#ifndef HCSD_RELAY_LINK_H
#define HCSD_RELAY_LINK_H

#include <windows.h>

#include "relay/protocol.h"

#define LINK_QUEUE_MAX (1u << 20)

struct link;

struct link_options {
    /* On a thread of the pool, one at a time, with no lock of the link's held. */
    void (*message)(void *context, const struct relay_message *message);
    /* Once, as the last: the pipe broke, the relay does not keep the rules, or link_close was called. The link is gone with it. */
    void (*broken)(void *context);
    void *context;
};

/* Takes the pipe and begins to read, once link_begin is called. On failure the pipe is closed and nothing is called back. */
struct error *link_open(HANDLE pipe, const struct link_options *options, struct link **ret_link) ERROR_MUST_CHECK;
void link_begin(struct link *link);

/* Queues. RESOURCE_EXHAUSTED when the relay has not read for LINK_QUEUE_MAX bytes, UNAVAILABLE once it is breaking. Never calls
 * back before it returns, so that a lock of the caller's may be held. */
struct error *link_send(struct link *link, const struct relay_message *message) ERROR_MUST_CHECK;

/* Has it break. */
void link_close(struct link *link);

#endif
