/* Named pipes: who may serve a name, and when a client is known. */
#include <aclapi.h>
#include <sddl.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/win.h"
#include "probe/checks.h"

/* FILE_CREATE_PIPE_INSTANCE = FILE_APPEND_DATA: who has it can serve the name. */
#define SERVES 0x4u

static wchar_t *own_name(const char *what)
{
    wchar_t *wide = NULL;
    char *name = str_format("\\\\.\\pipe\\hcsd-probe-%lu-%s", GetCurrentProcessId(), what);
    error_free(win_wide(name, &wide));
    free(name);
    return wide;
}

static HANDLE serve(const wchar_t *name, bool first)
{
    return CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
                            PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, NULL);
}

static HANDLE dial(const wchar_t *name)
{
    return CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                       SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
}

static enum probe_verdict look_dacl(struct probe *probe, const char *argument)
{
    (void)argument;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t *text = NULL, *name = NULL;
    PACL acl = NULL;
    error_free(win_wide(probe->options->pipe, &name));
    HANDLE pipe =
        CreateFileW(name, READ_CONTROL, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, NULL);
    DWORD code = pipe == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    free(name);
    if (code == ERROR_SUCCESS)
        code = GetSecurityInfo(pipe, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, &acl, NULL, &descriptor);
    win_close(pipe);
    if (code != ERROR_SUCCESS) {
        probe_failed(probe, "open the service's pipe", code);
        return PROBE_NOT_ASKED;
    }
    unsigned foreign = 0;
    for (DWORD i = 0; acl != NULL && i < acl->AceCount; i++) {
        void *entry;
        if (!GetAce(acl, i, &entry) || ((ACE_HEADER *)entry)->AceType != ACCESS_ALLOWED_ACE_TYPE)
            continue;
        PSID sid = (PSID) & ((ACCESS_ALLOWED_ACE *)entry)->SidStart;
        foreign += (((ACCESS_ALLOWED_ACE *)entry)->Mask & SERVES) != 0 && !IsWellKnownSid(sid, WinLocalSystemSid) &&
                   !IsWellKnownSid(sid, WinBuiltinAdministratorsSid);
    }
    ConvertSecurityDescriptorToStringSecurityDescriptorW(descriptor, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &text,
                                                         NULL);
    probe_found(probe, "%ls; %u others may serve the name", text != NULL ? text : L"?", foreign);
    LocalFree(text);
    LocalFree(descriptor);
    return probe_judge(acl != NULL && foreign == 0);
}

static enum probe_verdict look_first_instance(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t *name = own_name("first");
    HANDLE one = serve(name, true), two = serve(name, true);
    DWORD code = two == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    win_close(two);
    win_close(one);
    free(name);
    if (code == ERROR_SUCCESS)
        probe_found(probe, "a second first instance was made");
    else
        probe_failed(probe, "CreateNamedPipe", code);
    return probe_judge(code == ERROR_ACCESS_DENIED);
}

static enum probe_verdict look_busy(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t *name = own_name("busy");
    HANDLE server = serve(name, true), client = dial(name), second = dial(name);
    DWORD code = second == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    win_close(second);
    win_close(client);
    win_close(server);
    free(name);
    probe_found(probe, "error %lu", code);
    return probe_judge(code == ERROR_PIPE_BUSY);
}

/* Before anything was read there is no client to be. */
static enum probe_verdict look_identity(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t *name = own_name("identity");
    HANDLE server = serve(name, true), client = dial(name);
    DWORD before = ImpersonateNamedPipeClient(server) ? ERROR_SUCCESS : GetLastError();
    RevertToSelf();
    char byte = 'x';
    DWORD count, after = ERROR_SUCCESS;
    if (!WriteFile(client, &byte, 1, &count, NULL) || !ReadFile(server, &byte, 1, &count, NULL) ||
        !ImpersonateNamedPipeClient(server))
        after = GetLastError();
    RevertToSelf();
    win_close(client);
    win_close(server);
    free(name);
    probe_found(probe, "before the first read: error %lu; after it: error %lu", before, after);
    return probe_judge(before == ERROR_CANNOT_IMPERSONATE && after == ERROR_SUCCESS);
}

static enum probe_verdict look_pid(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t *name = own_name("pid");
    HANDLE server = serve(name, true), client = dial(name);
    ULONG pid = 0;
    DWORD code = GetNamedPipeClientProcessId(server, &pid) ? ERROR_SUCCESS : GetLastError();
    win_close(client);
    win_close(server);
    free(name);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "GetNamedPipeClientProcessId", code);
    probe_found(probe, "%s", pid == GetCurrentProcessId() ? "our own" : "another one");
    return probe_judge(pid == GetCurrentProcessId());
}

/* What a reload does with pipe_access: one instance's access is that of all. */
static enum probe_verdict look_change(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t *name = own_name("change"), *text = NULL;
    PSECURITY_DESCRIPTOR wanted = NULL, found = NULL;
    PACL acl = NULL;
    BOOL present, defaulted;
    HANDLE one = CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX | WRITE_DAC | FILE_FLAG_FIRST_PIPE_INSTANCE, PIPE_TYPE_BYTE,
                                  PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, NULL);
    HANDLE other = serve(name, false);
    DWORD code = one == INVALID_HANDLE_VALUE || other == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    free(name);
    if (code == ERROR_SUCCESS &&
        (!ConvertStringSecurityDescriptorToSecurityDescriptorW(L"D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;LS)",
                                                               SDDL_REVISION_1, &wanted, NULL) ||
         !GetSecurityDescriptorDacl(wanted, &present, &acl, &defaulted)))
        code = GetLastError();
    if (code == ERROR_SUCCESS)
        code = SetSecurityInfo(one, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                               NULL, NULL, acl, NULL);
    if (code == ERROR_SUCCESS)
        code = GetSecurityInfo(other, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, NULL, NULL, &found);
    if (code == ERROR_SUCCESS && !ConvertSecurityDescriptorToStringSecurityDescriptorW(
                                     found, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &text, NULL))
        code = GetLastError();
    bool same = text != NULL && wcsstr(text, L"(A;;0x12019b;;;LS)") != NULL;
    if (code == ERROR_SUCCESS)
        probe_found(probe, "the other instance has %ls", text);
    else
        probe_failed(probe, "change a pipe's access", code);
    LocalFree(text);
    LocalFree(found);
    LocalFree(wanted);
    win_close(other);
    win_close(one);
    return probe_judge(same);
}

static const struct probe_check pipe_checks[] = {
    {"pipe", "access of the service's pipe", "nobody but SYSTEM and Administrators may serve the name", look_dacl,
     NULL},
    {"pipe", "access changed at one instance", "every instance has it", look_change, NULL},
    {"pipe", "second first instance", "refused with 5", look_first_instance, NULL},
    {"pipe", "all instances busy", "error 231", look_busy, NULL},
    {"pipe", "identity", "error 1368 before the first read, none after it", look_identity, NULL},
    {"pipe", "client's process id", "our own", look_pid, NULL},
};
const struct probe_table probe_pipes = {pipe_checks, sizeof pipe_checks / sizeof pipe_checks[0]};
