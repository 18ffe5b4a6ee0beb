/* The configuration as a file. Windows only. */
#ifndef HCSD_DAEMON_CONFIG_FILE_H
#define HCSD_DAEMON_CONFIG_FILE_H

#include <stdbool.h>

#include "daemon/config.h"

/* The default file, %ProgramData%\hcsd\config.json. The caller frees it. */
struct error *config_file_path(char **ret_path) ERROR_MUST_CHECK;

/* Reads and checks a file. INVALID_ARGUMENT has all that is wrong with it; *ret_problems (may be NULL) the same line by line,
 * empty when the file could not be read at all. `optional`: an absent file gives the defaults. */
struct error *config_file_read(const char *file, bool optional, struct config_list *ret_problems,
                               struct config **ret_config) ERROR_MUST_CHECK;

#endif
