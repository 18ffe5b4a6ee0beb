#include "service/event_source.h"

#include <windows.h>

#include <wchar.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "hcsd_version.h"

#define SOURCES  L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\"
#define MESSAGES "hcsd-messages-" HCSD_VERSION ".dll"

struct error *event_source_program(char **ret_path)
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

struct error *event_source_ensure(const char *name)
{
    char *program = NULL, *folder = NULL, *messages = NULL;
    wchar_t *wide_key = NULL, *wide_messages = NULL;
    HKEY key = NULL;
    struct error *error = event_source_program(&program);
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

struct error *event_source_remove(const char *name)
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
