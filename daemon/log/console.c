#include "daemon/log/console.h"

#include <stdlib.h>

#include "base/text.h"

#define CONSOLE_PIECE 8000 /* older consoles refuse more than 64 KB at once */

bool console_is_terminal(HANDLE handle)
{
    DWORD mode;
    return GetConsoleMode(handle, &mode) != 0;
}

static bool write_console(HANDLE handle, const char *text, size_t size)
{
    size_t count;
    bool done = true;
    char16_t *units = text_to_utf16_n(text, size, &count);
    for (size_t at = 0; units != NULL && at < count && done;) {
        DWORD piece = count - at < CONSOLE_PIECE ? (DWORD)(count - at) : CONSOLE_PIECE, written = 0;
        done = WriteConsoleW(handle, units + at, piece, &written, NULL) && written != 0;
        at += written;
    }
    free(units);
    return done && units != NULL;
}

bool console_write(HANDLE handle, const char *text, size_t size)
{
    if (console_is_terminal(handle) && write_console(handle, text, size))
        return true;
    while (size != 0) {
        DWORD piece = size < (1u << 20) ? (DWORD)size : 1u << 20, written = 0;
        if (!WriteFile(handle, text, piece, &written, NULL))
            return false;
        text += written;
        size -= written;
    }
    return true;
}
