#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/walk_state.h"

#define SIDECAR       L".$wcidirs$"
#define SIDECAR_UNITS 10

/* A folder that the scanner is in. */
struct frame {
    struct frame *up;
    struct open_folder *folder;
    struct folder_list list;
    size_t next;
    bool staged; /* entries are in transport format */
};

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
    char *path = walk_entry_path(parent, name, units);
    struct error *error = error_ntstatus((uint32_t)status, operation, path, NULL);
    free(path);
    return error;
}

static bool queue_note(struct walk *walk, const struct open_folder *parent, const struct folder_entry *entry,
                       const char *kind, const char *detail)
{
    struct ticket *ticket = mem_zero(sizeof *ticket);
    ticket->item = (struct walk_item){.kind = WALK_NOTE, .note = kind, .detail = detail};
    ticket->item.path = walk_entry_path(parent, entry->name, entry->name_units);
    ticket->state = TICKET_READY;
    return walk_queue(walk, ticket);
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
    ticket->item.path = walk_entry_path(frame->folder, entry->name, entry->name_units);
    ticket->item.folder = is_folder(entry);
    ticket->item.name_is_utf16 = text_is_utf16((const char16_t *)entry->name, entry->name_units);
    ticket->missing = staged && is_folder(entry) && open == entry;
    ticket->staged = staged;
    ticket->parent = walk_folder_reference(walk, frame->folder);
    ticket->entry = *open;
    memcpy(ticket->name, open->name, open->name_units * sizeof(WCHAR));
    ticket->entry.name = ticket->name;
    /* A folder itself goes when all in it is gone; its side file goes like any file. */
    ticket->remove = walk->options.remove && (staged || !is_folder(entry));
    ticket->fixed_times = !walk->options.base && !frame->folder->parent && is_folder(entry) &&
                          (name_is(entry, "Files", false) || name_is(entry, "Hives", false));
    return walk_queue(walk, ticket);
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
        walk_folder_release(walk, folder);
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
    walk_folder_release(walk, frame->folder);
    free(frame);
}

static struct error *frame_enter(struct walk *walk, struct frame **top, const struct folder_entry *entry)
{
    struct frame *frame = *top;
    HANDLE handle = NULL;
    NTSTATUS status = walk_open_entry(walk, frame->folder, entry, FILE_LIST_DIRECTORY | FILE_TRAVERSE,
                                      FILE_DIRECTORY_FILE, walk->options.remove, &handle);
    if (status < 0)
        return path_error(status, "open folder", frame->folder, entry->name, entry->name_units);
    bool staged = frame->staged || (!walk->options.base && !frame->folder->parent && name_is(entry, "Files", false));
    return frame_push(
        walk, top, walk_folder_new(walk, frame->folder, entry->name, entry->name_units, handle, frame->staged), staged);
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
    struct error *error = frame_push(walk, &top, walk_folder_reference(walk, walk->root), false);
    if (!error && !find_entry(&top->list, L"Files", 5))
        error = walk_not_transport(walk->options.folder, "it has no folder Files");
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

void walk_scanner_run(void *context)
{
    struct walk *walk = context;
    struct error *error = scan(walk);
    lock_take(walk->lock);
    walk->scan_error = error;
    walk->scanned = true;
    condition_wake_all(walk->changed);
    lock_drop(walk->lock);
}
