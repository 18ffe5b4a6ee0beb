#include "held.h"

#include <stdlib.h>

#include "base/memory.h"

#define WATCH_MS 50

struct held {
    struct held *next;
    char *row;            /* NULL: nothing holds it */
    ULONGLONG release_at; /* by GetTickCount64; 0: not before the row goes */
    struct delivery delivery;
    void (*work)(void *context, struct delivery delivery);
    void *context;
};

static struct held *waiting;
static PTP_TIMER watcher;

static void CALLBACK held_run(PTP_CALLBACK_INSTANCE instance, void *context)
{
    struct held *held = context;

    (void)instance;
    EnterCriticalSection(&broker.lock);
    held->work(held->context, held->delivery);
    LeaveCriticalSection(&broker.lock);
    free(held->row);
    free(held);
}

/* Locked. */
static void held_go(struct held *held)
{
    if (!TrySubmitThreadpoolCallback(held_run, held, NULL)) {
        held->work(held->context, held->delivery);
        free(held->row);
        free(held);
    }
}

static void watch_again(void)
{
    int64_t due = -(int64_t)WATCH_MS * 10000;
    FILETIME time = {.dwLowDateTime = (DWORD)due, .dwHighDateTime = (DWORD)(due >> 32)};
    SetThreadpoolTimer(watcher, &time, 0, 0);
}

static void CALLBACK watch_tick(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    struct held **place = &waiting;

    (void)instance;
    (void)context;
    (void)timer;
    EnterCriticalSection(&broker.lock);
    while (*place != NULL) {
        struct held *held = *place;
        bool over = held->release_at != 0 && GetTickCount64() >= held->release_at;
        if (!over && faults_has_row(broker.faults, held->row)) {
            place = &held->next;
            continue;
        }
        *place = held->next;
        held_go(held);
    }
    if (waiting != NULL)
        watch_again();
    LeaveCriticalSection(&broker.lock);
}

void held_submit(const struct fault *fault, void (*work)(void *context, struct delivery delivery), void *context)
{
    struct held *held = mem_new(struct held);

    held->work = work;
    held->context = context;
    if (fault != NULL && fault->action == FAULT_LATE)
        held->delivery.delay_ms = fault->after_ms == 0 ? 1000 : fault->after_ms;
    if (fault != NULL && fault->action == FAULT_TWICE) {
        held->delivery.twice = true;
        held->delivery.delay_ms = fault->after_ms;
    }
    if (fault == NULL || fault->action != FAULT_PENDING) {
        held_go(held);
        return;
    }
    held->row = str_copy(fault->row);
    held->release_at = fault->after_ms == 0 ? 0 : GetTickCount64() + fault->after_ms;
    held->next = waiting;
    waiting = held;
    if (watcher == NULL)
        watcher = CreateThreadpoolTimer(watch_tick, NULL, NULL);
    watch_again();
}

unsigned held_count(void)
{
    unsigned count = 0;
    for (const struct held *held = waiting; held != NULL; held = held->next)
        count++;
    return count;
}
