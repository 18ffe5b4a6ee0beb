#include "hcs/compute.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/event.h"
#include "base/memory.h"
#include "hcs/object.h"

static void CALLBACK tell_disconnected(PTP_CALLBACK_INSTANCE instance, void *context, PTP_WORK work)
{
    (void)instance;
    (void)work;
    struct compute *compute = context;
    AcquireSRWLockExclusive(&compute->lock);
    unsigned failed = compute->failed;
    compute->failed = 0;
    ReleaseSRWLockExclusive(&compute->lock);
    char count[16];
    snprintf(count, sizeof count, "%u", failed);
    event_emit(EVENT_HCS_DISCONNECTED, count);
    if (compute->disconnected != NULL)
        compute->disconnected(compute->context);
    compute_release(compute);
}

struct error *compute_new(struct hcs_library *library, struct guard *guard, compute_disconnected disconnected,
                          void *context, struct compute **ret_compute)
{
    struct compute *compute = mem_new(struct compute);
    compute->refs = 1;
    compute->library = library;
    compute->guard = guard;
    compute->disconnected = disconnected;
    compute->context = context;
    InitializeSRWLock(&compute->lock);
    compute->work = CreateThreadpoolWork(tell_disconnected, compute, NULL);
    if (compute->work == NULL) {
        struct error *error = error_win32(GetLastError(), "set up HCS", NULL, NULL);
        free(compute);
        return error;
    }
    *ret_compute = compute;
    return NULL;
}

void compute_retain(struct compute *compute)
{
    InterlockedIncrement(&compute->refs);
}

void compute_release(struct compute *compute)
{
    if (InterlockedDecrement(&compute->refs) != 0)
        return;
    CloseThreadpoolWork(compute->work);
    free(compute);
}

void compute_free(struct compute *compute)
{
    if (compute != NULL)
        compute_release(compute);
}

/* From a notification. Every object of the connection reports its loss; the first report of an epoch fails the calls that
 * belong to no object, for later ones may have been made over a new connection already. */
static void connection_lost(void *context, struct watch *watch)
{
    struct compute *compute = context;
    unsigned failed = guard_fail(compute->guard, watch_id(watch));
    bool first = false;
    AcquireSRWLockExclusive(&compute->lock);
    if (watch_epoch(watch) == compute->epoch) {
        compute->epoch++;
        first = true;
    }
    compute->failed += failed;
    ReleaseSRWLockExclusive(&compute->lock);
    if (!first)
        return;
    failed = guard_fail(compute->guard, 0);
    AcquireSRWLockExclusive(&compute->lock);
    compute->failed += failed;
    ReleaseSRWLockExclusive(&compute->lock);
    compute_retain(compute);
    SubmitThreadpoolWork(compute->work);
}

static void release_context(void *context)
{
    compute_release(context);
}

struct watch *compute_watch(struct compute *compute, enum hcs_notification exit_type)
{
    compute_retain(compute);
    struct watch *watch = watch_new(exit_type, connection_lost, compute, release_context);
    AcquireSRWLockShared(&compute->lock);
    watch_set_epoch(watch, compute->epoch);
    ReleaseSRWLockShared(&compute->lock);
    return watch;
}

static void run_enumerate(struct compute_call *call)
{
    call->result = call->compute->library->HcsEnumerateComputeSystems(call->text, &call->document, &call->result_text);
}

struct error *hcs_enumerate(struct compute *compute, const char *query, const struct guard_wait *wait, char **ret_json)
{
    return call_ask(call_new(compute, NULL, HCS_EXPORT_HcsEnumerateComputeSystems, "", run_enumerate), query, wait,
                    ret_json);
}
