/* Decoders of the metadata streams, reparse data and extended attributes, and their mirrors for import. Pure; thread-safe. */
#ifndef HCSD_EXPORT_METADATA_H
#define HCSD_EXPORT_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum reparse_kind {
    REPARSE_SYMBOLIC_LINK,
    REPARSE_MOUNT_POINT,
    REPARSE_CONTAINER, /* of wcifs, the containers' own filter: must not come out of an export */
    REPARSE_UNKNOWN,
};

struct reparse {
    enum reparse_kind kind;
    uint32_t tag;
    char
        *target; /* of links and mount points: the name people see, WTF-8, backslashes as stored. Freed by the caller */
};

/* REPARSE_DATA_BUFFER (MS-FSCC 2.1.2). The target is the print name; where that is empty the substitute name without its
 * `\??\`. DATA_LOSS when it is cut off or offsets lead outside. */
struct error *reparse_decode(const uint8_t *data, size_t size, const char *object,
                             struct reparse *ret_reparse) ERROR_MUST_CHECK;

/* FILE_FULL_EA_INFORMATION (MS-FSCC 2.4.16). Calls `each` for every attribute in order; the name has no terminator.
 * DATA_LOSS when it is cut off. */
struct error *ea_decode(const uint8_t *data, size_t size, const char *object,
                        void (*each)(void *context, uint8_t flags, const char *name, size_t name_size,
                                     const uint8_t *value, size_t value_size),
                        void *context) ERROR_MUST_CHECK;

/* Reparse data for a link or mount point whose decoded target is `target` (WTF-8): `\\?\…`, `\\server` and `X:` give an
 * absolute substitute name, everything else a relative one, as go-winio has it. INVALID_ARGUMENT when no reparse data gives
 * this target back: an empty one, one that begins with `\??\`, one too long. */
struct error *reparse_encode(const char *target, bool mount_point, const char *object,
                             struct buffer *ret_data) ERROR_MUST_CHECK;

/* Adds an attribute to a list that ea_decode reads. `last_at` is where the last one begins; start with an empty list and 0.
 * False when no list can have it: a name of 0 or more than 255 bytes, a value of more than 65,535. */
bool ea_encode(struct buffer *list, size_t *last_at, const char *name, size_t name_size, const uint8_t *value,
               size_t value_size);

#endif
