#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"

#ifndef FILE_RENAME_FLAG_REPLACE_IF_EXISTS
#define FILE_RENAME_FLAG_REPLACE_IF_EXISTS 1
#endif
#ifndef FILE_RENAME_FLAG_POSIX_SEMANTICS
#define FILE_RENAME_FLAG_POSIX_SEMANTICS 2
#endif
#define RENAME_INFO_EX ((FILE_INFO_BY_HANDLE_CLASS)22) /* FileRenameInfoEx, Windows 10 1607 */

/* mingw's FILE_RENAME_INFO has no Flags member; this is the documented layout. */
struct rename_info {
    DWORD Flags;
    HANDLE RootDirectory;
    DWORD FileNameLength; /* bytes */
    WCHAR FileName[1];
};

/* Scanners and indexers hold a new file for milliseconds: 2 + 4 + … + 512 ms, about a second in all. */
#define TRIES 10

static bool is_held(DWORD code)
{
    return code == ERROR_ACCESS_DENIED || code == ERROR_SHARING_VIOLATION || code == ERROR_USER_MAPPED_FILE;
}

static void pause_before_retry(const struct pause *pause, unsigned try)
{
    if (pause == NULL)
        pause = &pause_system;
    pause->wait(pause->context, 2u << try);
}

/* A link may lead to a pipe: whoever serves it then learns who we are, but cannot act as us. */
static HANDLE open_patiently(const wchar_t *wide)
{
    for (unsigned try = 0;; try++) {
        HANDLE file =
            CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                        FILE_FLAG_BACKUP_SEMANTICS | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        if (file != INVALID_HANDLE_VALUE || GetLastError() != ERROR_SHARING_VIOLATION || try == TRIES - 1)
            return file;
        pause_before_retry(NULL, try);
    }
}

struct error *file_read(const char *path, size_t limit, struct buffer *ret_content)
{
    struct buffer content = {0};
    wchar_t *wide = NULL;
    HANDLE file = NULL;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    file = open_patiently(wide);
    free(wide);
    if (file == INVALID_HANDLE_VALUE)
        return error_win32(GetLastError(), "open file", path, NULL);
    FILE_STANDARD_INFO info;
    if (GetFileType(file) != FILE_TYPE_DISK) {
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "read file", path, "it is a pipe or a device, no file");
        goto done;
    }
    if (!GetFileInformationByHandleEx(file, FileStandardInfo, &info, sizeof info)) {
        error = error_win32(GetLastError(), "read file", path, NULL);
        goto done;
    }
    if (info.Directory) {
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "read file", path, "it is a directory");
        goto done;
    }
    buffer_add_text(&content, "");
    for (;;) {
        /* One byte more than the limit is asked for, so that a file that grows is noticed. */
        size_t room = limit - content.size;
        DWORD wanted = room < 65536 ? (DWORD)room + 1 : 65536, got = 0;
        if (!ReadFile(file, buffer_reserve(&content, wanted), wanted, &got, NULL)) {
            error = error_win32(GetLastError(), "read file", path, NULL);
            break;
        }
        if (got == 0)
            break;
        if (got > room) {
            error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "read file", path,
                               "the file is larger than the %zu bytes allowed", limit);
            break;
        }
        content.size += got;
        content.data[content.size] = 0;
    }
done:
    win_close(file);
    if (error != NULL)
        buffer_free(&content);
    else
        *ret_content = content;
    return error;
}

/* Renames the file behind the handle, replacing what is there. */
static DWORD rename_over(HANDLE file, const wchar_t *temporary, const wchar_t *target, bool *use_handle)
{
    if (*use_handle) {
        size_t bytes = wcslen(target) * sizeof(wchar_t);
        struct rename_info *info = mem_zero(sizeof *info + bytes);
        info->Flags = FILE_RENAME_FLAG_REPLACE_IF_EXISTS | FILE_RENAME_FLAG_POSIX_SEMANTICS;
        info->FileNameLength = (DWORD)bytes;
        memcpy(info->FileName, target, bytes);
        BOOL done = SetFileInformationByHandle(file, RENAME_INFO_EX, info, (DWORD)(sizeof *info + bytes));
        DWORD code = done ? 0 : GetLastError();
        free(info);
        if (done || is_held(code))
            return code;
        *use_handle = false; /* not on this file system or this Windows */
    }
    return MoveFileExW(temporary, target, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) ? 0 : GetLastError();
}

static struct error *write_all(HANDLE file, const char *path, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        DWORD part = size > 1 << 20 ? 1 << 20 : (DWORD)size, written = 0;
        if (!WriteFile(file, at, part, &written, NULL))
            return error_win32(GetLastError(), "write file", path, NULL);
        at += written;
        size -= written;
    }
    return FlushFileBuffers(file) ? NULL : error_win32(GetLastError(), "flush file", path, NULL);
}

struct error *file_replace(const char *path, const void *data, size_t size, const struct pause *pause)
{
    static volatile LONG number;
    wchar_t *target = NULL, *temporary = NULL;
    HANDLE file = NULL;
    char *name =
        str_format("%s.tmp-%lu-%lu", path, GetCurrentProcessId(), (unsigned long)InterlockedIncrement(&number));
    struct error *error = win_path(path, &target);
    if (error == NULL)
        error = win_path(name, &temporary);
    if (error != NULL)
        goto done;
    file = CreateFileW(temporary, GENERIC_WRITE | DELETE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, CREATE_ALWAYS,
                       FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        error = error_win32(GetLastError(), "create file", name, NULL);
        goto done;
    }
    error = write_all(file, path, data, size);
    bool use_handle = true;
    for (unsigned try = 0; error == NULL; try++) {
        if (!use_handle)
            win_close(file);
        DWORD code = rename_over(file, temporary, target, &use_handle);
        if (code == 0)
            break;
        if (!is_held(code) || try == TRIES - 1)
            error = error_win32(code, "replace file", path, NULL);
        else
            pause_before_retry(pause, try);
    }
    win_close(file);
    if (error != NULL)
        DeleteFileW(temporary); /* what stays is swept by whoever lists the folder (file_is_temporary) */
done:
    free(temporary);
    free(target);
    free(name);
    return error;
}

bool file_is_temporary(const char *name)
{
    const char *mark = NULL;
    for (const char *at = strstr(name, ".tmp-"); at != NULL; at = strstr(at + 1, ".tmp-"))
        mark = at;
    if (mark == NULL)
        return false;
    mark += 5;
    size_t pid = strspn(mark, "0123456789");
    if (pid == 0 || mark[pid] != '-')
        return false;
    size_t number = strspn(mark + pid + 1, "0123456789");
    return number > 0 && mark[pid + 1 + number] == 0;
}

struct error *file_delete(const char *path, const struct pause *pause)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    for (unsigned try = 0; error == NULL; try++) {
        if (DeleteFileW(wide))
            break;
        DWORD code = GetLastError();
        if (code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND)
            break;
        if (!is_held(code) || try == TRIES - 1)
            error = error_win32(code, "delete file", path, NULL);
        else
            pause_before_retry(pause, try);
    }
    free(wide);
    return error;
}

static bool is_folder(const wchar_t *wide)
{
    DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

struct error *file_ensure_folder(const char *path)
{
    char *verbatim = NULL;
    wchar_t *wide = NULL;
    struct error *error = path_verbatim(path, &verbatim);
    if (error == NULL)
        error = win_wide(verbatim, &wide);
    if (error != NULL || is_folder(wide))
        goto done;
    /* Upwards to the deepest folder that is there, then down again. */
    size_t length = wcslen(wide), end = length;
    DWORD code = 0;
    for (;;) {
        wchar_t kept = wide[end];
        wide[end] = 0;
        code = CreateDirectoryW(wide, NULL) ? 0 : GetLastError();
        if (code == ERROR_ALREADY_EXISTS && is_folder(wide))
            code = 0; /* somebody else was faster */
        wide[end] = kept;
        if (code == ERROR_PATH_NOT_FOUND) {
            size_t up = end;
            while (up > 0 && wide[up - 1] != L'\\')
                up--;
            if (up <= 7) /* \\?\C:\ : the drive itself is not there */
                break;
            end = up - 1;
            continue;
        }
        if (code != 0 || end == length)
            break;
        end++;
        while (end < length && wide[end] != L'\\')
            end++;
    }
    if (code != 0)
        error = error_win32(code, "create directory", path, NULL);
done:
    free(wide);
    free(verbatim);
    return error;
}

struct error *file_delete_folder(const char *path)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    if (!RemoveDirectoryW(wide)) {
        DWORD code = GetLastError();
        if (code != ERROR_FILE_NOT_FOUND && code != ERROR_PATH_NOT_FOUND)
            error = error_win32(code, "delete directory", path, NULL);
    }
    free(wide);
    return error;
}

struct error *file_info(const char *path, struct file_info *ret_info)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    WIN32_FILE_ATTRIBUTE_DATA data;
    if (GetFileAttributesExW(wide, GetFileExInfoStandard, &data)) {
        *ret_info = (struct file_info){
            .directory = (data.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0,
            .reparse_point = (data.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0,
            .size = (uint64_t)data.nFileSizeHigh << 32 | data.nFileSizeLow,
            .modified_ns = clock_from_filetime((uint64_t)data.ftLastWriteTime.dwHighDateTime << 32 |
                                               data.ftLastWriteTime.dwLowDateTime),
        };
    } else {
        error = error_win32(GetLastError(), "look at file", path, NULL);
    }
    free(wide);
    return error;
}

struct error *file_list(const char *path, size_t limit, struct file_list *ret_list)
{
    struct file_list list = {0};
    size_t room = 0;
    char *verbatim = NULL, *pattern = NULL;
    wchar_t *wide = NULL;
    HANDLE search = INVALID_HANDLE_VALUE;
    struct error *error = path_verbatim(path, &verbatim);
    if (error == NULL) {
        pattern = path_join(verbatim, "*");
        error = win_wide(pattern, &wide);
    }
    if (error != NULL)
        goto done;
    WIN32_FIND_DATAW found;
    search = FindFirstFileExW(wide, FindExInfoBasic, &found, FindExSearchNameMatch, NULL, FIND_FIRST_EX_LARGE_FETCH);
    DWORD code = search == INVALID_HANDLE_VALUE ? GetLastError() : 0;
    while (code == 0) {
        if (wcscmp(found.cFileName, L".") != 0 && wcscmp(found.cFileName, L"..") != 0) {
            if (list.count == limit) {
                error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "list directory", path,
                                   "it has more than %zu entries", limit);
                goto done;
            }
            if (list.count == room) {
                room = room == 0 ? 16 : room * 2;
                list.entries = mem_resize_array(list.entries, room, sizeof list.entries[0]);
            }
            list.entries[list.count++] = (struct file_entry){
                win_text(found.cFileName),
                (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0,
            };
        }
        code = FindNextFileW(search, &found) ? 0 : GetLastError();
    }
    if (code != ERROR_NO_MORE_FILES)
        error = error_win32(code, "list directory", path, NULL);
done:
    if (search != INVALID_HANDLE_VALUE)
        FindClose(search);
    free(wide);
    free(pattern);
    free(verbatim);
    if (error != NULL)
        file_list_free(&list);
    else
        *ret_list = list;
    return error;
}

void file_list_free(struct file_list *list)
{
    if (list == NULL)
        return;
    for (size_t i = 0; i < list->count; i++)
        free(list->entries[i].name);
    free(list->entries);
    *list = (struct file_list){0};
}

struct error *file_absolute(const char *path, char **ret_path)
{
    wchar_t *wide = NULL, *full = NULL;
    struct error *error = win_wide(path, &wide);
    if (error != NULL)
        return error;
    DWORD room = GetFullPathNameW(wide, 0, NULL, NULL);
    if (room != 0) {
        full = mem_new_array((size_t)room + 1, wchar_t);
        room = GetFullPathNameW(wide, room + 1, full, NULL);
    }
    if (room == 0)
        error = error_win32(GetLastError(), "make path absolute", path, NULL);
    else
        *ret_path = win_text(full);
    free(full);
    free(wide);
    return error;
}
