#include "export/thread.h"

#include <windows.h>

#include <process.h>

#include "base/memory.h"

#define STACK_SIZE (256u << 10)

struct lock {
    SRWLOCK srw;
};

struct lock *lock_new(void)
{
    return mem_new(struct lock); /* zero is SRWLOCK_INIT */
}

void lock_free(struct lock *lock)
{
    free(lock);
}

void lock_take(struct lock *lock)
{
    AcquireSRWLockExclusive(&lock->srw);
}

void lock_drop(struct lock *lock)
{
    ReleaseSRWLockExclusive(&lock->srw);
}

struct condition {
    CONDITION_VARIABLE variable;
};

struct condition *condition_new(void)
{
    return mem_new(struct condition); /* zero is CONDITION_VARIABLE_INIT */
}

void condition_free(struct condition *condition)
{
    free(condition);
}

void condition_wait(struct condition *condition, struct lock *lock, uint32_t ms)
{
    SleepConditionVariableSRW(&condition->variable, &lock->srw, ms, 0);
}

void condition_wake_all(struct condition *condition)
{
    WakeAllConditionVariable(&condition->variable);
}

struct thread {
    HANDLE handle;
    void (*run)(void *context);
    void *context;
};

static unsigned __stdcall thread_main(void *context)
{
    struct thread *thread = context;
    thread->run(thread->context);
    return 0;
}

struct error *thread_start(void (*run)(void *context), void *context, struct thread **ret_thread)
{
    struct thread *thread = mem_new(struct thread);
    thread->run = run;
    thread->context = context;
    thread->handle =
        (HANDLE)_beginthreadex(NULL, STACK_SIZE, thread_main, thread, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (!thread->handle) {
        struct error *error = error_win32(GetLastError(), "start thread", NULL, NULL);
        free(thread);
        return error;
    }
    *ret_thread = thread;
    return NULL;
}

void thread_join(struct thread *thread)
{
    if (!thread)
        return;
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
    free(thread);
}

unsigned thread_processors(void)
{
    DWORD_PTR process = 0, machine = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &machine) || process == 0)
        return 1;
    unsigned count = 0;
    for (; process; process &= process - 1)
        count++;
    return count;
}
