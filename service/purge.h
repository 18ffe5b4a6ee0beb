/* What an uninstall takes away besides the program: state, staging and configuration. Windows only. */
#ifndef HCSD_SERVICE_PURGE_H
#define HCSD_SERVICE_PURGE_H

#include "base/error.h"

/* What belongs to one hcsd, found out by purge_open: from its configuration, or from the defaults when that cannot be read. */
struct purge;

/* `config_file` NULL: the default one. */
struct error *purge_open(const char *config_file, struct purge **ret_purge) ERROR_MUST_CHECK;
void purge_free(struct purge *purge);

/* FAILED_PRECONDITION, naming them, while containers are recorded: they may run, and nobody would know of them any more. */
struct error *purge_check(const struct purge *purge) ERROR_MUST_CHECK;

/* Removes the state and staging folders and %ProgramData%\hcsd with all that is in them, never following a link. Only when
 * the service does not run. What resists stays and is the error. */
struct error *purge_run(const struct purge *purge) ERROR_MUST_CHECK;

#endif
