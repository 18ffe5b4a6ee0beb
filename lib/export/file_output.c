#include <windows.h>

#include <wchar.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "export/export.h"

/* Scanners hold what was just written for a moment: so long a refused rename is tried again. */
#define RENAME_MS      1000
#define PAUSE_MS       20
#define RENAME_INFO_EX 22 /* FileRenameInfoEx, since 1607 */
#define NAME_TRIES     100

struct export_file {
    struct export_output output;
    HANDLE handle;
    char *path;
    wchar_t *wide;      /* the final name */
    wchar_t *temporary; /* beside it */
    bool overwrite;
};

/* While it is written the file is marked for deletion, so that nothing is left of it even when the process is killed. Where a
 * file system does not take that, export_file_free deletes it. */
static bool set_deletion(HANDLE handle, BOOL deletion)
{
    FILE_DISPOSITION_INFO info = {deletion};
    return SetFileInformationByHandle(handle, FileDispositionInfo, &info, sizeof info);
}

static struct error *file_write(void *context, const void *data, size_t size)
{
    struct export_file *file = context;
    while (size > 0) {
        DWORD written = 0;
        DWORD part = size > 0x10000000 ? 0x10000000 : (DWORD)size;
        if (!WriteFile(file->handle, data, part, &written, NULL))
            return error_win32(GetLastError(), "write output", file->path, NULL);
        data = (const char *)data + written;
        size -= written;
    }
    return NULL;
}

static struct error *already_exists(const char *path)
{
    return error_make(ERROR_KIND_ALREADY_EXISTS, "create output", path,
                      "the file exists; give another name, or --overwrite");
}

struct error *export_file_open(const char *path, bool overwrite, struct export_file **ret_file)
{
    struct export_file *file = mem_new(struct export_file);
    file->handle = INVALID_HANDLE_VALUE;
    file->output = (struct export_output){file_write, file};
    file->path = str_copy(path);
    file->overwrite = overwrite;
    struct error *error = win_path(path, &file->wide);
    if (error)
        goto fail;
    DWORD attributes = GetFileAttributesW(file->wide);
    if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY) {
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "create output", path, "it is a folder");
        goto fail;
    }
    if (attributes != INVALID_FILE_ATTRIBUTES && !overwrite) {
        error = already_exists(path);
        goto fail;
    }

    size_t size = wcslen(file->wide) + 48;
    file->temporary = mem_new_array(size, wchar_t);
    DWORD code = ERROR_FILE_EXISTS;
    for (unsigned i = 0; i < NAME_TRIES && code == ERROR_FILE_EXISTS; i++) {
        swprintf(file->temporary, size, L"%ls.partial-%lu-%u", file->wide, GetCurrentProcessId(), i);
        file->handle = CreateFileW(file->temporary, GENERIC_WRITE | DELETE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                                   CREATE_NEW, FILE_ATTRIBUTE_NORMAL | FILE_FLAG_SEQUENTIAL_SCAN, NULL);
        code = file->handle == INVALID_HANDLE_VALUE ? GetLastError() : 0;
    }
    if (code != 0) {
        error = error_win32(code, "create output", path, NULL);
        goto fail;
    }
    set_deletion(file->handle, TRUE);
    *ret_file = file;
    return NULL;

fail:
    export_file_free(file);
    return error;
}

const struct export_output *export_file_output(struct export_file *file)
{
    return &file->output;
}

static DWORD rename_once(struct export_file *file)
{
    size_t name_bytes = wcslen(file->wide) * sizeof(wchar_t);
    FILE_RENAME_INFO *info = mem_zero(sizeof *info + name_bytes);
    info->FileNameLength = (DWORD)name_bytes;
    for (size_t i = 0; i < name_bytes / sizeof(wchar_t); i++)
        info->FileName[i] = file->wide[i];
    info->Flags = file->overwrite ? 3 : 2; /* REPLACE_IF_EXISTS 1, POSIX_SEMANTICS 2 */
    DWORD size = (DWORD)(sizeof *info + name_bytes);
    DWORD code = 0;
    if (!SetFileInformationByHandle(file->handle, (FILE_INFO_BY_HANDLE_CLASS)RENAME_INFO_EX, info, size)) {
        info->Flags = 0;
        info->ReplaceIfExists = file->overwrite;
        if (!SetFileInformationByHandle(file->handle, FileRenameInfo, info, size))
            code = GetLastError();
    }
    free(info);
    return code;
}

struct error *export_file_commit(struct export_file *file)
{
    set_deletion(file->handle, FALSE);
    if (!FlushFileBuffers(file->handle))
        return error_win32(GetLastError(), "flush output", file->path, NULL);
    DWORD code = rename_once(file);
    for (unsigned waited = 0; waited < RENAME_MS; waited += PAUSE_MS) {
        if (code != ERROR_ACCESS_DENIED && code != ERROR_SHARING_VIOLATION && code != ERROR_USER_MAPPED_FILE)
            break;
        pause_system.wait(pause_system.context, PAUSE_MS);
        code = rename_once(file);
    }
    if (code == ERROR_ALREADY_EXISTS || code == ERROR_FILE_EXISTS)
        return already_exists(file->path);
    if (code != 0)
        return error_win32(code, "put output in place", file->path, NULL);
    CloseHandle(file->handle);
    file->handle = INVALID_HANDLE_VALUE;
    return NULL;
}

void export_file_free(struct export_file *file)
{
    if (!file)
        return;
    if (file->handle != INVALID_HANDLE_VALUE) {
        bool marked = set_deletion(file->handle, TRUE);
        CloseHandle(file->handle);
        if (!marked)
            DeleteFileW(file->temporary);
    }
    free(file->temporary);
    free(file->wide);
    free(file->path);
    free(file);
}
