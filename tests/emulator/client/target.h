/* A folder that files are made in, many of them.
 *
 * Wine looks through the whole folder for a name in another case before it makes one, so that filling a folder takes time
 * by the square of its size. It does not do so for names in its \??\unix name space; there, and only there, that is used. */
#ifndef EMULATOR_CLIENT_TARGET_H
#define EMULATOR_CLIENT_TARGET_H

#include "tree.h"

struct target {
    HANDLE folder;
    wchar_t *prefix; /* the folder in the \??\unix name space with a backslash, NULL on Windows */
};

/* An existing folder by its absolute path. */
struct error *target_open(const wchar_t *path, struct target *ret_target) ERROR_MUST_CHECK;
/* The folder `name` in `parent`, made when it is not there. */
struct error *target_make(const struct target *parent, const wchar_t *name, size_t units,
                          struct target *ret_target) ERROR_MUST_CHECK;
/* A new file in it, open for reading and writing; 183 or 80 when the name is taken. */
struct error *target_create(const struct target *target, const wchar_t *name, size_t units,
                            HANDLE *ret_file) ERROR_MUST_CHECK;
void target_close(struct target *target);

#endif
