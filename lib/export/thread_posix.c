/* For native tests only. */
#include "export/thread.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

struct lock {
    pthread_mutex_t mutex;
};

struct lock *lock_new(void)
{
    struct lock *lock = mem_new(struct lock);
    pthread_mutex_init(&lock->mutex, NULL);
    return lock;
}

void lock_free(struct lock *lock)
{
    if (!lock)
        return;
    pthread_mutex_destroy(&lock->mutex);
    free(lock);
}

void lock_take(struct lock *lock)
{
    pthread_mutex_lock(&lock->mutex);
}

void lock_drop(struct lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

struct condition {
    pthread_cond_t condition;
};

struct condition *condition_new(void)
{
    struct condition *condition = mem_new(struct condition);
    pthread_cond_init(&condition->condition, NULL);
    return condition;
}

void condition_free(struct condition *condition)
{
    if (!condition)
        return;
    pthread_cond_destroy(&condition->condition);
    free(condition);
}

void condition_wait(struct condition *condition, struct lock *lock, uint32_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_cond_timedwait(&condition->condition, &lock->mutex, &until);
}

void condition_wake_all(struct condition *condition)
{
    pthread_cond_broadcast(&condition->condition);
}

struct thread {
    pthread_t id;
    void (*run)(void *context);
    void *context;
};

static void *thread_main(void *context)
{
    struct thread *thread = context;
    thread->run(thread->context);
    return NULL;
}

struct error *thread_start(void (*run)(void *context), void *context, struct thread **ret_thread)
{
    struct thread *thread = mem_new(struct thread);
    thread->run = run;
    thread->context = context;
    int result = pthread_create(&thread->id, NULL, thread_main, thread);
    if (result != 0) {
        free(thread);
        return error_errno(result, "start thread", NULL, NULL);
    }
    *ret_thread = thread;
    return NULL;
}

void thread_join(struct thread *thread)
{
    if (!thread)
        return;
    pthread_join(thread->id, NULL);
    free(thread);
}

unsigned thread_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > 64 ? 64 : (unsigned)count;
}
