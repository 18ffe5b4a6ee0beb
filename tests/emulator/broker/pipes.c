#include "pipes.h"

#include <wchar.h>

#include "server.h"
#include "shared/result.h"

#define PIPE_SIZE (64u << 10)

static struct error *pipe_open(HANDLE *ret_host, HANDLE *ret_child, bool is_input, bool inside)
{
    static LONG counter;
    SECURITY_ATTRIBUTES inheritable = {.nLength = sizeof inheritable, .bInheritHandle = !inside};
    wchar_t name[128];
    HANDLE host;
    HANDLE child;

    swprintf(name, 128, L"%ls-%lu-%lx", broker.names.pipe, GetCurrentProcessId(), InterlockedIncrement(&counter));
    host = CreateNamedPipeW(
        name,
        (is_input ? PIPE_ACCESS_OUTBOUND : PIPE_ACCESS_INBOUND) | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, PIPE_SIZE, PIPE_SIZE, 0, NULL);
    if (host == INVALID_HANDLE_VALUE)
        return error_win32(GetLastError(), "CreateNamedPipe", NULL, "stdio pipe");
    child = CreateFileW(name, (is_input ? GENERIC_READ : GENERIC_WRITE) | FILE_READ_ATTRIBUTES, 0, &inheritable,
                        OPEN_EXISTING, inside ? FILE_FLAG_OVERLAPPED : 0, NULL);
    if (child == INVALID_HANDLE_VALUE) {
        struct error *error = error_win32(GetLastError(), "CreateFile", NULL, "stdio pipe");
        CloseHandle(host);
        return error;
    }
    *ret_host = host;
    *ret_child = child;
    return NULL;
}

struct error *stdio_open(struct stdio *stdio, const bool wanted[STDIO_COUNT], bool inside)
{
    struct error *error = NULL;

    for (int i = 0; i < STDIO_COUNT && error == NULL; i++)
        if (wanted[i])
            error = pipe_open(&stdio->host[i], &stdio->child[i], i == STDIO_IN, inside);
    if (error != NULL)
        stdio_close(stdio);
    return error;
}

struct error *stdio_hand_out(struct stdio *stdio, const struct client *client, json_t *reply)
{
    static const char *const keys[STDIO_COUNT] = {"stdin", "stdout", "stderr"};

    for (int i = 0; i < STDIO_COUNT; i++) {
        HANDLE given = NULL;
        HANDLE host = stdio->host[i];
        if (host == NULL)
            continue;
        stdio->host[i] = NULL;
        if (client->process == NULL) {
            CloseHandle(host);
            return error_win32(ERROR_ACCESS_DENIED, "DuplicateHandle", NULL, "the client's process cannot be opened");
        }
        if (!DuplicateHandle(GetCurrentProcess(), host, client->process, &given, 0, FALSE,
                             DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE))
            return error_win32(GetLastError(), "DuplicateHandle", NULL, "stdio pipe");
        json_object_set_new(reply, keys[i], json_integer((json_int_t)(UINT_PTR)given));
    }
    return NULL;
}

void stdio_close_child(struct stdio *stdio)
{
    for (int i = 0; i < STDIO_COUNT; i++) {
        if (stdio->child[i] != NULL)
            CloseHandle(stdio->child[i]);
        stdio->child[i] = NULL;
    }
}

void stdio_close(struct stdio *stdio)
{
    for (int i = 0; i < STDIO_COUNT; i++) {
        if (stdio->host[i] != NULL)
            CloseHandle(stdio->host[i]);
        stdio->host[i] = NULL;
    }
    stdio_close_child(stdio);
}
