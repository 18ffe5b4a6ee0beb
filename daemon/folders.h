/* The folders that hcsd works in. */
#ifndef HCSD_DAEMON_FOLDERS_H
#define HCSD_DAEMON_FOLDERS_H

#include "base/error.h"
#include "daemon/config.h"
#include "daemon/log/log.h"

/* Makes or checks them (folder.h) and starts the log file in them. *ret_lock, a HANDLE to be closed, keeps every other hcsd out of the
 * state folder; it is set as soon as it is held, also when something fails afterwards. FAILED_PRECONDITION: another hcsd has it;
 * PERMISSION_DENIED: others could change what is in them. */
struct error *folders_open(const struct config *config, struct log *log, void **ret_lock) ERROR_MUST_CHECK;

#endif
