#include "export/walk.h"

#include <string.h>

#include "base/memory.h"
#include "export/walk_state.h"

/* ---- the queue ---- */

void walk_ticket_free(struct walk *walk, struct ticket *ticket)
{
    stream_source_free(ticket->item.source);
    if (ticket->handle) {
        if (ticket->remove && folder_delete(&walk->volume, ticket->handle) >= 0)
            walk->options.control->removed++;
        CloseHandle(ticket->handle);
    }
    if (ticket->parent)
        walk_folder_release(walk, ticket->parent);
    error_free(ticket->error);
    free(ticket->item.path);
    free(ticket);
}

/* False when the walk is to end. */
bool walk_queue(struct walk *walk, struct ticket *ticket)
{
    lock_take(walk->lock);
    while (!walk->stopping && walk->queued - walk->delivered == WALK_ITEMS)
        condition_wait(walk->changed, walk->lock, WALK_WAIT_MS);
    bool stopping = walk->stopping;
    if (!stopping) {
        walk->tickets[walk->queued++ % WALK_ITEMS] = ticket;
        condition_wake_all(walk->changed);
    }
    lock_drop(walk->lock);
    if (stopping) {
        ticket->remove = false;
        walk_ticket_free(walk, ticket);
    }
    return !stopping;
}

struct error *walk_not_transport(const char *path, const char *why)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read export folder", path, "%s: this is no folder in transport format",
                      why);
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
        return walk_not_transport("Hives/System_Delta", "the file is missing");
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
        walk->root = walk_folder_new(walk, NULL, NULL, 0, root, false);
        if (!options->base)
            error = read_hive_times(walk);
    }
    if (!error)
        error = thread_start(walk_scanner_run, walk, &walk->scanner);
    for (size_t i = 0; i < WALK_READERS && !error; i++)
        error = thread_start(walk_reader_run, walk, &walk->readers[i]);
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
        error = walk_not_transport(name, "the file is too large to be one");
        goto out;
    }
    if (status >= 0) {
        text = mem_resize_array(NULL, (size_t)info.size + 1, 1);
        status = folder_read(handle, 0, text, (size_t)info.size, &got);
    }
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        error = walk_not_transport(name, "the file is missing");
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
        condition_wait(walk->changed, walk->lock, WALK_WAIT_MS);
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
    walk_ticket_free(walk, (struct ticket *)item);
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
    for (size_t i = 0; i < WALK_READERS; i++)
        thread_join(walk->readers[i]);
    while (walk->delivered < walk->queued) {
        struct ticket *ticket = walk->tickets[walk->delivered++ % WALK_ITEMS];
        ticket->remove = false;
        walk_ticket_free(walk, ticket);
    }
    walk_folder_release(walk, walk->root);
    error_free(walk->scan_error);
    condition_free(walk->changed);
    lock_free(walk->lock);
    free(walk);
}
