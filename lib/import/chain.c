#include "import/chain.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "import/import_name.h"

static void leave(struct chain *chain)
{
    struct chain_level *level = &chain->levels[--chain->depth];
    if (level->modified)
        folder_set_info(level->handle, 0, level->modified, level->created);
    CloseHandle(level->handle);
    chain->path[chain->depth > 0 ? chain->levels[chain->depth - 1].end : 0] = '\0';
}

void chain_clear(struct chain *chain)
{
    while (chain->depth > 0)
        leave(chain);
    free(chain->levels);
    free(chain->path);
    chain->levels = NULL;
    chain->path = NULL;
}

static HANDLE innermost(const struct chain *chain)
{
    return chain->depth > 0 ? chain->levels[chain->depth - 1].handle : chain->root;
}

static struct error *enter(struct chain *chain, const char *path, size_t from, size_t end)
{
    size_t units = 0;
    WCHAR *name = (WCHAR *)text_to_utf16_n(path + from, end - from, &units);
    char *folder = str_copy_n(path, end);
    HANDLE handle = NULL;
    struct error *error = NULL;
    if (!name) {
        error = import_refuse(path, "its path is no text");
        goto out;
    }
    /* FILE_WRITE_ATTRIBUTES for the times, the rest for making entries in it. */
    NTSTATUS status = folder_open_name(chain->volume, innermost(chain), name,
                                       FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY |
                                           FILE_WRITE_ATTRIBUTES,
                                       0, &handle);
    struct folder_info info = {0};
    if (status >= 0)
        status = folder_info(handle, &info);
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        error = import_refuse(path, "its folder %s does not come before it", folder);
    else if (status < 0)
        error = error_ntstatus((uint32_t)status, "open folder", folder, NULL);
    else if (info.attributes & FILE_ATTRIBUTE_REPARSE_POINT)
        error = import_refuse(path, "its path leads through the link %s", folder);
    else if (!(info.attributes & FILE_ATTRIBUTE_DIRECTORY))
        error = import_refuse(path, "its path leads through the file %s", folder);
    else if (chain->check)
        error = chain->check(chain->context, innermost(chain), name, units, path);
    if (error)
        goto out;
    chain->levels = mem_resize_array(chain->levels, chain->depth + 1, sizeof *chain->levels);
    struct chain_level *level = &chain->levels[chain->depth++];
    *level = (struct chain_level){.handle = handle, .end = end};
    if (chain->keep_times) {
        level->modified = info.modified;
        level->created = info.created;
    }
    free(chain->path);
    chain->path = folder;
    handle = NULL;
    folder = NULL;

out:
    if (handle)
        CloseHandle(handle);
    free(folder);
    free(name);
    return error;
}

struct error *chain_parent(struct chain *chain, const char *path, HANDLE *ret_folder, WCHAR **ret_name,
                           size_t *ret_units)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) : 0;
    /* Leave what is not on the way. */
    while (chain->depth > 0) {
        size_t end = chain->levels[chain->depth - 1].end;
        if (end <= folder && memcmp(chain->path, path, end) == 0 && path[end] == '/')
            break;
        leave(chain);
    }
    struct error *error = NULL;
    while (!error) {
        size_t at = chain->depth > 0 ? chain->levels[chain->depth - 1].end : 0;
        if (at == folder)
            break;
        size_t from = at > 0 ? at + 1 : 0;
        error = enter(chain, path, from, from + strcspn(path + from, "/"));
    }
    if (error)
        return error;
    WCHAR *name = (WCHAR *)text_to_utf16(slash ? slash + 1 : path, ret_units);
    if (!name)
        return import_refuse(path, "its name is no text");
    *ret_folder = innermost(chain);
    *ret_name = name;
    return NULL;
}
