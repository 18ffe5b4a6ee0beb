/* Folders and their entries by handle: listing, opening relative to the folder, deleting. Windows only; thread-safe for
 * different handles.
 *
 * Everything is opened relative to its folder's handle, by counted names, and never through a reparse point. These functions
 * return the NTSTATUS as it is: Win32 makes one error of many, and callers try again by it. */
#ifndef HCSD_EXPORT_FOLDER_H
#define HCSD_EXPORT_FOLDER_H

#include <windows.h>
#include <winternl.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Of ntstatus.h, which cannot be included beside windows.h. */
#define NT_CANNOT_DELETE             ((NTSTATUS)0xC0000121L)
#define NT_DIRECTORY_NOT_EMPTY       ((NTSTATUS)0xC0000101L)
#define NT_OBJECT_NAME_NOT_FOUND     ((NTSTATUS)0xC0000034L)
#define NT_REPARSE_POINT_ENCOUNTERED ((NTSTATUS)0xC000050BL)
#define NT_DELETE_PENDING            ((NTSTATUS)0xC0000056L)
#define NT_SHARING_VIOLATION         ((NTSTATUS)0xC0000043L)

/* What the volume below turned out to lack; remembered so that each is tried once. Zero-initialise. */
struct folder_volume {
    _Atomic bool no_posix_delete;
    _Atomic bool no_dont_reparse;
    _Atomic bool no_backup_read;
    _Atomic bool no_backup_write;
};

/* Where a folder is, to tell whether what was opened relative to it is really in it. Only asked for where the system is too
 * old to promise that (before Windows 10 1607, and Wine, which follows Unix links); else empty. */
struct folder_place {
    WCHAR *path; /* within its volume */
    size_t units;
};

/* A name as listed, with the other ways to the same entry. */
struct folder_entry {
    const WCHAR *name; /* name_units, not terminated */
    uint16_t name_units;
    uint16_t short_units;
    WCHAR short_name[12];
    uint32_t attributes;
    uint64_t size;
    uint64_t id;    /* the file's 64-bit id; 0 or all ones: none */
    bool ambiguous; /* two entries are listed with this name, or it holds a separator: by id only */
};

struct folder_list {
    struct folder_entry *entries; /* in order of their names' WTF-8 bytes */
    size_t count;
    WCHAR *names; /* what the entries' names point into */
};

/* Opens a folder by its absolute path, which must not be a reparse point itself. NOT_FOUND when absent. */
struct error *folder_open(const char *path, ACCESS_MASK access, HANDLE *ret_handle) ERROR_MUST_CHECK;

/* Finds out what the volume lacks, by a question that changes nothing. Once, with a folder on it. */
void folder_probe(struct folder_volume *volume, HANDLE folder);
void folder_find_place(const struct folder_volume *volume, HANDLE folder, struct folder_place *ret_place);

/* Opens an entry as it is, reparse points too, sharing everything: by its exact name, then its 8.3 name, then its id. SYNCHRONIZE
 * and FILE_READ_ATTRIBUTES are added to `access`; `options` are further FILE_… options of NtCreateFile. `place` is the
 * folder's, or NULL: NT_REPARSE_POINT_ENCOUNTERED when the system followed a link to somewhere else. */
NTSTATUS folder_open_entry(struct folder_volume *volume, HANDLE folder, const struct folder_place *place,
                           const struct folder_entry *entry, ACCESS_MASK access, ULONG options, HANDLE *ret_handle);
/* The same by name alone, for names that were not listed. */
NTSTATUS folder_open_name(struct folder_volume *volume, HANDLE folder, const WCHAR *name, ACCESS_MASK access,
                          ULONG options, HANDLE *ret_handle);

/* All entries but . and .. from the first on, sorted. */
NTSTATUS folder_list(HANDLE folder, struct folder_list *ret_list);
void folder_list_free(struct folder_list *list);

/* Order of two names by their WTF-8 bytes, without making them. */
int folder_compare_names(const WCHAR *a, size_t a_units, const WCHAR *b, size_t b_units);

/* Marks what the handle (opened with DELETE) stands for as deleted: POSIX semantics where the volume has them, else the
 * classic disposition, with the read-only attribute taken off first (needs FILE_WRITE_ATTRIBUTES) unless the file has other names. */
NTSTATUS folder_delete(struct folder_volume *volume, HANDLE handle);

struct folder_info {
    uint64_t size;
    uint32_t links;
    uint32_t attributes;
    uint64_t modified, created; /* FILETIME */
};
NTSTATUS folder_info(HANDLE handle, struct folder_info *ret_info);
/* The file's 128-bit id. */
NTSTATUS folder_id(HANDLE handle, uint8_t ret_id[16]);

/* Reads at an offset; *ret_got is less than `size` at the end only. */
NTSTATUS folder_read(HANDLE handle, uint64_t offset, void *data, size_t size, size_t *ret_got);

/* "STATUS_… 0xC0000043" is not known to people: the Win32 sentence and both numbers. The caller frees it. */
char *folder_status_text(NTSTATUS status);

#endif
