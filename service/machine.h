/* Whether this machine can run hcsd at all. Pure. */
#ifndef HCSD_SERVICE_MACHINE_H
#define HCSD_SERVICE_MACHINE_H

#include <stdint.h>

#include "base/error.h"

/* `native`: what win_native_machine says; 0, not known, is good. FAILED_PRECONDITION on ARM64: Windows has no container host
 * there, and this program would run in emulation, which nobody has tried with the Host Compute Service. */
struct error *machine_check(uint16_t native) ERROR_MUST_CHECK;

#endif
