#include "service/machine.h"

#define MACHINE_ARM64 0xAA64 /* IMAGE_FILE_MACHINE_ARM64 */

struct error *machine_check(uint16_t native)
{
    if (native != MACHINE_ARM64)
        return NULL;
    return error_make(ERROR_KIND_FAILED_PRECONDITION, "check the machine", "ARM64",
                      "hcsd is for x64: Windows on ARM64 runs it in emulation only and hosts no containers");
}
