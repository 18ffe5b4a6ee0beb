#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "export/export.h"
#include "export/folder.h"
#include "export/remover.h"
#include "export/result.h"

/* Others may hold an entry for a moment after us (scanners, indexers): a folder is then "not empty" although nothing is
 * listed. So long it is tried again, per folder and in all. */
#define NOT_EMPTY_MS     2000
#define NOT_EMPTY_ALL_MS 10000
#define PAUSE_FIRST_MS   10
#define PAUSE_MAX_MS     200
/* An enumeration that goes on while entries are deleted may skip some: passes are repeated while they remove something. So
 * many at most, in case somebody keeps on adding. */
#define PASSES_MAX       100

/* A folder that is being emptied. */
struct level {
    struct level *up;
    HANDLE handle;
    struct folder_place place;
    char *name; /* WTF-8; NULL for the root */
    struct folder_list list;
    size_t next;
    unsigned passes;
    bool removed_some;  /* in this pass */
    uint64_t *given_up; /* entries that resisted: not tried, not reported twice */
    size_t given_up_count;
    /* Entries that were deleted. One that is listed again only goes with somebody's last handle, or not at all (Wine beyond 4096
     * bytes of path, which says of the folder then that it is empty): it is waited for as for a folder that is not empty. */
    uint64_t *deleted;
    size_t deleted_count, deleted_before; /* before this pass */
    bool lingering;                       /* such a one was listed in this pass */
};

struct remover {
    struct folder_volume volume;
    struct export_control *control;
    struct deviations left;
    uint64_t removed;
    uint32_t waited_ms;
    struct level *top;
};

static char *level_path(const struct level *level, const char *name)
{
    char *path = str_copy(name ? name : "");
    for (; level && level->name; level = level->up) {
        char *longer = str_format("%s%s%s", level->name, *path ? "/" : "", path);
        free(path);
        path = longer;
    }
    return path;
}

static void report(struct remover *remover, const struct level *level, const char *name, const char *operation,
                   NTSTATUS status)
{
    char *path = level_path(level, name);
    char *reason = folder_status_text(status);
    deviations_add(&remover->left, "not_removed", path, "%s: %s", operation, reason);
    free(reason);
    free(path);
}

static uint64_t entry_key(const struct folder_entry *entry)
{
    uint64_t hash = 14695981039346656037u ^ entry->id; /* FNV-1a of the name; two names may be one file */
    for (size_t i = 0; i < entry->name_units; i++)
        hash = (hash ^ entry->name[i]) * 1099511628211u;
    return hash;
}

static bool has_key(const uint64_t *keys, size_t count, uint64_t key)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i] == key)
            return true;
    return false;
}

static void add_key(uint64_t **keys, size_t *count, uint64_t key)
{
    if ((*count & (*count - 1)) == 0)
        *keys = mem_resize_array(*keys, *count ? *count * 2 : 1, sizeof **keys);
    (*keys)[(*count)++] = key;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Was it dealt with in an earlier pass? `deleted` is sorted then. */
static bool is_done_with(struct level *level, const struct folder_entry *entry)
{
    uint64_t key = entry_key(entry);
    if (has_key(level->given_up, level->given_up_count, key))
        return true;
    if (level->passes == 1 || level->deleted_before == 0 ||
        !bsearch(&key, level->deleted, level->deleted_before, sizeof key, compare_keys))
        return false;
    level->lingering = true;
    return true;
}

static void give_up(struct level *level, uint64_t key)
{
    add_key(&level->given_up, &level->given_up_count, key);
}

static void count_removed(struct remover *remover, struct level *level, uint64_t key)
{
    level->removed_some = true;
    add_key(&level->deleted, &level->deleted_count, key);
    remover->removed++;
    remover->control->removed++;
}

/* Deletes what the handle stands for and closes it. */
static NTSTATUS delete_and_close(struct remover *remover, HANDLE handle)
{
    NTSTATUS status = folder_delete(&remover->volume, handle);
    CloseHandle(handle);
    return status;
}

static ACCESS_MASK delete_access(const struct folder_entry *entry)
{
    return DELETE | (entry->attributes & FILE_ATTRIBUTE_READONLY ? FILE_WRITE_ATTRIBUTES : 0);
}

/* A file, or a reparse point of any kind, which goes as such. */
static void remove_entry(struct remover *remover, const struct folder_entry *entry)
{
    struct level *level = remover->top;
    HANDLE handle = NULL;
    const char *operation = "open";
    NTSTATUS status =
        folder_open_entry(&remover->volume, level->handle, &level->place, entry, delete_access(entry), 0, &handle);
    if (status >= 0) {
        operation = "delete";
        status = delete_and_close(remover, handle);
    }
    if (status >= 0) {
        count_removed(remover, level, entry_key(entry));
        return;
    }
    if (status == NT_DELETE_PENDING) {
        /* Somebody else deleted it and it goes with the last handle: the folder's "not empty" is waited for. */
        return;
    }
    char *name = text_from_utf16((const char16_t *)entry->name, entry->name_units);
    report(remover, level, name, operation, status);
    give_up(level, entry_key(entry));
    free(name);
}

/* Lists the top folder anew. */
static NTSTATUS begin_pass(struct level *level)
{
    folder_list_free(&level->list);
    level->next = 0;
    level->removed_some = false;
    level->lingering = false;
    level->passes++;
    if (level->deleted_count > 0)
        qsort(level->deleted, level->deleted_count, sizeof *level->deleted, compare_keys);
    level->deleted_before = level->deleted_count;
    return folder_list(level->handle, &level->list);
}

static void enter(struct remover *remover, const struct folder_entry *entry)
{
    struct level *up = remover->top;
    HANDLE handle = NULL;
    char *name = text_from_utf16((const char16_t *)entry->name, entry->name_units);
    NTSTATUS status = folder_open_entry(&remover->volume, up->handle, &up->place, entry,
                                        FILE_LIST_DIRECTORY | FILE_TRAVERSE | delete_access(entry), 0, &handle);
    struct folder_info info;
    if (status >= 0)
        status = folder_info(handle, &info);
    /* It may have become something else since it was listed. */
    if (status >= 0 &&
        (info.attributes & FILE_ATTRIBUTE_REPARSE_POINT || !(info.attributes & FILE_ATTRIBUTE_DIRECTORY))) {
        CloseHandle(handle);
        free(name);
        remove_entry(remover, entry);
        return;
    }
    struct level *level = mem_new(struct level);
    level->up = up;
    level->handle = handle;
    level->name = name;
    if (status >= 0)
        folder_find_place(&remover->volume, handle, &level->place);
    if (status >= 0)
        status = begin_pass(level);
    if (status < 0) {
        report(remover, up, name, "open folder", status);
        give_up(up, entry_key(entry));
        if (handle)
            CloseHandle(handle);
        free(level->place.path);
        free(name);
        free(level);
        return;
    }
    remover->top = level;
}

/* Is what lingered still listed? */
static bool is_empty(HANDLE folder)
{
    struct folder_list list = {0};
    bool empty = folder_list(folder, &list) >= 0 && list.count == 0;
    folder_list_free(&list);
    return empty;
}

static NTSTATUS delete_folder(struct remover *remover, const struct level *level)
{
    uint32_t waited = 0;
    for (uint32_t pause = PAUSE_FIRST_MS;; pause = pause * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause * 2) {
        NTSTATUS status = NT_DIRECTORY_NOT_EMPTY;
        if (!level->lingering || is_empty(level->handle))
            status = folder_delete(&remover->volume, level->handle);
        if (status != NT_DIRECTORY_NOT_EMPTY || remover->control->go_around || waited >= NOT_EMPTY_MS ||
            remover->waited_ms >= NOT_EMPTY_ALL_MS)
            return status;
        pause_system.wait(pause_system.context, pause);
        waited += pause;
        remover->waited_ms += pause;
    }
}

/* The top folder holds nothing more that can go: it goes itself, or is given up. */
static void leave(struct remover *remover)
{
    struct level *level = remover->top;
    struct level *up = level->up;
    NTSTATUS status = NT_DIRECTORY_NOT_EMPTY;
    if (level->given_up_count == 0)
        status = delete_folder(remover, level);
    if (status >= 0) {
        count_removed(remover, up ? up : level, up ? entry_key(&up->list.entries[up->next - 1]) : 0);
    } else {
        if (level->given_up_count == 0)
            report(remover, up, level->name, "delete folder", status);
        if (up)
            give_up(up, entry_key(&up->list.entries[up->next - 1]));
    }
    CloseHandle(level->handle);
    folder_list_free(&level->list);
    free(level->given_up);
    free(level->deleted);
    free(level->place.path);
    free(level->name);
    free(level);
    remover->top = up;
}

static void run(struct remover *remover)
{
    while (remover->top) {
        struct level *level = remover->top;
        if (level->next < level->list.count) {
            const struct folder_entry *entry = &level->list.entries[level->next++];
            if (is_done_with(level, entry))
                continue;
            if ((level->next & 63) == 1) {
                char *path = level_path(level, NULL);
                export_control_set_path(remover->control, path);
                free(path);
            }
            if (entry->attributes & FILE_ATTRIBUTE_DIRECTORY && !(entry->attributes & FILE_ATTRIBUTE_REPARSE_POINT))
                enter(remover, entry);
            else
                remove_entry(remover, entry);
            continue;
        }
        if (level->removed_some && level->passes < PASSES_MAX && begin_pass(level) >= 0)
            continue;
        leave(remover);
    }
}

struct error *remover_run(const char *folder, struct export_control *control, struct remover_report *ret_report)
{
    HANDLE root = NULL;
    struct error *error = folder_open(folder, REMOVER_ACCESS, &root);
    return error ? error : remover_run_handle(root, folder, control, ret_report);
}

struct error *remover_run_handle(HANDLE root, const char *folder, struct export_control *control,
                                 struct remover_report *ret_report)
{
    struct remover remover = {.control = control};
    struct level *level = mem_new(struct level);
    level->handle = root;
    folder_probe(&remover.volume, root);
    folder_find_place(&remover.volume, root, &level->place);
    NTSTATUS status = begin_pass(level);
    if (status < 0) {
        CloseHandle(root);
        free(level->place.path);
        free(level);
        return error_ntstatus((uint32_t)status, "list folder", folder, NULL);
    }
    remover.top = level;
    run(&remover);
    *ret_report = (struct remover_report){
        .left = remover.left.rows,
        .left_count = remover.left.count,
        .left_total = remover.left.total,
        .removed = remover.removed,
    };
    return NULL;
}
