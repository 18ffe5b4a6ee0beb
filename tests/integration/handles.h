/* How many handles a process has. */
#ifndef HCSD_TESTS_INTEGRATION_HANDLES_H
#define HCSD_TESTS_INTEGRATION_HANDLES_H

#include <windows.h>

/* Calls `each` (may be NULL) for every one. Counts in the list of all handles of the machine: what the process query tells is
 * the size of the handle table under Wine, and GetProcessHandleCount gives 0 there. */
long handles_of(DWORD pid, void (*each)(void *context, USHORT handle), void *context);

#endif
