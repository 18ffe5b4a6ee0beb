#include "service/registration.h"

#include <windows.h>

#include <string.h>

#include "base/buffer.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/folder.h"
#include "hcsd_version.h"
#include "service/entry.h"

#define SOURCES      L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\"
#define MESSAGES     "hcsd-messages-" HCSD_VERSION ".dll"
#define STOP_WAIT_MS 30000

static SC_ACTION recovery_actions[] = {
    {SC_ACTION_RESTART, 15000},
    {SC_ACTION_RESTART, 15000},
    {SC_ACTION_NONE, 0},
};

/* All that hcsd and its workers need (facts: windows.md 9); a list that is short breaks storage calls in ways that look
 * like faults of HCS. */
static wchar_t required_privileges[] =
    L"SeBackupPrivilege\0SeRestorePrivilege\0SeSecurityPrivilege\0SeTakeOwnershipPrivilege\0SeManageVolumePrivilege\0"
    L"SeLoadDriverPrivilege\0SeDebugPrivilege\0SeImpersonatePrivilege\0SeTcbPrivilege\0SeAssignPrimaryTokenPrivilege\0"
    L"SeIncreaseQuotaPrivilege\0SeCreateGlobalPrivilege\0SeCreateSymbolicLinkPrivilege\0"
    L"SeIncreaseBasePriorityPrivilege\0SeShutdownPrivilege\0SeAuditPrivilege\0";

/* ---- event source ---- */

static struct error *program_path(char **ret_path)
{
    wchar_t wide[1024];
    DWORD size = GetModuleFileNameW(NULL, wide, 1024);
    if (size == 0 || size >= 1024)
        return error_win32(size == 0 ? GetLastError() : ERROR_FILENAME_EXCED_RANGE, "GetModuleFileName", "hcsd.exe",
                           NULL);
    *ret_path = win_text(wide);
    return NULL;
}

static struct error *source_key(const char *name, wchar_t **ret_key)
{
    char *key = str_format("%ls%s", SOURCES, name);
    struct error *error = win_wide(key, ret_key);
    free(key);
    return error;
}

static LSTATUS set_number(HKEY key, const wchar_t *name, DWORD value)
{
    return RegSetValueExW(key, name, 0, REG_DWORD, (const BYTE *)&value, sizeof value);
}

static LSTATUS set_path(HKEY key, const wchar_t *name, const wchar_t *path)
{
    return RegSetValueExW(key, name, 0, REG_EXPAND_SZ, (const BYTE *)path, (DWORD)((wcslen(path) + 1) * sizeof *path));
}

static bool source_is(const wchar_t *key, const wchar_t *messages)
{
    wchar_t found[1100];
    DWORD size = sizeof found;
    return RegGetValueW(HKEY_LOCAL_MACHINE, key, L"EventMessageFile",
                        RRF_RT_REG_EXPAND_SZ | RRF_RT_REG_SZ | RRF_NOEXPAND, NULL, found, &size) == ERROR_SUCCESS &&
           wcscmp(found, messages) == 0;
}

struct error *registration_ensure_event_source(const char *name)
{
    char *program = NULL, *folder = NULL, *messages = NULL;
    wchar_t *wide_key = NULL, *wide_messages = NULL;
    HKEY key = NULL;
    struct error *error = program_path(&program);
    if (error == NULL) {
        folder = path_folder(program);
        messages = path_join(folder, MESSAGES);
        error = win_wide(messages, &wide_messages);
    }
    if (error == NULL)
        error = source_key(name, &wide_key);
    if (error != NULL || source_is(wide_key, wide_messages))
        goto out;
    LSTATUS status = RegCreateKeyExW(HKEY_LOCAL_MACHINE, wide_key, 0, NULL, 0, KEY_SET_VALUE, NULL, &key, NULL);
    if (status == ERROR_SUCCESS)
        status = set_path(key, L"EventMessageFile", wide_messages);
    if (status == ERROR_SUCCESS)
        status = set_path(key, L"CategoryMessageFile", wide_messages);
    if (status == ERROR_SUCCESS)
        status = set_number(key, L"CategoryCount", EVENT_CATEGORY_COUNT);
    if (status == ERROR_SUCCESS)
        status =
            set_number(key, L"TypesSupported", EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE);
    if (status != ERROR_SUCCESS)
        error = error_win32((uint32_t)status, "register the event source", name, NULL);
out:
    if (key != NULL)
        RegCloseKey(key);
    free(wide_messages);
    free(wide_key);
    free(messages);
    free(folder);
    free(program);
    return error;
}

static struct error *remove_event_source(const char *name)
{
    wchar_t *key = NULL;
    struct error *error = source_key(name, &key);
    if (error != NULL)
        return error;
    LSTATUS status = RegDeleteKeyW(HKEY_LOCAL_MACHINE, key);
    free(key);
    if (status != ERROR_SUCCESS && status != ERROR_FILE_NOT_FOUND)
        return error_win32((uint32_t)status, "remove the event source", name, NULL);
    return NULL;
}

/* ---- service ---- */

static bool is_lacking(DWORD code)
{
    return code == ERROR_INVALID_LEVEL || code == ERROR_NOT_SUPPORTED || code == ERROR_CALL_NOT_IMPLEMENTED ||
           code == ERROR_INVALID_PARAMETER;
}

/* "C:\…\hcsd.exe" --run-service --service-name NAME [--config "FILE"] */
static struct error *command_line(const struct registration *registration, wchar_t **ret_line)
{
    char *program = NULL;
    struct error *error = program_path(&program);
    if (error != NULL)
        return error;
    struct buffer line = {0};
    buffer_add_format(&line, "\"%s\" --run-service --service-name %s", program, registration->name);
    if (registration->config_file != NULL)
        buffer_add_format(&line, " --config \"%s\"", registration->config_file);
    error = win_wide((char *)line.data, ret_line);
    buffer_free(&line);
    free(program);
    return error;
}

static struct error *configure(SC_HANDLE service, const struct registration *registration)
{
    static wchar_t description_text[] =
        L"Runs Windows containers and exports their layers through the Host Compute Service, "
        L"for orchestrators, on a named pipe.";
    SERVICE_DESCRIPTIONW description = {description_text};
    SERVICE_FAILURE_ACTIONSW failure = {.dwResetPeriod = 24 * 60 * 60,
                                        .cActions = sizeof recovery_actions / sizeof recovery_actions[0],
                                        .lpsaActions = recovery_actions};
    SERVICE_FAILURE_ACTIONS_FLAG flag = {TRUE};
    SERVICE_SID_INFO sid = {SERVICE_SID_TYPE_UNRESTRICTED};
    SERVICE_PRESHUTDOWN_INFO preshutdown = {SERVICE_STOP_MS + SERVICE_PRESHUTDOWN_RESERVE_MS};
    SERVICE_DELAYED_AUTO_START_INFO delayed = {registration->delayed_start};
    SERVICE_REQUIRED_PRIVILEGES_INFOW privileges = {registration->required_privileges ? required_privileges : NULL};
    const struct {
        DWORD level;
        void *data;
        bool needless; /* nothing is lost without */
        const char *feature, *consequence;
    } rows[] = {
        {SERVICE_CONFIG_DESCRIPTION, &description, false, "service description", "the service has none"},
        {SERVICE_CONFIG_FAILURE_ACTIONS, &failure, false, "recovery actions",
         "nobody restarts the service when it has crashed"},
        {SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &flag, false, "recovery actions on reported failures",
         "the service is restarted after a crash only"},
        {SERVICE_CONFIG_SERVICE_SID_INFO, &sid, false, "service SID", "nothing can be granted to the service alone"},
        {SERVICE_CONFIG_PRESHUTDOWN_INFO, &preshutdown, false, "preshutdown time",
         "at shutdown the service has the system's own time to drain"},
        {SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed, !registration->delayed_start, "delayed automatic start",
         "the service starts with the others"},
        {SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &privileges, !registration->required_privileges,
         "list of required privileges", "the service keeps all privileges of LocalSystem"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (ChangeServiceConfig2W(service, rows[i].level, rows[i].data))
            continue;
        DWORD code = GetLastError();
        if (!is_lacking(code) && !rows[i].needless)
            return error_win32(code, "ChangeServiceConfig2", registration->name, "%s", rows[i].feature);
        if (!rows[i].needless)
            registration->lacking(registration->context, rows[i].feature, rows[i].consequence);
    }
    return NULL;
}

static struct error *open_manager(DWORD access, SC_HANDLE *ret_manager)
{
    *ret_manager = OpenSCManagerW(NULL, NULL, access);
    if (*ret_manager == NULL) {
        DWORD code = GetLastError();
        return error_win32(code, "OpenSCManager", "", "%s",
                           code == ERROR_ACCESS_DENIED ? "run elevated" : "the service manager does not answer");
    }
    return NULL;
}

static struct error *ensure_data_folder(void)
{
    char *data = NULL, *folder = NULL;
    struct error *error = folder_program_data(&data);
    if (error == NULL) {
        folder = path_join(data, "hcsd");
        error = folder_secure(folder, FOLDER_OTHERS_READ);
    }
    free(folder);
    free(data);
    return error;
}

struct error *registration_add(const struct registration *registration)
{
    SC_HANDLE manager = NULL, service = NULL;
    wchar_t *name = NULL, *display = NULL, *line = NULL;
    bool created = false;
    char *text = strcmp(registration->name, "hcsd") == 0
                     ? str_copy("hcsd container service")
                     : str_format("hcsd container service (%s)", registration->name);
    struct error *error = win_wide(registration->name, &name);
    if (error == NULL)
        error = win_wide(text, &display);
    if (error == NULL)
        error = command_line(registration, &line);
    if (error == NULL)
        error = open_manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE, &manager);
    if (error != NULL)
        goto out;

    service = CreateServiceW(manager, name, display, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                             SERVICE_ERROR_NORMAL, line, NULL, NULL, NULL, NULL, NULL);
    created = service != NULL;
    if (service == NULL && GetLastError() == ERROR_SERVICE_EXISTS) {
        service = OpenServiceW(manager, name, SERVICE_ALL_ACCESS);
        if (service != NULL &&
            !ChangeServiceConfigW(service, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, line,
                                  NULL, NULL, NULL, NULL, NULL, display)) {
            error = error_win32(GetLastError(), "ChangeServiceConfig", registration->name, NULL);
            goto out;
        }
    }
    if (service == NULL) {
        error = error_win32(GetLastError(), "CreateService", registration->name, NULL);
        goto out;
    }
    error = configure(service, registration);
    if (error == NULL)
        error = registration_ensure_event_source(registration->name);
    if (error == NULL)
        error = ensure_data_folder();
    if (error != NULL && created)
        DeleteService(service);
out:
    if (service != NULL)
        CloseServiceHandle(service);
    if (manager != NULL)
        CloseServiceHandle(manager);
    free(line);
    free(display);
    free(name);
    free(text);
    return error;
}

static void CALLBACK status_changed(void *parameter)
{
    (void)parameter; /* the alertable wait has ended, that is all */
}

/* Sends STOP and waits for STOPPED. */
static struct error *stop_service(SC_HANDLE service, const char *name)
{
    SERVICE_STATUS_PROCESS status;
    SERVICE_STATUS ignored;
    DWORD size;
    if (!ControlService(service, SERVICE_CONTROL_STOP, &ignored) && GetLastError() == ERROR_SERVICE_NOT_ACTIVE)
        return NULL;
    /* The system writes into it as long as the notification is pending. */
    SERVICE_NOTIFYW *notify = mem_new(SERVICE_NOTIFYW);
    notify->dwVersion = SERVICE_NOTIFY_STATUS_CHANGE;
    notify->pfnNotifyCallback = (PFN_SC_NOTIFY_CALLBACK)status_changed;
    DWORD code = NotifyServiceStatusChangeW(service, SERVICE_NOTIFY_STOPPED, notify);
    if (code == ERROR_SUCCESS)
        SleepEx(STOP_WAIT_MS, TRUE); /* banned-ok: the alertable wait for the notification */
    if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &size))
        return error_win32(GetLastError(), "QueryServiceStatusEx", name, NULL);
    if (status.dwCurrentState != SERVICE_STOPPED)
        return error_make(ERROR_KIND_DEADLINE_EXCEEDED, "stop the service", name,
                          "it has not stopped within %d seconds; look at its events, or end process %lu",
                          STOP_WAIT_MS / 1000, (unsigned long)status.dwProcessId);
    free(notify);
    return NULL;
}

static struct error *open_service(const char *name, DWORD access, SC_HANDLE *ret_manager, SC_HANDLE *ret_service)
{
    wchar_t *wide = NULL;
    struct error *error = win_wide(name, &wide);
    if (error == NULL)
        error = open_manager(SC_MANAGER_CONNECT, ret_manager);
    if (error == NULL) {
        *ret_service = OpenServiceW(*ret_manager, wide, access);
        if (*ret_service == NULL)
            error = error_win32(GetLastError(), "OpenService", name, NULL);
    }
    free(wide);
    return error;
}

static void close_both(SC_HANDLE manager, SC_HANDLE service)
{
    if (service != NULL)
        CloseServiceHandle(service);
    if (manager != NULL)
        CloseServiceHandle(manager);
}

struct error *registration_remove(const char *name)
{
    SC_HANDLE manager = NULL, service = NULL;
    struct error *error = open_service(name, SERVICE_STOP | SERVICE_QUERY_STATUS | DELETE, &manager, &service);
    if (error != NULL && error->origin == ERROR_ORIGIN_WIN32 && error->code == ERROR_SERVICE_DOES_NOT_EXIST)
        error = error_set_kind(error, ERROR_KIND_NOT_FOUND);
    if (error == NULL)
        error = stop_service(service, name);
    if (error == NULL && !DeleteService(service))
        error = error_win32(GetLastError(), "DeleteService", name, NULL);
    if (error == NULL)
        error = remove_event_source(name);
    close_both(manager, service);
    return error;
}

unsigned registration_preshutdown_ms(const char *name)
{
    SC_HANDLE manager = NULL, service = NULL;
    SERVICE_PRESHUTDOWN_INFO info = {0};
    DWORD size;
    struct error *error = open_service(name, SERVICE_QUERY_CONFIG, &manager, &service);
    if (error == NULL &&
        !QueryServiceConfig2W(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, (BYTE *)&info, sizeof info, &size))
        info.dwPreshutdownTimeout = 0;
    error_free(error);
    close_both(manager, service);
    return info.dwPreshutdownTimeout;
}

struct error *registration_ensure_preshutdown(const char *name)
{
    SC_HANDLE manager = NULL, service = NULL;
    SERVICE_PRESHUTDOWN_INFO wanted = {SERVICE_STOP_MS + SERVICE_PRESHUTDOWN_RESERVE_MS};
    if (registration_preshutdown_ms(name) >= wanted.dwPreshutdownTimeout)
        return NULL;
    struct error *error = open_service(name, SERVICE_CHANGE_CONFIG, &manager, &service);
    if (error == NULL && !ChangeServiceConfig2W(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, &wanted))
        error = error_win32(GetLastError(), "ChangeServiceConfig2", name, "preshutdown time");
    close_both(manager, service);
    return error;
}
