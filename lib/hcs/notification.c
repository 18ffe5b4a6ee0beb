#include "hcs/notification.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/win.h"

#define uthash_fatal(message) process_end(1455, "hcsd: out of memory\n")
#include <uthash.h>

/* Notifications by their place in a watch. */
enum { SLOT_COUNT = 10, SLOT_EXIT = 0, SLOT_DISCONNECT = 9 };

struct waiter {
    struct waiter *next;
    HANDLE woken; /* manual-reset */
};

struct watch {
    volatile LONG refs;
    uint64_t id;
    uint64_t epoch;
    ULONG exit_type;
    watch_disconnected disconnected;
    void *context;
    void (*release_context)(void *context);
    UT_hash_handle hh; /* in the table, under the table's lock */

    SRWLOCK lock; /* over all below */
    bool came[SLOT_COUNT];
    INT32 status[SLOT_COUNT];
    int64_t exit_ns;
    bool closed;
    struct waiter *waiters;
    hcs_exit_function exit_function;
    void *exit_context;
    bool exit_told;
    struct hcs_exit exit_report;
    PTP_WORK exit_work;
};

static struct {
    SRWLOCK lock;
    struct watch *watches; /* by id */
    uint64_t last_id;
} table = {.lock = SRWLOCK_INIT};

static int slot_of(const struct watch *watch, ULONG type)
{
    if (type == watch->exit_type)
        return SLOT_EXIT;
    if (type == HCS_NOTIFICATION_SERVICE_DISCONNECT)
        return SLOT_DISCONNECT;
    return type >= HCS_NOTIFICATION_SYSTEM_CREATE_COMPLETED && type <= HCS_NOTIFICATION_SYSTEM_SAVE_COMPLETED
               ? (int)type
               : -1;
}

struct watch *watch_new(enum hcs_notification exit_type, watch_disconnected disconnected, void *context,
                        void (*release_context)(void *context))
{
    struct watch *watch = mem_new(struct watch);
    watch->refs = 1;
    watch->exit_type = exit_type;
    watch->disconnected = disconnected;
    watch->context = context;
    watch->release_context = release_context;
    InitializeSRWLock(&watch->lock);
    AcquireSRWLockExclusive(&table.lock);
    watch->id = ++table.last_id;
    HASH_ADD(hh, table.watches, id, sizeof watch->id, watch);
    ReleaseSRWLockExclusive(&table.lock);
    return watch;
}

void watch_retain(struct watch *watch)
{
    InterlockedIncrement(&watch->refs);
}

void watch_release(struct watch *watch)
{
    if (watch == NULL || InterlockedDecrement(&watch->refs) != 0)
        return;
    if (watch->exit_work != NULL)
        CloseThreadpoolWork(watch->exit_work);
    if (watch->release_context != NULL)
        watch->release_context(watch->context);
    free(watch);
}

void *watch_context(const struct watch *watch)
{
    return (void *)(uintptr_t)watch->id;
}

uint64_t watch_id(const struct watch *watch)
{
    return watch->id;
}

uint64_t watch_epoch(const struct watch *watch)
{
    return watch->epoch;
}

void watch_set_epoch(struct watch *watch, uint64_t epoch)
{
    watch->epoch = epoch;
}

/* ---- the exit function; with the watch's lock held ---- */

static void CALLBACK tell_exit(PTP_CALLBACK_INSTANCE instance, void *context, PTP_WORK work)
{
    (void)instance;
    (void)work;
    struct watch *watch = context;
    watch->exit_function(watch->exit_context, &watch->exit_report); /* written before the work was submitted */
    watch_release(watch);
}

static struct hcs_exit report_of(const struct watch *watch)
{
    if (watch->came[SLOT_EXIT])
        return (struct hcs_exit){HCS_EXIT_EXITED, (uint32_t)watch->status[SLOT_EXIT], watch->exit_ns};
    return (struct hcs_exit){watch->came[SLOT_DISCONNECT] ? HCS_EXIT_DISCONNECTED : HCS_EXIT_CLOSED, 0,
                             clock_wall_ns()};
}

static void post_exit(struct watch *watch)
{
    if (watch->exit_function == NULL || watch->exit_told)
        return;
    watch->exit_told = true;
    watch->exit_report = report_of(watch);
    watch_retain(watch);
    SubmitThreadpoolWork(watch->exit_work);
}

static void wake_waiters(struct watch *watch)
{
    for (struct waiter *waiter = watch->waiters; waiter != NULL; waiter = waiter->next)
        SetEvent(waiter->woken);
}

/* ---- HCS's side ---- */

void CALLBACK watch_notified(ULONG type, void *context, INT32 status, PCWSTR data)
{
    (void)data;
    uint64_t id = (uint64_t)(uintptr_t)context;
    struct watch *watch = NULL;
    AcquireSRWLockShared(&table.lock);
    HASH_FIND(hh, table.watches, &id, sizeof id, watch);
    if (watch != NULL)
        watch_retain(watch);
    ReleaseSRWLockShared(&table.lock);
    if (watch == NULL)
        return;
    int slot = slot_of(watch, type);
    bool first = false;
    AcquireSRWLockExclusive(&watch->lock);
    if (slot >= 0 && !watch->came[slot]) {
        first = true;
        watch->came[slot] = true;
        watch->status[slot] = status;
        if (slot == SLOT_EXIT)
            watch->exit_ns = clock_wall_ns();
        wake_waiters(watch);
        if (slot == SLOT_EXIT || slot == SLOT_DISCONNECT)
            post_exit(watch);
    }
    ReleaseSRWLockExclusive(&watch->lock);
    if (first && slot == SLOT_DISCONNECT && watch->disconnected != NULL)
        watch->disconnected(watch->context, watch);
    watch_release(watch);
}

/* ---- our side ---- */

void watch_expect(struct watch *watch, enum hcs_notification type)
{
    AcquireSRWLockExclusive(&watch->lock);
    watch->came[slot_of(watch, type)] = false;
    ReleaseSRWLockExclusive(&watch->lock);
}

/* Waits until the slot, the exit or the disconnection came, or the watch was closed; the lock is held on return. */
static struct error *wait_for(struct watch *watch, int slot, uint32_t ms, HANDLE cancel, const char *operation,
                              const char *object, const char *what)
{
    struct waiter waiter = {.woken = CreateEventW(NULL, TRUE, FALSE, NULL)};
    struct error *error = NULL;
    if (waiter.woken == NULL)
        error = error_win32(GetLastError(), operation, object, NULL);
    const HANDLE handles[] = {waiter.woken, cancel};
    uint64_t end = clock_ms() + ms;
    AcquireSRWLockExclusive(&watch->lock);
    while (error == NULL && !watch->came[slot] && !watch->came[SLOT_EXIT] && !watch->came[SLOT_DISCONNECT] &&
           !watch->closed) {
        uint64_t now = clock_ms();
        if (now >= end) {
            error = error_make(ERROR_KIND_DEADLINE_EXCEEDED, operation, object,
                               "HCS has not told of the %s within %g seconds", what, ms / 1000.0);
            break;
        }
        ResetEvent(waiter.woken);
        waiter.next = watch->waiters;
        watch->waiters = &waiter;
        ReleaseSRWLockExclusive(&watch->lock);
        DWORD waited = WaitForMultipleObjects(cancel != NULL ? 2 : 1, handles, FALSE, (DWORD)(end - now));
        AcquireSRWLockExclusive(&watch->lock);
        struct waiter **link = &watch->waiters;
        while (*link != &waiter)
            link = &(*link)->next;
        *link = waiter.next;
        if (waited == WAIT_OBJECT_0 + 1)
            error = error_make(ERROR_KIND_CANCELLED, operation, object, "the wait for the %s was cut short", what);
        else if (waited == WAIT_FAILED)
            error = error_win32(GetLastError(), operation, object, NULL);
    }
    win_close(waiter.woken);
    return error;
}

static struct error *no_more(struct watch *watch, const char *operation, const char *object)
{
    if (watch->came[SLOT_DISCONNECT])
        return error_hresult(0x8037011E, operation, object, "lost communication with the compute service");
    return error_make(ERROR_KIND_CANCELLED, operation, object, "it was closed meanwhile");
}

struct error *watch_wait(struct watch *watch, enum hcs_notification type, uint32_t default_ms,
                         const struct guard_wait *wait, const char *operation, const char *object)
{
    int slot = slot_of(watch, type);
    uint32_t ms = wait != NULL && wait->ms != 0 ? wait->ms : default_ms;
    struct error *error =
        wait_for(watch, slot, ms, wait != NULL ? wait->cancel : NULL, operation, object, "completion");
    if (error == NULL) {
        if (watch->came[slot] && watch->status[slot] < 0)
            error = error_hresult((uint32_t)watch->status[slot], operation, object, NULL);
        else if (!watch->came[slot] && watch->came[SLOT_EXIT])
            error = error_hresult((uint32_t)HCS_E_UNEXPECTED_EXIT, operation, object, NULL);
        else if (!watch->came[slot])
            error = no_more(watch, operation, object);
    }
    ReleaseSRWLockExclusive(&watch->lock);
    return error;
}

struct error *watch_wait_exit(struct watch *watch, uint32_t default_ms, const struct guard_wait *wait,
                              const char *object, struct hcs_exit *ret_exit)
{
    static const char operation[] = "wait for exit";
    uint32_t ms = wait != NULL && wait->ms != 0 ? wait->ms : default_ms;
    struct error *error = wait_for(watch, SLOT_EXIT, ms, wait != NULL ? wait->cancel : NULL, operation, object, "exit");
    if (error == NULL && !watch->came[SLOT_EXIT])
        error = no_more(watch, operation, object);
    if (error == NULL && ret_exit != NULL)
        *ret_exit = report_of(watch);
    ReleaseSRWLockExclusive(&watch->lock);
    return error;
}

bool watch_has_exited(struct watch *watch, struct hcs_exit *ret_exit)
{
    AcquireSRWLockShared(&watch->lock);
    bool exited = watch->came[SLOT_EXIT];
    if (exited && ret_exit != NULL)
        *ret_exit = report_of(watch);
    ReleaseSRWLockShared(&watch->lock);
    return exited;
}

struct error *watch_on_exit(struct watch *watch, hcs_exit_function function, void *context, const char *object)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&watch->lock);
    if (watch->exit_function != NULL) {
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "watch exit", object, "its exit is being watched already");
    } else {
        /* Made now, because submitting it cannot fail later, where nobody could be told. */
        watch->exit_work = CreateThreadpoolWork(tell_exit, watch, NULL);
        if (watch->exit_work == NULL) {
            error =
                error_set_kind(error_win32(GetLastError(), "watch exit", object, NULL), ERROR_KIND_RESOURCE_EXHAUSTED);
        } else {
            watch->exit_function = function;
            watch->exit_context = context;
            if (watch->came[SLOT_EXIT] || watch->came[SLOT_DISCONNECT] || watch->closed)
                post_exit(watch);
        }
    }
    ReleaseSRWLockExclusive(&watch->lock);
    return error;
}

void watch_close(struct watch *watch)
{
    AcquireSRWLockExclusive(&table.lock);
    AcquireSRWLockExclusive(&watch->lock);
    bool was_closed = watch->closed;
    watch->closed = true;
    if (!was_closed)
        HASH_DEL(table.watches, watch);
    wake_waiters(watch);
    post_exit(watch);
    ReleaseSRWLockExclusive(&watch->lock);
    ReleaseSRWLockExclusive(&table.lock);
}
