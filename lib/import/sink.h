/* Where backup streams of one entry go. Windows only; a sink belongs to one thread and owns its handle.
 *
 * There are two ways from a backup stream to a plain file, as there are two back (export/source.h): the system's BackupWrite,
 * and our own from primitives for where that does not exist (Wine). */
#ifndef HCSD_IMPORT_SINK_H
#define HCSD_IMPORT_SINK_H

#include "export/folder_change.h"
#include "import/import_tree.h"

struct sink_options {
    struct folder_volume *volume;
    HANDLE handle; /* new and empty; the sink closes it, also when making the sink fails */
    const char *path;
    uint32_t attributes;
    uint64_t modified, created;
    bool
        security; /* plain ones: set descriptors; the handle has WRITE_DAC, WRITE_OWNER, and for the SACL ACCESS_SYSTEM_SECURITY */
};

/* A file in transport format: attributes, then the streams as they come. The file's own attributes stay plain. */
struct stream_sink *sink_staged(const struct sink_options *options);

/* A plain file or folder: BackupWrite's where there is one. */
struct stream_sink *sink_plain(const struct sink_options *options);

/* The system's call; a test may put its own here. Not while an import runs. */
struct sink_calls {
    BOOL(WINAPI *backup_write)(HANDLE, LPBYTE, DWORD, LPDWORD, BOOL, BOOL, LPVOID *);
};
extern struct sink_calls sink_calls;

#endif
