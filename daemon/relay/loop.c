#include "daemon/relay/loop.h"

#include <stdlib.h>
#include <winternl.h>

#include "base/clock.h"
#include "base/memory.h"

#define BATCH 64

struct loop {
    HANDLE port;
    PTP_POOL pool;             /* for what may block; made with the first of it */
    struct loop_timer *timers; /* ascending by due_ms */
    bool stopped;
};

struct error *loop_new(struct loop **ret_loop)
{
    struct loop *loop = mem_new(struct loop);
    loop->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (!loop->port) {
        struct error *error = error_win32(GetLastError(), "CreateIoCompletionPort", "stdio relay", NULL);
        free(loop);
        return error;
    }
    *ret_loop = loop;
    return NULL;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->pool)
        CloseThreadpool(loop->pool);
    CloseHandle(loop->port);
    free(loop);
}

#define KEY_SKIPS  1u /* what is done at once posts nothing */
#define KEY_POSTED 2u

struct error *loop_bind(struct loop *loop, HANDLE handle, const char *what)
{
    /* Who has the handle too (HCS's side never has) would get no events of ours; ours come by the port. */
    if (!SetFileCompletionNotificationModes(handle,
                                            FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE))
        return error_win32(GetLastError(), "SetFileCompletionNotificationModes", what, NULL);
    if (!CreateIoCompletionPort(handle, loop->port, KEY_SKIPS, 0))
        return error_win32(GetLastError(), "CreateIoCompletionPort", what, "the pipe cannot be used asynchronously");
    return NULL;
}

static enum loop_begun begun(struct loop_io *io, BOOL done, DWORD *ret_value)
{
    if (done) {
        *ret_value = (DWORD)io->overlapped.InternalHigh;
        return LOOP_AT_ONCE;
    }
    *ret_value = GetLastError();
    /* A part of a message is a warning to the kernel, no error: it is posted to the port. */
    if (*ret_value != ERROR_IO_PENDING && *ret_value != ERROR_MORE_DATA)
        return LOOP_FAILED;
    io->flying = true;
    return LOOP_PENDING;
}

enum loop_begun loop_read(HANDLE handle, void *data, DWORD size, struct loop_io *io, DWORD *ret_value)
{
    io->overlapped = (OVERLAPPED){0};
    return begun(io, ReadFile(handle, data, size, NULL, &io->overlapped), ret_value);
}

enum loop_begun loop_write(HANDLE handle, const void *data, DWORD size, bool at_end, struct loop_io *io,
                           DWORD *ret_value)
{
    io->overlapped = (OVERLAPPED){0};
    if (at_end)
        io->overlapped.Offset = io->overlapped.OffsetHigh = 0xFFFFFFFFu;
    return begun(io, WriteFile(handle, data, size, NULL, &io->overlapped), ret_value);
}

enum loop_begun loop_connect(HANDLE pipe, struct loop_io *io, DWORD *ret_value)
{
    io->overlapped = (OVERLAPPED){0};
    BOOL done = ConnectNamedPipe(pipe, &io->overlapped);
    if (!done && GetLastError() == ERROR_PIPE_CONNECTED) {
        *ret_value = 0;
        return LOOP_AT_ONCE;
    }
    return begun(io, done, ret_value);
}

void loop_post(struct loop *loop, struct loop_io *io, DWORD code, DWORD bytes)
{
    io->overlapped = (OVERLAPPED){.Internal = code};
    io->flying = true;
    /* Fails only without memory for it; then there is no way to go on. */
    if (!PostQueuedCompletionStatus(loop->port, bytes, KEY_POSTED, &io->overlapped))
        abort();
}

static void CALLBACK work_run(PTP_CALLBACK_INSTANCE instance, void *context)
{
    struct loop_work *work = context;
    (void)instance;
    work->run(work);
    loop_post(work->loop, &work->io, NO_ERROR, 0);
}

struct error *loop_work(struct loop *loop, struct loop_work *work)
{
    TP_CALLBACK_ENVIRON environment;
    work->loop = loop;
    if (!loop->pool && (loop->pool = CreateThreadpool(NULL)) != NULL)
        SetThreadpoolThreadMaximum(loop->pool, LOOP_WORKERS);
    InitializeThreadpoolEnvironment(&environment);
    if (loop->pool)
        SetThreadpoolCallbackPool(&environment, loop->pool);
    bool taken = loop->pool && TrySubmitThreadpoolCallback(work_run, work, &environment);
    DestroyThreadpoolEnvironment(&environment);
    if (taken)
        return NULL;
    return error_win32(GetLastError(), "TrySubmitThreadpoolCallback", "stdio relay", NULL);
}

/* ---- timers ---- */

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    if (!timer->armed)
        return;
    if (timer->previous)
        timer->previous->next = timer->next;
    else
        loop->timers = timer->next;
    if (timer->next)
        timer->next->previous = timer->previous;
    timer->next = timer->previous = NULL;
    timer->armed = false;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ms,
                    void (*fire)(struct loop_timer *timer))
{
    struct loop_timer *before = NULL, *after;
    loop_timer_clear(loop, timer);
    timer->due_ms = due_ms;
    timer->fire = fire;
    timer->armed = true;
    for (after = loop->timers; after && after->due_ms <= due_ms; after = after->next)
        before = after;
    timer->previous = before;
    timer->next = after;
    if (before)
        before->next = timer;
    else
        loop->timers = timer;
    if (after)
        after->previous = timer;
}

/* How long the port is waited at. */
static DWORD run_timers(struct loop *loop)
{
    while (loop->timers && !loop->stopped) {
        struct loop_timer *timer = loop->timers;
        uint64_t now = clock_ms();
        if (timer->due_ms > now)
            return timer->due_ms - now < 60000 ? (DWORD)(timer->due_ms - now) : 60000;
        loop_timer_clear(loop, timer);
        timer->fire(timer);
    }
    return INFINITE;
}

/* ---- running ---- */

/* The Win32 code of a completion's status. */
static DWORD code_of(const OVERLAPPED_ENTRY *entry)
{
    struct loop_io *io = (struct loop_io *)entry->lpOverlapped;
    if (entry->lpCompletionKey == KEY_POSTED)
        return (DWORD)io->overlapped.Internal;
    LONG status = (LONG)io->overlapped.Internal;
    return status == 0 ? NO_ERROR : RtlNtStatusToDosError(status);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped) {
        OVERLAPPED_ENTRY entries[BATCH];
        ULONG count = 0;
        DWORD wait = run_timers(loop);
        if (loop->stopped || !GetQueuedCompletionStatusEx(loop->port, entries, BATCH, &count, wait, FALSE))
            continue;
        for (ULONG i = 0; i < count; i++) {
            struct loop_io *io = (struct loop_io *)entries[i].lpOverlapped;
            DWORD code = code_of(&entries[i]);
            io->flying = false;
            io->done(io, code, entries[i].dwNumberOfBytesTransferred);
        }
    }
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}
