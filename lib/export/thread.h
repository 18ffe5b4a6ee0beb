/* Threads, locks and conditions for the export's own use: SRW locks and condition variables on Windows (under Wine they
 * need no trip to the server, winpthreads' do), pthreads in native tests. None of these functions fails; no thread is a
 * failure of thread_start. */
#ifndef HCSD_EXPORT_THREAD_H
#define HCSD_EXPORT_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct lock;
struct lock *lock_new(void);
void lock_free(struct lock *lock); /* takes NULL; nobody may hold it */
void lock_take(struct lock *lock);
void lock_drop(struct lock *lock);

struct condition;
struct condition *condition_new(void);
void condition_free(struct condition *condition); /* takes NULL; nobody may wait */
/* Drops the lock while waiting, at most `ms`; may wake for no reason. */
void condition_wait(struct condition *condition, struct lock *lock, uint32_t ms);
void condition_wake_all(struct condition *condition);

struct thread;
/* A thread with a small stack (256 KiB). RESOURCE_EXHAUSTED or the system's error when there is none. */
struct error *thread_start(void (*run)(void *context), void *context, struct thread **ret_thread) ERROR_MUST_CHECK;
/* Waits for its end, without bound: whoever calls has told it to end. Takes NULL. */
void thread_join(struct thread *thread);

/* Processors this process may use, 1 to 64. */
unsigned thread_processors(void);

#endif
