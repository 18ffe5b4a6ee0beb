/* Files of hcsd's own: configuration, journal, bundles. Not for layers and staging (lib/export): hcsd.exe never opens a
 * file there. Windows only; synchronous; thread-safe. Paths are absolute WTF-8; every call goes through `\\?\`, so length
 * and odd names do not matter.
 *
 * Errors carry the path as object. Absent is NOT_FOUND, full RESOURCE_EXHAUSTED, held by others FAILED_PRECONDITION. */
#ifndef HCSD_BASE_FILE_H
#define HCSD_BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

/* The whole file into an empty buffer. A file larger than `limit` bytes is RESOURCE_EXHAUSTED and not read; a directory, a
 * pipe or a device is FAILED_PRECONDITION. What others hold open for themselves alone is retried for about a second. */
struct error *file_read(const char *path, size_t limit, struct buffer *ret_content) ERROR_MUST_CHECK;

/* Puts `data` in place of the file at once: written to a temporary file in the same folder (NAME.tmp-PID-N), flushed, then
 * renamed over it. Readers see the old or the new content; after a crash a temporary file may remain, which
 * file_is_temporary tells. What others hold open is retried for about a second. Use `pause` NULL for the system's. */
struct error *file_replace(const char *path, const void *data, size_t size, const struct pause *pause) ERROR_MUST_CHECK;
bool file_is_temporary(const char *name);

/* Deletes a file; one that is absent is no error. Retried like file_replace. */
struct error *file_delete(const char *path, const struct pause *pause) ERROR_MUST_CHECK;

/* Makes the directory and those above it; existing ones are no error, a file in the way is ALREADY_EXISTS. New ones
 * inherit their security. */
struct error *file_ensure_folder(const char *path) ERROR_MUST_CHECK;

/* Removes an empty directory; absent is no error. */
struct error *file_delete_folder(const char *path) ERROR_MUST_CHECK;

struct file_info {
    bool directory;
    bool reparse_point;
    uint64_t size;
    int64_t modified_ns; /* wall clock */
};

/* Does not follow a reparse point in the last part. NOT_FOUND when absent. */
struct error *file_info(const char *path, struct file_info *ret_info) ERROR_MUST_CHECK;

struct file_list {
    struct file_entry {
        char *name; /* WTF-8 */
        bool directory;
    } * entries;
    size_t count;
};

/* The entries of a directory but . and .., in the file system's order; more than `limit` is RESOURCE_EXHAUSTED. */
struct error *file_list(const char *path, size_t limit, struct file_list *ret_list) ERROR_MUST_CHECK;
void file_list_free(struct file_list *list);

/* Makes a path absolute against the current directory, for command lines only. The caller frees it. */
struct error *file_absolute(const char *path, char **ret_path) ERROR_MUST_CHECK;

#endif
