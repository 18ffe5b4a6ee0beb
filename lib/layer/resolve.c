#include "layer/resolve.h"

#include <windows.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/win.h"

#define TRIES     4
#define PATH_MOST 32768u

static unsigned long final_path(void *handle, wchar_t *path, unsigned long count, unsigned long flags)
{
    return GetFinalPathNameByHandleW(handle, path, count, flags);
}

static unsigned long attributes(const wchar_t *path)
{
    return GetFileAttributesW(path);
}

struct resolve_calls resolve_calls = {final_path, attributes};

/* A volume's name does not change when drive letters do; a network share has none. Whoever may not read the folders above gets
 * the names as they were given. */
static struct error *ask(HANDLE file, const char *path, wchar_t **ret_path)
{
    DWORD flags = FILE_NAME_NORMALIZED | VOLUME_NAME_GUID, code = ERROR_PATH_NOT_FOUND;
    for (unsigned try = 0; try < TRIES; try++) {
        wchar_t *name = mem_new_array(PATH_MOST, wchar_t);
        DWORD size = resolve_calls.final_path(file, name, PATH_MOST, flags);
        bool whole = size > 0 && size < PATH_MOST;
        /* A name that leads nowhere is of no use: Wine names volumes that it cannot open by that name. */
        if (whole && ((flags & VOLUME_NAME_GUID) == 0 || resolve_calls.attributes(name) != INVALID_FILE_ATTRIBUTES)) {
            *ret_path = name;
            return NULL;
        }
        code = whole ? ERROR_PATH_NOT_FOUND : size == 0 ? GetLastError() : ERROR_FILENAME_EXCED_RANGE;
        free(name);
        if (code == ERROR_ACCESS_DENIED && (flags & FILE_NAME_OPENED) == 0)
            flags |= FILE_NAME_OPENED;
        else if (code == ERROR_PATH_NOT_FOUND && (flags & VOLUME_NAME_GUID) != 0)
            flags = (flags & FILE_NAME_OPENED) | VOLUME_NAME_DOS;
        else
            break;
    }
    return error_win32(code, "resolve path", path, NULL);
}

/* `\\?\C:\x` -> `C:\x`, `\\?\UNC\s\x` -> `\\s\x`; a volume's name stays as it is: it is no path without `\\?\`. */
static char *dos_form(const wchar_t *path)
{
    char *text = win_text(path), *plain = NULL;
    if (strncmp(text, "\\\\?\\UNC\\", 8) == 0)
        plain = str_format("\\\\%s", text + 8);
    else if (strncmp(text, "\\\\?\\", 4) == 0 && strncmp(text + 4, "Volume{", 7) != 0)
        plain = str_copy(text + 4);
    else
        return text;
    free(text);
    return plain;
}

struct error *resolve_file(const char *path, char **ret_path)
{
    wchar_t *wide = NULL, *name = NULL;
    BY_HANDLE_FILE_INFORMATION information;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    /* Backup intent opens folders too, so that they can be told from files; no right to the data is asked for. */
    HANDLE file = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                              FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (file == INVALID_HANDLE_VALUE)
        error = error_win32(GetLastError(), "resolve path", path, NULL);
    if (error == NULL && !GetFileInformationByHandle(file, &information))
        error = error_win32(GetLastError(), "resolve path", path, NULL);
    if (error == NULL && (information.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "resolve path", path, "it leads to a folder, not to a file");
    if (error == NULL)
        error = ask(file, path, &name);
    if (error == NULL)
        *ret_path = dos_form(name);
    win_close(file);
    free(name);
    free(wide);
    return error;
}

bool resolve_has_ids(const char *folder)
{
    wchar_t *wide = NULL;
    FILE_ID_INFO id;
    struct error *error = win_path(folder, &wide);
    if (error != NULL) {
        error_free(error);
        return false;
    }
    HANDLE file = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                              FILE_FLAG_BACKUP_SEMANTICS, NULL);
    bool has = file != INVALID_HANDLE_VALUE && GetFileInformationByHandleEx(file, FileIdInfo, &id, sizeof id);
    win_close(file);
    free(wide);
    return has;
}
