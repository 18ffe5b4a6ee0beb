/* The end of the process, for the two cases where nothing else is left: no memory, and threads that will never come
 * back. */
#ifndef HCSD_BASE_PROCESS_H
#define HCSD_BASE_PROCESS_H

#include <stdint.h>

/* Writes `line` (may be NULL; with its line end) to stderr and ends the process at once with `code`: no exit handlers
 * and no DLL detach, which would wait for the locks of a thread lost in a DLL (facts: windows.md 8). Allocates nothing
 * and takes no lock of the C library. */
_Noreturn void process_end(uint32_t code, const char *line);

#endif
