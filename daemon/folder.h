/* Folders of hcsd's own: made so that only SYSTEM and Administrators get in, and checked when they exist, because
 * %ProgramData% lets any user make a folder, or a junction, of our name first (facts: windows.md 1). Windows only. */
#ifndef HCSD_DAEMON_FOLDER_H
#define HCSD_DAEMON_FOLDER_H

#include <stdbool.h>

#include "base/error.h"

enum folder_access {
    FOLDER_OTHERS_READ, /* others may look into it, and not more */
    FOLDER_PRIVATE,     /* nobody else; where only reading is open to others, that is taken away */
};

/* Makes the folder, and those above it that are missing, with access for SYSTEM and Administrators only. One that exists is
 * opened without following a reparse point and must belong to SYSTEM, Administrators, Windows' own installer or the account that
 * hcsd runs as, and give no others a way to change it: otherwise PERMISSION_DENIED, naming who and how to correct it. */
struct error *folder_secure(const char *path, enum folder_access access) ERROR_MUST_CHECK;

/* A file that hcsd obeys or runs (configuration, hcs.library; links are followed): it must belong to one of the same and
 * give no others a way to change it, otherwise PERMISSION_DENIED likewise. One that is absent is no error. */
struct error *folder_check_file(const char *path) ERROR_MUST_CHECK;

/* A folder that programs run from as SYSTEM, likewise. */
struct error *folder_check_programs(const char *path) ERROR_MUST_CHECK;

/* %ProgramData%, from where the system keeps it: whoever starts a process chooses its environment (Wine's service manager
 * gives another folder than its shell). The caller frees it. */
struct error *folder_program_data(char **ret_path) ERROR_MUST_CHECK;

#endif
