/* For native tests only. */
#include <string.h>

#include "base/error_table.h"
#include "base/memory.h"

char *error_system_text(enum error_origin origin, uint32_t code)
{
    return origin == ERROR_ORIGIN_ERRNO ? str_copy(strerror((int)code)) : NULL;
}
