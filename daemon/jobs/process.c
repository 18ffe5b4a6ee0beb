#include "daemon/jobs/process.h"

#include <sddl.h>

#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"

#define PIPE_BUFFER (64u << 10)
#define ACCESS      L"D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"

static void terminate(HANDLE process)
{
    TerminateProcess(process, ERROR_PROCESS_ABORTED);
}

struct process_calls process_calls = {.terminate = terminate};

struct error *process_job_new(HANDLE *ret_job)
{
    HANDLE job = CreateJobObjectW(NULL, NULL);
    if (job == NULL)
        return error_win32(GetLastError(), "create the workers' job object", NULL, NULL);
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags =
                                                       JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE |
                                                       JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION};
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits)) {
        struct error *error = error_win32(GetLastError(), "set up the workers' job object", NULL, NULL);
        CloseHandle(job);
        return error;
    }
    *ret_job = job;
    return NULL;
}

/* Both ends of a pipe: ours, and an inheritable one for the worker. Its name is of no use to others: there is one instance, and
 * who looks for names and is quicker than we are has no access to it. */
static struct error *pipe_new(HANDLE *ret_ours, HANDLE *ret_theirs)
{
    static _Atomic unsigned number;
    LARGE_INTEGER counter;
    QueryPerformanceCounter(&counter);
    char *name = str_format("\\\\.\\pipe\\hcsd-worker-%lu-%u-%llx", GetCurrentProcessId(), atomic_fetch_add(&number, 1),
                            (unsigned long long)counter.QuadPart);
    wchar_t *wide = NULL;
    HANDLE ours = INVALID_HANDLE_VALUE, theirs = INVALID_HANDLE_VALUE;
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    SECURITY_ATTRIBUTES guarded = {.nLength = sizeof guarded};
    struct error *error = win_wide(name, &wide);
    if (error != NULL)
        goto out;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(ACCESS, SDDL_REVISION_1, &guarded.lpSecurityDescriptor,
                                                              NULL)) {
        error = error_win32(GetLastError(), "create a worker's pipe", name, "no security descriptor");
        goto out;
    }
    ours = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                            PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, PIPE_BUFFER, PIPE_BUFFER, 0,
                            &guarded);
    if (ours != INVALID_HANDLE_VALUE)
        theirs = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, &inherited, OPEN_EXISTING,
                             FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    if (theirs == INVALID_HANDLE_VALUE) {
        error = error_win32(GetLastError(), "create a worker's pipe", name, NULL);
        win_close(ours);
        goto out;
    }
    *ret_ours = ours;
    *ret_theirs = theirs;

out:
    LocalFree(guarded.lpSecurityDescriptor);
    free(wide);
    free(name);
    return error;
}

static struct error *own_image(char **ret_image)
{
    wchar_t path[MAX_PATH * 4];
    DWORD size = GetModuleFileNameW(NULL, path, sizeof path / sizeof path[0]);
    if (size == 0 || size == sizeof path / sizeof path[0])
        return error_win32(size == 0 ? GetLastError() : ERROR_INSUFFICIENT_BUFFER, "find hcsd's own image", NULL, NULL);
    *ret_image = win_text(path);
    return NULL;
}

static struct error *command_line(const struct process_start *start, HANDLE pipe, wchar_t **ret_image,
                                  wchar_t **ret_line)
{
    char *image = NULL, *line = NULL;
    struct error *error = NULL;
    if (start->image != NULL)
        image = str_copy(start->image);
    else
        error = own_image(&image);
    if (error != NULL)
        return error;
    if (start->hcs_library != NULL)
        line = str_format("\"%s\" --worker --control 0x%llx --hcs-library \"%s\"", image,
                          (unsigned long long)(uintptr_t)pipe, start->hcs_library);
    else
        line = str_format("\"%s\" --worker --control 0x%llx", image, (unsigned long long)(uintptr_t)pipe);
    wchar_t *wide_image = NULL;
    error = win_wide(image, &wide_image);
    if (error == NULL)
        error = win_wide(line, ret_line);
    if (error == NULL)
        *ret_image = wide_image;
    else
        free(wide_image);
    free(image);
    free(line);
    return error;
}

/* Created suspended, so that it is in the job object before it runs; where the system takes the job as an attribute, it is
 * in it from birth, and a kill of hcsd in between leaves nothing behind. */
static struct error *create(const wchar_t *image, wchar_t *line, HANDLE job, HANDLE *inherited, size_t inherited_count,
                            HANDLE null_device, PROCESS_INFORMATION *ret_information)
{
    SIZE_T size = 0;
    wchar_t folder[MAX_PATH];
    struct error *error = NULL;
    STARTUPINFOEXW startup = {.StartupInfo = {.cb = sizeof startup,
                                              .dwFlags = STARTF_USESTDHANDLES,
                                              .hStdInput = null_device,
                                              .hStdOutput = null_device,
                                              .hStdError = null_device}};
    InitializeProcThreadAttributeList(NULL, 2, 0, &size);
    startup.lpAttributeList = mem_zero(size);
    if (!InitializeProcThreadAttributeList(startup.lpAttributeList, 2, 0, &size) ||
        !UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, inherited,
                                   inherited_count * sizeof inherited[0], NULL, NULL)) {
        error = error_win32(GetLastError(), "start a worker", NULL, "the list of inherited handles was not taken");
        free(startup.lpAttributeList);
        return error;
    }
    /* PROC_THREAD_ATTRIBUTE_JOB_LIST; a system that does not know it refuses here, and the process is assigned below. */
    UpdateProcThreadAttribute(startup.lpAttributeList, 0, 0x2000D, &job, sizeof job, NULL, NULL);
    if (GetSystemDirectoryW(folder, MAX_PATH) == 0)
        folder[0] = L'\0';
    if (!CreateProcessW(image, line, NULL, NULL, TRUE,
                        EXTENDED_STARTUPINFO_PRESENT | CREATE_SUSPENDED | CREATE_NO_WINDOW, NULL,
                        folder[0] != L'\0' ? folder : NULL, &startup.StartupInfo, ret_information))
        error = error_win32(GetLastError(), "start a worker", NULL, NULL);
    DeleteProcThreadAttributeList(startup.lpAttributeList);
    free(startup.lpAttributeList);
    return error;
}

static struct error *confine(const PROCESS_INFORMATION *information, HANDLE job)
{
    BOOL inside = FALSE;
    if (IsProcessInJob(information->hProcess, job, &inside) && inside)
        return NULL;
    if (AssignProcessToJobObject(job, information->hProcess))
        return NULL;
    return error_win32(GetLastError(), "start a worker", NULL,
                       "it cannot be put into the job object that ends it with hcsd");
}

static uint64_t creation_time(HANDLE process)
{
    FILETIME created = {0}, ended, kernel, user;
    GetProcessTimes(process, &created, &ended, &kernel, &user);
    return (uint64_t)created.dwHighDateTime << 32 | created.dwLowDateTime;
}

struct error *process_begin(const struct process_start *start, struct process *ret_process, HANDLE *ret_pipe)
{
    HANDLE ours = NULL, theirs = NULL;
    wchar_t *image = NULL, *line = NULL;
    PROCESS_INFORMATION information = {0};
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE null_device = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                     &inherited, OPEN_EXISTING, 0, NULL);
    struct error *error = pipe_new(&ours, &theirs);
    if (error == NULL)
        error = command_line(start, theirs, &image, &line);
    if (error == NULL) {
        HANDLE handles[2] = {theirs, null_device};
        error = create(image, line, start->job, handles, null_device != INVALID_HANDLE_VALUE ? 2 : 1, null_device,
                       &information);
    }
    if (error == NULL) {
        error = confine(&information, start->job);
        if (error != NULL)
            TerminateProcess(information.hProcess, ERROR_PROCESS_ABORTED);
        else
            ResumeThread(information.hThread);
    }
    if (error == NULL) {
        *ret_process = (struct process){.handle = information.hProcess,
                                        .pid = information.dwProcessId,
                                        .created = creation_time(information.hProcess)};
        *ret_pipe = ours;
        information.hProcess = ours = NULL;
    }
    win_close(information.hThread);
    win_close(information.hProcess);
    win_close(ours);
    win_close(theirs);
    win_close(null_device);
    free(image);
    free(line);
    return error;
}

void process_close(struct process *process)
{
    win_close(process->handle);
}

void process_end_by_force(const struct process *process)
{
    if (process->handle != NULL)
        process_calls.terminate(process->handle);
}

bool process_has_ended(const struct process *process, uint32_t *ret_code)
{
    DWORD code = 0;
    if (process->handle == NULL || WaitForSingleObject(process->handle, 0) != WAIT_OBJECT_0)
        return false;
    GetExitCodeProcess(process->handle, &code);
    *ret_code = code;
    return true;
}

bool process_find(uint32_t pid, uint64_t created, HANDLE *ret_handle)
{
    HANDLE handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, pid);
    if (handle == NULL)
        return false;
    if (creation_time(handle) != created || WaitForSingleObject(handle, 0) == WAIT_OBJECT_0) {
        CloseHandle(handle);
        return false;
    }
    *ret_handle = handle;
    return true;
}
