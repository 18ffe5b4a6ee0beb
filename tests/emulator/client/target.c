#include "target.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"

#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

typedef char *(CDECL *unix_name_function)(const wchar_t *path);

/* `path` in the \??\unix name space, or NULL. */
static wchar_t *unix_prefix(const wchar_t *path)
{
    HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
    FARPROC function = kernel == NULL ? NULL : GetProcAddress(kernel, "wine_get_unix_file_name");
    char *name = function == NULL ? NULL : ((unix_name_function)(void *)function)(path);
    char *text;
    wchar_t *prefix;

    if (name == NULL)
        return NULL;
    text = str_format("\\??\\unix%s/", name);
    HeapFree(GetProcessHeap(), 0, name);
    prefix = text_to_utf16(text, NULL);
    free(text);
    for (wchar_t *at = prefix; at != NULL && *at != 0; at++)
        if (*at == L'/')
            *at = L'\\';
    return prefix;
}

static wchar_t *join(const wchar_t *prefix, const wchar_t *name, size_t units, const wchar_t *end)
{
    size_t length = wcslen(prefix);
    wchar_t *path = mem_new_array(length + units + wcslen(end) + 1, wchar_t);
    memcpy(path, prefix, length * sizeof *path);
    memcpy(path + length, name, units * sizeof *path);
    memcpy(path + length + units, end, wcslen(end) * sizeof *path);
    return path;
}

/* A backslash in a name would be taken for a separator. */
static bool is_plain(const wchar_t *name, size_t units)
{
    for (size_t i = 0; i < units; i++)
        if (name[i] == L'\\' || name[i] == L'/' || name[i] == 0)
            return false;
    return true;
}

struct error *target_open(const wchar_t *path, struct target *ret_target)
{
    struct target target = {0};
    struct error *error = tree_open(NULL, path, 0, TREE_FOLDER, TREE_LIST | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY,
                                    SHARE_ALL, &target.folder);
    if (error != NULL)
        return error;
    target.prefix = unix_prefix(path);
    *ret_target = target;
    return NULL;
}

struct error *target_make(const struct target *parent, const wchar_t *name, size_t units, struct target *ret_target)
{
    struct target target = {0};
    struct error *error = tree_make_folder(parent->folder, name, units, &target.folder);
    if (error != NULL)
        return error;
    if (parent->prefix != NULL && is_plain(name, units))
        target.prefix = join(parent->prefix, name, units, L"\\");
    *ret_target = target;
    return NULL;
}

struct error *target_create(const struct target *target, const wchar_t *name, size_t units, HANDLE *ret_file)
{
    wchar_t *path;
    struct error *error;

    if (target->prefix == NULL || !is_plain(name, units))
        return tree_create(target->folder, name, units, TREE_FILE, ret_file);
    path = join(target->prefix, name, units, L"");
    error = tree_create_native(path, ret_file);
    free(path);
    return error;
}

void target_close(struct target *target)
{
    if (target->folder != NULL)
        CloseHandle(target->folder);
    free(target->prefix);
    *target = (struct target){0};
}
