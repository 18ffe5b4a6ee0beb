/* The relay's one loop: a completion port, timers, and everything that runs on its one thread. Nothing in this folder needs a
 * lock, since all of it runs here; what can block (opening files, starting loggers) runs on a pool thread and comes back by
 * loop_post. Windows only. */
#ifndef HCSD_DAEMON_RELAY_LOOP_H
#define HCSD_DAEMON_RELAY_LOOP_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct loop;

/* One transfer at a time: from loop_read or loop_write until `done` is called. Must live that long. */
struct loop_io {
    OVERLAPPED overlapped; /* first */
    void (*done)(struct loop_io *io, DWORD code, DWORD bytes);
    bool flying;
};

/* Zero-initialised is not armed. */
struct loop_timer {
    struct loop_timer *next, *previous;
    uint64_t due_ms;
    void (*fire)(struct loop_timer *timer);
    bool armed;
};

struct error *loop_new(struct loop **ret_loop) ERROR_MUST_CHECK;
void loop_free(struct loop *loop);

/* Ties an overlapped handle to the loop, for good: the file object keeps this, whoever else has a handle to it. */
struct error *loop_bind(struct loop *loop, HANDLE handle, const char *what) ERROR_MUST_CHECK;

enum loop_begun {
    LOOP_PENDING, /* `done` will be called */
    LOOP_AT_ONCE, /* it is over, *ret_bytes were transferred, `done` is not called */
    LOOP_FAILED,  /* it never began; *ret_code says why */
};
/* *ret_value is the count of bytes or the error code. `at_end`: written at the end of a file. */
enum loop_begun loop_read(HANDLE handle, void *data, DWORD size, struct loop_io *io, DWORD *ret_value);
enum loop_begun loop_write(HANDLE handle, const void *data, DWORD size, bool at_end, struct loop_io *io,
                           DWORD *ret_value);
enum loop_begun loop_connect(HANDLE pipe, struct loop_io *io, DWORD *ret_value);

/* Has `done(io, code, bytes)` called on the loop's thread. From any thread; an io that is not flying. */
void loop_post(struct loop *loop, struct loop_io *io, DWORD code, DWORD bytes);

/* What may block, on one of at most LOOP_WORKERS threads: `run` there, then `io.done` on the loop's. */
#define LOOP_WORKERS 4
struct loop_work {
    struct loop_io io; /* first; `done` is the caller's */
    void (*run)(struct loop_work *work);
    struct loop *loop;
};
struct error *loop_work(struct loop *loop, struct loop_work *work) ERROR_MUST_CHECK;

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ms,
                    void (*fire)(struct loop_timer *timer));
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* Until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
