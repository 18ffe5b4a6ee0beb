/* Win32 backup streams: what BackupRead yields and what files in transport format hold behind their attributes
 * (WIN32_STREAM_ID in winbase.h; MS-BKUP 2.1). Little endian, without padding:
 *
 *     UINT32 id, UINT32 attributes, UINT64 size, UINT32 name bytes, name, size bytes of content
 *
 * The content of a sparse block begins with its 8-byte offset in the file. Pure; one thread at a time. */
#ifndef HCSD_EXPORT_STREAM_H
#define HCSD_EXPORT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uchar.h>

#include "base/buffer.h"
#include "base/error.h"

enum stream_id {
    STREAM_DATA = 1,
    STREAM_EA = 2,
    STREAM_SECURITY = 3,
    STREAM_ALTERNATE = 4,
    STREAM_LINK = 5,
    STREAM_PROPERTY = 6,
    STREAM_OBJECT_ID = 7,
    STREAM_REPARSE = 8,
    STREAM_SPARSE_BLOCK = 9,
    STREAM_TXFS = 10,
    STREAM_GHOSTED_EXTENTS = 11,
};
#define STREAM_ATTRIBUTE_SPARSE 8u
#define STREAM_HEADER_SIZE      20
#define STREAM_NAME_MAX         1024       /* bytes: ":" + 255 units + ":$DATA", with room */
#define STREAM_METADATA_MAX     (1u << 20) /* bytes of a security, EA or reparse stream; NTFS allows 64 KiB each */

/* Where the bytes come from. Every function may fail with the system's error. */
struct stream_source {
    /* Fills `data` as far as there is something; fewer bytes than asked for mean the end. */
    struct error *(*read)(struct stream_source *source, void *data, size_t size, size_t *ret_got);
    /* Passes over bytes within the content of the current stream. *ret_skipped may be less at the end of the source. */
    struct error *(*skip)(struct stream_source *source, uint64_t size, uint64_t *ret_skipped);
    struct error *(*rewind)(struct stream_source *source);
    void (*free)(struct stream_source *source); /* ends it and all it holds */
};

/* Bytes in memory, from `start` on. `data` is owned by the source (freed with free()) unless `borrowed`. */
struct stream_source *stream_source_memory(void *data, size_t start, size_t size, bool borrowed);
void stream_source_free(struct stream_source *source);

struct stream_header {
    uint32_t id;
    uint32_t attributes;
    uint64_t size;   /* of the content; a sparse block's offset is not counted */
    uint64_t offset; /* of a sparse block */
    char16_t name[STREAM_NAME_MAX / 2];
    size_t name_units;
};

struct stream_reader {
    struct stream_source *source;
    const char *object; /* for errors: the path */
    uint64_t left;      /* of the current stream's content */
};
void stream_reader_init(struct stream_reader *reader, struct stream_source *source, const char *object);

/* Goes to the next stream, passing over what is left of the current one. *ret_end is true when the source ended just
 * there. Errors: DATA_LOSS for a header or a content that is cut off, a name or size that cannot be. */
struct error *stream_next(struct stream_reader *reader, struct stream_header *ret_header,
                          bool *ret_end) ERROR_MUST_CHECK;
/* Reads from the current stream's content; 0 bytes at its end. DATA_LOSS when the source ends before it. */
struct error *stream_read(struct stream_reader *reader, void *data, size_t size, size_t *ret_got) ERROR_MUST_CHECK;
/* All that is left of the current stream into an empty buffer; more than STREAM_METADATA_MAX is DATA_LOSS. */
struct error *stream_read_all(struct stream_reader *reader, struct buffer *ret_content) ERROR_MUST_CHECK;

/* Adds a header to a buffer, for those who make streams (our own BackupRead, import, tests). For a sparse block `size` is
 * the content without the offset. */
void stream_add_header(struct buffer *buffer, const struct stream_header *header);

#endif
