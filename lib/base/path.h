/* Windows paths as text (WTF-8), without asking any file system. Backslashes and slashes both separate; results have
 * backslashes. Pure; thread-safe. */
#ifndef HCSD_BASE_PATH_H
#define HCSD_BASE_PATH_H

#include <stdbool.h>

#include "base/error.h"

/* `C:\…`, `C:/…`, `\\server\share…`, `\\?\…` or `\\.\…`. A drive without a separator (`C:x`) and a path that begins
 * with one separator depend on the process and are not absolute. */
bool path_is_absolute(const char *path);

/* The form that Windows takes as it is: `\\?\C:\…`, `\\?\UNC\server\share\…`; a `\\?\` or `\\.\` path stays as it is.
 * `.` and `..` are resolved, empty parts dropped, a trailing separator dropped (not a root's). Trailing dots and spaces of
 * a part are kept: below `\\?\` they belong to the name. INVALID_ARGUMENT when the path is not absolute, `..` leads above
 * the root, or a part holds a character that no name has (control characters, < > " | ? * and a colon, but for one that
 * names a stream in the last part). The caller frees *ret_path. */
struct error *path_verbatim(const char *path, char **ret_path) ERROR_MUST_CHECK;

/* folder\name, with one separator between. The caller frees it. */
char *path_join(const char *folder, const char *name);

/* What follows the last separator, trailing separators aside; "" for a root. The caller frees it. */
char *path_last_part(const char *path);

/* What stands before the last part, without a trailing separator but for a root (`C:\`). The caller frees it. */
char *path_folder(const char *path);

#endif
