#include "launch.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "shared/frame.h"

static bool folder_exists(const wchar_t *path)
{
    DWORD attributes = GetFileAttributesW(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

static struct error *working_directory(const struct launch *launch, wchar_t **ret_path)
{
    const char *wanted = frame_text(launch->parameters, "WorkingDirectory");
    const char *below = wanted[0] != 0 && wanted[1] == ':' ? wanted + 2 : wanted;
    wchar_t *path = NULL;
    char *inside;

    if (launch->layer[0] != 0) {
        inside = str_format("%s\\Files%s%s", launch->layer, below[0] == '\\' || below[0] == 0 ? "" : "\\", below);
        path = text_to_utf16(inside, NULL);
        free(inside);
        if (path != NULL && folder_exists(path)) {
            *ret_path = path;
            return NULL;
        }
        free(path);
    }
    path = text_to_utf16(wanted[0] == 0 ? "C:\\" : wanted, NULL);
    if (path == NULL || !folder_exists(path)) {
        free(path);
        return error_win32(ERROR_DIRECTORY, "HcsCreateProcess", wanted,
                           "WorkingDirectory is neither in the container nor on the host");
    }
    *ret_path = path;
    return NULL;
}

static int compare_variables(const void *a, const void *b)
{
    return _wcsicmp(*(wchar_t *const *)a, *(wchar_t *const *)b);
}

/* Length of the name of NAME=VALUE; a name may begin with '='. */
static size_t name_length(const wchar_t *variable)
{
    return (size_t)(wcschr(variable + 1, L'=') == NULL ? wcslen(variable)
                                                       : (size_t)(wcschr(variable + 1, L'=') - variable));
}

/* The broker's environment with the parameters' on top, sorted, as one block. */
static wchar_t *environment_block(const json_t *parameters)
{
    wchar_t *own = GetEnvironmentStringsW();
    json_t *given = json_object_get(parameters, "Environment");
    wchar_t **variables = NULL;
    size_t count = 0;
    struct buffer block = {0};
    const char *key;
    json_t *value;

    json_object_foreach(given, key, value)
    {
        char *text = str_format("%s=%s", key, json_string_value(value) == NULL ? "" : json_string_value(value));
        variables = mem_resize_array(variables, count + 1, sizeof *variables);
        variables[count] = text_to_utf16(text, NULL);
        if (variables[count] != NULL)
            count++;
        free(text);
    }
    size_t named = count;
    for (const wchar_t *variable = own; variable != NULL && *variable != 0; variable += wcslen(variable) + 1) {
        size_t length = name_length(variable);
        size_t i = 0;
        while (i < named && (name_length(variables[i]) != length || _wcsnicmp(variables[i], variable, length) != 0))
            i++;
        if (i < named)
            continue;
        variables = mem_resize_array(variables, count + 1, sizeof *variables);
        variables[count++] = mem_copy(variable, (wcslen(variable) + 1) * sizeof *variable);
    }
    if (count > 0)
        qsort(variables, count, sizeof *variables, compare_variables);
    for (size_t i = 0; i < count; i++) {
        buffer_add(&block, variables[i], (wcslen(variables[i]) + 1) * sizeof(wchar_t));
        free(variables[i]);
    }
    buffer_add(&block, L"\0", 2 * sizeof(wchar_t));
    free(variables);
    FreeEnvironmentStringsW(own);
    return (wchar_t *)block.data;
}

struct error *launch_process(const struct launch *launch, HANDLE *ret_process, uint32_t *ret_pid)
{
    SECURITY_ATTRIBUTES inheritable = {.nLength = sizeof inheritable, .bInheritHandle = TRUE};
    STARTUPINFOEXW startup = {.StartupInfo = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES}};
    PROCESS_INFORMATION information;
    SIZE_T size = 0;
    HANDLE streams[STDIO_COUNT];
    HANDLE nothing = INVALID_HANDLE_VALUE;
    const char *application_text = frame_text(launch->parameters, "ApplicationName");
    wchar_t *application = application_text[0] == 0 ? NULL : text_to_utf16(application_text, NULL);
    wchar_t *command = text_to_utf16(launch->command, NULL);
    wchar_t *directory = NULL;
    wchar_t *environment = NULL;
    struct error *error = working_directory(launch, &directory);

    if (error != NULL)
        goto done;
    environment = environment_block(launch->parameters);
    nothing = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable,
                          OPEN_EXISTING, 0, NULL);
    for (int i = 0; i < STDIO_COUNT; i++)
        streams[i] = launch->stdio->child[i] != NULL ? launch->stdio->child[i] : nothing;
    startup.StartupInfo.hStdInput = streams[STDIO_IN];
    startup.StartupInfo.hStdOutput = streams[STDIO_OUT];
    startup.StartupInfo.hStdError = streams[STDIO_ERR];
    /* A list may name a handle once only. */
    HANDLE listed[STDIO_COUNT];
    SIZE_T listed_count = 0;
    for (int i = 0; i < STDIO_COUNT; i++) {
        SIZE_T known = 0;
        while (known < listed_count && listed[known] != streams[i])
            known++;
        if (known == listed_count)
            listed[listed_count++] = streams[i];
    }
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    startup.lpAttributeList = mem_zero(size);
    InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size);
    UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, listed,
                              listed_count * sizeof *listed, NULL, NULL);
    if (!CreateProcessW(application, command, NULL, NULL, TRUE,
                        CREATE_SUSPENDED | CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT,
                        environment, directory, &startup.StartupInfo, &information)) {
        error = error_win32(GetLastError(), "HcsCreateProcess", launch->command, "the process cannot be started");
        goto done;
    }
    AssignProcessToJobObject(launch->job, information.hProcess);
    ResumeThread(information.hThread);
    CloseHandle(information.hThread);
    *ret_process = information.hProcess;
    *ret_pid = information.dwProcessId;
done:
    if (startup.lpAttributeList != NULL)
        DeleteProcThreadAttributeList(startup.lpAttributeList);
    free(startup.lpAttributeList);
    if (nothing != INVALID_HANDLE_VALUE)
        CloseHandle(nothing);
    free(application);
    free(command);
    free(directory);
    free(environment);
    return error;
}
