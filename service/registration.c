#include "service/registration.h"

#include <windows.h>

#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "daemon/folder.h"
#include "service/entry.h"
#include "service/event_source.h"

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

/* ---- service ---- */

static bool is_lacking(DWORD code)
{
    return code == ERROR_INVALID_LEVEL || code == ERROR_NOT_SUPPORTED || code == ERROR_CALL_NOT_IMPLEMENTED ||
           code == ERROR_INVALID_PARAMETER;
}

/* What follows --config in a command line that we have written, or NULL. The caller frees it. */
static char *config_of(const char *line)
{
    static const char flag[] = " --config \"";
    const char *at = line == NULL ? NULL : strstr(line, flag);
    const char *end = at == NULL ? NULL : strchr(at + sizeof flag - 1, '"');
    return end == NULL ? NULL : str_copy_n(at + sizeof flag - 1, (size_t)(end - at) - (sizeof flag - 1));
}

/* "C:\…\hcsd.exe" --run-service --service-name NAME [--config "FILE"] */
static struct error *command_line(const struct registration *registration, const char *before, wchar_t **ret_line)
{
    char *program = NULL;
    struct error *error = event_source_program(&program);
    if (error != NULL)
        return error;
    char *kept = registration->config_file == NULL ? config_of(before) : NULL;
    const char *config = kept != NULL ? kept : registration->config_file;
    struct buffer line = {0};
    buffer_add_format(&line, "\"%s\" --run-service --service-name %s", program, registration->name);
    if (config != NULL)
        buffer_add_format(&line, " --config \"%s\"", config);
    error = win_wide((char *)line.data, ret_line);
    buffer_free(&line);
    free(kept);
    free(program);
    return error;
}

/* The command line of a service. The caller frees it. */
static struct error *read_command_line(SC_HANDLE service, const char *name, char **ret_line)
{
    DWORD size = 0;
    QueryServiceConfigW(service, NULL, 0, &size);
    DWORD code = GetLastError();
    QUERY_SERVICE_CONFIGW *config = code == ERROR_INSUFFICIENT_BUFFER ? mem_zero(size) : NULL;
    if (config != NULL)
        code = QueryServiceConfigW(service, config, size, &size) ? ERROR_SUCCESS : GetLastError();
    if (code == ERROR_SUCCESS)
        *ret_line = win_text(config->lpBinaryPathName);
    free(config);
    return code == ERROR_SUCCESS ? NULL : error_win32(code, "QueryServiceConfig", name, NULL);
}

/* ---- the command line before the last change ---- */

#define PREVIOUS L"PreviousImagePath"

static struct error *parameters_key(const char *name, wchar_t **ret_key)
{
    char *key = str_format("SYSTEM\\CurrentControlSet\\Services\\%s\\Parameters", name);
    struct error *error = win_wide(key, ret_key);
    free(key);
    return error;
}

static struct error *previous_write(const char *name, const char *line)
{
    wchar_t *key = NULL, *wide = NULL;
    struct error *error = parameters_key(name, &key);
    if (error == NULL)
        error = win_wide(line, &wide);
    if (error == NULL) {
        LSTATUS status = RegSetKeyValueW(HKEY_LOCAL_MACHINE, key, PREVIOUS, REG_SZ, wide,
                                         (DWORD)((wcslen(wide) + 1) * sizeof *wide));
        if (status != ERROR_SUCCESS)
            error = error_win32((uint32_t)status, "remember the command line", name, NULL);
    }
    free(wide);
    free(key);
    return error;
}

/* NULL in *ret_line: none is remembered. */
static struct error *previous_read(const char *name, wchar_t **ret_line)
{
    wchar_t *key = NULL, line[4096];
    DWORD size = sizeof line;
    struct error *error = parameters_key(name, &key);
    if (error != NULL)
        return error;
    LSTATUS status = RegGetValueW(HKEY_LOCAL_MACHINE, key, PREVIOUS, RRF_RT_REG_SZ, NULL, line, &size);
    free(key);
    if (status != ERROR_SUCCESS && status != ERROR_FILE_NOT_FOUND)
        return error_win32((uint32_t)status, "read the command line before", name, NULL);
    wchar_t *copy = NULL;
    if (status == ERROR_SUCCESS) {
        copy = mem_new_array(size / sizeof *line, wchar_t);
        memcpy(copy, line, size);
    }
    *ret_line = copy;
    return NULL;
}

/* ---- what belongs to a service ---- */

/* Whether an administrator, or we, have said what is to happen after a failure: the rest is then left as it is, too. */
static bool is_configured(SC_HANDLE service)
{
    union {
        SERVICE_FAILURE_ACTIONSW actions;
        BYTE room[8192]; /* the most that the call gives */
    } found = {0};
    DWORD size;
    return QueryServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS, found.room, sizeof found, &size) &&
           found.actions.cActions != 0;
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

/* Makes the service; *ret_created false: it is there already. */
static struct error *create_or_open(SC_HANDLE manager, const char *name_text, const wchar_t *name,
                                    SC_HANDLE *ret_service, bool *ret_created)
{
    wchar_t *display = NULL;
    char *text = strcmp(name_text, "hcsd") == 0 ? str_copy("hcsd container service")
                                                : str_format("hcsd container service (%s)", name_text);
    struct error *error = win_wide(text, &display);
    free(text);
    if (error != NULL)
        return error;
    /* Its command line follows. */
    SC_HANDLE service =
        CreateServiceW(manager, name, display, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                       SERVICE_ERROR_NORMAL, L"hcsd.exe", NULL, NULL, NULL, NULL, NULL);
    free(display);
    *ret_created = service != NULL;
    if (service == NULL && GetLastError() == ERROR_SERVICE_EXISTS)
        service = OpenServiceW(manager, name, SERVICE_ALL_ACCESS);
    *ret_service = service;
    return service != NULL ? NULL : error_win32(GetLastError(), "CreateService", name_text, NULL);
}

struct error *registration_add(const struct registration *registration)
{
    SC_HANDLE manager = NULL, service = NULL;
    wchar_t *name = NULL, *line = NULL;
    char *before = NULL;
    bool created = false;
    struct error *error = win_wide(registration->name, &name);
    if (error == NULL)
        error = open_manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE, &manager);
    if (error == NULL)
        error = create_or_open(manager, registration->name, name, &service, &created);
    if (error == NULL && !created)
        error = read_command_line(service, registration->name, &before);
    if (error == NULL)
        error = command_line(registration, before, &line);
    if (error == NULL && !created)
        error = previous_write(registration->name, before);
    if (error == NULL && !ChangeServiceConfigW(service, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, line,
                                               NULL, NULL, NULL, NULL, NULL, NULL))
        error = error_win32(GetLastError(), "ChangeServiceConfig", registration->name, NULL);
    if (error == NULL &&
        (created || !is_configured(service) || registration->delayed_start || registration->required_privileges))
        error = configure(service, registration);
    if (error == NULL)
        error = event_source_ensure(registration->name);
    if (error == NULL)
        error = ensure_data_folder();
    if (error != NULL && created)
        DeleteService(service);
    if (service != NULL)
        CloseServiceHandle(service);
    if (manager != NULL)
        CloseServiceHandle(manager);
    free(before);
    free(line);
    free(name);
    return error;
}

static void CALLBACK status_changed(void *parameter)
{
    (void)parameter; /* the alertable wait has ended, that is all */
}

static unsigned left_until(uint64_t end)
{
    uint64_t now = clock_ms();
    return now < end ? (unsigned)(end - now) : 0;
}

/* Sends STOP, waits for STOPPED, and for the end of the process: until then its files cannot be replaced. */
static struct error *stop_service(SC_HANDLE service, const char *name)
{
    SERVICE_STATUS_PROCESS status;
    SERVICE_STATUS ignored;
    DWORD size;
    HANDLE process = NULL;
    uint64_t end = clock_ms() + STOP_WAIT_MS;
    if (QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &size) &&
        status.dwProcessId != 0)
        process = OpenProcess(SYNCHRONIZE, FALSE, status.dwProcessId);
    if (!ControlService(service, SERVICE_CONTROL_STOP, &ignored) && GetLastError() == ERROR_SERVICE_NOT_ACTIVE)
        goto stopped;
    /* The system writes into it as long as the notification is pending. */
    SERVICE_NOTIFYW *notify = mem_new(SERVICE_NOTIFYW);
    notify->dwVersion = SERVICE_NOTIFY_STATUS_CHANGE;
    notify->pfnNotifyCallback = (PFN_SC_NOTIFY_CALLBACK)status_changed;
    DWORD code = NotifyServiceStatusChangeW(service, SERVICE_NOTIFY_STOPPED, notify);
    if (code == ERROR_SUCCESS)
        SleepEx(STOP_WAIT_MS, TRUE); /* banned-ok: the alertable wait for the notification */
    if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &size)) {
        code = GetLastError();
        win_close(process);
        return error_win32(code, "QueryServiceStatusEx", name, NULL);
    }
    if (status.dwCurrentState != SERVICE_STOPPED) {
        win_close(process);
        return error_make(ERROR_KIND_DEADLINE_EXCEEDED, "stop the service", name,
                          "it has not stopped within %d seconds; look at its events, or end process %lu",
                          STOP_WAIT_MS / 1000, (unsigned long)status.dwProcessId);
    }
    free(notify);
stopped:
    if (process != NULL)
        WaitForSingleObject(process, left_until(end));
    win_close(process);
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

static bool is_absent(const struct error *error)
{
    return error != NULL && error->origin == ERROR_ORIGIN_WIN32 && error->code == ERROR_SERVICE_DOES_NOT_EXIST;
}

struct error *registration_stop(const char *name)
{
    SC_HANDLE manager = NULL, service = NULL;
    struct error *error = open_service(name, SERVICE_STOP | SERVICE_QUERY_STATUS, &manager, &service);
    if (error == NULL)
        error = stop_service(service, name);
    if (is_absent(error)) {
        error_free(error);
        error = NULL;
    }
    close_both(manager, service);
    return error;
}

struct error *registration_remove(const char *name)
{
    SC_HANDLE manager = NULL, service = NULL;
    struct error *error = open_service(name, SERVICE_STOP | SERVICE_QUERY_STATUS | DELETE, &manager, &service);
    if (is_absent(error))
        error = error_set_kind(error, ERROR_KIND_NOT_FOUND);
    if (error == NULL)
        error = stop_service(service, name);
    if (error == NULL && !DeleteService(service))
        error = error_win32(GetLastError(), "DeleteService", name, NULL);
    if (error == NULL)
        error = event_source_remove(name);
    close_both(manager, service);
    return error;
}

struct error *registration_restore(const char *name)
{
    SC_HANDLE manager = NULL, service = NULL;
    wchar_t *line = NULL;
    struct error *error = previous_read(name, &line);
    if (error == NULL && line == NULL)
        return registration_remove(name);
    if (error == NULL)
        error = open_service(name, SERVICE_CHANGE_CONFIG, &manager, &service);
    if (error == NULL && !ChangeServiceConfigW(service, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, line,
                                               NULL, NULL, NULL, NULL, NULL, NULL))
        error = error_win32(GetLastError(), "ChangeServiceConfig", name, NULL);
    close_both(manager, service);
    free(line);
    return error;
}

struct error *registration_is_own(const char *name, bool *ret_own)
{
    SC_HANDLE manager = NULL, service = NULL;
    char *line = NULL, *program = NULL;
    bool own = false;
    struct error *error = open_service(name, SERVICE_QUERY_CONFIG, &manager, &service);
    if (error == NULL)
        error = read_command_line(service, name, &line);
    if (is_absent(error)) {
        error_free(error);
        error = NULL;
    }
    if (error == NULL && line != NULL)
        error = event_source_program(&program);
    if (program != NULL) {
        size_t quote = line[0] == '"', size = strlen(program);
        char *found = strlen(line) >= quote + size ? str_copy_n(line + quote, size) : str_copy("");
        own = text_equal_ascii_nocase(found, program);
        free(found);
    }
    if (error == NULL)
        *ret_own = own;
    close_both(manager, service);
    free(program);
    free(line);
    return error;
}

struct error *registration_config_file(const char *name, char **ret_path)
{
    SC_HANDLE manager = NULL, service = NULL;
    char *line = NULL;
    struct error *error = open_service(name, SERVICE_QUERY_CONFIG, &manager, &service);
    if (error == NULL)
        error = read_command_line(service, name, &line);
    if (is_absent(error)) {
        error_free(error);
        error = NULL;
    }
    if (error == NULL)
        *ret_path = config_of(line);
    close_both(manager, service);
    free(line);
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
