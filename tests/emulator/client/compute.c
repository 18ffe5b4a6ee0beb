/* The compute half: systems. */
#include "compute.h"

#include <objbase.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "connection.h"
#include "gate.h"
#include "shared/frame.h"
#include "shared/result.h"

char *compute_utf8(PCWSTR text)
{
    return text_from_utf16z((const char16_t *)(text == NULL ? L"" : text));
}

json_t *compute_json(PCWSTR text)
{
    char *utf8 = compute_utf8(text);
    json_t *json = json_string(utf8);
    free(utf8);
    return json == NULL ? json_string("") : json;
}

PWSTR compute_text(const char *text)
{
    size_t count = 0;
    char16_t *units = text_to_utf16(text, &count);
    PWSTR copy = CoTaskMemAlloc((count + 1) * sizeof *copy);

    if (copy != NULL && units != NULL)
        memcpy(copy, units, (count + 1) * sizeof *copy);
    if (copy != NULL && units == NULL)
        *copy = 0;
    free(units);
    return copy;
}

HRESULT compute_end(struct error *error, const json_t *reply, PWSTR *result)
{
    HRESULT code = error == NULL ? (HRESULT)frame_number(reply, "hr") : result_code(error);

    if (error != NULL && result != NULL) {
        char *document = result_document(code, error->message);
        *result = compute_text(document);
        free(document);
    }
    error_free(error);
    return code;
}

void compute_add_fault(json_t *request, const struct fault *fault)
{
    if (fault->row != NULL)
        json_object_set_new(request, "fault", json_string(fault->row));
}

HRESULT compute_call(const char *call, enum object_kind kind, void *handle, json_t *request, json_t **ret_reply,
                     PWSTR *result)
{
    struct fault fault = {0};
    uint64_t epoch = 0;
    char *name = NULL;
    json_t *reply = NULL;
    struct error *error = object_check((uint64_t)(UINT_PTR)handle, kind, &epoch, &name);
    HRESULT code;

    if (error == NULL)
        error = gate_pass(call, name, &fault);
    if (error == NULL) {
        compute_add_fault(request, &fault);
        json_object_set_new(request, "handle", json_integer((json_int_t)(UINT_PTR)handle));
        error = connection_call(call, epoch, request, &reply);
    } else {
        json_decref(request);
    }
    code = compute_end(error, reply, result);
    if (ret_reply != NULL && code >= 0)
        *ret_reply = json_incref(reply);
    json_decref(reply);
    fault_free(&fault);
    free(name);
    return code;
}

HRESULT compute_close(const char *call, enum object_kind kind, void *handle)
{
    HRESULT code = compute_call(call, kind, handle, json_object(), NULL, NULL);
    if (code >= 0 || code == RESULT_WIN32(ERROR_INVALID_HANDLE) || code == RESULT_LOST_BROKER)
        object_drop((uint64_t)(UINT_PTR)handle, kind);
    return code;
}

/* Create and open: the handle is there before the broker hears of it. */
static HRESULT system_obtain(const char *call, PCWSTR id, json_t *request, HCS_SYSTEM *system, PWSTR *result)
{
    char *name = compute_utf8(id);
    struct fault fault = {0};
    uint64_t epoch = 0;
    uint64_t handle = 0;
    json_t *reply = NULL;
    struct error *error = gate_pass(call, name, &fault);
    HRESULT code;

    if (error == NULL)
        error = connection_epoch(&epoch);
    if (error == NULL) {
        handle = object_new(OBJECT_SYSTEM, epoch, name);
        json_object_set_new(request, "id", json_string(name));
        json_object_set_new(request, "handle", json_integer((json_int_t)handle));
        compute_add_fault(request, &fault);
        error = connection_call(call, epoch, request, &reply);
        if (error != NULL)
            object_drop(handle, OBJECT_SYSTEM);
    } else {
        json_decref(request);
    }
    if (error == NULL)
        *system = (HCS_SYSTEM)(UINT_PTR)handle;
    code = compute_end(error, reply, result);
    json_decref(reply);
    fault_free(&fault);
    free(name);
    return code;
}

HRESULT WINAPI HcsCreateComputeSystem(PCWSTR id, PCWSTR config, HANDLE identity, HCS_SYSTEM *system, PWSTR *result)
{
    (void)identity;
    if (id == NULL || config == NULL || system == NULL)
        return E_INVALIDARG;
    return system_obtain("HcsCreateComputeSystem", id, json_pack("{s:o}", "config", compute_json(config)), system,
                         result);
}

HRESULT WINAPI HcsOpenComputeSystem(PCWSTR id, HCS_SYSTEM *system, PWSTR *result)
{
    if (id == NULL || system == NULL)
        return E_INVALIDARG;
    return system_obtain("HcsOpenComputeSystem", id, json_object(), system, result);
}

HRESULT WINAPI HcsCloseComputeSystem(HCS_SYSTEM system)
{
    return compute_close("HcsCloseComputeSystem", OBJECT_SYSTEM, system);
}

/* Start, pause and the like: options are not looked at, but must be text. */
static HRESULT system_change(const char *call, HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return compute_call(call, OBJECT_SYSTEM, system, json_pack("{s:o}", "options", compute_json(options)), NULL,
                        result);
}

HRESULT WINAPI HcsStartComputeSystem(HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return system_change("HcsStartComputeSystem", system, options, result);
}

HRESULT WINAPI HcsShutdownComputeSystem(HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return system_change("HcsShutdownComputeSystem", system, options, result);
}

HRESULT WINAPI HcsTerminateComputeSystem(HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return system_change("HcsTerminateComputeSystem", system, options, result);
}

HRESULT WINAPI HcsPauseComputeSystem(HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return system_change("HcsPauseComputeSystem", system, options, result);
}

HRESULT WINAPI HcsResumeComputeSystem(HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return system_change("HcsResumeComputeSystem", system, options, result);
}

HRESULT WINAPI HcsSaveComputeSystem(HCS_SYSTEM system, PCWSTR options, PWSTR *result)
{
    return system_change("HcsSaveComputeSystem", system, options, result);
}

HRESULT WINAPI HcsGetComputeSystemProperties(HCS_SYSTEM system, PCWSTR query, PWSTR *properties, PWSTR *result)
{
    json_t *reply = NULL;
    HRESULT code = compute_call("HcsGetComputeSystemProperties", OBJECT_SYSTEM, system,
                                json_pack("{s:o}", "query", compute_json(query)), &reply, result);
    if (code >= 0 && properties != NULL)
        *properties = compute_text(frame_text(reply, "text"));
    json_decref(reply);
    return code;
}

HRESULT WINAPI HcsModifyComputeSystem(HCS_SYSTEM system, PCWSTR config, PWSTR *result)
{
    return compute_call("HcsModifyComputeSystem", OBJECT_SYSTEM, system,
                        json_pack("{s:o}", "config", compute_json(config)), NULL, result);
}

/* Calls on no handle. */
static HRESULT service_call(const char *call, json_t *request, PWSTR *text, PWSTR *result)
{
    struct fault fault = {0};
    json_t *reply = NULL;
    struct error *error = gate_pass(call, "", &fault);
    HRESULT code;

    if (error == NULL) {
        error = connection_call(call, 0, request, &reply);
    } else {
        json_decref(request);
    }
    if (error == NULL && text != NULL)
        *text = compute_text(frame_text(reply, "text"));
    code = compute_end(error, reply, result);
    json_decref(reply);
    fault_free(&fault);
    return code;
}

HRESULT WINAPI HcsEnumerateComputeSystems(PCWSTR query, PWSTR *systems, PWSTR *result)
{
    if (systems == NULL)
        return E_INVALIDARG;
    return service_call("HcsEnumerateComputeSystems", json_pack("{s:o}", "query", compute_json(query)), systems,
                        result);
}

HRESULT WINAPI HcsGetServiceProperties(PCWSTR query, PWSTR *properties, PWSTR *result)
{
    return service_call("HcsGetServiceProperties", json_pack("{s:o}", "query", compute_json(query)), properties,
                        result);
}

HRESULT WINAPI HcsModifyServiceSettings(PCWSTR settings, PWSTR *result)
{
    return service_call("HcsModifyServiceSettings", json_pack("{s:o}", "settings", compute_json(settings)), NULL,
                        result);
}

static HRESULT callback_register(const char *call, enum object_kind kind, void *handle,
                                 HCS_NOTIFICATION_CALLBACK callback, void *context, HCS_CALLBACK *registration)
{
    struct fault fault = {0};
    uint64_t epoch;
    char *name = NULL;
    struct error *error;

    if (callback == NULL || registration == NULL)
        return E_INVALIDARG;
    error = object_check((uint64_t)(UINT_PTR)handle, kind, &epoch, &name);
    if (error == NULL)
        error = gate_pass(call, name, &fault);
    if (error == NULL)
        error = object_register((uint64_t)(UINT_PTR)handle, kind, callback, context, registration);
    fault_free(&fault);
    free(name);
    return result_end(error);
}

static HRESULT callback_unregister(const char *call, HCS_CALLBACK registration)
{
    struct fault fault = {0};
    char *name = object_registered_name(registration);
    struct error *error = gate_pass(call, name, &fault);
    if (error == NULL)
        error = object_unregister(registration);
    fault_free(&fault);
    free(name);
    return result_end(error);
}

HRESULT WINAPI HcsRegisterComputeSystemCallback(HCS_SYSTEM system, HCS_NOTIFICATION_CALLBACK callback, void *context,
                                                HCS_CALLBACK *registration)
{
    return callback_register("HcsRegisterComputeSystemCallback", OBJECT_SYSTEM, system, callback, context,
                             registration);
}

HRESULT WINAPI HcsUnregisterComputeSystemCallback(HCS_CALLBACK registration)
{
    return callback_unregister("HcsUnregisterComputeSystemCallback", registration);
}

HRESULT WINAPI HcsRegisterProcessCallback(HCS_PROCESS process, HCS_NOTIFICATION_CALLBACK callback, void *context,
                                          HCS_CALLBACK *registration)
{
    return callback_register("HcsRegisterProcessCallback", OBJECT_PROCESS, process, callback, context, registration);
}

HRESULT WINAPI HcsUnregisterProcessCallback(HCS_CALLBACK registration)
{
    return callback_unregister("HcsUnregisterProcessCallback", registration);
}
