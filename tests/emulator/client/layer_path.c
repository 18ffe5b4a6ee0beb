#include "layer_path.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"

wchar_t *layer_path_join(const wchar_t *folder, const wchar_t *name)
{
    size_t length = wcslen(folder);
    wchar_t *path = mem_new_array(length + wcslen(name) + 2, wchar_t);

    memcpy(path, folder, length * sizeof *path);
    if (length > 0 && path[length - 1] != L'\\')
        path[length++] = L'\\';
    memcpy(path + length, name, wcslen(name) * sizeof *path);
    return path;
}

wchar_t *layer_path_of(const wchar_t *home, const wchar_t *id)
{
    if (home != NULL && *home != 0 && !layer_path_is_absolute(id))
        return layer_path_join(home, id);
    return mem_copy(id, (wcslen(id) + 1) * sizeof *id);
}

bool layer_path_is_absolute(const wchar_t *path)
{
    bool drive =
        ((path[0] | 32) >= L'a' && (path[0] | 32) <= L'z') && path[1] == L':' && (path[2] == L'\\' || path[2] == L'/');
    return drive || (path[0] == L'\\' && path[1] == L'\\');
}

bool layer_path_is_folder(const wchar_t *path)
{
    DWORD attributes = GetFileAttributesW(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

bool layer_path_is_empty(const wchar_t *path)
{
    wchar_t *pattern = layer_path_join(path, L"*");
    WIN32_FIND_DATAW data;
    HANDLE find = FindFirstFileW(pattern, &data);
    bool empty = true;

    free(pattern);
    if (find == INVALID_HANDLE_VALUE)
        return true;
    do {
        empty = wcscmp(data.cFileName, L".") == 0 || wcscmp(data.cFileName, L"..") == 0;
    } while (empty && FindNextFileW(find, &data));
    FindClose(find);
    return empty;
}

size_t layer_path_count_parents(const wchar_t *const *parents, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        wchar_t *mark = layer_path_join(parents[i], LAYER_MERGED_MARK);
        bool merged = GetFileAttributesW(mark) != INVALID_FILE_ATTRIBUTES;
        free(mark);
        if (merged)
            return i + 1;
    }
    return count;
}
