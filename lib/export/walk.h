/* Walks a layer folder in the archive's order, depth first and names by their WTF-8 bytes, and opens and reads ahead on a few
 * threads, so that whoever takes the items in order seldom waits for the file system. Windows only.
 *
 * One scanner thread lists folders, some readers open what was listed; the caller takes the items one by one. At most
 * WALK_ITEMS items and about WALK_BYTES of content are ahead. With `remove`, a file is deleted by the handle that read it, and a
 * folder as soon as everything in it is done and gone. */
#ifndef HCSD_EXPORT_WALK_H
#define HCSD_EXPORT_WALK_H

#include "export/export.h"
#include "export/folder.h"
#include "export/stream.h"
#include "export/tombstones.h"

#define WALK_ITEMS 512
#define WALK_BYTES (4u << 20)
#define WALK_WHOLE (128u << 10) /* files up to this size are read whole by the readers */

struct walk;

struct walk_options {
    const char *folder; /* absolute */
    bool base;          /* Files, then UtilityVM\Files, as they are; else transport format */
    bool remove;
    struct export_control *control;
};

enum walk_kind {
    WALK_ENTRY,
    WALK_NOTE, /* not an entry, but something to report */
};

struct walk_item {
    enum walk_kind kind;
    char *path; /* relative to the layer, WTF-8, slashes */

    /* WALK_NOTE */
    const char *note;   /* the deviation's kind, static */
    const char *detail; /* static */

    /* WALK_ENTRY */
    bool folder;
    bool name_is_utf16;
    uint32_t attributes;
    uint32_t links;
    uint8_t id[16];               /* of a file: from the handle when it has several names, else from the listing */
    uint64_t modified, created;   /* FILETIME */
    struct stream_source *source; /* its backup stream */
};

/* Starts the threads. Errors: the folder cannot be opened; there are no threads. */
struct error *walk_start(const struct walk_options *options, struct walk **ret_walk) ERROR_MUST_CHECK;

/* What the folder's tombstones.txt says. DATA_LOSS when it is missing or no such file. */
struct error *walk_read_tombstones(struct walk *walk, struct tombstones *ret_tombstones) ERROR_MUST_CHECK;

/* The next item in order, or NULL in *ret_item at the end. It lives until walk_done. Errors: CANCELLED; DATA_LOSS when the
 * folder is no transport format; the system's, with the entry's path. */
struct error *walk_next(struct walk *walk, struct walk_item **ret_item) ERROR_MUST_CHECK;
/* The item has been dealt with: closes it, and with `remove` deletes what it stands for. */
void walk_done(struct walk *walk, struct walk_item *item);

/* True when there is no BackupRead on this system and our own reading stood in for it. */
bool walk_lacked_backup_read(const struct walk *walk);

/* Ends the threads and closes everything; deletes nothing more. Takes NULL. */
void walk_free(struct walk *walk);

#endif
