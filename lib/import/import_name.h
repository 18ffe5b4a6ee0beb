/* Names of a layer archive's entries, as import takes them: what Windows cannot have, or would take for something else, is
 * refused before any file system sees it. Pure; thread-safe. */
#ifndef HCSD_IMPORT_IMPORT_NAME_H
#define HCSD_IMPORT_IMPORT_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Where in a layer a path is. */
enum import_area { IMPORT_FILES, IMPORT_HIVES, IMPORT_UTILITY_VM, IMPORT_OTHER };

struct import_name {
    char *path;   /* relative to the layer, slashes; without the stream, and for a whiteout what it deletes */
    char *stream; /* of an alternate stream, without colons; else NULL */
    bool whiteout;
    enum import_area area;
    bool top; /* the area's own folder: "Files" */
};

/* INVALID_ARGUMENT, with the entry's path and the reason, for: an absolute path, an empty part, "." and "..", backslashes, a
 * drive, characters and device names that Windows reserves, dots and blanks at the end of a part, parts of more than 255
 * characters, more than 32,000 in all, bytes that are no UTF-8 (with `binary`: no WTF-8), a stream with a type or on a
 * whiteout, names that the transport format uses itself (tombstones.txt, NAME.$wcidirs$). */
struct error *import_name_parse(const char *path, bool binary, struct import_name *ret_name) ERROR_MUST_CHECK;
void import_name_free(struct import_name *name); /* takes NULL */

/* The error of an entry that import does not take. */
struct error *import_refuse(const char *path, const char *format, ...) ERROR_PRINTF(2, 3) ERROR_MUST_CHECK;

#endif
