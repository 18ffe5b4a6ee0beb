/* Operation threads and timers: where slow steps run, and what wakes them.
 *
 * The pool is elastic: a thread is made when work waits and none is idle, up to a limit, and ends after some idle seconds;
 * beyond the limit work is queued. Work may block (that is what it is for), so who needs not to wait behind it has a pool of
 * its own. A timer fires once, on the pool's timer thread, which is made with the first timer; `fire` must be short.
 *
 * Thread-safe; nothing but operations_close blocks. */
#ifndef HCSD_TASK_OPERATIONS_H
#define HCSD_TASK_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct operations;

struct operations *operations_open(const char *name, unsigned threads, unsigned queue);
/* `run` is called once on a thread of the pool. RESOURCE_EXHAUSTED when the queue is full. */
struct error *operations_submit(struct operations *operations, void (*run)(void *context),
                                void *context) ERROR_MUST_CHECK;
/* For what must be done and is bounded elsewhere: takes no notice of the queue's limit. */
void operations_post(struct operations *operations, void (*run)(void *context), void *context);
/* Runs what is left to do, for as long as the time lasts, and ends the threads. False: something was still running. Armed
 * timers never fire after this, and what is posted is dropped once the threads have ended. */
bool operations_close(struct operations *operations, unsigned milliseconds);
/* When operations_close has said true; otherwise it stays in memory. NULL is fine. */
void operations_free(struct operations *operations);

/* Zero-initialised is a timer that is not armed. */
struct timer {
    struct timer *next, *previous;
    uint64_t due_ms;
    void (*fire)(void *context);
    void *context;
    bool armed;
};

/* Arms or re-arms; due_ms is clock_ms() time. Returns true when it was not armed before: whoever keeps a reference for an
 * armed timer takes one then, and gives it back in `fire` or when timer_clear says true. */
bool timer_set(struct operations *operations, struct timer *timer, uint64_t due_ms, void (*fire)(void *context),
               void *context);
/* True: it was armed and will not fire. False: it was not, or is firing. */
bool timer_clear(struct operations *operations, struct timer *timer);

#endif
