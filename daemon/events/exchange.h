/* The exchange: whatever happens to tasks, and what clients publish, goes to all who have subscribed.
 *
 * An event is made once and queued for each subscriber whose filters let it through; each gets them in the order in which they were
 * published. A subscriber that does not read is never waited for: when its queue is full, what it was sent so far is all it
 * gets, and its stream ends with DATA_LOSS and the number of events that it has missed. Nothing is replayed.
 *
 * Thread-safe; nothing blocks. */
#ifndef HCSD_DAEMON_EVENTS_EXCHANGE_H
#define HCSD_DAEMON_EVENTS_EXCHANGE_H

#include "daemon/events/envelope.h"
#include "daemon/events/filter.h"
#include "daemon/rpc/call.h"

#define EXCHANGE_QUEUE_MAX       4096u      /* events that wait for one subscriber */
#define EXCHANGE_QUEUE_BYTES     (8u << 20) /* and their bytes */
#define EXCHANGE_SUBSCRIBERS_MAX 256u

struct exchange;

struct exchange *exchange_open(void);
/* When every stream has ended. NULL is fine. */
void exchange_close(struct exchange *exchange);

/* Takes the reference to the envelope. */
void exchange_publish(struct exchange *exchange, struct envelope *envelope);

/* Sends the call what is published from now on, until its client goes away. Takes the filters. RESOURCE_EXHAUSTED; the call then is
 * still the caller's to end; UNAVAILABLE after exchange_end. */
struct error *exchange_subscribe(struct exchange *exchange, struct rpc_call *call,
                                 struct filters *filters) ERROR_MUST_CHECK;

/* Ends all streams with UNAVAILABLE, those that are being written to as soon as that is over, and lets nobody subscribe any more. */
void exchange_end(struct exchange *exchange);

#endif
