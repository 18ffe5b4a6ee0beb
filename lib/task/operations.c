#include "task/operations.h"

#include <windows.h>

#include "base/clock.h"
#include "base/memory.h"

#define IDLE_MS     10000u
#define STACK_BYTES (1024u * 1024u) /* reserved, not committed; a deeply nested document is parsed on it */

struct work {
    struct work *next;
    void (*run)(void *context);
    void *context;
};

struct operations {
    char *name;
    SRWLOCK lock;
    CONDITION_VARIABLE work_added, timer_changed, quiet;
    struct work *first, *last;
    unsigned queued, queue_limit;
    unsigned threads, idle, thread_limit;
    struct timer *timers; /* ascending by due_ms */
    bool timer_thread;
    bool closing, ended;
};

struct operations *operations_open(const char *name, unsigned threads, unsigned queue)
{
    struct operations *operations = mem_new(struct operations);
    operations->name = str_copy(name);
    operations->thread_limit = threads;
    operations->queue_limit = queue;
    InitializeSRWLock(&operations->lock);
    InitializeConditionVariable(&operations->work_added);
    InitializeConditionVariable(&operations->timer_changed);
    InitializeConditionVariable(&operations->quiet);
    return operations;
}

void operations_free(struct operations *operations)
{
    if (!operations || !operations->ended)
        return;
    free(operations->name);
    free(operations);
}

static bool start_thread(DWORD(WINAPI *run)(void *), struct operations *operations)
{
    HANDLE thread = CreateThread(NULL, STACK_BYTES, run, operations, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (!thread)
        return false;
    CloseHandle(thread);
    return true;
}

static DWORD WINAPI work_thread(void *context)
{
    struct operations *operations = context;
    AcquireSRWLockExclusive(&operations->lock);
    for (;;) {
        if (!operations->first) {
            if (operations->closing)
                break;
            operations->idle++;
            BOOL woken = SleepConditionVariableSRW(&operations->work_added, &operations->lock, IDLE_MS, 0);
            operations->idle--;
            if (!woken && !operations->first)
                break;
            continue;
        }
        struct work *work = operations->first;
        operations->first = work->next;
        operations->queued--;
        ReleaseSRWLockExclusive(&operations->lock);
        work->run(work->context);
        free(work);
        AcquireSRWLockExclusive(&operations->lock);
    }
    operations->threads--;
    WakeAllConditionVariable(&operations->quiet);
    ReleaseSRWLockExclusive(&operations->lock);
    return 0;
}

static struct error *add(struct operations *operations, void (*run)(void *context), void *context, bool limited)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&operations->lock);
    if (limited && operations->threads >= operations->thread_limit && operations->queued >= operations->queue_limit) {
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "queue", operations->name,
                           "%u operations are under way and %u wait; try again later", operations->threads,
                           operations->queued);
    } else if (!operations->ended) {
        struct work *work = mem_new(struct work);
        work->run = run;
        work->context = context;
        if (operations->first)
            operations->last->next = work;
        else
            operations->first = work;
        operations->last = work;
        operations->queued++;
        if (operations->queued <= operations->idle)
            WakeConditionVariable(&operations->work_added);
        else if (operations->threads < operations->thread_limit) {
            operations->threads++;
            /* Without memory for a thread the work waits for the ones that there are. */
            if (!start_thread(work_thread, operations))
                operations->threads--;
        }
    }
    ReleaseSRWLockExclusive(&operations->lock);
    return error;
}

struct error *operations_submit(struct operations *operations, void (*run)(void *context), void *context)
{
    return add(operations, run, context, true);
}

void operations_post(struct operations *operations, void (*run)(void *context), void *context)
{
    error_free(add(operations, run, context, false));
}

bool operations_close(struct operations *operations, unsigned milliseconds)
{
    if (!operations)
        return true;
    uint64_t end = clock_ms() + milliseconds;
    AcquireSRWLockExclusive(&operations->lock);
    operations->closing = true;
    for (struct timer *timer = operations->timers; timer; timer = timer->next)
        timer->armed = false;
    operations->timers = NULL;
    WakeAllConditionVariable(&operations->work_added);
    WakeAllConditionVariable(&operations->timer_changed);
    while (operations->threads || operations->timer_thread) {
        uint64_t now = clock_ms();
        if (now >= end)
            break;
        SleepConditionVariableSRW(&operations->quiet, &operations->lock, (DWORD)(end - now), 0);
    }
    bool ended = operations->ended = !operations->threads && !operations->timer_thread && !operations->first;
    ReleaseSRWLockExclusive(&operations->lock);
    return ended;
}

static void unlink_timer(struct operations *operations, struct timer *timer)
{
    if (timer->previous)
        timer->previous->next = timer->next;
    else
        operations->timers = timer->next;
    if (timer->next)
        timer->next->previous = timer->previous;
    timer->next = timer->previous = NULL;
    timer->armed = false;
}

static DWORD WINAPI timer_thread(void *context)
{
    struct operations *operations = context;
    AcquireSRWLockExclusive(&operations->lock);
    for (;;) {
        if (operations->closing)
            break;
        struct timer *timer = operations->timers;
        uint64_t now = clock_ms();
        if (!timer) {
            if (!SleepConditionVariableSRW(&operations->timer_changed, &operations->lock, IDLE_MS, 0) &&
                !operations->timers)
                break;
        } else if (timer->due_ms > now) {
            uint64_t wait = timer->due_ms - now;
            SleepConditionVariableSRW(&operations->timer_changed, &operations->lock,
                                      wait < IDLE_MS ? (DWORD)wait : IDLE_MS, 0);
        } else {
            void (*fire)(void *) = timer->fire;
            void *argument = timer->context;
            unlink_timer(operations, timer);
            ReleaseSRWLockExclusive(&operations->lock);
            fire(argument); /* the timer itself may be gone by now */
            AcquireSRWLockExclusive(&operations->lock);
        }
    }
    operations->timer_thread = false;
    WakeAllConditionVariable(&operations->quiet);
    ReleaseSRWLockExclusive(&operations->lock);
    return 0;
}

bool timer_set(struct operations *operations, struct timer *timer, uint64_t due_ms, void (*fire)(void *context),
               void *context)
{
    AcquireSRWLockExclusive(&operations->lock);
    bool fresh = !timer->armed;
    if (!fresh)
        unlink_timer(operations, timer);
    timer->due_ms = due_ms;
    timer->fire = fire;
    timer->context = context;
    timer->armed = true;
    struct timer *before = NULL, *after = operations->timers;
    while (after && after->due_ms <= due_ms) {
        before = after;
        after = after->next;
    }
    timer->previous = before;
    timer->next = after;
    if (before)
        before->next = timer;
    else
        operations->timers = timer;
    if (after)
        after->previous = timer;
    if (!operations->timer_thread && !operations->closing)
        operations->timer_thread = start_thread(timer_thread, operations);
    else if (!before)
        WakeConditionVariable(&operations->timer_changed);
    ReleaseSRWLockExclusive(&operations->lock);
    return fresh;
}

bool timer_clear(struct operations *operations, struct timer *timer)
{
    AcquireSRWLockExclusive(&operations->lock);
    bool armed = timer->armed;
    if (armed)
        unlink_timer(operations, timer);
    ReleaseSRWLockExclusive(&operations->lock);
    return armed;
}
