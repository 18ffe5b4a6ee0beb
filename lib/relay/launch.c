#include "relay/launch.h"

#include <bcrypt.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"

#define ACCESS (PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE)

static uint64_t creation_time(HANDLE process)
{
    FILETIME created = {0}, ended, kernel, user;
    GetProcessTimes(process, &created, &ended, &kernel, &user);
    return (uint64_t)created.dwHighDateTime << 32 | created.dwLowDateTime;
}

struct error *launch_image(const char *version, char **ret_image)
{
    wchar_t path[MAX_PATH * 4];
    DWORD size = GetModuleFileNameW(NULL, path, ARRAYSIZE(path));
    if (size == 0 || size == ARRAYSIZE(path))
        return error_win32(size == 0 ? GetLastError() : ERROR_INSUFFICIENT_BUFFER, "find hcsd's own image", NULL, NULL);
    char *own = win_text(path), *folder = path_folder(own), *name = str_format("hcsd-relay-%s.exe", version);
    *ret_image = path_join(folder, name);
    free(own);
    free(folder);
    free(name);
    return NULL;
}

/* A name that nobody knows beforehand, so that nobody can take it first. */
static struct error *choose_name(char **ret_name)
{
    uint64_t number[2];
    NTSTATUS status = BCryptGenRandom(NULL, (PUCHAR)number, sizeof number, BCRYPT_USE_SYSTEM_PREFERRED_RNG);
    if (status < 0)
        return error_ntstatus((uint32_t)status, "start the stdio relay", NULL, "no random name");
    *ret_name = str_format("\\\\.\\pipe\\hcsd-relay-%016llx%016llx", (unsigned long long)number[0],
                           (unsigned long long)number[1]);
    return NULL;
}

static struct error *create(const char *image, const char *line, HANDLE ready, PROCESS_INFORMATION *ret_information)
{
    SIZE_T size = 0;
    wchar_t *wide_image = NULL, *wide_line = NULL, folder[MAX_PATH];
    STARTUPINFOEXW startup = {.StartupInfo.cb = sizeof startup};
    DWORD flags = EXTENDED_STARTUPINFO_PRESENT | DETACHED_PROCESS | CREATE_BREAKAWAY_FROM_JOB;
    struct error *error = win_wide(image, &wide_image);
    if (!error)
        error = win_wide(line, &wide_line);
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    startup.lpAttributeList = mem_zero(size);
    if (!error && (!InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size) ||
                   !UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &ready,
                                              sizeof ready, NULL, NULL)))
        error =
            error_win32(GetLastError(), "start the stdio relay", image, "the list of inherited handles was not taken");
    if (!error) {
        /* It must not hold the folder that hcsd was started in. */
        UINT length = GetSystemDirectoryW(folder, MAX_PATH);
        const wchar_t *current = length && length < MAX_PATH ? folder : NULL;
        BOOL made = CreateProcessW(wide_image, wide_line, NULL, NULL, TRUE, flags, NULL, current, &startup.StartupInfo,
                                   ret_information);
        if (!made && GetLastError() == ERROR_ACCESS_DENIED) /* hcsd's own job lets nobody out */
            made = CreateProcessW(wide_image, wide_line, NULL, NULL, TRUE, flags & ~CREATE_BREAKAWAY_FROM_JOB, NULL,
                                  current, &startup.StartupInfo, ret_information);
        if (!made)
            error = error_win32(GetLastError(), "start the stdio relay", image, NULL);
        DeleteProcThreadAttributeList(startup.lpAttributeList);
    }
    free(startup.lpAttributeList);
    free(wide_image);
    free(wide_line);
    return error;
}

static struct error *await_ready(const char *image, HANDLE process, HANDLE ready, unsigned milliseconds)
{
    HANDLE handles[] = {ready, process};
    DWORD code = 0, which = WaitForMultipleObjects(2, handles, FALSE, milliseconds);
    if (which == WAIT_OBJECT_0)
        return NULL;
    if (which == WAIT_OBJECT_0 + 1) {
        GetExitCodeProcess(process, &code);
        return error_set_kind(error_win32(code, "start the stdio relay", image, "it ended at once"),
                              ERROR_KIND_UNAVAILABLE);
    }
    TerminateProcess(process, ERROR_TIMEOUT);
    return error_make(ERROR_KIND_DEADLINE_EXCEEDED, "start the stdio relay", image,
                      "its control pipe was not there within %u s", milliseconds / 1000);
}

struct error *launch_start(const char *image, unsigned milliseconds, struct launch *ret_launch)
{
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    PROCESS_INFORMATION information = {0};
    char *pipe = NULL, *line = NULL;
    HANDLE ready = CreateEventW(&inherited, TRUE, FALSE, NULL);
    struct error *error = NULL;
    if (!ready)
        error = error_win32(GetLastError(), "start the stdio relay", image, "no event");
    if (!error)
        error = choose_name(&pipe);
    if (!error) {
        line = str_format("\"%s\" --control %s --ready 0x%llx", image, pipe, (unsigned long long)(uintptr_t)ready);
        error = create(image, line, ready, &information);
    }
    if (!error)
        error = await_ready(image, information.hProcess, ready, milliseconds);
    if (!error) {
        *ret_launch = (struct launch){.process = information.hProcess,
                                      .pid = information.dwProcessId,
                                      .created = creation_time(information.hProcess),
                                      .pipe = pipe};
        information.hProcess = NULL;
        pipe = NULL;
    }
    win_close(information.hThread);
    win_close(information.hProcess);
    win_close(ready);
    free(line);
    free(pipe);
    return error;
}

bool launch_find(uint32_t pid, uint64_t created, const char *pipe, struct launch *ret_launch)
{
    HANDLE process = OpenProcess(ACCESS, FALSE, pid);
    if (!process)
        return false;
    if (creation_time(process) != created || WaitForSingleObject(process, 0) == WAIT_OBJECT_0) {
        CloseHandle(process);
        return false;
    }
    *ret_launch = (struct launch){.process = process, .pid = pid, .created = created, .pipe = str_copy(pipe)};
    return true;
}

struct error *launch_dial(const struct launch *launch, unsigned milliseconds, HANDLE *ret_pipe)
{
    static const char operation[] = "dial the stdio relay";
    uint64_t end = clock_ms() + milliseconds;
    wchar_t *wide = NULL;
    HANDLE pipe = INVALID_HANDLE_VALUE;
    ULONG server = 0;
    struct error *error = win_wide(launch->pipe, &wide);
    while (!error && pipe == INVALID_HANDLE_VALUE) {
        pipe = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                           FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        DWORD code = pipe == INVALID_HANDLE_VALUE ? GetLastError() : NO_ERROR;
        uint64_t now = clock_ms();
        if (code == ERROR_PIPE_BUSY && now < end)
            WaitNamedPipeW(wide, (DWORD)(end - now));
        else if (code != NO_ERROR)
            error = error_set_kind(
                error_win32(code, operation, launch->pipe, "process %lu does not answer", (unsigned long)launch->pid),
                ERROR_KIND_UNAVAILABLE);
    }
    if (!error && (!GetNamedPipeServerProcessId(pipe, &server) || server != launch->pid))
        error = error_make(ERROR_KIND_PERMISSION_DENIED, operation, launch->pipe,
                           "process %lu serves this pipe, not the relay, process %lu", (unsigned long)server,
                           (unsigned long)launch->pid);
    if (!error)
        *ret_pipe = pipe;
    else
        win_close(pipe);
    free(wide);
    return error;
}

void launch_clear(struct launch *launch)
{
    win_close(launch->process);
    free(launch->pipe);
    *launch = (struct launch){0};
}
