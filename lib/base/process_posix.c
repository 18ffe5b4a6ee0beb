/* For native tests only. */
#ifndef _WIN32
#include "base/process.h"

#include <string.h>
#include <unistd.h>

_Noreturn void process_end(uint32_t code, const char *line)
{
    if (line != NULL && write(2, line, strlen(line)) < 0)
        _exit(1);
    _exit((int)(code & 0xff));
}
#else
typedef int process_posix_is_empty;
#endif
