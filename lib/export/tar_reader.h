/* Reads tar archives of Windows layers: ustar headers with PAX extended headers in front (POSIX.1-2008 pax), GNU's long names
 * and large numbers too, because other tools write them. What could be read in two ways is refused. Pure; one thread at a
 * time; holds one header at most. */
#ifndef HCSD_EXPORT_TAR_READER_H
#define HCSD_EXPORT_TAR_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "export/tar.h"

#define TAR_EXTENDED_MAX                                                                                               \
    (4u << 20) /* bytes of an extended header: 64 KiB of attributes and of security, in base64, fit often */

/* Where the bytes come from: fills `data`; fewer bytes than asked for mean the end. */
struct tar_source {
    struct error *(*read)(void *context, void *data, size_t size, size_t *ret_got);
    void *context;
};

struct tar_member {
    char *path;        /* as it stands, without slashes at the end */
    char *link;        /* target of links, else "" */
    bool binary_names; /* hdrcharset=BINARY: names are bytes (WTF-8), else they are UTF-8 */
    char type;         /* enum tar_type, or what else stands there; '\0' and '7' are TAR_FILE */
    unsigned mode;
    uint64_t size;
    uint64_t modified;          /* FILETIME */
    uint64_t created;           /* from LIBARCHIVE.creationtime; 0: none */
    struct tar_record *records; /* what is not in the fields above, the last of several with one key */
    size_t record_count;
};

struct tar_reader {
    struct tar_source source;
    uint64_t left;  /* of the current content */
    size_t padding; /* behind it */
    struct tar_member member;
};

/* `source` is copied; what it points at lives as long as the reader. */
void tar_reader_init(struct tar_reader *reader, const struct tar_source *source);
/* The next entry, passing over what is left of the current one; NULL in *ret_member at the archive's end. It lives until the
 * next call. Errors: DATA_LOSS for what is damaged, cut off or can be read in two ways; the source's. */
struct error *tar_reader_next(struct tar_reader *reader, const struct tar_member **ret_member) ERROR_MUST_CHECK;
/* Reads from the entry's content: all of `size` but at its end. DATA_LOSS when the archive ends before it. */
struct error *tar_reader_read(struct tar_reader *reader, void *data, size_t size, size_t *ret_got) ERROR_MUST_CHECK;
void tar_reader_free(struct tar_reader *reader); /* takes NULL */

/* The value of a record that is not in a field, or NULL. */
const struct tar_record *tar_member_record(const struct tar_member *member, const char *key);

/* Seconds since 1970 with any number of digits behind the point -> FILETIME, cut (towards the past) to its 100 ns. False when
 * it is no such time or before 1601 or after what a FILETIME holds. */
bool tar_parse_time(const char *text, size_t size, uint64_t *ret_filetime);

/* Decodes base64 with its padding. False when it is none. The caller frees *ret_data. */
bool tar_decode_base64(const char *text, size_t size, uint8_t **ret_data, size_t *ret_size);

#endif
