/* Processes and threads that are to end. */
#include <string.h>

#include "base/harden.h"
#include "base/memory.h"
#include "base/win.h"
#include "probe/checks.h"

#define WAIT_MS 5000

/* A process that never begins: of our own image, suspended. It ends when its job's last handle is closed. */
static enum probe_verdict look_job(struct probe *probe, const char *argument)
{
    (void)argument;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags =
                                                       JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE};
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process = {0};
    wchar_t image[1024];
    DWORD code = ERROR_SUCCESS, waited = WAIT_FAILED;
    HANDLE job = CreateJobObjectW(NULL, NULL);
    if (job == NULL || !SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits) ||
        GetModuleFileNameW(NULL, image, ARRAYSIZE(image)) == 0 ||
        !CreateProcessW(image, NULL, NULL, NULL, FALSE, CREATE_SUSPENDED | CREATE_NO_WINDOW, NULL, NULL, &startup,
                        &process))
        code = GetLastError();
    if (code == ERROR_SUCCESS && !AssignProcessToJobObject(job, process.hProcess))
        code = GetLastError();
    win_close(job);
    if (code == ERROR_SUCCESS)
        waited = WaitForSingleObject(process.hProcess, WAIT_MS);
    if (process.hProcess != NULL && waited != WAIT_OBJECT_0)
        TerminateProcess(process.hProcess, 1);
    win_close(process.hThread);
    win_close(process.hProcess);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "a process in a job", code);
    probe_found(probe, "%s", waited == WAIT_OBJECT_0 ? "it ended" : "it did not end within 5 s");
    return probe_judge(waited == WAIT_OBJECT_0);
}

struct reader {
    HANDLE pipe, started;
    DWORD code;
};

static DWORD WINAPI read_for_ever(void *parameter)
{
    struct reader *reader = parameter;
    char byte;
    DWORD count;
    SetEvent(reader->started);
    reader->code = ReadFile(reader->pipe, &byte, 1, &count, NULL) ? ERROR_SUCCESS : GetLastError();
    return 0;
}

/* A thread in a synchronous read is got out of it. */
static enum probe_verdict look_cancel(struct probe *probe, const char *argument)
{
    (void)argument;
    HANDLE writer = NULL;
    struct reader reader = {.started = CreateEventW(NULL, TRUE, FALSE, NULL)};
    if (!CreatePipe(&reader.pipe, &writer, NULL, 0))
        return probe_failed(probe, "CreatePipe", GetLastError());
    HANDLE thread = CreateThread(NULL, 65536, read_for_ever, &reader, 0, NULL);
    DWORD waited = WAIT_FAILED, code = thread == NULL ? GetLastError() : ERROR_SUCCESS;
    if (thread != NULL) {
        WaitForSingleObject(reader.started, WAIT_MS);
        /* It may be just before the read: asked again until it is over. */
        for (unsigned i = 0; i < WAIT_MS / 50 && waited != WAIT_OBJECT_0; i++) {
            CancelSynchronousIo(thread);
            waited = WaitForSingleObject(thread, 50);
        }
    }
    win_close(writer); /* ends the read whatever happened */
    if (thread != NULL)
        WaitForSingleObject(thread, WAIT_MS);
    win_close(thread);
    win_close(reader.pipe);
    win_close(reader.started);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "CreateThread", code);
    probe_found(probe, "%s, error %lu", waited == WAIT_OBJECT_0 ? "the read ended" : "the read went on", reader.code);
    return probe_judge(waited == WAIT_OBJECT_0 && reader.code == ERROR_OPERATION_ABORTED);
}

/* A second TerminateProcess is refused once the first has begun: how hcsd tells a process that does not die. */
static enum probe_verdict look_terminate(struct probe *probe, const char *argument)
{
    (void)argument;
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process = {0};
    wchar_t image[1024];
    if (GetModuleFileNameW(NULL, image, ARRAYSIZE(image)) == 0 ||
        !CreateProcessW(image, NULL, NULL, NULL, FALSE, CREATE_SUSPENDED | CREATE_NO_WINDOW, NULL, NULL, &startup,
                        &process))
        return probe_failed(probe, "CreateProcess", GetLastError());
    bool first = TerminateProcess(process.hProcess, 1);
    DWORD waited = WaitForSingleObject(process.hProcess, WAIT_MS);
    DWORD code = TerminateProcess(process.hProcess, 1) ? ERROR_SUCCESS : GetLastError();
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    probe_found(probe, "the first %s, the process %s, the second: error %lu", first ? "succeeded" : "failed",
                waited == WAIT_OBJECT_0 ? "ended" : "did not end within 5 s", code);
    return probe_judge(first && waited == WAIT_OBJECT_0 && code == ERROR_ACCESS_DENIED);
}

/* `argument`: one of harden_policies, which hcsd.exe has set. */
static enum probe_verdict look_mitigation(struct probe *probe, const char *argument)
{
    typedef BOOL(WINAPI * get_policy)(HANDLE, int, PVOID, SIZE_T);
    get_policy get = (get_policy)(void *)win_function(L"kernel32.dll", "GetProcessMitigationPolicy");
    const struct harden_policy *row = harden_policies;
    while (strcmp(row->name, argument) != 0)
        row++;
    uint32_t flags = 0;
    if (get == NULL || !get(GetCurrentProcess(), row->policy, &flags, sizeof flags))
        return probe_failed(probe, "GetProcessMitigationPolicy", get == NULL ? ERROR_PROC_NOT_FOUND : GetLastError());
    probe_found(probe, "flags 0x%X", flags);
    return probe_judge((flags & row->flags) == row->flags);
}

static const struct probe_check process_checks[] = {
    {"processes", "job closed", "its process ends", look_job, NULL},
    {"processes", "TerminateProcess, twice", "it ends; the second is refused with 5", look_terminate, NULL},
    {"processes", "mitigation, images", "none from the network or of low integrity, System32 first", look_mitigation,
     "images"},
    {"processes", "mitigation, extension points", "off", look_mitigation, "extension points"},
    {"processes", "mitigation, redirections", "junctions of ordinary users are not followed (since Server 2022)",
     look_mitigation, "redirections"},
    {"processes", "CancelSynchronousIo", "the read ends with 995", look_cancel, NULL},
};
const struct probe_table probe_processes = {process_checks, sizeof process_checks / sizeof process_checks[0]};
