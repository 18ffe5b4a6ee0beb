/* Privileges of the process token. Windows only; thread-safe. */
#ifndef HCSD_HCS_PRIVILEGE_H
#define HCSD_HCS_PRIVILEGE_H

#include <stddef.h>

#include "base/error.h"

/* Enables the named privileges ("SeBackupPrivilege", …) for the whole process: a DLL's own threads do not see a thread's
 * token. All that can be are enabled; PERMISSION_DENIED (1300) names each one that is not held. For workers, not for
 * hcsd.exe. */
struct error *privilege_enable(const char *const *names, size_t count) ERROR_MUST_CHECK;

/* What the storage calls want. */
extern const char *const privilege_storage[];
extern const size_t privilege_storage_count;

#endif
