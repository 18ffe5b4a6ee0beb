#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/walk_state.h"

struct open_folder *walk_folder_reference(struct walk *walk, struct open_folder *folder)
{
    lock_take(walk->lock);
    folder->references++;
    lock_drop(walk->lock);
    return folder;
}

void walk_folder_release(struct walk *walk, struct open_folder *folder)
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

struct open_folder *walk_folder_new(struct walk *walk, struct open_folder *parent, const WCHAR *name, size_t units,
                                    HANDLE handle, bool staged)
{
    struct open_folder *folder = mem_zero(sizeof *folder + units * sizeof(WCHAR));
    folder->parent = parent ? walk_folder_reference(walk, parent) : NULL;
    folder->handle = handle;
    folder_find_place(&walk->volume, handle, &folder->place);
    folder->references = 1;
    folder->staged = staged;
    folder->name_units = (uint16_t)units;
    if (units > 0)
        memcpy(folder->name, name, units * sizeof(WCHAR));
    return folder;
}

NTSTATUS walk_open_entry(struct walk *walk, const struct open_folder *parent, const struct folder_entry *entry,
                         ACCESS_MASK access, ULONG options, bool remove, HANDLE *ret_handle)
{
    ACCESS_MASK deletion = 0;
    if (remove)
        deletion = DELETE | (entry->attributes & FILE_ATTRIBUTE_READONLY ? FILE_WRITE_ATTRIBUTES : 0);
    NTSTATUS status =
        folder_open_entry(&walk->volume, parent->handle, &parent->place, entry, access | deletion, options, ret_handle);
    if (remove && status == NT_SHARING_VIOLATION)
        status = folder_open_entry(&walk->volume, parent->handle, &parent->place, entry, access, options, ret_handle);
    return status;
}

/* Path of an entry relative to the layer. Names are converted one by one: a lone surrogate stays one. */
char *walk_entry_path(const struct open_folder *parent, const WCHAR *name, size_t units)
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
