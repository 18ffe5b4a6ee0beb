#include "gate.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "connection.h"
#include "shared/frame.h"
#include "shared/result.h"

#define HANG_MS    50
#define CRASH_CODE 0xC0000420u /* STATUS_ASSERTION_FAILURE, what DestroyLayer is known to raise */

static struct faults *own_faults(void)
{
    static INIT_ONCE once;
    static struct faults *faults;
    void *context = NULL;
    BOOL pending;

    if (InitOnceBeginInitialize(&once, 0, &pending, &context) && pending) {
        faults = faults_new(connection_names()->faults);
        InitOnceComplete(&once, 0, NULL);
    }
    return faults;
}

/* The row that strikes; the broker counts. */
static struct error *fault_take(const char *call, const char *object, struct fault *ret_fault)
{
    struct fault candidate;
    json_t *reply = NULL;
    struct error *error = faults_find(own_faults(), call, object, 0, &candidate);

    *ret_fault = (struct fault){0};
    if (error != NULL) {
        fprintf(stderr, "vmcompute.dll (emulator): %s: %s\n", call, error->message);
        fflush(stderr);
        return error;
    }
    if (candidate.action == FAULT_NONE)
        return NULL;
    fault_free(&candidate);
    error = connection_call("fault", 0, json_pack("{s:s, s:s}", "name", call, "object", object), &reply);
    if (error != NULL)
        return error;
    if (!fault_parse(frame_text(reply, "row"), ret_fault))
        *ret_fault = (struct fault){0};
    json_decref(reply);
    return NULL;
}

static struct error *strike(const char *call, const char *object, const struct fault *fault)
{
    switch (fault->action) {
    case FAULT_FAIL:
        return error_hresult((uint32_t)(fault->has_hresult ? fault->hresult : E_FAIL), call, object,
                             "a row of vmcompute-faults.json: %s", fault->row);
    case FAULT_HANG:
        while (faults_has_row(own_faults(), fault->row))
            faults_wait(own_faults(), HANG_MS);
        return NULL;
    case FAULT_CRASH:
        RaiseException(fault->has_hresult ? (DWORD)fault->hresult : CRASH_CODE, EXCEPTION_NONCONTINUABLE, 0, NULL);
        return NULL;
    case FAULT_DISCONNECT:
        error_free(connection_call("disconnect", 0, json_object(), NULL));
        return error_hresult((uint32_t)(fault->has_hresult ? fault->hresult : RESULT_LOST_BROKER), call, object,
                             "lost communication with the compute service (vmcompute-faults.json)");
    default:
        return NULL;
    }
}

static bool strikes_now(const struct fault *fault)
{
    return fault->action == FAULT_FAIL || fault->action == FAULT_HANG || fault->action == FAULT_CRASH ||
           fault->action == FAULT_DISCONNECT;
}

struct error *gate_pass(const char *call, const char *object, struct fault *ret_fault)
{
    struct error *error = fault_take(call, object, ret_fault);

    if (error != NULL || !strikes_now(ret_fault))
        return error;
    if (ret_fault->after_ms > 0)
        Sleep(ret_fault->after_ms); /* banned-ok: the delay is the fault */
    error = strike(call, object, ret_fault);
    fault_free(ret_fault);
    return error;
}

struct error *gate_pass_work(const char *call, const char *object, struct fault *ret_fault)
{
    struct error *error = fault_take(call, object, ret_fault);

    if (error != NULL || !strikes_now(ret_fault) || ret_fault->after_ms > 0)
        return error;
    error = strike(call, object, ret_fault);
    fault_free(ret_fault);
    return error;
}

struct error *gate_strike_due(struct work_fault *fault, bool finishing)
{
    ULONGLONG passed;

    if (fault->struck || !strikes_now(&fault->fault))
        return NULL;
    passed = GetTickCount64() - fault->began;
    if (passed < fault->fault.after_ms) {
        if (!finishing)
            return NULL;
        Sleep((DWORD)(fault->fault.after_ms - passed)); /* banned-ok: the delay is the fault */
    }
    fault->struck = true;
    return strike(fault->call, fault->object, &fault->fault);
}

/* {"check_privileges":true} in the settings, read at every call: the file is small and rarely there. */
static bool privileges_checked(void)
{
    HANDLE file = CreateFileW(connection_names()->settings, GENERIC_READ,
                              FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    char text[4096];
    DWORD size = 0;
    json_t *settings;
    bool checked;

    if (file == INVALID_HANDLE_VALUE)
        return false;
    if (!ReadFile(file, text, sizeof text, &size, NULL))
        size = 0;
    CloseHandle(file);
    settings = json_loadb(text, size, 0, NULL);
    checked = frame_flag(settings, "check_privileges");
    json_decref(settings);
    return checked;
}

static bool privilege_enabled(const TOKEN_PRIVILEGES *privileges, const wchar_t *name)
{
    LUID wanted;

    if (!LookupPrivilegeValueW(NULL, name, &wanted))
        return false;
    for (DWORD i = 0; i < privileges->PrivilegeCount; i++) {
        const LUID_AND_ATTRIBUTES *privilege = &privileges->Privileges[i];
        if (privilege->Luid.LowPart == wanted.LowPart && privilege->Luid.HighPart == wanted.HighPart)
            return (privilege->Attributes & SE_PRIVILEGE_ENABLED) != 0;
    }
    return false;
}

struct error *gate_privileges(const char *call, const char *object, enum gate_privilege needed)
{
    HANDLE token;
    DWORD size = 0;
    TOKEN_PRIVILEGES *privileges;
    const char *missing = NULL;

    if (needed == GATE_NONE || !privileges_checked())
        return NULL;
    /* The process's token: one that only a thread carries is not seen by the service's other threads. */
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
        return error_win32(GetLastError(), call, object, "the process's token cannot be opened");
    GetTokenInformation(token, TokenPrivileges, NULL, 0, &size);
    privileges = mem_zero(size);
    if (!GetTokenInformation(token, TokenPrivileges, privileges, size, &size))
        privileges->PrivilegeCount = 0;
    if (!privilege_enabled(privileges, L"SeBackupPrivilege"))
        missing = "SeBackupPrivilege";
    if (needed == GATE_BACKUP_RESTORE && !privilege_enabled(privileges, L"SeRestorePrivilege"))
        missing = "SeRestorePrivilege";
    free(privileges);
    CloseHandle(token);
    return missing == NULL ? NULL : error_win32(ERROR_PRIVILEGE_NOT_HELD, call, object, "%s is not enabled", missing);
}
