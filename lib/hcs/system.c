#include "hcs/compute.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"
#include "hcs/object.h"

/* ---- create, open ---- */

/* Registers the new handle's watch; on failure nothing of it is left and call->result tells why. */
static void register_system(struct compute_call *call)
{
    struct hcs_library *library = call->compute->library;
    call->error = hcs_library_require(library, HCS_EXPORT_HcsRegisterComputeSystemCallback);
    if (call->error != NULL)
        return;
    guard_step(&call->base, "HcsRegisterComputeSystemCallback");
    HRESULT result = library->HcsRegisterComputeSystemCallback(call->raw, watch_notified, watch_context(call->watch),
                                                               &call->registration);
    if (result < 0) {
        call->result = result;
        call->culprit = "HcsRegisterComputeSystemCallback";
    }
}

/* Ends a system that nobody will own. Where it cannot be ended, the janitor finds it by its owner. */
static void terminate_new(struct compute_call *call)
{
    struct hcs_library *library = call->compute->library;
    if (library->HcsTerminateComputeSystem == NULL)
        return;
    PWSTR text = NULL;
    guard_step(&call->base, "HcsTerminateComputeSystem");
    library->HcsTerminateComputeSystem(call->raw, L"", &text);
    if (text != NULL)
        library->free_text(text);
}

static void run_create(struct compute_call *call)
{
    call->result =
        call->compute->library->HcsCreateComputeSystem(call->id, call->text, NULL, &call->raw, &call->result_text);
    if (call->result < 0 && !call_is_pending(call))
        return;
    bool pending = call_is_pending(call);
    register_system(call);
    if (call->error == NULL && (call->result >= 0 || (pending && call_is_pending(call))))
        return;
    HRESULT result = call->result;
    const char *culprit = call->culprit;
    terminate_new(call);
    call_discard_handle(call, false);
    call->result = result;
    call->culprit = culprit;
}

static const char *late_create(struct guard_call *base)
{
    struct compute_call *call = (struct compute_call *)base;
    if (call->raw == NULL)
        return "it had failed";
    watch_close(call->watch);
    terminate_new(call);
    call_discard_handle(call, false);
    return "the container was terminated and its handle closed";
}

static void run_open(struct compute_call *call)
{
    call->result = call->compute->library->HcsOpenComputeSystem(call->id, &call->raw, &call->result_text);
    if (call->result < 0)
        return;
    register_system(call);
    if (call->error == NULL && call->result >= 0)
        return;
    HRESULT result = call->result;
    const char *culprit = call->culprit;
    call_discard_handle(call, false);
    call->result = result;
    call->culprit = culprit;
}

static const char *late_open(struct guard_call *base)
{
    struct compute_call *call = (struct compute_call *)base;
    if (call->raw == NULL)
        return "it had failed";
    watch_close(call->watch);
    call_discard_handle(call, false);
    return "its handle was closed";
}

/* The object of a call that succeeded. */
static struct hcs_system *adopt(struct compute_call *call)
{
    struct hcs_system *system = mem_new(struct hcs_system);
    compute_retain(call->compute);
    watch_retain(call->watch);
    system->object = (struct object){
        .refs = 1,
        .compute = call->compute,
        .watch = call->watch,
        .name = str_copy(call->base.object),
        .raw = call->raw,
        .registration = call->registration,
    };
    call->raw = NULL;
    call->registration = NULL;
    return system;
}

struct error *hcs_system_create(struct compute *compute, const char *id, const char *document,
                                const struct guard_wait *wait, struct hcs_system **ret_system)
{
    struct compute_call *call = call_new(compute, NULL, HCS_EXPORT_HcsCreateComputeSystem, id, run_create);
    struct hcs_system *system = NULL;
    call->base.late = late_create;
    call->watch = compute_watch(compute, HCS_NOTIFICATION_SYSTEM_EXITED);
    struct watch *watch = call->watch;
    watch_retain(watch);
    struct error *error = call_set_id(call, id);
    if (error == NULL)
        error = call_set_text(call, document);
    if (error == NULL)
        error = call_make(call, wait);
    if (error == NULL && !call_is_pending(call))
        error = call_error(call);
    if (error != NULL)
        goto done;
    system = adopt(call);
    if (call_is_pending(call))
        error = watch_wait(watch, HCS_NOTIFICATION_SYSTEM_CREATE_COMPLETED, guard_call_ms(compute->guard), wait,
                           "HcsCreateComputeSystem", id);
    if (error != NULL) {
        /* The caller's bound is used up and its cancel event may be set: these have their own bound. */
        error_free(hcs_system_terminate(system, NULL, NULL));
        error_free(hcs_system_close(system));
    } else {
        *ret_system = system;
    }
done:
    if (error != NULL)
        watch_close(watch);
    watch_release(watch);
    call_free(call);
    return error;
}

struct error *hcs_system_open(struct compute *compute, const char *id, const struct guard_wait *wait,
                              struct hcs_system **ret_system)
{
    struct compute_call *call = call_new(compute, NULL, HCS_EXPORT_HcsOpenComputeSystem, id, run_open);
    call->base.late = late_open;
    call->watch = compute_watch(compute, HCS_NOTIFICATION_SYSTEM_EXITED);
    struct watch *watch = call->watch;
    watch_retain(watch);
    struct error *error = call_set_id(call, id);
    if (error == NULL)
        error = call_make(call, wait);
    if (error == NULL)
        error = call_error(call);
    if (error == NULL)
        *ret_system = adopt(call);
    else
        watch_close(watch);
    watch_release(watch);
    call_free(call);
    return error;
}

const char *hcs_system_id(const struct hcs_system *system)
{
    return system->object.name;
}

struct error *hcs_system_close(struct hcs_system *system)
{
    return object_close(system == NULL ? NULL : &system->object);
}

/* ---- what ends in a notification ---- */

#define SYSTEM_RUN(function, export)                                                                                   \
    static void function(struct compute_call *call)                                                                    \
    {                                                                                                                  \
        call->result = call->compute->library->export(call->object->raw, call->text, &call->result_text);              \
    }
SYSTEM_RUN(run_start, HcsStartComputeSystem)
SYSTEM_RUN(run_pause, HcsPauseComputeSystem)
SYSTEM_RUN(run_resume, HcsResumeComputeSystem)
SYSTEM_RUN(run_shutdown, HcsShutdownComputeSystem)
SYSTEM_RUN(run_terminate, HcsTerminateComputeSystem)
SYSTEM_RUN(run_modify, HcsModifyComputeSystem)

static struct error *call_and_wait(struct hcs_system *system, enum hcs_export export, compute_run run,
                                   enum hcs_notification completion, const struct guard_wait *wait)
{
    struct object *object = &system->object;
    HRESULT result = S_OK;
    InterlockedIncrement(&object->refs); /* the wait outlives the call */
    watch_expect(object->watch, completion);
    struct error *error = object_call(object, export, run, "", wait, &result);
    if (error != NULL && hresult_is(result, (uint32_t)HCS_E_OPERATION_PENDING)) {
        error_free(error);
        error = watch_wait(object->watch, completion, guard_call_ms(object->compute->guard), wait,
                           hcs_export_name(export), object->name);
    }
    error_keep_first(&error, object_release(object));
    return error;
}

struct error *hcs_system_start(struct hcs_system *system, const struct guard_wait *wait)
{
    return call_and_wait(system, HCS_EXPORT_HcsStartComputeSystem, run_start, HCS_NOTIFICATION_SYSTEM_START_COMPLETED,
                         wait);
}

struct error *hcs_system_pause(struct hcs_system *system, const struct guard_wait *wait)
{
    return call_and_wait(system, HCS_EXPORT_HcsPauseComputeSystem, run_pause, HCS_NOTIFICATION_SYSTEM_PAUSE_COMPLETED,
                         wait);
}

struct error *hcs_system_resume(struct hcs_system *system, const struct guard_wait *wait)
{
    return call_and_wait(system, HCS_EXPORT_HcsResumeComputeSystem, run_resume,
                         HCS_NOTIFICATION_SYSTEM_RESUME_COMPLETED, wait);
}

/* ---- ending ---- */

static struct error *end(struct hcs_system *system, enum hcs_export export, compute_run run,
                         const struct guard_wait *wait, bool *ret_gone)
{
    HRESULT result = S_OK;
    struct error *error = object_call(&system->object, export, run, "", wait, &result);
    bool gone = hresult_is(result, (uint32_t)HCS_E_SYSTEM_ALREADY_STOPPED) ||
                hresult_is(result, (uint32_t)HCS_E_SYSTEM_NOT_FOUND);
    if (error != NULL && (gone || hresult_is(result, (uint32_t)HCS_E_OPERATION_PENDING))) {
        error_free(error);
        error = NULL;
    }
    if (error == NULL && ret_gone != NULL)
        *ret_gone = gone;
    return error;
}

struct error *hcs_system_shutdown(struct hcs_system *system, const struct guard_wait *wait, bool *ret_gone)
{
    return end(system, HCS_EXPORT_HcsShutdownComputeSystem, run_shutdown, wait, ret_gone);
}

struct error *hcs_system_terminate(struct hcs_system *system, const struct guard_wait *wait, bool *ret_gone)
{
    return end(system, HCS_EXPORT_HcsTerminateComputeSystem, run_terminate, wait, ret_gone);
}

/* ---- the rest ---- */

static void run_properties(struct compute_call *call)
{
    call->result = call->compute->library->HcsGetComputeSystemProperties(call->object->raw, call->text, &call->document,
                                                                         &call->result_text);
}

struct error *hcs_system_properties(struct hcs_system *system, const char *query, const struct guard_wait *wait,
                                    char **ret_json)
{
    struct object *object = &system->object;
    return call_ask(
        call_new(object->compute, object, HCS_EXPORT_HcsGetComputeSystemProperties, object->name, run_properties),
        query, wait, ret_json);
}

struct error *hcs_system_modify(struct hcs_system *system, const char *request, const struct guard_wait *wait)
{
    return object_call(&system->object, HCS_EXPORT_HcsModifyComputeSystem, run_modify, request, wait, NULL);
}

struct error *hcs_system_on_exit(struct hcs_system *system, hcs_exit_function function, void *context)
{
    return watch_on_exit(system->object.watch, function, context, system->object.name);
}

struct error *hcs_system_wait_exit(struct hcs_system *system, const struct guard_wait *wait, struct hcs_exit *ret_exit)
{
    return object_wait_exit(&system->object, wait, ret_exit);
}

bool hcs_system_has_exited(struct hcs_system *system, struct hcs_exit *ret_exit)
{
    return watch_has_exited(system->object.watch, ret_exit);
}
