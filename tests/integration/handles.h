/* How many handles a process has. */
#ifndef HCSD_TESTS_INTEGRATION_HANDLES_H
#define HCSD_TESTS_INTEGRATION_HANDLES_H

#include <windows.h>

/* Counts in the list of all handles of the machine: what the process query tells is the size of the handle table under Wine, and
 * GetProcessHandleCount gives 0 there. */
long handles_of(DWORD pid);

#endif
