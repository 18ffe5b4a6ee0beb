#include "daemon/rpc/pipe_name.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/rpc/pipe_stream.h"

HANDLE pipe_name_instance(const wchar_t *pipe, PSECURITY_DESCRIPTOR descriptor, bool first)
{
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = descriptor};
    return CreateNamedPipeW(
        pipe, PIPE_ACCESS_DUPLEX | WRITE_DAC | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, PIPE_UNLIMITED_INSTANCES,
        PIPE_STREAM_CHUNK, PIPE_STREAM_CHUNK, 0, &attributes);
}

/* As a client that nobody can learn anything from. */
static HANDLE knock(const wchar_t *pipe)
{
    return CreateFileW(pipe, GENERIC_READ, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, NULL);
}

static struct error *held(const wchar_t *pipe, HANDLE client)
{
    char *name = win_text(pipe);
    ULONG pid = 0;
    struct error *error;
    if (client != INVALID_HANDLE_VALUE && GetNamedPipeServerProcessId(client, &pid)) {
        wchar_t image[MAX_PATH] = L"an unknown program";
        DWORD size = ARRAYSIZE(image);
        HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
        if (process != NULL) {
            QueryFullProcessImageNameW(process, 0, image, &size);
            CloseHandle(process);
        }
        char *text = win_text(image);
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "open pipe", name,
                           "the name is held by process %lu (%s); end it or choose another name with the key \"pipe\"",
                           pid, text);
        free(text);
    } else {
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "open pipe", name,
                           "the name is held by another process; end it or choose another name with the key \"pipe\"");
    }
    free(name);
    return error;
}

struct error *pipe_name_hold(const wchar_t *pipe, PSECURITY_DESCRIPTOR descriptor, HANDLE *ret_handle, bool *ret_held)
{
    /* Asked first, so that the answer can say who; what makes it sure is FILE_FLAG_FIRST_PIPE_INSTANCE. */
    HANDLE client = knock(pipe);
    DWORD code = client == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    if (code == ERROR_SUCCESS || code == ERROR_PIPE_BUSY || code == ERROR_ACCESS_DENIED) {
        struct error *error = held(pipe, client);
        if (client != INVALID_HANDLE_VALUE)
            CloseHandle(client);
        return error;
    }
    HANDLE handle = pipe_name_instance(pipe, descriptor, true);
    if (handle == INVALID_HANDLE_VALUE) {
        code = GetLastError();
        if (code == ERROR_ACCESS_DENIED || code == ERROR_PIPE_BUSY)
            return held(pipe, INVALID_HANDLE_VALUE);
        char *name = win_text(pipe);
        struct error *error = error_win32(code, "CreateNamedPipe", name, NULL);
        free(name);
        return error;
    }
    /* Taken by ourselves or by whoever was quicker, then thrown out: now it is disconnected. */
    client = knock(pipe);
    if (client == INVALID_HANDLE_VALUE && GetLastError() == ERROR_ACCESS_DENIED) {
        /* Then we could not add an instance either: nobody would ever be answered. */
        CloseHandle(handle);
        char *name = win_text(pipe);
        struct error *error = error_make(ERROR_KIND_PERMISSION_DENIED, "open pipe", name,
                                         "this account may not use the pipe that it serves; run hcsd as LocalSystem or "
                                         "as an elevated administrator");
        free(name);
        return error;
    }
    bool disconnected = DisconnectNamedPipe(handle);
    if (client != INVALID_HANDLE_VALUE)
        CloseHandle(client);
    client = knock(pipe);
    bool refused = client == INVALID_HANDLE_VALUE && GetLastError() == ERROR_PIPE_BUSY;
    if (client != INVALID_HANDLE_VALUE) {
        CloseHandle(client);
        DisconnectNamedPipe(handle);
    }
    *ret_handle = handle;
    *ret_held = disconnected && refused;
    return NULL;
}
