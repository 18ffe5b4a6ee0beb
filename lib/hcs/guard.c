#include "hcs/guard.h"

#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"

#define STACK_BYTES (256 * 1024)

/* The guard's part of a record. All of it but `refs` is under the guard's lock. */
struct guard_state {
    volatile LONG refs; /* caller and call thread */
    struct guard *guard;
    struct guard_call *call;
    struct guard_state *next, *previous; /* in guard->running, oldest first */
    HANDLE done;                         /* set when it returned or was failed */
    const char *step;                    /* the call it is in now */
    DWORD thread_id;
    uint64_t start_ms;
    uint64_t lost_ms; /* when it counts as lost */
    bool returned;
    bool failed;    /* guard_fail */
    bool abandoned; /* the caller has gone */
    bool lost;
};

struct guard_thread {
    struct guard *guard;
    struct guard_thread *next; /* in guard->idle */
    HANDLE wake;               /* auto-reset */
    struct guard_state *work;
};

struct guard {
    volatile LONG refs; /* the owner and each thread */
    struct guard_options options;
    _Atomic uint32_t call_ms, max_lost_calls; /* of the options, until guard_set_bounds */
    SRWLOCK lock;
    struct guard_state *oldest, *newest;
    struct guard_thread *idle; /* last in, first out: the others may end */
    struct guard_counts counts;
    uint32_t threads;
    bool closed;
    bool exhausted_told;
    HANDLE empty; /* set when closed and the last thread has ended */
    PTP_TIMER timer;
};

static void CALLBACK timer_fired(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer);

static void release_guard(struct guard *guard)
{
    if (InterlockedDecrement(&guard->refs) != 0)
        return;
    CloseHandle(guard->empty);
    free(guard);
}

static void release_state(struct guard_state *state)
{
    if (InterlockedDecrement(&state->refs) != 0)
        return;
    struct guard_call *call = state->call;
    win_close(state->done);
    release_guard(state->guard);
    free(state);
    call->state = NULL;
    guard_release(call);
}

void guard_release(struct guard_call *call)
{
    if (call == NULL)
        return;
    if (call->state != NULL) {
        release_state(call->state);
        return;
    }
    if (call->free != NULL)
        call->free(call);
    free(call->object);
    free(call);
}

struct error *guard_new(const struct guard_options *options, struct guard **ret_guard)
{
    struct guard *guard = mem_new(struct guard);
    guard->refs = 1;
    guard->options = *options;
    guard->call_ms = options->call_ms != 0 ? options->call_ms : 240000;
    guard->max_lost_calls = options->max_lost_calls != 0 ? options->max_lost_calls : 16;
    if (guard->options.max_threads == 0)
        guard->options.max_threads = 2048;
    if (guard->options.idle_ms == 0)
        guard->options.idle_ms = 30000;
    InitializeSRWLock(&guard->lock);
    guard->empty = CreateEventW(NULL, TRUE, FALSE, NULL);
    guard->timer = guard->empty == NULL ? NULL : CreateThreadpoolTimer(timer_fired, guard, NULL);
    if (guard->timer == NULL) {
        struct error *error = error_win32(GetLastError(), "set up guarded calls", NULL, NULL);
        win_close(guard->empty);
        free(guard);
        return error;
    }
    *ret_guard = guard;
    return NULL;
}

void guard_set_bounds(struct guard *guard, uint32_t call_ms, uint32_t max_lost_calls)
{
    if (call_ms != 0)
        guard->call_ms = call_ms;
    if (max_lost_calls != 0)
        guard->max_lost_calls = max_lost_calls;
}

uint32_t guard_call_ms(const struct guard *guard)
{
    return guard->call_ms;
}

struct error *guard_check_token(const char *operation, const char *object)
{
    HANDLE token = NULL;
    if (OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, &token)) {
        CloseHandle(token);
    } else if (GetLastError() == ERROR_NO_TOKEN) {
        return NULL;
    }
    return error_make(ERROR_KIND_INTERNAL, operation, object,
                      "the calling thread impersonates a client, and HCS would act as that client");
}

/* ---- the list and what is lost; all with the lock held ---- */

static void list_add(struct guard *guard, struct guard_state *state)
{
    state->previous = guard->newest;
    if (guard->newest != NULL)
        guard->newest->next = state;
    else
        guard->oldest = state;
    guard->newest = state;
    guard->counts.running++;
}

static void list_remove(struct guard *guard, struct guard_state *state)
{
    if (state->previous != NULL)
        state->previous->next = state->next;
    else
        guard->oldest = state->next;
    if (state->next != NULL)
        state->next->previous = state->previous;
    else
        guard->newest = state->previous;
    guard->counts.running--;
    if (state->abandoned)
        guard->counts.stuck--;
    if (state->lost)
        guard->counts.lost--;
}

/* What has to be said about a loss once the lock is free. */
struct loss {
    const char *name;
    char *object;
    uint64_t seconds;
    uint32_t lost;
    bool exhausted;
};

static struct loss note_loss(struct guard *guard, struct guard_state *state, uint64_t now)
{
    state->lost = true;
    guard->counts.lost++;
    bool exhausted = guard->counts.lost >= guard->max_lost_calls && !guard->exhausted_told;
    if (exhausted)
        guard->exhausted_told = true;
    return (struct loss){state->step, str_copy(state->call->object), (now - state->start_ms) / 1000, guard->counts.lost,
                         exhausted};
}

static void tell_loss(struct guard *guard, struct loss *loss)
{
    char seconds[24], lost[16];
    snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)loss->seconds);
    snprintf(lost, sizeof lost, "%u", (unsigned)loss->lost);
    event_emit(EVENT_CALL_LOST, loss->name, loss->object, seconds, lost);
    free(loss->object);
    if (!loss->exhausted)
        return;
    event_emit(EVENT_CALLS_EXHAUSTED, lost);
    if (guard->options.exhausted != NULL)
        guard->options.exhausted(guard->options.context, loss->lost);
}

/* Sets the timer to the next time at which an abandoned call is lost: nobody else watches that. */
static void arm_timer(struct guard *guard, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (struct guard_state *state = guard->oldest; state != NULL; state = state->next)
        if (state->abandoned && !state->lost && state->lost_ms < next)
            next = state->lost_ms;
    if (next == UINT64_MAX || guard->closed)
        return;
    int64_t ticks = -(int64_t)((next > now ? next - now : 0) * 10000) - 1; /* relative, 100 ns */
    FILETIME due = {(DWORD)(uint64_t)ticks, (DWORD)((uint64_t)ticks >> 32)};
    SetThreadpoolTimer(guard->timer, &due, 0, 100);
}

static void CALLBACK timer_fired(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    (void)instance;
    (void)timer;
    struct guard *guard = context;
    for (;;) {
        AcquireSRWLockExclusive(&guard->lock);
        uint64_t now = clock_ms();
        struct guard_state *state = guard->oldest;
        while (state != NULL && !(state->abandoned && !state->lost && state->lost_ms <= now))
            state = state->next;
        struct loss loss = {0};
        if (state != NULL)
            loss = note_loss(guard, state, now);
        else
            arm_timer(guard, now);
        ReleaseSRWLockExclusive(&guard->lock);
        if (state == NULL)
            return;
        tell_loss(guard, &loss);
    }
}

/* ---- call threads ---- */

void guard_step(struct guard_call *call, const char *name)
{
    struct guard_state *state = call->state;
    if (state == NULL) /* called directly */
        return;
    AcquireSRWLockExclusive(&state->guard->lock);
    state->step = name;
    ReleaseSRWLockExclusive(&state->guard->lock);
}

static void tell_late(struct guard_state *state, bool lost, uint64_t now, const char *outcome)
{
    const char *object = state->call->object == NULL ? "" : state->call->object;
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)(now - state->start_ms) / 1000);
    if (lost)
        event_emit(EVENT_CALL_RETURNED_LATE, state->call->name, object, seconds, outcome);
    else
        log_debug("%s for %s returned after %s seconds, when nobody waited any more (%s)", state->call->name, object,
                  seconds, outcome);
}

static void make_call(struct guard *guard, struct guard_state *state)
{
    state->call->run(state->call);
    AcquireSRWLockExclusive(&guard->lock);
    state->returned = true;
    bool abandoned = state->abandoned;
    if (!abandoned) {
        list_remove(guard, state);
        SetEvent(state->done);
    }
    ReleaseSRWLockExclusive(&guard->lock);
    if (abandoned) {
        /* It stays in the list: undoing may hang as well. */
        const char *outcome = state->call->late == NULL ? NULL : state->call->late(state->call);
        AcquireSRWLockExclusive(&guard->lock);
        bool lost = state->lost;
        list_remove(guard, state);
        guard->counts.returned_late++;
        ReleaseSRWLockExclusive(&guard->lock);
        tell_late(state, lost, clock_ms(), outcome == NULL ? "nothing to undo" : outcome);
    }
    release_state(state);
}

/* Waits for work as an idle thread; false: the thread is to end. */
static bool wait_for_work(struct guard *guard, struct guard_thread *thread)
{
    AcquireSRWLockExclusive(&guard->lock);
    if (guard->closed) {
        ReleaseSRWLockExclusive(&guard->lock);
        return false;
    }
    thread->next = guard->idle;
    guard->idle = thread;
    guard->counts.idle++;
    ReleaseSRWLockExclusive(&guard->lock);
    for (;;) {
        DWORD waited = WaitForSingleObject(thread->wake, guard->options.idle_ms);
        AcquireSRWLockExclusive(&guard->lock);
        bool work = thread->work != NULL;
        struct guard_thread **link = &guard->idle;
        while (*link != NULL && *link != thread)
            link = &(*link)->next;
        bool end = !work && (guard->closed || (waited == WAIT_TIMEOUT && guard->counts.idle > 1));
        if (end && *link == thread) {
            *link = thread->next;
            guard->counts.idle--;
        }
        ReleaseSRWLockExclusive(&guard->lock);
        if (work || end)
            return work;
    }
}

static unsigned __stdcall thread_main(void *argument)
{
    struct guard_thread *thread = argument;
    struct guard *guard = thread->guard;
    do {
        struct guard_state *state = thread->work;
        thread->work = NULL;
        AcquireSRWLockExclusive(&guard->lock);
        state->thread_id = GetCurrentThreadId();
        ReleaseSRWLockExclusive(&guard->lock);
        make_call(guard, state);
    } while (wait_for_work(guard, thread));
    win_close(thread->wake);
    free(thread);
    AcquireSRWLockExclusive(&guard->lock);
    if (--guard->threads == 0 && guard->closed)
        SetEvent(guard->empty);
    ReleaseSRWLockExclusive(&guard->lock);
    release_guard(guard);
    return 0;
}

/* Starts a thread that begins with `state`; a place among guard->threads is taken. */
static struct error *start_thread(struct guard *guard, struct guard_state *state)
{
    struct guard_thread *thread = mem_new(struct guard_thread);
    thread->guard = guard;
    thread->work = state;
    thread->wake = CreateEventW(NULL, FALSE, FALSE, NULL);
    DWORD code = thread->wake == NULL ? GetLastError() : 0;
    InterlockedIncrement(&guard->refs);
    uintptr_t handle = 0;
    if (code == 0) {
        handle = _beginthreadex(NULL, STACK_BYTES, thread_main, thread, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
        if (handle == 0)
            code = GetLastError() != 0 ? GetLastError() : ERROR_NOT_ENOUGH_MEMORY;
    }
    if (handle != 0) {
        CloseHandle((HANDLE)handle);
        return NULL;
    }
    win_close(thread->wake);
    free(thread);
    release_guard(guard);
    return error_set_kind(error_win32(code, "start call thread", NULL, NULL), ERROR_KIND_RESOURCE_EXHAUSTED);
}

/* ---- callers ---- */

/* Gives the call to a thread and lists it. After an error it was never made. */
static struct error *dispatch(struct guard *guard, struct guard_state *state)
{
    const char *name = state->call->name, *object = state->call->object;
    struct error *error = NULL;
    struct guard_thread *thread = NULL;
    AcquireSRWLockExclusive(&guard->lock);
    if (guard->closed) {
        error = error_make(ERROR_KIND_UNAVAILABLE, name, object, "hcsd is stopping");
    } else if (guard->counts.lost >= guard->max_lost_calls) {
        error = error_make(ERROR_KIND_UNAVAILABLE, name, object,
                           "%u calls into the Host Compute Service have not returned; restart the service vmcompute",
                           (unsigned)guard->counts.lost);
    } else if (guard->idle == NULL && guard->threads >= guard->options.max_threads) {
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, name, object,
                           "%u calls into the Host Compute Service are running", (unsigned)guard->threads);
    } else {
        list_add(guard, state);
        thread = guard->idle;
        if (thread != NULL) {
            guard->idle = thread->next;
            guard->counts.idle--;
            thread->work = state;
            SetEvent(thread->wake);
        } else {
            guard->threads++;
        }
    }
    ReleaseSRWLockExclusive(&guard->lock);
    if (error != NULL || thread != NULL)
        return error;
    error = start_thread(guard, state);
    if (error == NULL)
        return NULL;
    AcquireSRWLockExclusive(&guard->lock);
    list_remove(guard, state);
    if (--guard->threads == 0 && guard->closed)
        SetEvent(guard->empty);
    ReleaseSRWLockExclusive(&guard->lock);
    return error_wrap(error, "%s", name);
}

struct error *guard_run(struct guard *guard, struct guard_call *call, const struct guard_wait *wait)
{
    uint32_t ms = wait != NULL && wait->ms != 0 ? wait->ms : guard->call_ms;
    HANDLE cancel = wait != NULL ? wait->cancel : NULL;
    struct error *error = guard_check_token(call->name, call->object);
    if (error != NULL)
        return error;
    struct guard_state *state = mem_new(struct guard_state);
    state->refs = 2;
    state->guard = guard;
    InterlockedIncrement(&guard->refs);
    state->call = call;
    state->step = call->name;
    state->start_ms = clock_ms();
    state->lost_ms = state->start_ms + (ms > guard->call_ms ? ms : guard->call_ms);
    state->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    call->state = state;
    if (state->done == NULL)
        error = error_win32(GetLastError(), call->name, call->object, NULL);
    else
        error = dispatch(guard, state);
    if (error != NULL) {
        InterlockedDecrement(&state->refs); /* no thread has it */
        return error;
    }

    HANDLE handles[] = {state->done, cancel};
    DWORD waited;
    uint64_t now = state->start_ms;
    do {
        uint64_t left = state->start_ms + ms > now ? state->start_ms + ms - now : 0;
        waited = WaitForMultipleObjects(cancel != NULL ? 2 : 1, handles, FALSE, (DWORD)left);
        now = clock_ms();
    } while (waited == WAIT_TIMEOUT &&
             now < state->start_ms + ms); /* the two clocks need not agree to the millisecond */

    struct loss loss = {0};
    AcquireSRWLockExclusive(&guard->lock);
    if (!state->returned) {
        state->abandoned = true;
        guard->counts.stuck++;
        if (state->failed)
            error = error_hresult(0x8037011E, state->step, call->object, "lost communication with the compute service");
        else if (waited == WAIT_OBJECT_0 + 1)
            error = error_make(ERROR_KIND_CANCELLED, state->step, call->object, "the wait was cut short");
        else
            error = error_make(ERROR_KIND_DEADLINE_EXCEEDED, state->step, call->object,
                               "the call has not returned within %g seconds", ms / 1000.0);
        if (now >= state->lost_ms)
            loss = note_loss(guard, state, now);
        else
            arm_timer(guard, now);
    }
    ReleaseSRWLockExclusive(&guard->lock);
    if (loss.name != NULL)
        tell_loss(guard, &loss);
    return error;
}

unsigned guard_fail(struct guard *guard, uint64_t tag)
{
    unsigned count = 0;
    AcquireSRWLockExclusive(&guard->lock);
    for (struct guard_state *state = guard->oldest; state != NULL; state = state->next)
        if (state->call->tag == tag && !state->returned && !state->abandoned && !state->failed) {
            state->failed = true;
            SetEvent(state->done);
            count++;
        }
    ReleaseSRWLockExclusive(&guard->lock);
    return count;
}

bool guard_close(struct guard *guard, uint32_t wait_ms)
{
    if (guard == NULL)
        return true;
    AcquireSRWLockExclusive(&guard->lock);
    guard->closed = true;
    if (guard->threads == 0)
        SetEvent(guard->empty);
    for (struct guard_thread *thread = guard->idle; thread != NULL; thread = thread->next)
        SetEvent(thread->wake);
    ReleaseSRWLockExclusive(&guard->lock);
    SetThreadpoolTimer(guard->timer, NULL, 0, 0);
    WaitForThreadpoolTimerCallbacks(guard->timer, TRUE);
    CloseThreadpoolTimer(guard->timer);
    bool ended = WaitForSingleObject(guard->empty, wait_ms) == WAIT_OBJECT_0;
    release_guard(guard);
    return ended;
}

/* ---- looking ---- */

static void list_records(struct guard *guard, bool stuck_only, struct guard_list *ret_list)
{
    struct guard_list list = {0};
    AcquireSRWLockShared(&guard->lock);
    list.records = mem_new_array(guard->counts.running, struct guard_record);
    uint64_t now = clock_ms();
    for (struct guard_state *state = guard->oldest; state != NULL; state = state->next)
        if (!stuck_only || state->abandoned || state->lost)
            list.records[list.count++] = (struct guard_record){
                .name = str_copy(state->step),
                .object = str_copy(state->call->object == NULL ? "" : state->call->object),
                .thread_id = state->thread_id,
                .age_ms = now - state->start_ms,
                .abandoned = state->abandoned,
                .lost = state->lost,
            };
    ReleaseSRWLockShared(&guard->lock);
    *ret_list = list;
}

void guard_list_running(struct guard *guard, struct guard_list *ret_list)
{
    list_records(guard, false, ret_list);
}

void guard_list_stuck(struct guard *guard, struct guard_list *ret_list)
{
    list_records(guard, true, ret_list);
}

void guard_list_free(struct guard_list *list)
{
    if (list == NULL)
        return;
    for (size_t i = 0; i < list->count; i++) {
        free(list->records[i].name);
        free(list->records[i].object);
    }
    free(list->records);
    *list = (struct guard_list){0};
}

struct guard_counts guard_count(struct guard *guard)
{
    AcquireSRWLockShared(&guard->lock);
    struct guard_counts counts = guard->counts;
    ReleaseSRWLockShared(&guard->lock);
    return counts;
}

bool guard_is_exhausted(struct guard *guard)
{
    struct guard_counts counts = guard_count(guard);
    return counts.lost >= guard->max_lost_calls;
}
