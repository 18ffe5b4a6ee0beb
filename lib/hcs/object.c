#include "hcs/object.h"

#include <stdlib.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"

#define HCS_FACILITY 0x00370000u

bool hresult_is(HRESULT result, uint32_t code)
{
    uint32_t value = (uint32_t)result;
    if ((code & 0x1FFF0000u) == HCS_FACILITY)
        return result < 0 && (value & 0x1FFF0000u) == HCS_FACILITY && (value & 0xFFFF) == (code & 0xFFFF);
    return value == code;
}

/* ---- records ---- */

static void free_results(struct compute_call *call)
{
    struct hcs_library *library = call->compute->library;
    if (call->document != NULL)
        library->free_text(call->document);
    if (call->result_text != NULL)
        library->free_text(call->result_text);
    call->document = call->result_text = NULL;
    error_free(call->error);
    call->error = NULL;
}

static struct error *release_object(struct object *object, bool here, struct guard_call *step) ERROR_MUST_CHECK;

static void free_call(struct guard_call *base)
{
    struct compute_call *call = (struct compute_call *)base;
    free_results(call);
    if (call->object != NULL)
        error_free(release_object(call->object, false, NULL));
    watch_release(call->watch);
    free(call->id);
    free(call->text);
    compute_release(call->compute);
}

const char *call_late(struct guard_call *base)
{
    struct compute_call *call = (struct compute_call *)base;
    free_results(call);
    if (call->object != NULL)
        error_free(release_object(call->object, true, base));
    call->object = NULL;
    return "its answer was dropped";
}

struct guarded_run {
    struct compute_call call;
    compute_run run;
    enum hcs_export export;
};

static void run_call(struct guard_call *base)
{
    struct guarded_run *record = (struct guarded_run *)base;
    struct compute_call *call = &record->call;
    call->error = hcs_library_require(call->compute->library, record->export);
    if (call->error == NULL)
        record->run(call);
}

struct compute_call *call_new(struct compute *compute, struct object *object, enum hcs_export export, const char *name,
                              compute_run run)
{
    struct guarded_run *record = mem_new(struct guarded_run);
    struct compute_call *call = &record->call;
    record->run = run;
    record->export = export;
    call->base.name = hcs_export_name(export);
    call->base.object = str_copy(name);
    call->base.run = run_call;
    call->base.late = call_late;
    call->base.free = free_call;
    compute_retain(compute);
    call->compute = compute;
    if (object != NULL) {
        InterlockedIncrement(&object->refs);
        call->object = object;
        call->base.tag = watch_id(object->watch);
    }
    return call;
}

static struct error *set(struct compute_call *call, const char *text, wchar_t **field)
{
    return error_wrap(win_wide(text, field), "%s", call->base.name);
}

struct error *call_set_id(struct compute_call *call, const char *id)
{
    return set(call, id, &call->id);
}

struct error *call_set_text(struct compute_call *call, const char *text)
{
    return set(call, text, &call->text);
}

struct error *call_make(struct compute_call *call, const struct guard_wait *wait)
{
    if (call->object != NULL && call->object->closed)
        return error_make(ERROR_KIND_FAILED_PRECONDITION, call->base.name, call->base.object, "it has been closed");
    struct error *error = guard_run(call->compute->guard, &call->base, wait);
    call->settled = error == NULL;
    if (error == NULL && call->error != NULL) {
        error = call->error;
        call->error = NULL;
    }
    return error;
}

bool call_is_pending(const struct compute_call *call)
{
    return hresult_is(call->result, (uint32_t)HCS_E_OPERATION_PENDING);
}

struct error *call_error(const struct compute_call *call)
{
    if (call->result >= 0)
        return NULL;
    const char *name = call->culprit != NULL ? call->culprit : call->base.name;
    struct error *error = error_hresult((uint32_t)call->result, name, call->base.object, NULL);
    char *text = win_text(call->result_text);
    error_add_hcs_result(error, text);
    free(text);
    return error;
}

static struct error *document_of(const struct compute_call *call, char **ret_json)
{
    if (call->document == NULL || call->document[0] == 0)
        return error_make(ERROR_KIND_INTERNAL, call->base.name, call->base.object,
                          "HCS answered with an empty document");
    *ret_json = win_text(call->document);
    return NULL;
}

struct error *call_ask(struct compute_call *call, const char *query, const struct guard_wait *wait, char **ret_json)
{
    struct error *error = query == NULL ? NULL : call_set_text(call, query);
    if (error == NULL)
        error = call_make(call, wait);
    if (error == NULL)
        error = call_error(call);
    if (error == NULL)
        error = document_of(call, ret_json);
    call_free(call);
    return error;
}

void call_free(struct compute_call *call)
{
    /* The call thread may hold the record a moment longer; the share in the object, which closes it when it is the last,
     * is the caller's to give up. */
    struct object *object = call->settled ? call->object : NULL;
    if (call->settled)
        call->object = NULL;
    guard_release(&call->base);
    if (object != NULL)
        error_free(release_object(object, false, NULL));
}

void call_discard_handle(struct compute_call *call, bool process)
{
    struct hcs_library *library = call->compute->library;
    HRESULT result = S_OK;
    HRESULT(WINAPI * unregister)
    (HCS_CALLBACK) = process ? library->HcsUnregisterProcessCallback : library->HcsUnregisterComputeSystemCallback;
    HRESULT(WINAPI * close)(void *) = process ? library->HcsCloseProcess : library->HcsCloseComputeSystem;
    const char *culprit = NULL;
    if (call->registration != NULL && unregister != NULL) {
        const char *name = process ? "HcsUnregisterProcessCallback" : "HcsUnregisterComputeSystemCallback";
        guard_step(&call->base, name);
        result = unregister(call->registration);
        culprit = result < 0 ? name : NULL;
    }
    if (call->raw != NULL && close != NULL) {
        guard_step(&call->base, process ? "HcsCloseProcess" : "HcsCloseComputeSystem");
        HRESULT closed = close(call->raw);
        result = result < 0 ? result : closed;
    }
    call->registration = NULL;
    call->raw = NULL;
    call->result = result;
    call->culprit = culprit;
}

struct error *object_call(struct object *object, enum hcs_export export, compute_run run, const char *text,
                          const struct guard_wait *wait, HRESULT *ret_result)
{
    struct compute_call *call = call_new(object->compute, object, export, object->name, run);
    struct error *error = call_set_text(call, text);
    if (error == NULL)
        error = call_make(call, wait);
    if (error == NULL && ret_result != NULL)
        *ret_result = call->result;
    if (error == NULL)
        error = call_error(call);
    call_free(call);
    return error;
}

/* ---- the owned handle ---- */

static void run_close_system(struct compute_call *call)
{
    call_discard_handle(call, false);
}

static void run_close_process(struct compute_call *call)
{
    call_discard_handle(call, true);
}

/* Gives up a share; the last one closes. `here`: on a call thread that nobody waits for, so in place, as steps of the
 * record `step`. */
static struct error *release_object(struct object *object, bool here, struct guard_call *step)
{
    if (InterlockedDecrement(&object->refs) != 0)
        return NULL;
    struct error *error = NULL;
    if (object->raw != NULL) {
        struct compute_call *call = call_new(
            object->compute, NULL, object->process ? HCS_EXPORT_HcsCloseProcess : HCS_EXPORT_HcsCloseComputeSystem,
            object->name, object->process ? run_close_process : run_close_system);
        call->raw = object->raw;
        call->registration = object->registration;
        call->base.tag = UINT64_MAX; /* closing goes on when the connection is lost */
        if (here) {
            guard_step(step, call->base.name);
            run_call(&call->base);
        } else {
            error = call_make(call, NULL);
        }
        if (error == NULL)
            error = call_error(call);
        call_free(call);
    }
    watch_release(object->watch);
    compute_release(object->compute);
    free(object->name);
    free(object);
    return error;
}

struct error *object_release(struct object *object)
{
    return release_object(object, false, NULL);
}

struct error *object_wait_exit(struct object *object, const struct guard_wait *wait, struct hcs_exit *ret_exit)
{
    InterlockedIncrement(&object->refs); /* its owner may close it meanwhile */
    struct error *error =
        watch_wait_exit(object->watch, guard_call_ms(object->compute->guard), wait, object->name, ret_exit);
    error_keep_first(&error, object_release(object));
    return error;
}

struct error *object_close(struct object *object)
{
    if (object == NULL)
        return NULL;
    InterlockedExchange(&object->closed, 1);
    watch_close(object->watch);
    return release_object(object, false, NULL);
}
