/* Guarded calls. A call into vmcompute.dll has no timeout and cannot be cancelled; so each runs on a thread of a pool while
 * its caller waits for a bounded time. When the time is over the caller gets DEADLINE_EXCEEDED and goes on; the call stays
 * in the list of stuck calls until it really returns, and what it brings then is dealt with by its `late` function.
 *
 * Each call has a heap record that caller and call thread own together, so that a late return never touches what the
 * caller freed. The record begins with `struct guard_call`; the rest is the call's arguments and results:
 *
 *     struct start_call { struct guard_call base; HCS_SYSTEM system; HRESULT result; };
 *
 * A call that has not returned within hcs.call_seconds (or the longer time that its caller waits) is *lost* (event CALL_LOST),
 * whether or not somebody still waits for it. With max_lost_calls lost, new calls fail with UNAVAILABLE, the event CALLS_EXHAUSTED is sent and `exhausted` is called
 * once: the process reports itself stopped and ends.
 *
 * Windows only. Thread-safe. Lock order: the guard's lock is innermost; none of the functions below is called with it
 * held. */
#ifndef HCSD_HCS_GUARD_H
#define HCSD_HCS_GUARD_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct guard;

struct guard_options {
    uint32_t call_ms;        /* hcs.call_seconds * 1000; 0: 240 s */
    uint32_t max_lost_calls; /* hcs.max_lost_calls; 0: 16 */
    uint32_t max_threads;    /* calls at a time, lost ones included; 0: 2048. Beyond: RESOURCE_EXHAUSTED */
    uint32_t idle_ms;        /* how long a thread without work stays; 0: 30 s. One stays for good */
    /* Called once, on the thread that noticed, with no lock held. May be NULL. */
    void (*exhausted)(void *context, uint32_t lost);
    void *context;
};

struct guard_call {
    /* Set by whoever makes the record. */
    const char *name;                     /* "HcsStartComputeSystem"; static */
    char *object;                         /* id or path; the record owns it */
    uint64_t tag;                         /* what guard_fail selects by: a notification context, or 0 */
    void (*run)(struct guard_call *call); /* on the call thread: makes the call, keeps the results in the record */
    /* On the call thread after `run`, when nobody waits any more: closes handles, frees text, and may make further calls to
     * undo what the call did. Returns what became of it in a few words for the event ("the handle was closed"); may be
     * NULL when there is nothing to undo. Not called after a return in time. */
    const char *(*late)(struct guard_call *call);
    void (*free)(struct guard_call *call); /* frees what the record owns beside `object` and results; may be NULL */
    /* The guard's own. */
    struct guard_state *state;
};

/* How long a caller waits. A NULL pointer means {0, NULL}. */
struct guard_wait {
    uint32_t ms;   /* 0: the guard's call_ms */
    HANDLE cancel; /* a manual-reset event that ends the wait with CANCELLED, or NULL. The caller keeps it open */
};

struct error *guard_new(const struct guard_options *options, struct guard **ret_guard) ERROR_MUST_CHECK;

/* Refuses new calls (UNAVAILABLE), ends idle threads and waits at most `wait_ms` for running calls. True when all threads
 * have ended. With calls still stuck it returns false and what they use stays in memory until they return: the
 * process is about to end. The pointer is gone either way. */
bool guard_close(struct guard *guard, uint32_t wait_ms);

/* Runs the call and waits. NULL: it returned in time, the record holds its results. Errors, after which the results must
 * not be looked at: DEADLINE_EXCEEDED (names call, object, seconds), CANCELLED, UNAVAILABLE (guard_fail, too many lost,
 * closed), RESOURCE_EXHAUSTED (no thread), INTERNAL (this thread impersonates a client). The caller then calls
 * guard_release in every case. `call` is calloc'ed memory. */
struct error *guard_run(struct guard *guard, struct guard_call *call, const struct guard_wait *wait) ERROR_MUST_CHECK;

/* Gives up the caller's share of the record; frees it when the call thread is through with it. NULL is fine. */
void guard_release(struct guard_call *call);

/* For `run` and `late`: names the call that the record is in now, where it makes several ("HcsCloseProcess"). Static text. */
void guard_step(struct guard_call *call, const char *name);

/* New bounds for calls that begin from now on; 0 leaves one as it is. */
void guard_set_bounds(struct guard *guard, uint32_t call_ms, uint32_t max_lost_calls);
uint32_t guard_call_ms(const struct guard *guard);

/* Ends the wait of every call with this tag with UNAVAILABLE ("lost communication with the compute service"); how many.
 * Does not block; may be called from a notification. */
unsigned guard_fail(struct guard *guard, uint64_t tag);

struct guard_record {
    char *name;
    char *object;
    uint32_t thread_id;
    uint64_t age_ms;
    bool abandoned; /* nobody waits for it any more */
    bool lost;      /* it has been running for longer than any call should */
};

struct guard_list {
    struct guard_record *records; /* oldest first */
    size_t count;
};

/* What runs now, and of that what is abandoned or lost. Never waits for a call. */
void guard_list_running(struct guard *guard, struct guard_list *ret_list);
void guard_list_stuck(struct guard *guard, struct guard_list *ret_list);
void guard_list_free(struct guard_list *list);

struct guard_counts {
    uint32_t running; /* all calls that have not returned, stuck ones included */
    uint32_t stuck;   /* of these, abandoned or lost */
    uint32_t lost;    /* of these, lost */
    uint32_t idle;    /* threads without work */
    uint64_t returned_late;
};
struct guard_counts guard_count(struct guard *guard);
bool guard_is_exhausted(struct guard *guard);

/* INTERNAL when the calling thread has an impersonation token: HCS would act as that client and refuse. */
struct error *guard_check_token(const char *operation, const char *object) ERROR_MUST_CHECK;

#endif
