#include "export/walk.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/source.h"
#include "export/thread.h"

#define READERS       3
#define WAIT_MS       100 /* how late a cancel is seen at most while waiting */
#define SIDECAR       L".$wcidirs$"
#define SIDECAR_UNITS 10
#ifndef FILE_ATTRIBUTE_RECALL_ON_OPEN
#define FILE_ATTRIBUTE_RECALL_ON_OPEN        0x00040000
#define FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS 0x00400000
#endif
#define PREFIX_SIZE 4 /* attributes before the backup stream in transport format */

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

/* A folder that the scanner is in. */
struct frame {
    struct frame *up;
    struct open_folder *folder;
    struct folder_list list;
    size_t next;
    bool staged; /* entries are in transport format */
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
    struct thread *readers[READERS];
};

/* ---- open folders ---- */

static struct open_folder *folder_reference(struct walk *walk, struct open_folder *folder)
{
    lock_take(walk->lock);
    folder->references++;
    lock_drop(walk->lock);
    return folder;
}

/* The last one closes the folder, and removes it when the walk does so: everything in it was handed out and is done. What is
 * not empty then, or resists, is left to the remover. */
static void folder_release(struct walk *walk, struct open_folder *folder)
{
    while (folder) {
        lock_take(walk->lock);
        bool last = --folder->references == 0;
        bool remove = walk->options.remove && !walk->stopping && folder->staged;
        lock_drop(walk->lock);
        if (!last)
            return;
        if (remove && folder_delete(&walk->volume, folder->handle) >= 0)
            walk->options.control->removed++;
        CloseHandle(folder->handle);
        free(folder->place.path);
        struct open_folder *parent = folder->parent;
        free(folder);
        folder = parent;
    }
}

static struct open_folder *folder_new(struct walk *walk, struct open_folder *parent, const WCHAR *name, size_t units,
                                      HANDLE handle, bool staged)
{
    struct open_folder *folder = mem_zero(sizeof *folder + units * sizeof(WCHAR));
    folder->parent = parent ? folder_reference(walk, parent) : NULL;
    folder->handle = handle;
    folder_find_place(&walk->volume, handle, &folder->place);
    folder->references = 1;
    folder->staged = staged;
    folder->name_units = (uint16_t)units;
    if (units > 0)
        memcpy(folder->name, name, units * sizeof(WCHAR));
    return folder;
}

/* Path of an entry relative to the layer. Names are converted one by one: a lone surrogate stays one. */
static char *entry_path(const struct open_folder *parent, const WCHAR *name, size_t units)
{
    size_t depth = 0;
    for (const struct open_folder *folder = parent; folder && folder->parent; folder = folder->parent)
        depth++;
    char **parts = mem_new_array(depth + 1, char *);
    size_t at = depth;
    for (const struct open_folder *folder = parent; folder && folder->parent; folder = folder->parent)
        parts[--at] = text_from_utf16((const char16_t *)folder->name, folder->name_units);
    parts[depth] = text_from_utf16((const char16_t *)name, units);

    size_t size = 0;
    for (size_t i = 0; i <= depth; i++)
        size += strlen(parts[i]) + 1;
    char *path = mem_zero(size);
    char *out = path;
    for (size_t i = 0; i <= depth; i++) {
        size_t part = strlen(parts[i]);
        memcpy(out, parts[i], part);
        out += part;
        *out++ = i < depth ? '/' : '\0';
        free(parts[i]);
    }
    free(parts);
    return path;
}

static bool name_is(const struct folder_entry *entry, const char *name, bool ignore_case)
{
    size_t size = strlen(name);
    if (entry->name_units != size)
        return false;
    for (size_t i = 0; i < size; i++) {
        WCHAR a = entry->name[i];
        WCHAR b = (unsigned char)name[i];
        if (ignore_case && a >= 'A' && a <= 'Z')
            a = (WCHAR)(a + 32);
        if (ignore_case && b >= 'A' && b <= 'Z')
            b = (WCHAR)(b + 32);
        if (a != b)
            return false;
    }
    return true;
}

/* ---- the queue ---- */

static void ticket_free(struct walk *walk, struct ticket *ticket)
{
    stream_source_free(ticket->item.source);
    if (ticket->handle) {
        if (ticket->remove && folder_delete(&walk->volume, ticket->handle) >= 0)
            walk->options.control->removed++;
        CloseHandle(ticket->handle);
    }
    if (ticket->parent)
        folder_release(walk, ticket->parent);
    error_free(ticket->error);
    free(ticket->item.path);
    free(ticket);
}

/* False when the walk is to end. */
static bool queue_ticket(struct walk *walk, struct ticket *ticket)
{
    lock_take(walk->lock);
    while (!walk->stopping && walk->queued - walk->delivered == WALK_ITEMS)
        condition_wait(walk->changed, walk->lock, WAIT_MS);
    bool stopping = walk->stopping;
    if (!stopping) {
        walk->tickets[walk->queued++ % WALK_ITEMS] = ticket;
        condition_wake_all(walk->changed);
    }
    lock_drop(walk->lock);
    if (stopping) {
        ticket->remove = false;
        ticket_free(walk, ticket);
    }
    return !stopping;
}

static bool queue_note(struct walk *walk, const struct open_folder *parent, const struct folder_entry *entry,
                       const char *kind, const char *detail)
{
    struct ticket *ticket = mem_zero(sizeof *ticket);
    ticket->item = (struct walk_item){.kind = WALK_NOTE, .note = kind, .detail = detail};
    ticket->item.path = entry_path(parent, entry->name, entry->name_units);
    ticket->state = TICKET_READY;
    return queue_ticket(walk, ticket);
}

/* ---- the scanner ---- */

static bool is_folder(const struct folder_entry *entry)
{
    return entry->attributes & FILE_ATTRIBUTE_DIRECTORY;
}

static bool is_sidecar(const struct folder_entry *entry)
{
    return !is_folder(entry) && entry->name_units > SIDECAR_UNITS &&
           memcmp(entry->name + entry->name_units - SIDECAR_UNITS, SIDECAR, SIDECAR_UNITS * sizeof(WCHAR)) == 0;
}

static const struct folder_entry *find_entry(const struct folder_list *list, const WCHAR *name, size_t units)
{
    size_t low = 0;
    size_t high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct folder_entry *entry = &list->entries[middle];
        int order = folder_compare_names(entry->name, entry->name_units, name, units);
        if (order == 0)
            return entry;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const struct folder_entry *find_sidecar(const struct folder_list *list, const struct folder_entry *folder)
{
    WCHAR name[256 + SIDECAR_UNITS];
    if (folder->name_units > 256)
        return NULL;
    memcpy(name, folder->name, folder->name_units * sizeof(WCHAR));
    memcpy(name + folder->name_units, SIDECAR, SIDECAR_UNITS * sizeof(WCHAR));
    return find_entry(list, name, folder->name_units + SIDECAR_UNITS);
}

static struct error *path_error(NTSTATUS status, const char *operation, const struct open_folder *parent,
                                const WCHAR *name, size_t units)
{
    char *path = entry_path(parent, name, units);
    struct error *error = error_ntstatus((uint32_t)status, operation, path, NULL);
    free(path);
    return error;
}

static struct error *not_transport(const char *path, const char *why)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read export folder", path, "%s: this is no folder in transport format",
                      why);
}

static bool queue_entry(struct walk *walk, const struct frame *frame, const struct folder_entry *entry)
{
    const struct folder_entry *open = entry;
    bool staged = frame->staged;
    if (staged && is_folder(entry)) {
        open = find_sidecar(&frame->list, entry);
        if (!open)
            open = entry;
    }
    struct ticket *ticket = mem_zero(sizeof *ticket + open->name_units * sizeof(WCHAR));
    ticket->item.kind = WALK_ENTRY;
    ticket->item.path = entry_path(frame->folder, entry->name, entry->name_units);
    ticket->item.folder = is_folder(entry);
    ticket->item.name_is_utf16 = text_is_utf16((const char16_t *)entry->name, entry->name_units);
    ticket->missing = staged && is_folder(entry) && open == entry;
    ticket->staged = staged;
    ticket->parent = folder_reference(walk, frame->folder);
    ticket->entry = *open;
    memcpy(ticket->name, open->name, open->name_units * sizeof(WCHAR));
    ticket->entry.name = ticket->name;
    /* A folder itself goes when all in it is gone; its side file goes like any file. */
    ticket->remove = walk->options.remove && (staged || !is_folder(entry));
    ticket->fixed_times = !walk->options.base && !frame->folder->parent && is_folder(entry) &&
                          (name_is(entry, "Files", false) || name_is(entry, "Hives", false));
    return queue_ticket(walk, ticket);
}

static struct error *frame_push(struct walk *walk, struct frame **top, struct open_folder *folder, bool staged)
{
    struct frame *frame = mem_new(struct frame);
    frame->up = *top;
    frame->folder = folder;
    frame->staged = staged;
    NTSTATUS status = folder_list(folder->handle, &frame->list);
    if (status < 0) {
        struct error *error = folder->parent
                                  ? path_error(status, "list folder", folder->parent, folder->name, folder->name_units)
                                  : error_ntstatus((uint32_t)status, "list folder", walk->options.folder, NULL);
        folder_release(walk, folder);
        free(frame);
        return error;
    }
    *top = frame;
    return NULL;
}

static void frame_pop(struct walk *walk, struct frame **top)
{
    struct frame *frame = *top;
    *top = frame->up;
    folder_list_free(&frame->list);
    folder_release(walk, frame->folder);
    free(frame);
}

static struct error *frame_enter(struct walk *walk, struct frame **top, const struct folder_entry *entry)
{
    struct frame *frame = *top;
    ACCESS_MASK access = FILE_LIST_DIRECTORY | FILE_TRAVERSE;
    if (walk->options.remove)
        access |= DELETE | (entry->attributes & FILE_ATTRIBUTE_READONLY ? FILE_WRITE_ATTRIBUTES : 0);
    HANDLE handle = NULL;
    NTSTATUS status = folder_open_entry(&walk->volume, frame->folder->handle, &frame->folder->place, entry, access,
                                        FILE_DIRECTORY_FILE, &handle);
    if (status < 0)
        return path_error(status, "open folder", frame->folder, entry->name, entry->name_units);
    bool staged = frame->staged || (!walk->options.base && !frame->folder->parent && name_is(entry, "Files", false));
    return frame_push(walk, top, folder_new(walk, frame->folder, entry->name, entry->name_units, handle, frame->staged),
                      staged);
}

/* What of a base layer's folder belongs to the layer: Files, and UtilityVM with its Files. */
static bool base_takes(const struct frame *frame, const struct folder_entry *entry)
{
    if (!frame->folder->parent)
        return is_folder(entry) && (name_is(entry, "Files", false) || name_is(entry, "UtilityVM", false));
    const struct folder_entry parent = {.name = frame->folder->name, .name_units = frame->folder->name_units};
    if (!frame->folder->parent->parent && name_is(&parent, "UtilityVM", false))
        return is_folder(entry) && name_is(entry, "Files", false);
    return true;
}

/* A UtilityVM without Files is none. */
static bool utility_vm_has_files(struct walk *walk, const struct frame *frame, const struct folder_entry *entry)
{
    HANDLE vm = NULL, files = NULL;
    if (folder_open_entry(&walk->volume, frame->folder->handle, &frame->folder->place, entry, FILE_TRAVERSE,
                          FILE_DIRECTORY_FILE, &vm) >= 0 &&
        folder_open_name(&walk->volume, vm, L"Files", FILE_TRAVERSE, FILE_DIRECTORY_FILE, &files) >= 0)
        CloseHandle(files);
    if (vm)
        CloseHandle(vm);
    return files != NULL;
}

static bool is_recycle_bin(const struct frame *frame, const struct folder_entry *entry)
{
    const struct open_folder *folder = frame->folder;
    if (!folder->parent || folder->parent->parent || !is_folder(entry))
        return false;
    const struct folder_entry parent = {.name = folder->name, .name_units = folder->name_units};
    return name_is(&parent, "Files", false) && name_is(entry, "$Recycle.Bin", true);
}

/* Under Wine a Unix name may hold a backslash or a colon. */
static bool has_separator(const struct folder_entry *entry)
{
    for (size_t i = 0; i < entry->name_units; i++)
        if (entry->name[i] == '\\' || entry->name[i] == '/' || entry->name[i] == ':')
            return true;
    return false;
}

/* The side file of `frame`'s recycle bin, or of a folder that does not exist. */
static bool queue_stray_sidecar(struct walk *walk, const struct frame *frame, const struct folder_entry *entry)
{
    size_t units = entry->name_units - SIDECAR_UNITS;
    const struct folder_entry *owner = find_entry(&frame->list, entry->name, units);
    if ((owner && is_folder(owner)) || !frame->staged)
        return true;
    return queue_note(walk, frame->folder, entry, "orphan_sidecar",
                      "A folder's side file whose folder is not there; the format has no such entry.");
}

/* One entry of the top frame. *ret_more is false when the walk is to end. */
static struct error *scan_entry(struct walk *walk, struct frame **top, const struct folder_entry *entry, bool *ret_more)
{
    struct frame *frame = *top;
    bool base = walk->options.base;
    bool at_root = !frame->folder->parent;
    *ret_more = true;
    if (base ? !base_takes(frame, entry) : at_root && name_is(entry, "tombstones.txt", false))
        return NULL;
    if (base && at_root && name_is(entry, "UtilityVM", false) && !utility_vm_has_files(walk, frame, entry))
        return NULL;
    if (is_recycle_bin(frame, entry)) {
        *ret_more = queue_note(walk, frame->folder, entry, "recycle_bin",
                               "The recycle bin is left out of layers, with everything in it.");
        return NULL;
    }
    if (!base && is_sidecar(entry)) {
        *ret_more = queue_stray_sidecar(walk, frame, entry);
        return NULL;
    }
    if (has_separator(entry))
        *ret_more =
            queue_note(walk, frame->folder, entry, "separator_in_name",
                       "The name holds a separator, which no name on Windows does; readers will take it apart.");
    if (*ret_more)
        *ret_more = queue_entry(walk, frame, entry);
    if (*ret_more && is_folder(entry) && !(entry->attributes & FILE_ATTRIBUTE_REPARSE_POINT))
        return frame_enter(walk, top, entry);
    return NULL;
}

static struct error *scan(struct walk *walk)
{
    struct frame *top = NULL;
    bool more = true;
    struct error *error = frame_push(walk, &top, folder_reference(walk, walk->root), false);
    if (!error && !find_entry(&top->list, L"Files", 5))
        error = not_transport(walk->options.folder, "it has no folder Files");
    while (top && more && !error) {
        if (top->next == top->list.count)
            frame_pop(walk, &top);
        else
            error = scan_entry(walk, &top, &top->list.entries[top->next++], &more);
    }
    while (top)
        frame_pop(walk, &top);
    return error;
}

static void scanner_run(void *context)
{
    struct walk *walk = context;
    struct error *error = scan(walk);
    lock_take(walk->lock);
    walk->scan_error = error;
    walk->scanned = true;
    condition_wake_all(walk->changed);
    lock_drop(walk->lock);
}

/* ---- the readers ---- */

static uint32_t read_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* A file in transport format: attributes, then the backup stream. */
static struct error *read_staged(struct ticket *ticket, uint64_t size)
{
    struct walk_item *item = &ticket->item;
    if (size < PREFIX_SIZE)
        return not_transport(item->path, "the file is too short for its attributes");
    size_t want = size <= WALK_WHOLE ? (size_t)size : PREFIX_SIZE;
    size_t got = 0;
    uint8_t *data = mem_resize_array(NULL, want, 1);
    NTSTATUS status = folder_read(ticket->handle, 0, data, want, &got);
    if (status < 0 || got < PREFIX_SIZE) {
        free(data);
        return status < 0 ? error_ntstatus((uint32_t)status, "read file", item->path, NULL)
                          : not_transport(item->path, "the file is too short for its attributes");
    }
    item->attributes = read_u32(data);
    if (size <= WALK_WHOLE) {
        item->source = stream_source_memory(data, PREFIX_SIZE, got, false);
        ticket->whole = true;
    } else {
        free(data);
        item->source = source_file(ticket->handle, PREFIX_SIZE, size, item->path);
    }
    return NULL;
}

/* Reads a small source whole, so that its handle need not stay open and later passes cost nothing. */
static struct error *read_whole(struct ticket *ticket)
{
    struct stream_source *source = ticket->item.source;
    uint8_t *data = mem_resize_array(NULL, WALK_WHOLE, 1);
    size_t got = 0;
    struct error *error = source->read(source, data, WALK_WHOLE, &got);
    if (!error && got < WALK_WHOLE) {
        stream_source_free(source);
        ticket->item.source = stream_source_memory(mem_resize_array(data, got ? got : 1, 1), 0, got, false);
        ticket->whole = true;
        return NULL;
    }
    free(data);
    return error ? error : source->rewind(source);
}

static struct error *open_entry(struct walk *walk, struct ticket *ticket)
{
    struct walk_item *item = &ticket->item;
    const struct folder_entry *entry = &ticket->entry;
    bool security = walk->options.base;
    if (ticket->missing)
        return not_transport(item->path, "the folder has no side file .$wcidirs$");
    if (ticket->staged && entry->attributes & FILE_ATTRIBUTE_REPARSE_POINT)
        return not_transport(item->path, "it is a link in the export folder itself");

    ACCESS_MASK access = FILE_READ_DATA | FILE_READ_EA | (security ? READ_CONTROL : 0);
    if (ticket->remove)
        access |= DELETE | (entry->attributes & FILE_ATTRIBUTE_READONLY ? FILE_WRITE_ATTRIBUTES : 0);
    NTSTATUS status = -1;
    if (security) /* the SACL, where the privilege is there */
        status = folder_open_entry(&walk->volume, ticket->parent->handle, &ticket->parent->place, entry,
                                   access | ACCESS_SYSTEM_SECURITY, 0, &ticket->handle);
    if (status < 0)
        status = folder_open_entry(&walk->volume, ticket->parent->handle, &ticket->parent->place, entry, access, 0,
                                   &ticket->handle);
    struct folder_info info;
    if (status == NT_REPARSE_POINT_ENCOUNTERED && ticket->staged)
        return not_transport(item->path, "it is a link in the export folder itself");
    if (status >= 0)
        status = folder_info(ticket->handle, &info);
    if (status >= 0 && info.links > 1 && !item->folder)
        status = folder_id(ticket->handle, item->id);
    else
        memcpy(item->id, &entry->id, sizeof entry->id);
    if (status < 0)
        return error_ntstatus((uint32_t)status, "open", item->path, NULL);

    item->links = info.links;
    item->modified = info.modified;
    item->created = info.created;
    if (ticket->staged)
        return read_staged(ticket, info.size);

    item->attributes = info.attributes;
    if (!walk->options.base) {
        if (ticket->fixed_times)
            item->modified = walk->hives.modified;
        item->created = item->modified;
    }
    struct error *error = source_backup(&walk->volume, ticket->handle, security, item->path, &item->source);
    return error || info.size > WALK_WHOLE ? error : read_whole(ticket);
}

/* Files whose content cannot be had by reading, or only by waiting for a cloud: reported instead. */
static bool is_out_of_reach(const struct walk *walk, struct ticket *ticket)
{
    static const struct {
        uint32_t attributes;
        const char *kind, *detail;
    } reasons[] = {
        {FILE_ATTRIBUTE_ENCRYPTED, "encrypted", "The file is encrypted (EFS) and cannot be read; it is left out."},
        {FILE_ATTRIBUTE_OFFLINE | FILE_ATTRIBUTE_RECALL_ON_OPEN | FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS, "offline",
         "The file's content is not on this machine; it is left out."},
    };
    if (!walk->options.base || ticket->item.folder)
        return false;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (!(ticket->entry.attributes & reasons[i].attributes))
            continue;
        ticket->item.kind = WALK_NOTE;
        ticket->item.note = reasons[i].kind;
        ticket->item.detail = reasons[i].detail;
        return true;
    }
    return false;
}

static void read_ticket(struct walk *walk, struct ticket *ticket)
{
    if (is_out_of_reach(walk, ticket))
        return;
    ticket->error = open_entry(walk, ticket);
    /* A file with several names waits for its turn: deleting one of them now would hide from the others that there were
     * several. */
    if (ticket->error || !ticket->whole || ticket->item.links > 1)
        return;
    if (ticket->remove && folder_delete(&walk->volume, ticket->handle) >= 0)
        walk->options.control->removed++;
    CloseHandle(ticket->handle);
    ticket->handle = NULL;
    folder_release(walk, ticket->parent);
    ticket->parent = NULL;
}

static bool may_take(const struct walk *walk)
{
    /* The one that is waited for always may, or nothing would move. */
    return walk->taken < walk->queued && (walk->held < WALK_BYTES || walk->taken == walk->delivered);
}

static void reader_run(void *context)
{
    struct walk *walk = context;
    lock_take(walk->lock);
    for (;;) {
        while (!walk->stopping && !may_take(walk) && !(walk->scanned && walk->taken == walk->queued))
            condition_wait(walk->changed, walk->lock, WAIT_MS);
        if (walk->stopping || walk->taken == walk->queued)
            break;
        struct ticket *ticket = walk->tickets[walk->taken++ % WALK_ITEMS];
        if (ticket->state != TICKET_QUEUED)
            continue;
        ticket->state = TICKET_TAKEN;
        ticket->held = ticket->entry.size <= WALK_WHOLE ? (size_t)ticket->entry.size : 0;
        walk->held += ticket->held;
        lock_drop(walk->lock);
        read_ticket(walk, ticket);
        lock_take(walk->lock);
        ticket->state = TICKET_READY;
        if (walk->tickets[walk->delivered % WALK_ITEMS] == ticket)
            condition_wake_all(walk->changed);
    }
    lock_drop(walk->lock);
}

/* ---- the caller's side ---- */

static struct error *read_hive_times(struct walk *walk)
{
    HANDLE hives = NULL, delta = NULL;
    NTSTATUS status =
        folder_open_name(&walk->volume, walk->root->handle, L"Hives", FILE_TRAVERSE, FILE_DIRECTORY_FILE, &hives);
    if (status >= 0)
        status = folder_open_name(&walk->volume, hives, L"System_Delta", 0, 0, &delta);
    if (status >= 0)
        status = folder_info(delta, &walk->hives);
    if (hives)
        CloseHandle(hives);
    if (delta)
        CloseHandle(delta);
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        return not_transport("Hives/System_Delta", "the file is missing");
    return status < 0 ? error_ntstatus((uint32_t)status, "read times", "Hives/System_Delta", NULL) : NULL;
}

struct error *walk_start(const struct walk_options *options, struct walk **ret_walk)
{
    struct walk *walk = mem_new(struct walk);
    walk->options = *options;
    walk->lock = lock_new();
    walk->changed = condition_new();
    HANDLE root = NULL;
    struct error *error = folder_open(options->folder, FILE_LIST_DIRECTORY | FILE_TRAVERSE, &root);
    if (!error) {
        folder_probe(&walk->volume, root);
        walk->root = folder_new(walk, NULL, NULL, 0, root, false);
        if (!options->base)
            error = read_hive_times(walk);
    }
    if (!error)
        error = thread_start(scanner_run, walk, &walk->scanner);
    for (size_t i = 0; i < READERS && !error; i++)
        error = thread_start(reader_run, walk, &walk->readers[i]);
    if (error) {
        walk_free(walk);
        return error;
    }
    *ret_walk = walk;
    return NULL;
}

struct error *walk_read_tombstones(struct walk *walk, struct tombstones *ret_tombstones)
{
    static const char name[] = "tombstones.txt";
    HANDLE handle = NULL;
    struct folder_info info;
    char *text = NULL;
    size_t got = 0;
    struct error *error = NULL;
    NTSTATUS status = folder_open_name(&walk->volume, walk->root->handle, L"tombstones.txt", FILE_READ_DATA,
                                       FILE_NON_DIRECTORY_FILE, &handle);
    if (status >= 0)
        status = folder_info(handle, &info);
    if (status >= 0 && info.size > TOMBSTONES_SIZE_MAX) {
        error = not_transport(name, "the file is too large to be one");
        goto out;
    }
    if (status >= 0) {
        text = mem_resize_array(NULL, (size_t)info.size + 1, 1);
        status = folder_read(handle, 0, text, (size_t)info.size, &got);
    }
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        error = not_transport(name, "the file is missing");
    else if (status < 0)
        error = error_ntstatus((uint32_t)status, "read file", name, NULL);
    else
        error = tombstones_parse(text, got, name, ret_tombstones);

out:
    if (handle)
        CloseHandle(handle);
    free(text);
    return error;
}

struct error *walk_next(struct walk *walk, struct walk_item **ret_item)
{
    struct error *error = NULL;
    struct ticket *ticket = NULL;
    const struct ticket *told = NULL;
    bool end = false;
    lock_take(walk->lock);
    for (;;) {
        bool waiting = walk->delivered < walk->queued;
        ticket = waiting ? walk->tickets[walk->delivered % WALK_ITEMS] : NULL;
        end = !waiting && walk->scanned;
        if (walk->options.control->cancelled || end || (ticket && ticket->state == TICKET_READY))
            break;
        if (ticket && ticket != told) { /* what takes long is to be seen */
            export_control_set_path(walk->options.control, ticket->item.path);
            told = ticket;
        }
        condition_wait(walk->changed, walk->lock, WAIT_MS);
    }
    if (walk->options.control->cancelled) {
        error = error_make(ERROR_KIND_CANCELLED, "walk layer", walk->options.folder, "the export was cancelled");
    } else if (end) {
        error = walk->scan_error;
        walk->scan_error = NULL;
        *ret_item = error ? *ret_item : NULL;
    } else if (ticket->error) {
        error = ticket->error;
        ticket->error = NULL;
    } else {
        if (walk->taken == walk->delivered)
            walk->taken++; /* a note, which no reader took */
        walk->delivered++;
        walk->held -= ticket->held;
        condition_wake_all(walk->changed);
        *ret_item = &ticket->item;
    }
    lock_drop(walk->lock);
    return error;
}

void walk_done(struct walk *walk, struct walk_item *item)
{
    ticket_free(walk, (struct ticket *)item);
}

bool walk_lacked_backup_read(const struct walk *walk)
{
    return walk->volume.no_backup_read;
}

void walk_free(struct walk *walk)
{
    if (!walk)
        return;
    lock_take(walk->lock);
    walk->stopping = true;
    condition_wake_all(walk->changed);
    lock_drop(walk->lock);
    thread_join(walk->scanner);
    for (size_t i = 0; i < READERS; i++)
        thread_join(walk->readers[i]);
    while (walk->delivered < walk->queued) {
        struct ticket *ticket = walk->tickets[walk->delivered++ % WALK_ITEMS];
        ticket->remove = false;
        ticket_free(walk, ticket);
    }
    folder_release(walk, walk->root);
    error_free(walk->scan_error);
    condition_free(walk->changed);
    lock_free(walk->lock);
    free(walk);
}
