/* The compute half: processes. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "compute.h"
#include "connection.h"
#include "gate.h"
#include "shared/frame.h"
#include "shared/result.h"

static HANDLE given_handle(const json_t *reply, const char *key)
{
    return (HANDLE)(UINT_PTR)frame_number(reply, key);
}

static void information_fill(HCS_PROCESS_INFORMATION *information, const json_t *reply)
{
    if (information == NULL)
        return;
    *information = (HCS_PROCESS_INFORMATION){
        .ProcessId = (ULONG)frame_number(reply, "pid"),
        .StdInput = given_handle(reply, "stdin"),
        .StdOutput = given_handle(reply, "stdout"),
        .StdError = given_handle(reply, "stderr"),
    };
}

/* What fault rows match a process by: "system/pid command". */
static char *process_name(const char *system, uint32_t pid, const char *command)
{
    return str_format("%s/%lu %s", system, (unsigned long)pid, command);
}

/* Create and open. Gives the reply when it succeeded. */
static HRESULT process_obtain(const char *call, HCS_SYSTEM system, json_t *request, const json_t *parameters,
                              HCS_PROCESS *process, json_t **ret_reply, PWSTR *result)
{
    struct fault fault = {0};
    uint64_t epoch = 0;
    uint64_t handle = 0;
    char *system_name = NULL;
    char *name = NULL;
    json_t *reply = NULL;
    struct error *error = object_check((uint64_t)(UINT_PTR)system, OBJECT_SYSTEM, &epoch, &system_name);
    HRESULT code;

    if (error == NULL) {
        name = process_name(system_name, (uint32_t)frame_number(request, "pid"), frame_text(parameters, "CommandLine"));
        error = gate_pass(call, name, &fault);
    }
    if (error == NULL) {
        handle = object_new(OBJECT_PROCESS, epoch, name);
        json_object_set_new(request, "process", json_integer((json_int_t)handle));
        json_object_set_new(request, "handle", json_integer((json_int_t)(UINT_PTR)system));
        compute_add_fault(request, &fault);
        error = connection_call(call, epoch, request, &reply);
        if (error != NULL)
            object_drop(handle, OBJECT_PROCESS);
    } else {
        json_decref(request);
    }
    if (error == NULL) {
        const char *command =
            frame_text(parameters != NULL ? parameters : reply, parameters != NULL ? "CommandLine" : "command");
        char *full = process_name(system_name, (uint32_t)frame_number(reply, "pid"), command);
        object_set_name(handle, full);
        free(full);
        *process = (HCS_PROCESS)(UINT_PTR)handle;
        *ret_reply = json_incref(reply);
    }
    code = compute_end(error, reply, result);
    json_decref(reply);
    fault_free(&fault);
    free(system_name);
    free(name);
    return code;
}

HRESULT WINAPI HcsCreateProcess(HCS_SYSTEM system, PCWSTR parameters, HCS_PROCESS_INFORMATION *information,
                                HCS_PROCESS *process, PWSTR *result)
{
    char *text;
    json_t *parsed;
    json_t *reply = NULL;
    HRESULT code;

    if (parameters == NULL || process == NULL)
        return E_INVALIDARG;
    text = compute_utf8(parameters);
    parsed = json_loads(text, 0, NULL);
    code = process_obtain("HcsCreateProcess", system,
                          json_pack("{s:s, s:b}", "parameters", text, "keep_pipes", information == NULL), parsed,
                          process, &reply, result);
    if (code >= 0)
        information_fill(information, reply);
    json_decref(reply);
    json_decref(parsed);
    free(text);
    return code;
}

HRESULT WINAPI HcsOpenProcess(HCS_SYSTEM system, UINT32 pid, HCS_PROCESS *process, PWSTR *result)
{
    json_t *reply = NULL;
    HRESULT code;

    if (process == NULL)
        return E_INVALIDARG;
    code = process_obtain("HcsOpenProcess", system, json_pack("{s:I}", "pid", (json_int_t)pid), NULL, process, &reply,
                          result);
    json_decref(reply);
    return code;
}

HRESULT WINAPI HcsCloseProcess(HCS_PROCESS process)
{
    return compute_close("HcsCloseProcess", OBJECT_PROCESS, process);
}

HRESULT WINAPI HcsTerminateProcess(HCS_PROCESS process, PWSTR *result)
{
    return compute_call("HcsTerminateProcess", OBJECT_PROCESS, process, json_object(), NULL, result);
}

HRESULT WINAPI HcsSignalProcess(HCS_PROCESS process, PCWSTR options, PWSTR *result)
{
    return compute_call("HcsSignalProcess", OBJECT_PROCESS, process,
                        json_pack("{s:o}", "options", compute_json(options)), NULL, result);
}

HRESULT WINAPI HcsGetProcessInfo(HCS_PROCESS process, HCS_PROCESS_INFORMATION *information, PWSTR *result)
{
    json_t *reply = NULL;
    HRESULT code;

    if (information == NULL)
        return E_INVALIDARG;
    code = compute_call("HcsGetProcessInfo", OBJECT_PROCESS, process, json_object(), &reply, result);
    if (code >= 0)
        information_fill(information, reply);
    json_decref(reply);
    return code;
}

HRESULT WINAPI HcsGetProcessProperties(HCS_PROCESS process, PWSTR *properties, PWSTR *result)
{
    json_t *reply = NULL;
    HRESULT code = compute_call("HcsGetProcessProperties", OBJECT_PROCESS, process, json_object(), &reply, result);
    if (code >= 0 && properties != NULL)
        *properties = compute_text(frame_text(reply, "text"));
    json_decref(reply);
    return code;
}

HRESULT WINAPI HcsModifyProcess(HCS_PROCESS process, PCWSTR settings, PWSTR *result)
{
    return compute_call("HcsModifyProcess", OBJECT_PROCESS, process,
                        json_pack("{s:o}", "settings", compute_json(settings)), NULL, result);
}
