/* Watches: what HCS has told about one system or process. Internal to lib/hcs.
 *
 * HCS calls back on its own threads, in any order, from two threads at once, twice, and after an unregistration has begun.
 * So the context of a registration is a number that is never used again, and the one table of the process (a singleton)
 * tells whose it is: a late call finds nothing. A callback only notes what came, wakes who waits and posts to the
 * thread pool; it never blocks, never calls into HCS and never runs foreign code.
 *
 * Thread-safe. Lock order: the table's lock, then a watch's; neither is held over anything that blocks. */
#ifndef HCSD_HCS_NOTIFICATION_H
#define HCSD_HCS_NOTIFICATION_H

#include "hcs/compute.h"

struct watch;

/* Called from the callback when the connection is reported broken, once a watch; must not block. */
typedef void (*watch_disconnected)(void *context, struct watch *watch);

/* In the table from now on. `exit_type` is SYSTEM_EXITED or PROCESS_EXITED. `context` must live until the watch's last
 * release; `release_context` (may be NULL) is called then. */
struct watch *watch_new(enum hcs_notification exit_type, watch_disconnected disconnected, void *context,
                        void (*release_context)(void *context));
void watch_retain(struct watch *watch);
void watch_release(struct watch *watch);

/* The number to register with, as pointer; also the tag of the guarded calls that belong to it. */
void *watch_context(const struct watch *watch);
uint64_t watch_id(const struct watch *watch);
uint64_t watch_epoch(const struct watch *watch);
void watch_set_epoch(struct watch *watch, uint64_t epoch);

/* What HCS calls. */
void CALLBACK watch_notified(ULONG type, void *context, INT32 status, PCWSTR data);

/* Forgets an earlier completion of this type, before the call that is to bring it again is made. */
void watch_expect(struct watch *watch, enum hcs_notification type);

/* Waits for a notification. What came is not consumed. Errors beside those of the bound: the notification's own status
 * when it is a failure; ABORTED (0xC0370106) when the exit came instead; UNAVAILABLE when the connection broke; CANCELLED
 * when the watch is closed. */
struct error *watch_wait(struct watch *watch, enum hcs_notification type, uint32_t default_ms,
                         const struct guard_wait *wait, const char *operation, const char *object) ERROR_MUST_CHECK;
/* The same for the exit, whose status is no error. */
struct error *watch_wait_exit(struct watch *watch, uint32_t default_ms, const struct guard_wait *wait,
                              const char *object, struct hcs_exit *ret_exit) ERROR_MUST_CHECK;
bool watch_has_exited(struct watch *watch, struct hcs_exit *ret_exit);

/* See hcs_system_on_exit. */
struct error *watch_on_exit(struct watch *watch, hcs_exit_function function, void *context,
                            const char *object) ERROR_MUST_CHECK;

/* Out of the table; waits end, and the exit function is told CLOSED unless it was told before. */
void watch_close(struct watch *watch);

#endif
