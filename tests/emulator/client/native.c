#include "native.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "layer_path.h"
#include "staging.h"

#define COPY_LIMIT_MS 300000u
#define LOOK_MS       5

typedef char *(CDECL *unix_name_function)(const wchar_t *path);

static struct error *copy_by_calls(const wchar_t *source, const wchar_t *target, struct work_fault *fault)
{
    ULONG share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE from = NULL;
    struct target to = {0};
    struct error *error = tree_open(NULL, source, 0, TREE_FOLDER, TREE_LIST, share, &from);

    if (error == NULL)
        error = target_open(target, &to);
    if (error == NULL)
        error = staging_copy_plain(from, &to, fault);
    if (from != NULL)
        CloseHandle(from);
    target_close(&to);
    return error;
}

/* Wine gives no handle on a Unix program: the marker file, which the shell writes last, tells that it ended. */
static struct error *wait_for_marker(const wchar_t *marker, struct work_fault *fault)
{
    ULONGLONG limit = GetTickCount64() + COPY_LIMIT_MS;
    char status[16] = "";
    DWORD got = 0;
    HANDLE file;
    struct error *error;

    while (GetFileAttributesW(marker) == INVALID_FILE_ATTRIBUTES) {
        error = gate_strike_due(fault, false);
        if (error != NULL)
            return error;
        if (GetTickCount64() > limit)
            return error_win32(ERROR_TIMEOUT, "copy transport folder", NULL, NULL);
        Sleep(LOOK_MS); /* banned-ok: there is nothing to wait for, see above */
    }
    file = CreateFileW(marker, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                       FILE_FLAG_DELETE_ON_CLOSE, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return error_win32(GetLastError(), "copy transport folder", NULL, NULL);
    ReadFile(file, status, sizeof status - 1, &got, NULL);
    CloseHandle(file);
    return strcmp(status, "0\n") == 0
               ? NULL
               : error_win32(ERROR_WRITE_FAULT, "copy transport folder", NULL, "cp: status %s", status);
}

static struct error *copy_by_cp(unix_name_function unix_name, const wchar_t *source, const wchar_t *target,
                                struct work_fault *fault)
{
    static LONG counter;
    LONG number = InterlockedIncrement(&counter);
    wchar_t folder[MAX_PATH];
    wchar_t marker[MAX_PATH + 64];
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information = {0};
    char *unix_source = unix_name(source);
    char *unix_target = unix_name(target);
    char *unix_folder;
    char *text;
    wchar_t *command;
    struct error *error = NULL;

    GetTempPathW(MAX_PATH, folder);
    swprintf(marker, sizeof marker / sizeof *marker, L"%lshcsemu-%lu-%ld", folder, GetCurrentProcessId(), number);
    DeleteFileW(marker);
    unix_folder = unix_name(folder);
    if (unix_source == NULL || unix_target == NULL || unix_folder == NULL)
        return error_win32(ERROR_PATH_NOT_FOUND, "copy transport folder", NULL, NULL);
    text = str_format("sh -c \"cp -a \\\"$0/.\\\" \\\"$1/\\\"; echo $? >\\\"$2.new\\\"; mv \\\"$2.new\\\" \\\"$2\\\"\" "
                      "\"%s\" \"%s\" \"%s/hcsemu-%lu-%ld\"",
                      unix_source, unix_target, unix_folder, GetCurrentProcessId(), number);
    command = text_to_utf16(text, NULL);
    if (command == NULL ||
        !CreateProcessW(L"\\\\?\\unix\\bin\\sh", command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &information))
        error = error_win32(GetLastError(), "copy transport folder", NULL, "/bin/sh cannot be started");
    if (error == NULL)
        error = wait_for_marker(marker, fault);
    if (information.hProcess != NULL)
        CloseHandle(information.hProcess);
    if (information.hThread != NULL)
        CloseHandle(information.hThread);
    free(command);
    free(text);
    HeapFree(GetProcessHeap(), 0, unix_source);
    HeapFree(GetProcessHeap(), 0, unix_target);
    HeapFree(GetProcessHeap(), 0, unix_folder);
    return error;
}

struct error *native_copy_tree(const wchar_t *source, const wchar_t *target, struct work_fault *fault)
{
    HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
    FARPROC function = kernel == NULL ? NULL : GetProcAddress(kernel, "wine_get_unix_file_name");

    if (function == NULL)
        return copy_by_calls(source, target, fault);
    return copy_by_cp((unix_name_function)(void *)function, source, target, fault);
}
