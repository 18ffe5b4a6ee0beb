/* What the parts of a walk share: walk.c (the queue and the caller's side), walk_scan.c, walk_read.c, walk_folder.c. */
#ifndef HCSD_EXPORT_WALK_STATE_H
#define HCSD_EXPORT_WALK_STATE_H

#include "export/thread.h"
#include "export/walk.h"

#define WALK_READERS 3
#define WALK_WAIT_MS 100 /* how late a cancel is seen at most while waiting */

/* A folder that is open because entries of it are on their way. */
struct open_folder {
    struct open_folder *parent; /* NULL: the layer itself */
    HANDLE handle;
    struct folder_place place;
    unsigned references; /* under the walk's lock: the scanner, items, open sub-folders */
    bool staged;         /* its metadata is in a side file, so it may go before its own entry was read */
    uint16_t name_units;
    WCHAR name[]; /* not terminated */
};

enum ticket_state { TICKET_QUEUED, TICKET_TAKEN, TICKET_READY };

/* An item on its way, with what only the walk needs. */
struct ticket {
    struct walk_item item; /* first: the caller's view */
    enum ticket_state state;
    struct open_folder *parent;
    struct folder_entry entry; /* what to open: the entry or its side file */
    bool staged;
    bool missing; /* a folder without its side file */
    bool fixed_times;
    bool whole; /* the source is in memory and needs the handle no more */
    HANDLE handle;
    bool remove;
    size_t held; /* bytes counted against WALK_BYTES */
    struct error *error;
    WCHAR name[];
};

struct walk {
    struct walk_options options;
    struct folder_volume volume;
    struct folder_info hives; /* of Hives\System_Delta */

    struct lock *lock;
    struct condition *changed;
    /* Under the lock. Ticket number n lies in tickets[n % WALK_ITEMS]. */
    struct ticket *tickets[WALK_ITEMS];
    uint64_t queued, taken, delivered;
    size_t held;
    bool scanned; /* the scanner is through */
    bool stopping;
    struct error *scan_error;

    struct open_folder *root;
    struct thread *scanner;
    struct thread *readers[WALK_READERS];
};

/* ---- walk_folder.c ---- */

struct open_folder *walk_folder_reference(struct walk *walk, struct open_folder *folder);
/* The last one closes the folder, and removes it when the walk does so: everything in it was handed out and is done. What is
 * not empty then, or resists, is left to the remover. */
void walk_folder_release(struct walk *walk, struct open_folder *folder);
/* Takes the handle and a reference to the parent. */
struct open_folder *walk_folder_new(struct walk *walk, struct open_folder *parent, const WCHAR *name, size_t units,
                                    HANDLE handle, bool staged);
/* Opens an entry, with `remove` so that it can be deleted by the handle. Whom somebody holds who does not share that (a scanner
 * that looks at what HCS has just written) is opened without: it is read all the same, and left to the remover. */
NTSTATUS walk_open_entry(struct walk *walk, const struct open_folder *parent, const struct folder_entry *entry,
                         ACCESS_MASK access, ULONG options, bool remove, HANDLE *ret_handle);
/* Path of an entry relative to the layer; the caller frees it. */
char *walk_entry_path(const struct open_folder *parent, const WCHAR *name, size_t units);

/* ---- walk.c ---- */

void walk_ticket_free(struct walk *walk, struct ticket *ticket);
/* Takes the ticket. False when the walk is to end. */
bool walk_queue(struct walk *walk, struct ticket *ticket);
struct error *walk_not_transport(const char *path, const char *why) ERROR_MUST_CHECK;

/* ---- the threads; `context` is the walk ---- */

void walk_scanner_run(void *context); /* walk_scan.c: lists folders in order and queues a ticket for each entry */
void walk_reader_run(void *context);  /* walk_read.c: opens what was queued, and reads what is small */

#endif
