/* Backup streams of open files. Windows only; a source belongs to one thread at a time and does not own its handle.
 *
 * There are two ways to the backup stream of a plain file: the system's BackupRead, and our own from primitives (security,
 * extended attributes, stream list, reparse data, allocated ranges) for where BackupRead does not exist (Wine). Both feed
 * the same parser (export/stream.h). */
#ifndef HCSD_EXPORT_SOURCE_H
#define HCSD_EXPORT_SOURCE_H

#include "export/folder.h"
#include "export/stream.h"

/* The bytes of a file from `start` to `size`. `path` is borrowed, for errors. */
struct stream_source *source_file(HANDLE handle, uint64_t start, uint64_t size, const char *path);

/* The backup stream of a plain file or folder, BackupRead's where there is one. With `security` the handle has READ_CONTROL
 * (and, for the SACL, ACCESS_SYSTEM_SECURITY). `path` is borrowed. */
struct error *source_backup(struct folder_volume *volume, HANDLE handle, bool security, const char *path,
                            struct stream_source **ret_source) ERROR_MUST_CHECK;

/* The system's calls; a test may put its own here. Not while an export runs. */
struct source_calls {
    BOOL(WINAPI *backup_read)(HANDLE, LPBYTE, DWORD, LPDWORD, BOOL, BOOL, LPVOID *);
    BOOL(WINAPI *backup_seek)(HANDLE, DWORD, DWORD, LPDWORD, LPDWORD, LPVOID *);
};
extern struct source_calls source_calls;

#endif
