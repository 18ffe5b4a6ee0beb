/* Writes tar headers as containerd, moby and hcsshim write and read them for Windows layers (go-winio's backuptar): a ustar
 * header and, where it does not hold everything, a PAX extended header in front (POSIX.1-2008 pax, "pax Header Block").
 * Records are sorted by key, so that equal entries give equal bytes. Access and change time are never written: they only
 * tell when staging happened. Pure; thread-safe. */
#ifndef HCSD_EXPORT_TAR_H
#define HCSD_EXPORT_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define TAR_BLOCK 512

enum tar_type { TAR_FILE = '0', TAR_HARD_LINK = '1', TAR_SYMBOLIC_LINK = '2', TAR_FOLDER = '5' };

struct tar_record {
    char *key; /* without '=' and NUL */
    char *value;
    size_t value_size;
};

struct tar_entry {
    const char *path; /* WTF-8, slashes; where it is no UTF-8 the records say hdrcharset=BINARY */
    enum tar_type type;
    unsigned mode; /* as backuptar has it: only the type's bits */
    uint64_t size;
    const char *link;  /* target of links; NULL: none */
    uint64_t modified; /* FILETIME; 0: none, written as 1970 */
    uint64_t created;  /* FILETIME -> LIBARCHIVE.creationtime; 0: none */
    bool has_attributes;
    uint32_t attributes;     /* -> MSWINDOWS.fileattr */
    bool mount_point;        /* -> MSWINDOWS.mountpoint */
    const uint8_t *security; /* -> MSWINDOWS.rawsd; NULL: none */
    size_t security_size;
    const struct tar_record *records; /* further ones: MSWINDOWS.xattr.NAME. The last of several with one key counts */
    size_t record_count;
};

/* Adds the entry's header blocks. The content follows, filled up with zeros to TAR_BLOCK by the caller. */
void tar_add_header(struct buffer *buffer, const struct tar_entry *entry);

/* Bytes that fill `size` up to a whole block. */
size_t tar_padding(uint64_t size);

/* Seconds since 1970 with up to seven digits behind the point, as pax times are written. `text` has 32 bytes. */
void tar_format_time(uint64_t filetime, char text[32]);

/* A record for MSWINDOWS.xattr.NAME with the value in base64. The name's bytes stand as they are: NTFS keeps them in some OEM
 * code page, and go-winio's backuptar writes and reads them so, although pax wants UTF-8. Returns false when the name cannot
 * be a key: an empty one, one with '=' or NUL. */
bool tar_xattr_record(const char *name, size_t name_size, const uint8_t *value, size_t value_size,
                      struct tar_record *ret_record);
void tar_record_free(struct tar_record *record);

#endif
