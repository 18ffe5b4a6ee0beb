#include "cli/input.h"

#include <sddl.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"

#define BUFFER_SIZE 65536
#define CLOSE_MS    1000
/* As for the other pipes (stdio.c): hcsd is SYSTEM or an administrator, the owner runs hcsctl. */
#define ACCESS      L"D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"

struct input {
    char *path;
    HANDLE pipe, source, thread;
    HANDLE done;   /* completion of the operation under way */
    HANDLE cancel; /* manual-reset: give up */
    char buffer[BUFFER_SIZE];
};

static bool finish(struct input *input, BOOL begun, OVERLAPPED *overlapped)
{
    HANDLE handles[] = {input->done, input->cancel};
    DWORD count;
    if (!begun && GetLastError() != ERROR_IO_PENDING)
        return false;
    if (!begun && WaitForMultipleObjects(2, handles, FALSE, INFINITE) != WAIT_OBJECT_0)
        CancelIoEx(input->pipe, overlapped);
    return GetOverlappedResult(input->pipe, overlapped, &count, TRUE) != 0;
}

static DWORD WINAPI copy_thread(void *context)
{
    struct input *input = context;
    OVERLAPPED overlapped = {.hEvent = input->done};
    DWORD count = 0;
    BOOL begun = ConnectNamedPipe(input->pipe, &overlapped);
    bool open = begun || GetLastError() == ERROR_PIPE_CONNECTED || finish(input, begun, &overlapped);
    while (open && WaitForSingleObject(input->cancel, 0) != WAIT_OBJECT_0 &&
           ReadFile(input->source, input->buffer, BUFFER_SIZE, &count, NULL) && count != 0) {
        overlapped = (OVERLAPPED){.hEvent = input->done};
        open = finish(input, WriteFile(input->pipe, input->buffer, count, NULL, &overlapped), &overlapped);
    }
    /* Nothing that was written is lost by closing a byte pipe; FlushFileBuffers would wait for a reader that may be gone. */
    CloseHandle(input->pipe);
    return 0;
}

static void input_free(struct input *input)
{
    win_close(input->thread);
    win_close(input->done);
    win_close(input->cancel);
    free(input->path);
    free(input);
}

struct error *input_open(const char *id, HANDLE source, struct input **ret_input)
{
    struct input *input = mem_new(struct input);
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t *wide = NULL;
    input->source = source;
    input->path = str_format("\\\\.\\pipe\\hcsctl-%lu-%s-stdin", (unsigned long)GetCurrentProcessId(), id);
    struct error *error = win_wide(input->path, &wide);
    if (error != NULL)
        goto out;
    input->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    input->cancel = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (input->done == NULL || input->cancel == NULL ||
        !ConvertStringSecurityDescriptorToSecurityDescriptorW(ACCESS, SDDL_REVISION_1, &descriptor, NULL)) {
        error = error_win32(GetLastError(), "prepare a pipe", input->path, NULL);
        goto out;
    }
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = descriptor};
    input->pipe = CreateNamedPipeW(wide, PIPE_ACCESS_OUTBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                   PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
                                   BUFFER_SIZE, BUFFER_SIZE, 0, &attributes);
    if (input->pipe == INVALID_HANDLE_VALUE) {
        error = error_win32(GetLastError(), "CreateNamedPipe", input->path, NULL);
        goto out;
    }
    input->thread = CreateThread(NULL, 0, copy_thread, input, 0, NULL);
    if (input->thread == NULL) {
        error = error_win32(GetLastError(), "CreateThread", input->path, NULL);
        CloseHandle(input->pipe);
    }
out:
    LocalFree(descriptor);
    free(wide);
    if (error != NULL)
        input_free(input);
    else
        *ret_input = input;
    return error;
}

const char *input_path(const struct input *input)
{
    return input->path;
}

void input_close(struct input *input)
{
    if (input == NULL)
        return;
    SetEvent(input->cancel);
    CancelSynchronousIo(input->thread);
    if (WaitForSingleObject(input->thread, CLOSE_MS) == WAIT_OBJECT_0)
        input_free(input);
}
