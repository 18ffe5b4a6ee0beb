#include "cli/stdio.h"

#include <sddl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/log/console.h"

#define PIPE_BUFFER 65536
/* hcsd runs as SYSTEM or as an administrator; the owner is who runs hcsctl. Nobody else gets in. */
#define ACCESS      L"D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"

struct stdio {
    char *path;
    HANDLE pipe, target, thread;
    HANDLE done;             /* completion of the operation under way */
    HANDLE cancel;           /* manual-reset: give up */
    _Atomic bool writing;    /* held up by the reader of `target` */
    _Atomic unsigned pieces; /* read so far */
    char buffer[PIPE_BUFFER];
};

/* Waits for the operation that `overlapped` stands for; false when it failed or is given up. */
static bool finish(struct stdio *stdio, BOOL begun, OVERLAPPED *overlapped, DWORD *ret_count)
{
    HANDLE handles[] = {stdio->done, stdio->cancel};
    if (!begun && GetLastError() != ERROR_IO_PENDING)
        return false;
    if (!begun && WaitForMultipleObjects(2, handles, FALSE, INFINITE) != WAIT_OBJECT_0)
        CancelIoEx(stdio->pipe, overlapped);
    return GetOverlappedResult(stdio->pipe, overlapped, ret_count, TRUE) != 0;
}

static DWORD WINAPI copy_thread(void *context)
{
    struct stdio *stdio = context;
    OVERLAPPED overlapped = {.hEvent = stdio->done};
    DWORD count = 0;
    BOOL begun = ConnectNamedPipe(stdio->pipe, &overlapped);
    if (!begun && GetLastError() != ERROR_PIPE_CONNECTED && !finish(stdio, begun, &overlapped, &count))
        return 0;
    for (;;) {
        overlapped = (OVERLAPPED){.hEvent = stdio->done};
        begun = ReadFile(stdio->pipe, stdio->buffer, PIPE_BUFFER, NULL, &overlapped);
        if (!finish(stdio, begun, &overlapped, &count))
            return 0; /* ERROR_BROKEN_PIPE: hcsd has closed its end */
        atomic_fetch_add(&stdio->pieces, 1);
        atomic_store(&stdio->writing, true);
        bool taken = console_write(stdio->target, stdio->buffer, count);
        atomic_store(&stdio->writing, false);
        /* A reader that is gone must not stop the container: read on, and drop. */
        if (!taken)
            stdio->target = NULL;
    }
}

static void stdio_free(struct stdio *stdio)
{
    win_close(stdio->thread);
    win_close(stdio->pipe);
    win_close(stdio->done);
    win_close(stdio->cancel);
    free(stdio->path);
    free(stdio);
}

struct error *stdio_open(const char *id, const char *name, HANDLE target, struct stdio **ret_stdio)
{
    struct stdio *stdio = mem_new(struct stdio);
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t *wide = NULL;
    stdio->target = target;
    stdio->path = str_format("\\\\.\\pipe\\hcsctl-%lu-%s-%s", (unsigned long)GetCurrentProcessId(), id, name);
    struct error *error = win_wide(stdio->path, &wide);
    if (error != NULL)
        goto out;
    stdio->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    stdio->cancel = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (stdio->done == NULL || stdio->cancel == NULL ||
        !ConvertStringSecurityDescriptorToSecurityDescriptorW(ACCESS, SDDL_REVISION_1, &descriptor, NULL)) {
        error = error_win32(GetLastError(), "prepare a pipe", stdio->path, NULL);
        goto out;
    }
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = descriptor};
    stdio->pipe = CreateNamedPipeW(wide, PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                   PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
                                   PIPE_BUFFER, PIPE_BUFFER, 0, &attributes);
    if (stdio->pipe == INVALID_HANDLE_VALUE) {
        error = error_win32(GetLastError(), "CreateNamedPipe", stdio->path, NULL);
        goto out;
    }
    stdio->thread = CreateThread(NULL, 0, copy_thread, stdio, 0, NULL);
    if (stdio->thread == NULL)
        error = error_win32(GetLastError(), "CreateThread", stdio->path, NULL);
out:
    LocalFree(descriptor);
    free(wide);
    if (error != NULL)
        stdio_free(stdio);
    else
        *ret_stdio = stdio;
    return error;
}

const char *stdio_path(const struct stdio *stdio)
{
    return stdio->path;
}

void stdio_close(struct stdio *stdio, unsigned milliseconds)
{
    if (stdio == NULL)
        return;
    unsigned pieces;
    do {
        pieces = atomic_load(&stdio->pieces);
        if (WaitForSingleObject(stdio->thread, milliseconds) == WAIT_OBJECT_0)
            break;
    } while (pieces != atomic_load(&stdio->pieces) || atomic_load(&stdio->writing));
    SetEvent(stdio->cancel);
    WaitForSingleObject(stdio->thread, INFINITE); /* nothing holds it but a cancelled read */
    stdio_free(stdio);
}
