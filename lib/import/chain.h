/* Folders below a root, by handle: the way to where an entry is to be made. The handles of the last way are kept, for what
 * comes next is mostly near. With `keep_times` a folder that is left gets the times back that it had when it was entered. Never through a reparse
 * point. Windows only; one thread. */
#ifndef HCSD_IMPORT_CHAIN_H
#define HCSD_IMPORT_CHAIN_H

#include "export/folder_change.h"

struct chain_level {
    HANDLE handle;
    size_t end;                 /* of its path in `path` */
    uint64_t modified, created; /* 0: not to be restored */
};

struct chain {
    struct folder_volume *volume; /* borrowed */
    HANDLE root;                  /* borrowed */
    /* Asked for every folder that is entered, with its parent and its own handle; NULL: no question. */
    struct error *(*check)(void *context, HANDLE parent, const WCHAR *name, size_t units, const char *path);
    void *context;
    bool keep_times; /* put a folder's times back when it is left */
    char *path;      /* of the innermost folder, "" for the root */
    struct chain_level *levels;
    size_t depth;
};

/* The folder that `path` (relative, slashes, clean) is in, and the last part, terminated; the caller frees that, not the
 * handle, which is good until the next call. INVALID_ARGUMENT when a folder is not there, is a file or a link; the system's
 * errors. */
struct error *chain_parent(struct chain *chain, const char *path, HANDLE *ret_folder, WCHAR **ret_name,
                           size_t *ret_units) ERROR_MUST_CHECK;
/* Leaves all folders. */
void chain_clear(struct chain *chain);

#endif
