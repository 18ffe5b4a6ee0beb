#include <string.h>

#include "base/memory.h"
#include "export/source.h"
#include "export/walk_state.h"

#ifndef FILE_ATTRIBUTE_RECALL_ON_OPEN
#define FILE_ATTRIBUTE_RECALL_ON_OPEN        0x00040000
#define FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS 0x00400000
#endif
#define PREFIX_SIZE 4 /* attributes before the backup stream in transport format */

static uint32_t read_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* A file in transport format: attributes, then the backup stream. */
static struct error *read_staged(struct ticket *ticket, uint64_t size)
{
    struct walk_item *item = &ticket->item;
    if (size < PREFIX_SIZE)
        return walk_not_transport(item->path, "the file is too short for its attributes");
    size_t want = size <= WALK_WHOLE ? (size_t)size : PREFIX_SIZE;
    size_t got = 0;
    uint8_t *data = mem_resize_array(NULL, want, 1);
    NTSTATUS status = folder_read(ticket->handle, 0, data, want, &got);
    if (status < 0 || got < PREFIX_SIZE) {
        free(data);
        return status < 0 ? error_ntstatus((uint32_t)status, "read file", item->path, NULL)
                          : walk_not_transport(item->path, "the file is too short for its attributes");
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
        return walk_not_transport(item->path, "the folder has no side file .$wcidirs$");
    if (ticket->staged && entry->attributes & FILE_ATTRIBUTE_REPARSE_POINT)
        return walk_not_transport(item->path, "it is a link in the export folder itself");

    ACCESS_MASK access = FILE_READ_DATA | FILE_READ_EA | (security ? READ_CONTROL : 0);
    NTSTATUS status = -1;
    if (security) /* the SACL, where the privilege is there */
        status = walk_open_entry(walk, ticket->parent, entry, access | ACCESS_SYSTEM_SECURITY, 0, ticket->remove,
                                 &ticket->handle);
    if (status < 0)
        status = walk_open_entry(walk, ticket->parent, entry, access, 0, ticket->remove, &ticket->handle);
    struct folder_info info;
    if (status == NT_REPARSE_POINT_ENCOUNTERED && ticket->staged)
        return walk_not_transport(item->path, "it is a link in the export folder itself");
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
    walk_folder_release(walk, ticket->parent);
    ticket->parent = NULL;
}

static bool may_take(const struct walk *walk)
{
    /* The one that is waited for always may, or nothing would move. */
    return walk->taken < walk->queued && (walk->held < WALK_BYTES || walk->taken == walk->delivered);
}

void walk_reader_run(void *context)
{
    struct walk *walk = context;
    lock_take(walk->lock);
    for (;;) {
        while (!walk->stopping && !may_take(walk) && !(walk->scanned && walk->taken == walk->queued))
            condition_wait(walk->changed, walk->lock, WALK_WAIT_MS);
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
