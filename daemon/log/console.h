/* Text for people on a console, and bytes for whatever else a standard handle is. Windows only. */
#ifndef HCSD_DAEMON_LOG_CONSOLE_H
#define HCSD_DAEMON_LOG_CONSOLE_H

#include <windows.h>

#include <stdbool.h>
#include <stddef.h>

bool console_is_terminal(HANDLE handle);

/* UTF-8. A console gets UTF-16, so that its code page does not matter; a file or pipe gets the bytes as they are, all of
 * them. False: it does not take them (GetLastError says why). Blocks as long as the reader does. */
bool console_write(HANDLE handle, const char *text, size_t size);

#endif
