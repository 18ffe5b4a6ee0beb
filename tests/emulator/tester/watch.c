#include "watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>
#include <objbase.h>

#include "vmcompute.h"

void CALLBACK watch_callback(UINT32 type, void *context, HRESULT status, PCWSTR data)
{
    struct watch *watch = context;

    (void)data;
    AcquireSRWLockExclusive(&watch->lock);
    if (watch->count < WATCH_LIMIT) {
        watch->types[watch->count] = type;
        watch->statuses[watch->count] = status;
        watch->threads[watch->count] = GetCurrentThreadId();
        watch->count++;
    }
    watch->inside = true;
    ReleaseSRWLockExclusive(&watch->lock);
    WakeAllConditionVariable(&watch->changed);
    if (watch->entered != NULL)
        SetEvent(watch->entered);
    if (watch->leave != NULL)
        WaitForSingleObject(watch->leave, WAIT_MS);
    AcquireSRWLockExclusive(&watch->lock);
    watch->inside = false;
    ReleaseSRWLockExclusive(&watch->lock);
}

static unsigned count_locked(const struct watch *watch, UINT32 type, HRESULT *ret_status)
{
    unsigned found = 0;
    for (unsigned i = 0; i < watch->count; i++) {
        if (watch->types[i] != type)
            continue;
        found++;
        *ret_status = watch->statuses[i];
    }
    return found;
}

unsigned watch_count(struct watch *watch, UINT32 type)
{
    HRESULT status;
    unsigned found;
    AcquireSRWLockShared(&watch->lock);
    found = count_locked(watch, type, &status);
    ReleaseSRWLockShared(&watch->lock);
    return found;
}

HRESULT watch_wait(struct watch *watch, UINT32 type, unsigned times)
{
    ULONGLONG limit = GetTickCount64() + WAIT_MS;
    HRESULT status = 0;
    unsigned found;

    AcquireSRWLockExclusive(&watch->lock);
    while ((found = count_locked(watch, type, &status)) < times && GetTickCount64() < limit)
        SleepConditionVariableSRW(&watch->changed, &watch->lock, 100, 0);
    ReleaseSRWLockExclusive(&watch->lock);
    if (found < times)
        fail_msg("notification 0x%x: expected %u, found %u", type, times, found);
    return status;
}

HANDLE container_run(const wchar_t *id)
{
    wchar_t document[512];
    struct watch watch = {0};
    HANDLE container = NULL;
    HANDLE registration = NULL;
    PWSTR result = NULL;

    swprintf(document, 512,
             L"{\"SystemType\":\"Container\",\"Name\":\"%ls\",\"Owner\":\"test\",\"Layers\":null,"
             L"\"HvPartition\":false}",
             id);
    expect_hr(PENDING, vm.HcsCreateComputeSystem(id, document, NULL, &container, &result));
    assert_null(result);
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    expect_hr(S_OK, watch_wait(&watch, CREATED, 1));
    expect_hr(PENDING, vm.HcsStartComputeSystem(container, L"", &result));
    expect_hr(S_OK, watch_wait(&watch, STARTED, 1));
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    return container;
}

HANDLE process_run(HANDLE container, const wchar_t *command, unsigned pipes, void *information)
{
    wchar_t parameters[1024];
    process_information nothing;
    HANDLE process = NULL;
    PWSTR result = NULL;

    swprintf(parameters, 1024,
             L"{\"CommandLine\":\"%ls\",\"CreateStdInPipe\":%ls,\"CreateStdOutPipe\":%ls,\"CreateStdErrPipe\":%ls,"
             L"\"ConsoleSize\":[0,0]}",
             command, pipes & 1 ? L"true" : L"false", pipes & 2 ? L"true" : L"false", pipes & 4 ? L"true" : L"false");
    expect_hr(S_OK, vm.HcsCreateProcess(container, parameters, information == NULL ? &nothing : information, &process,
                                        &result));
    assert_null(result);
    return process;
}

void container_end(HANDLE container)
{
    struct watch watch = {0};
    HANDLE registration = NULL;
    PWSTR result = NULL;
    HRESULT code;

    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    code = vm.HcsTerminateComputeSystem(container, L"", &result);
    if (code != (HRESULT)PENDING && code != (HRESULT)0xC0370110)
        fail_msg("terminate: found 0x%08lx", (unsigned long)code);
    CoTaskMemFree(result);
    watch_wait(&watch, EXITED, 1);
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    expect_hr(S_OK, vm.HcsCloseComputeSystem(container));
}

long long process_code(HANDLE process)
{
    PWSTR properties = NULL;
    PWSTR result = NULL;
    const wchar_t *code;
    long long value;

    expect_hr(S_OK, vm.HcsGetProcessProperties(process, &properties, &result));
    assert_non_null(properties);
    code = wcsstr(properties, L"\"ExitCode\":");
    assert_non_null(code);
    value = wcstoll(code + 11, NULL, 10);
    if (wcsstr(properties, L"\"Exited\":true") == NULL)
        value = -1;
    CoTaskMemFree(properties);
    return value;
}

void look_again(void)
{
    Sleep(10); /* banned-ok: what is looked at has no notification; the loops are bounded */
}

static bool pipe_transfer(HANDLE pipe, BOOL started, OVERLAPPED *overlapped, DWORD *ret_done)
{
    if (!started && GetLastError() != ERROR_IO_PENDING)
        return false;
    if (WaitForSingleObject(overlapped->hEvent, WAIT_MS) != WAIT_OBJECT_0) {
        CancelIoEx(pipe, overlapped);
        GetOverlappedResult(pipe, overlapped, ret_done, TRUE);
        fail_msg("a pipe does not move");
    }
    return GetOverlappedResult(pipe, overlapped, ret_done, TRUE) && *ret_done > 0;
}

size_t pipe_read(HANDLE pipe, void *data, size_t size)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    size_t got = 0;

    while (got < size) {
        DWORD done = 0;
        DWORD part = size - got > 65536 ? 65536 : (DWORD)(size - got);
        if (!pipe_transfer(pipe, ReadFile(pipe, (char *)data + got, part, NULL, &overlapped), &overlapped, &done))
            break;
        got += done;
    }
    CloseHandle(overlapped.hEvent);
    return got;
}

bool pipe_write(HANDLE pipe, const void *data, size_t size)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    size_t put = 0;
    bool good = true;

    while (good && put < size) {
        DWORD done = 0;
        good = pipe_transfer(pipe, WriteFile(pipe, (const char *)data + put, (DWORD)(size - put), NULL, &overlapped),
                             &overlapped, &done);
        put += done;
    }
    CloseHandle(overlapped.hEvent);
    return good;
}
