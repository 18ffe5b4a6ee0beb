#include <windows.h>

#include "base/process.h"

_Noreturn void process_end(uint32_t code, const char *line)
{
    if (line != NULL) {
        DWORD written;
        WriteFile(GetStdHandle(STD_ERROR_HANDLE), line, (DWORD)lstrlenA(line), &written, NULL);
    }
    TerminateProcess(GetCurrentProcess(), code);
    for (;;)
        ; /* not reached: ending oneself does not return */
}
