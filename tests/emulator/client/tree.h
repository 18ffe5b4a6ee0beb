/* Folders on disk as the storage calls see them: opened relative to their parent, listed in one go, names counted.
 * Errors carry the NTSTATUS's Win32 code. */
#ifndef EMULATOR_CLIENT_TREE_H
#define EMULATOR_CLIENT_TREE_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct tree_entry {
    wchar_t *name; /* terminated, but may hold any unit */
    size_t units;
    uint32_t attributes;
    uint64_t size;
    int64_t created; /* FILETIMEs */
    int64_t accessed;
    int64_t written;
    uint64_t id;
};

struct tree_folder {
    struct tree_entry *entries; /* sorted by code units */
    size_t count;
};

#define TREE_LIST (FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | SYNCHRONIZE)
#define TREE_READ (GENERIC_READ | SYNCHRONIZE)

enum tree_what { TREE_FOLDER, TREE_FILE, TREE_ANY };

/* Opens what is there, by its counted name relative to `parent`, or by an absolute path when parent is NULL. Never
 * through a reparse point. */
struct error *tree_open(HANDLE parent, const wchar_t *name, size_t units, enum tree_what what, ACCESS_MASK access,
                        ULONG share, HANDLE *ret_handle) ERROR_MUST_CHECK;
/* The same by file id, for names that cannot be opened. */
struct error *tree_open_id(HANDLE parent, uint64_t id, ACCESS_MASK access, ULONG share,
                           HANDLE *ret_handle) ERROR_MUST_CHECK;
/* Makes a new file or folder; 183 when the name is taken. */
struct error *tree_create(HANDLE parent, const wchar_t *name, size_t units, enum tree_what what,
                          HANDLE *ret_handle) ERROR_MUST_CHECK;
/* A new file by its path as the native calls take it. */
struct error *tree_create_native(const wchar_t *path, HANDLE *ret_handle) ERROR_MUST_CHECK;
/* Opens a folder, made when it is not there. */
struct error *tree_make_folder(HANDLE parent, const wchar_t *name, size_t units, HANDLE *ret_handle) ERROR_MUST_CHECK;

struct error *tree_list(HANDLE folder, struct tree_folder *ret_folder) ERROR_MUST_CHECK;
void tree_free(struct tree_folder *folder);
const struct tree_entry *tree_find(const struct tree_folder *folder, const wchar_t *name, size_t units);
bool tree_is_folder(const struct tree_entry *entry); /* a folder that may be gone into: no reparse point */

/* Times as FILETIMEs, 0 leaves one as it is; attributes 0 leaves them. */
struct error *tree_set_times(HANDLE file, int64_t created, int64_t accessed, int64_t written,
                             uint32_t attributes) ERROR_MUST_CHECK;
/* The file's id on its volume. */
struct error *tree_id(HANDLE file, uint64_t *ret_id) ERROR_MUST_CHECK;
/* A second name for `file`. */
struct error *tree_link(HANDLE file, HANDLE folder, const wchar_t *name, size_t units) ERROR_MUST_CHECK;
struct error *tree_delete(HANDLE file) ERROR_MUST_CHECK;
/* Deletes all below `folder`, odd names by file id, and goes on past what resists; the first failure is reported. */
struct error *tree_empty(HANDLE folder) ERROR_MUST_CHECK;

/* Whole files: all bytes, or an error. */
struct error *tree_write(HANDLE file, const void *data, size_t size) ERROR_MUST_CHECK;
struct error *tree_read(HANDLE file, void *data, size_t size, size_t *ret_got) ERROR_MUST_CHECK;

#endif
