/* The system, the token, and what the service manager has stored. */
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "probe/checks.h"

#define BUILD_MIN 17763u

/* ---- system ---- */

static enum probe_verdict look_build(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t name[128] = L"unknown product";
    DWORD size = sizeof name, revision = 0, revision_size = sizeof revision;
    static const wchar_t key[] = L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion";
    RegGetValueW(HKEY_LOCAL_MACHINE, key, L"ProductName", RRF_RT_REG_SZ, NULL, name, &size);
    RegGetValueW(HKEY_LOCAL_MACHINE, key, L"UBR", RRF_RT_REG_DWORD, NULL, &revision, &revision_size);
    probe_found(probe, "%u.%lu, %ls%s", win_build(), revision, name, probe->wine ? " (Wine)" : "");
    return probe_judge(win_build() >= BUILD_MIN);
}

/* GetVersionEx tells programs without a manifest of an old Windows. */
static enum probe_verdict look_manifest(struct probe *probe, const char *argument)
{
    (void)argument;
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    BOOL(WINAPI * get)
    (OSVERSIONINFOW *) = (BOOL(WINAPI *)(OSVERSIONINFOW *))(void *)win_function(L"kernel32.dll", "GetVersionExW");
    if (get == NULL || !get(&version))
        return probe_failed(probe, "GetVersionEx", GetLastError());
    probe_found(probe, "GetVersionEx: %lu, RtlGetVersion: %u", version.dwBuildNumber, win_build());
    return probe_judge(version.dwBuildNumber == win_build());
}

static enum probe_verdict look_machine(struct probe *probe, const char *argument)
{
    (void)argument;
    USHORT native = win_native_machine();
    if (native == 0)
        return probe_failed(probe, "IsWow64Process2", GetLastError());
    probe_found(probe, "machine 0x%04X", native);
    return probe_judge(native == IMAGE_FILE_MACHINE_AMD64);
}

static enum probe_verdict look_other_service(struct probe *probe, const char *name)
{
    static const char *const states[] = {"?",       "stopped",    "starting", "stopping",
                                         "running", "continuing", "pausing",  "paused"};
    SERVICE_STATUS status = {0};
    wchar_t *wide = NULL;
    error_free(win_wide(name, &wide));
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager == NULL ? NULL : OpenServiceW(manager, wide, SERVICE_QUERY_STATUS);
    DWORD code = service != NULL && QueryServiceStatus(service, &status) ? ERROR_SUCCESS : GetLastError();
    if (service != NULL)
        CloseServiceHandle(service);
    if (manager != NULL)
        CloseServiceHandle(manager);
    free(wide);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "QueryServiceStatus", code);
    probe_found(probe, "%s", states[status.dwCurrentState & 7]);
    return PROBE_AS_EXPECTED;
}

static enum probe_verdict look_edition(struct probe *probe, const char *argument)
{
    (void)argument;
    static const wchar_t key[] = L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion";
    wchar_t type[64] = L"not known", edition[64] = L"not known";
    DWORD size = sizeof type;
    RegGetValueW(HKEY_LOCAL_MACHINE, key, L"InstallationType", RRF_RT_REG_SZ, NULL, type, &size);
    size = sizeof edition;
    RegGetValueW(HKEY_LOCAL_MACHINE, key, L"EditionID", RRF_RT_REG_SZ, NULL, edition, &size);
    probe_found(probe, "%ls (%ls)", type, edition);
    return probe_judge(wcsncmp(type, L"Server", 6) == 0);
}

/* Whether Defender passes a folder by; every administrator sets it in one of the two places. `argument`: "state" or "staging". */
static enum probe_verdict look_exclusion(struct probe *probe, const char *argument)
{
    static const wchar_t *const keys[] = {L"SOFTWARE\\Microsoft\\Windows Defender\\Exclusions\\Paths",
                                          L"SOFTWARE\\Policies\\Microsoft\\Windows Defender\\Exclusions\\Paths"};
    const char *path = strcmp(argument, "state") == 0 ? probe->options->state_dir : probe->options->staging_dir;
    LSTATUS status = ERROR_SUCCESS;
    bool asked = false, excluded = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        HKEY key = NULL;
        LSTATUS opened = RegOpenKeyExW(HKEY_LOCAL_MACHINE, keys[i], 0, KEY_QUERY_VALUE, &key);
        status = opened != ERROR_SUCCESS ? opened : status;
        asked = asked || opened == ERROR_SUCCESS;
        wchar_t name[1024];
        for (DWORD n = 0, size; opened == ERROR_SUCCESS; n++) {
            size = ARRAYSIZE(name);
            if (RegEnumValueW(key, n, name, &size, NULL, NULL, NULL, NULL) != ERROR_SUCCESS)
                break;
            char *folder = win_text(name), *start = str_copy_n(path, strlen(folder));
            excluded = excluded || (text_equal_ascii_nocase(start, folder) &&
                                    (path[strlen(start)] == 0 || path[strlen(start)] == '\\'));
            free(start);
            free(folder);
        }
        if (key != NULL)
            RegCloseKey(key);
    }
    if (!asked) {
        probe_failed(probe, "Defender's exclusions", (DWORD)status);
        return PROBE_NOT_ASKED;
    }
    probe_found(probe, "%s", excluded ? "excluded" : "not excluded; scans make exports slow and hold files");
    return probe_judge(excluded);
}

static const struct probe_check system_checks[] = {
    {"system", "build", "17763 (Server 2019) or newer", look_build, NULL},
    {"system", "manifest", "GetVersionEx tells the real build", look_manifest, NULL},
    {"system", "machine", "0x8664 (x64)", look_machine, NULL},
    {"system", "edition", "a server", look_edition, NULL},
    {"system", "service vmcompute", "there; started by the first call", look_other_service, "vmcompute"},
    {"system", "service hns", "there", look_other_service, "hns"},
    {"system", "service wcifs", "there (the containers' file system filter)", look_other_service, "wcifs"},
    {"system", "service bindflt", "there (mounts into containers)", look_other_service, "bindflt"},
    {"system", "service vmms", "there, where containers are to run in VMs", look_other_service, "vmms"},
    {"system", "virus scans of the state folder", "Defender excludes it", look_exclusion, "state"},
    {"system", "virus scans of the staging folder", "Defender excludes it", look_exclusion, "staging"},
};
const struct probe_table probe_system = {system_checks, sizeof system_checks / sizeof system_checks[0]};

/* ---- token ---- */

static enum probe_verdict look_user(struct probe *probe, const char *argument)
{
    (void)argument;
    HANDLE token = NULL;
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } own;
    DWORD size;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) ||
        !GetTokenInformation(token, TokenUser, &own, sizeof own, &size))
        return probe_failed(probe, "GetTokenInformation", GetLastError());
    CloseHandle(token);
    bool is_system = IsWellKnownSid(own.user.User.Sid, WinLocalSystemSid);
    probe_found(probe, "%s", is_system ? "LocalSystem" : "another account");
    return probe_judge(is_system);
}

/* `argument`: "on SeDebugPrivilege" or "off …": held, and enabled or not, as LocalSystem's token is documented. */
static enum probe_verdict look_privilege(struct probe *probe, const char *argument)
{
    bool wanted_on = strncmp(argument, "on ", 3) == 0;
    const char *name = strchr(argument, ' ') + 1;
    wchar_t *wide = NULL;
    HANDLE token = NULL;
    LUID id;
    DWORD size = 0;
    error_free(win_wide(name, &wide));
    bool known = LookupPrivilegeValueW(NULL, wide, &id);
    free(wide);
    if (!known || !OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
        return probe_failed(probe, "LookupPrivilegeValue", GetLastError());
    GetTokenInformation(token, TokenPrivileges, NULL, 0, &size);
    TOKEN_PRIVILEGES *held = mem_zero(size);
    const char *state = "not held";
    bool on = false, there = false;
    if (GetTokenInformation(token, TokenPrivileges, held, size, &size))
        for (DWORD i = 0; i < held->PrivilegeCount; i++)
            if (held->Privileges[i].Luid.LowPart == id.LowPart && held->Privileges[i].Luid.HighPart == id.HighPart) {
                there = true;
                on = (held->Privileges[i].Attributes & SE_PRIVILEGE_ENABLED) != 0;
                state = on ? "enabled" : "disabled";
            }
    CloseHandle(token);
    free(held);
    probe_found(probe, "%s", state);
    return probe_judge(there && on == wanted_on);
}

#define PRIVILEGE_ON(name)                                                                                             \
    {                                                                                                                  \
        "token", name, "enabled", look_privilege, "on " name                                                           \
    }
#define PRIVILEGE_OFF(name)                                                                                            \
    {                                                                                                                  \
        "token", name, "disabled; workers enable it", look_privilege, "off " name                                      \
    }
static const struct probe_check token_checks[] = {
    {"token", "account", "LocalSystem", look_user, NULL},
    PRIVILEGE_OFF("SeBackupPrivilege"),
    PRIVILEGE_OFF("SeRestorePrivilege"),
    PRIVILEGE_OFF("SeSecurityPrivilege"),
    PRIVILEGE_OFF("SeTakeOwnershipPrivilege"),
    PRIVILEGE_OFF("SeManageVolumePrivilege"),
    PRIVILEGE_OFF("SeLoadDriverPrivilege"),
    PRIVILEGE_OFF("SeAssignPrimaryTokenPrivilege"),
    PRIVILEGE_OFF("SeIncreaseQuotaPrivilege"),
    PRIVILEGE_ON("SeDebugPrivilege"),
    PRIVILEGE_ON("SeImpersonatePrivilege"),
    PRIVILEGE_ON("SeTcbPrivilege"),
    PRIVILEGE_ON("SeCreateGlobalPrivilege"),
};
const struct probe_table probe_token = {token_checks, sizeof token_checks / sizeof token_checks[0]};

/* ---- the service as it is stored ---- */

static enum probe_verdict query(struct probe *probe, DWORD level, void *room, DWORD size)
{
    wchar_t *wide = NULL;
    error_free(win_wide(probe->options->service, &wide));
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager == NULL ? NULL : OpenServiceW(manager, wide, SERVICE_QUERY_CONFIG);
    DWORD code =
        service != NULL && QueryServiceConfig2W(service, level, room, size, &size) ? ERROR_SUCCESS : GetLastError();
    if (service != NULL)
        CloseServiceHandle(service);
    if (manager != NULL)
        CloseServiceHandle(manager);
    free(wide);
    if (code == ERROR_SUCCESS)
        return PROBE_AS_EXPECTED;
    probe_failed(probe, "QueryServiceConfig2", code);
    return code == ERROR_SERVICE_DOES_NOT_EXIST ? PROBE_NOT_ASKED : PROBE_DIFFERENT;
}

static enum probe_verdict look_preshutdown(struct probe *probe, const char *argument)
{
    (void)argument;
    SERVICE_PRESHUTDOWN_INFO info = {0};
    enum probe_verdict verdict = query(probe, SERVICE_CONFIG_PRESHUTDOWN_INFO, &info, sizeof info);
    if (verdict != PROBE_AS_EXPECTED)
        return verdict;
    probe_found(probe, "%lu ms", info.dwPreshutdownTimeout);
    return probe_judge(info.dwPreshutdownTimeout >= 25000);
}

static enum probe_verdict look_failure(struct probe *probe, const char *argument)
{
    (void)argument;
    union {
        SERVICE_FAILURE_ACTIONSW actions;
        BYTE room[8192];
    } info = {0};
    enum probe_verdict verdict = query(probe, SERVICE_CONFIG_FAILURE_ACTIONS, &info, sizeof info);
    if (verdict != PROBE_AS_EXPECTED)
        return verdict;
    probe_found(probe, "%lu actions, reset after %lu s", info.actions.cActions, info.actions.dwResetPeriod);
    return probe_judge(info.actions.cActions == 3 && info.actions.lpsaActions[0].Type == SC_ACTION_RESTART);
}

static enum probe_verdict look_failure_flag(struct probe *probe, const char *argument)
{
    (void)argument;
    SERVICE_FAILURE_ACTIONS_FLAG info = {0};
    enum probe_verdict verdict = query(probe, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &info, sizeof info);
    if (verdict != PROBE_AS_EXPECTED)
        return verdict;
    probe_found(probe, "%s", info.fFailureActionsOnNonCrashFailures ? "set" : "not set");
    return probe_judge(info.fFailureActionsOnNonCrashFailures);
}

static enum probe_verdict look_sid(struct probe *probe, const char *argument)
{
    (void)argument;
    SERVICE_SID_INFO info = {0};
    enum probe_verdict verdict = query(probe, SERVICE_CONFIG_SERVICE_SID_INFO, &info, sizeof info);
    if (verdict != PROBE_AS_EXPECTED)
        return verdict;
    probe_found(probe, "type %lu", info.dwServiceSidType);
    return probe_judge(info.dwServiceSidType == SERVICE_SID_TYPE_UNRESTRICTED);
}

/* A path with blanks and without quotes starts C:\Program.exe, if somebody puts one there. */
static enum probe_verdict look_command_line(struct probe *probe, const char *argument)
{
    (void)argument;
    union {
        QUERY_SERVICE_CONFIGW config;
        BYTE room[8192]; /* the most that the call gives */
    } info = {0};
    DWORD size;
    wchar_t *wide = NULL;
    error_free(win_wide(probe->options->service, &wide));
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager == NULL ? NULL : OpenServiceW(manager, wide, SERVICE_QUERY_CONFIG);
    DWORD code = service != NULL && QueryServiceConfigW(service, &info.config, sizeof info, &size) ? ERROR_SUCCESS
                                                                                                   : GetLastError();
    if (service != NULL)
        CloseServiceHandle(service);
    if (manager != NULL)
        CloseServiceHandle(manager);
    free(wide);
    if (code != ERROR_SUCCESS) {
        probe_failed(probe, "QueryServiceConfig", code);
        return PROBE_NOT_ASKED;
    }
    const wchar_t *line = info.config.lpBinaryPathName, *end = wcsstr(line, L".exe"), *blank = wcschr(line, L' ');
    probe_found(probe, "%ls", line);
    return probe_judge(line[0] == L'"' || blank == NULL || (end != NULL && blank > end));
}

/* The texts of the events can be read where viewers look for them. */
static enum probe_verdict look_event_source(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t path[1100], expanded[1100], *key = NULL, *text = NULL;
    DWORD size = sizeof path;
    char *name = str_format("SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\%s", probe->options->service);
    error_free(win_wide(name, &key));
    free(name);
    LSTATUS status = RegGetValueW(HKEY_LOCAL_MACHINE, key, L"EventMessageFile",
                                  RRF_RT_REG_EXPAND_SZ | RRF_RT_REG_SZ | RRF_NOEXPAND, NULL, path, &size);
    free(key);
    if (status != ERROR_SUCCESS) {
        probe_failed(probe, "EventMessageFile", (DWORD)status);
        return PROBE_NOT_ASKED;
    }
    ExpandEnvironmentStringsW(path, expanded, ARRAYSIZE(expanded));
    HMODULE messages = LoadLibraryExW(expanded, NULL, LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_IMAGE_RESOURCE);
    DWORD code = messages == NULL ? GetLastError() : ERROR_SUCCESS;
    if (messages != NULL &&
        FormatMessageW(FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_IGNORE_INSERTS,
                       messages, 0x40000001, 0, (wchar_t *)&text, 0, NULL) == 0)
        code = GetLastError();
    if (messages != NULL)
        FreeLibrary(messages);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "FormatMessage", code);
    LocalFree(text);
    probe_found(probe, "event 1 has its text");
    return PROBE_AS_EXPECTED;
}

static const struct probe_check service_checks[] = {
    {"service", "command line", "its program in quotes, or without blanks", look_command_line, NULL},
    {"service", "preshutdown time", "25,000 ms or more", look_preshutdown, NULL},
    {"service", "recovery actions", "3, the first a restart", look_failure, NULL},
    {"service", "recovery on reported failures", "set", look_failure_flag, NULL},
    {"service", "service SID", "type 1 (unrestricted)", look_sid, NULL},
    {"service", "event source", "event 1 has its text", look_event_source, NULL},
};
const struct probe_table probe_service = {service_checks, sizeof service_checks / sizeof service_checks[0]};
