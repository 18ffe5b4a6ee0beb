#include "daemon/rpc/pipe_dial.h"

#include <windows.h>

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/rpc/pipe_access.h"

#define ABSENT_MS       1000u
#define ABSENT_PAUSE_MS 50u

static struct error *pipe_name(const char *address, wchar_t **ret_wide)
{
    static const char scheme[] = "npipe://", local[] = "\\\\.\\pipe\\";
    char *name = str_copy(strncmp(address, scheme, sizeof scheme - 1) == 0 ? address + sizeof scheme - 1 : address);
    for (char *at = name; *at != 0; at++)
        if (*at == '/')
            *at = '\\';
    struct error *error;
    if (_strnicmp(name, local, sizeof local - 1) != 0 || name[sizeof local - 1] == 0)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "dial", address,
                           "an address is a local pipe: npipe:////./pipe/NAME or \\\\.\\pipe\\NAME");
    else
        error = win_wide(name, ret_wide);
    free(name);
    return error;
}

struct error *pipe_dial(const char *address, unsigned milliseconds, void **ret_handle)
{
    wchar_t *pipe = NULL;
    struct error *error = pipe_name(address, &pipe);
    if (error != NULL)
        return error;
    uint64_t start = clock_ms(), end = start + milliseconds;
    for (;;) {
        HANDLE handle =
            CreateFileW(pipe, GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES, 0, NULL, OPEN_EXISTING,
                        FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        if (handle != INVALID_HANDLE_VALUE) {
            *ret_handle = handle;
            break;
        }
        DWORD code = GetLastError();
        uint64_t now = clock_ms();
        if (code == ERROR_PIPE_BUSY && now < end) {
            WaitNamedPipeW(pipe, (DWORD)(end - now)); /* a hint: somebody else may be quicker */
        } else if (code == ERROR_FILE_NOT_FOUND && now < end && now < start + ABSENT_MS) {
            /* Nothing announces a name that comes into being. */
            WaitForSingleObject(GetCurrentThread(), ABSENT_PAUSE_MS);
        } else {
            const char *why = code == ERROR_FILE_NOT_FOUND
                                  ? "nobody serves this pipe; start hcsd (sc.exe start hcsd), or name another pipe"
                              : code == ERROR_ACCESS_DENIED
                                  ? "run elevated, or have the administrator put you into hcsd's pipe_access"
                                  : NULL;
            error =
                why != NULL ? error_win32(code, "dial", address, "%s", why) : error_win32(code, "dial", address, NULL);
            error = error_set_kind(error, code == ERROR_FILE_NOT_FOUND  ? ERROR_KIND_UNAVAILABLE
                                          : code == ERROR_PIPE_BUSY     ? ERROR_KIND_DEADLINE_EXCEEDED
                                          : code == ERROR_ACCESS_DENIED ? ERROR_KIND_PERMISSION_DENIED
                                                                        : error->kind);
            break;
        }
    }
    free(pipe);
    return error;
}
