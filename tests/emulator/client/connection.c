#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <tlhelp32.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "object.h"
#include "shared/frame.h"
#include "shared/result.h"

#define START_MS 30000
#define DIAL_MS  20

/* A call that waits for its answer. */
struct call {
    struct call *next;
    uint64_t number;
    json_t *reply;
    bool lost;
    CONDITION_VARIABLE done;
};

/* The process's own connection. */
static struct {
    SRWLOCK lock;      /* guards what follows; never held while connecting */
    SRWLOCK dial_lock; /* one connects at a time; taken before `lock` */
    SRWLOCK write_lock;
    HANDLE pipe; /* NULL: none */
    uint64_t epoch;
    uint64_t next_number;
    struct call *calls;
    INIT_ONCE once;
    struct names names;
} own; /* all zero: SRWLOCK_INIT, INIT_ONCE_STATIC_INIT */

static BOOL CALLBACK names_once(PINIT_ONCE once, void *parameter, void **context)
{
    HMODULE module = NULL;

    (void)once;
    (void)parameter;
    (void)context;
    /* Pinned: the reader's thread runs its code to the end of the process. */
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                       (PCWSTR)(void *)names_once, &module);
    return names_init(&own.names, module);
}

const struct names *connection_names(void)
{
    InitOnceExecuteOnce(&own.once, names_once, NULL, NULL);
    return &own.names;
}

/* A process outside the caller's job object, to be the broker's parent: a child belongs to its parent's job, and a
 * kill-on-close job of the caller would end the broker with it. NULL when there is none that may be used. */
static HANDLE parent_outside_job(void)
{
    static const wchar_t *const names[] = {L"services.exe", L"explorer.exe", L"wininit.exe"};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    HANDLE parent = NULL;
    BOOL in_job;

    if (snapshot == INVALID_HANDLE_VALUE)
        return NULL;
    for (BOOL more = Process32FirstW(snapshot, &entry); more && parent == NULL;
         more = Process32NextW(snapshot, &entry)) {
        for (size_t i = 0; i < sizeof names / sizeof names[0] && parent == NULL; i++) {
            if (_wcsicmp(entry.szExeFile, names[i]) != 0)
                continue;
            parent =
                OpenProcess(PROCESS_CREATE_PROCESS | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, entry.th32ProcessID);
            if (parent != NULL && IsProcessInJob(parent, NULL, &in_job) && in_job) {
                CloseHandle(parent);
                parent = NULL;
            }
        }
    }
    CloseHandle(snapshot);
    return parent;
}

/* Starts the broker: no inherited handles, no console, its own folder, outside the caller's job. */
static struct error *broker_start(HANDLE *ret_process)
{
    const struct names *names = connection_names();
    STARTUPINFOEXW startup = {.StartupInfo.cb = sizeof startup};
    PROCESS_INFORMATION information;
    wchar_t command[MAX_PATH + 64];
    DWORD flags = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP | EXTENDED_STARTUPINFO_PRESENT;
    HANDLE parent = parent_outside_job();
    SIZE_T size = 0;
    struct error *error = NULL;
    BOOL started;

    swprintf(command, sizeof command / sizeof *command, L"\"%ls\" --serve", names->broker);
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    startup.lpAttributeList = mem_zero(size);
    InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size);
    if (parent != NULL) {
        UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_PARENT_PROCESS, &parent,
                                  sizeof parent, NULL, NULL);
    } else {
        flags |= CREATE_BREAKAWAY_FROM_JOB;
    }
    started = CreateProcessW(names->broker, command, NULL, NULL, FALSE, flags, NULL, names->folder,
                             &startup.StartupInfo, &information);
    if (!started && parent == NULL)
        started = CreateProcessW(names->broker, command, NULL, NULL, FALSE, flags & ~(DWORD)CREATE_BREAKAWAY_FROM_JOB,
                                 NULL, names->folder, &startup.StartupInfo, &information);
    if (started) {
        CloseHandle(information.hThread);
        *ret_process = information.hProcess;
    } else {
        error = error_win32(GetLastError(), "start hcsemu.exe", NULL, "hcsemu.exe must lie beside vmcompute.dll");
    }
    DeleteProcThreadAttributeList(startup.lpAttributeList);
    free(startup.lpAttributeList);
    if (parent != NULL)
        CloseHandle(parent);
    return error;
}

/* Opens the pipe, with a broker started when there is none. */
static struct error *broker_dial(HANDLE *ret_pipe)
{
    const struct names *names = connection_names();
    ULONGLONG limit = GetTickCount64() + START_MS;
    HANDLE process = NULL;
    struct error *error = NULL;

    while (error == NULL) {
        HANDLE pipe = CreateFileW(names->pipe, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                                  FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        DWORD code = GetLastError();
        if (pipe != INVALID_HANDLE_VALUE) {
            *ret_pipe = pipe;
            break;
        }
        if (GetTickCount64() > limit) {
            error = error_win32(code, "connect to hcsemu.exe", NULL, "no answer in %d s", START_MS / 1000);
        } else if (code == ERROR_PIPE_BUSY) {
            WaitNamedPipeW(names->pipe, DIAL_MS);
        } else if (code != ERROR_FILE_NOT_FOUND) {
            error = error_win32(code, "connect to hcsemu.exe", NULL, NULL);
        } else if (process == NULL) {
            error = broker_start(&process);
        } else if (WaitForSingleObject(process, DIAL_MS) == WAIT_OBJECT_0) {
            /* It left the place to another one, which may be ending: tried again if that does not answer. */
            CloseHandle(process);
            process = NULL;
        }
    }
    if (process != NULL)
        CloseHandle(process);
    return error;
}

/* The connection is gone: all that waits ends, all handles are void. */
static void connection_lost(HANDLE pipe, uint64_t epoch)
{
    AcquireSRWLockExclusive(&own.lock);
    if (own.pipe == pipe)
        own.pipe = NULL;
    for (struct call *call = own.calls; call != NULL; call = call->next) {
        call->lost = true;
        WakeConditionVariable(&call->done);
    }
    ReleaseSRWLockExclusive(&own.lock);
    objects_disconnect(epoch);
}

static void reply_arrived(json_t *message)
{
    uint64_t number = (uint64_t)frame_number(message, "n");

    AcquireSRWLockExclusive(&own.lock);
    for (struct call *call = own.calls; call != NULL; call = call->next) {
        if (call->number != number)
            continue;
        call->reply = json_incref(message);
        WakeConditionVariable(&call->done);
        break;
    }
    ReleaseSRWLockExclusive(&own.lock);
}

static void event_arrived(const json_t *message, const char *name, uint64_t epoch)
{
    if (strcmp(name, "disconnect") == 0) {
        objects_disconnect(epoch);
    } else if (strcmp(name, "notify") == 0) {
        object_notify((uint64_t)frame_number(message, "handle"), (uint32_t)frame_number(message, "type"),
                      (int32_t)frame_number(message, "status"), (uint32_t)frame_number(message, "delay_ms"),
                      frame_flag(message, "twice"));
    }
}

struct reader {
    HANDLE pipe;
    uint64_t epoch;
};

static DWORD WINAPI reader_run(void *context)
{
    struct reader *reader = context;
    HANDLE pipe = reader->pipe;
    uint64_t epoch = reader->epoch;
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    struct buffer in = {0};
    bool good = true;

    free(reader);
    while (good) {
        uint8_t *place = buffer_reserve(&in, 65536);
        DWORD got = 0;
        if (!ReadFile(pipe, place, 65536, NULL, &overlapped) && GetLastError() != ERROR_IO_PENDING)
            break;
        if (!GetOverlappedResult(pipe, &overlapped, &got, TRUE) || got == 0)
            break;
        in.size += got;
        for (;;) {
            json_t *message;
            const char *event;
            good = frame_take(&in, &message);
            if (message == NULL)
                break;
            event = frame_text(message, "event");
            if (event[0] != 0) {
                event_arrived(message, event, epoch);
            } else {
                reply_arrived(message);
            }
            json_decref(message);
        }
    }
    connection_lost(pipe, epoch);
    AcquireSRWLockExclusive(&own.write_lock); /* nobody writes to it any more */
    CloseHandle(pipe);
    ReleaseSRWLockExclusive(&own.write_lock);
    CloseHandle(overlapped.hEvent);
    buffer_free(&in);
    return 0;
}

struct error *connection_epoch(uint64_t *ret_epoch)
{
    struct error *error = NULL;
    HANDLE pipe = NULL;
    HANDLE thread;

    AcquireSRWLockExclusive(&own.dial_lock);
    AcquireSRWLockShared(&own.lock);
    pipe = own.pipe;
    *ret_epoch = own.epoch;
    ReleaseSRWLockShared(&own.lock);
    if (pipe == NULL) {
        error = broker_dial(&pipe);
        if (error == NULL) {
            AcquireSRWLockExclusive(&own.lock);
            own.pipe = pipe;
            *ret_epoch = ++own.epoch;
            ReleaseSRWLockExclusive(&own.lock);
            struct reader *reader = mem_new(struct reader);
            reader->pipe = pipe;
            reader->epoch = *ret_epoch;
            thread = CreateThread(NULL, 256 << 10, reader_run, reader, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
            if (thread != NULL)
                CloseHandle(thread);
        }
    }
    ReleaseSRWLockExclusive(&own.dial_lock);
    return error;
}

static bool send_frame(const struct buffer *frame)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    DWORD done = 0;
    bool sent = false;
    HANDLE pipe;

    AcquireSRWLockExclusive(&own.write_lock);
    AcquireSRWLockShared(&own.lock);
    pipe = own.pipe;
    ReleaseSRWLockShared(&own.lock);
    if (pipe != NULL &&
        (WriteFile(pipe, frame->data, (DWORD)frame->size, NULL, &overlapped) || GetLastError() == ERROR_IO_PENDING))
        sent = GetOverlappedResult(pipe, &overlapped, &done, TRUE) && done == frame->size;
    ReleaseSRWLockExclusive(&own.write_lock);
    CloseHandle(overlapped.hEvent);
    return sent;
}

struct error *connection_call(const char *call, uint64_t epoch, json_t *request, json_t **ret_reply)
{
    struct call waiting = {.done = CONDITION_VARIABLE_INIT};
    struct buffer frame = {0};
    struct error *error;
    uint64_t now;

    error = connection_epoch(&now);
    if (error == NULL && epoch != 0 && epoch != now)
        error = error_win32(ERROR_INVALID_HANDLE, call, NULL, "the compute service was lost since it was opened");
    if (error != NULL)
        goto done;
    AcquireSRWLockExclusive(&own.lock);
    waiting.number = ++own.next_number;
    waiting.next = own.calls;
    own.calls = &waiting;
    ReleaseSRWLockExclusive(&own.lock);
    json_object_set_new(request, "n", json_integer((json_int_t)waiting.number));
    json_object_set_new(request, "call", json_string(call));
    frame_add(&frame, request);
    bool sent = send_frame(&frame);
    AcquireSRWLockExclusive(&own.lock);
    while (sent && waiting.reply == NULL && !waiting.lost)
        SleepConditionVariableSRW(&waiting.done, &own.lock, INFINITE, 0);
    for (struct call **place = &own.calls; *place != NULL; place = &(*place)->next) {
        if (*place != &waiting)
            continue;
        *place = waiting.next;
        break;
    }
    ReleaseSRWLockExclusive(&own.lock);
    if (waiting.reply == NULL) {
        error = error_hresult((uint32_t)RESULT_LOST_BROKER, call, NULL, "the broker ended");
    } else if ((HRESULT)frame_number(waiting.reply, "hr") < 0 && json_object_get(waiting.reply, "message") != NULL) {
        error = error_hresult((uint32_t)frame_number(waiting.reply, "hr"), call, NULL, "%s",
                              frame_text(waiting.reply, "message"));
    } else if (ret_reply != NULL) {
        *ret_reply = json_incref(waiting.reply);
    }
    json_decref(waiting.reply);
done:
    buffer_free(&frame);
    json_decref(request);
    return error;
}
