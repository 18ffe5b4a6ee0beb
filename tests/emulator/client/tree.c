#include "tree.h"

#include <stdlib.h>
#include <string.h>
#include <winternl.h>

#include "base/memory.h"
#include "base/text.h"

#define LIST_SIZE              (256u << 10)
#define FILE_BASIC_CLASS       4
#define FILE_INTERNAL_CLASS    6
#define FILE_LINK_CLASS        11
#define FILE_DISPOSITION_CLASS 13
#define DEPTH_LIMIT            500
#define CANNOT_DELETE          ((NTSTATUS)0xC0000121) /* STATUS_CANNOT_DELETE */

/* winternl.h of mingw has no such types. */
struct basic_information {
    LARGE_INTEGER created, accessed, written, changed;
    ULONG attributes;
};

struct link_information {
    BOOLEAN replace;
    HANDLE folder;
    ULONG size;
    wchar_t name[1];
};

static struct error *tree_error(NTSTATUS status, const char *operation, const wchar_t *name, size_t units)
{
    char *text = text_from_utf16((const char16_t *)name, units);
    char *printable = text_printable(text, strlen(text), 400);
    struct error *error = error_win32(RtlNtStatusToDosError(status), operation, printable, NULL);
    free(text);
    free(printable);
    return error;
}

static NTSTATUS tree_native(HANDLE parent, const wchar_t *name, size_t size, ACCESS_MASK access, ULONG share,
                            ULONG disposition, ULONG options, HANDLE *ret_handle)
{
    UNICODE_STRING text = {.Length = (USHORT)size, .MaximumLength = (USHORT)size, .Buffer = (wchar_t *)name};
    OBJECT_ATTRIBUTES attributes = {.Length = sizeof attributes, .RootDirectory = parent, .ObjectName = &text};
    IO_STATUS_BLOCK io;

    return NtCreateFile(ret_handle, access, &attributes, &io, NULL, FILE_ATTRIBUTE_NORMAL, share, disposition,
                        options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT | FILE_OPEN_REPARSE_POINT,
                        NULL, 0);
}

/* An absolute path as the native calls want it. The caller frees it. */
static wchar_t *native_path(const wchar_t *path)
{
    size_t units = wcslen(path);
    wchar_t *native = mem_new_array(units + 5, wchar_t);
    memcpy(native, L"\\??\\", 4 * sizeof *native);
    if (wcsncmp(path, L"\\\\?\\", 4) == 0)
        path += 4;
    memcpy(native + 4, path, wcslen(path) * sizeof *native);
    for (wchar_t *at = native; *at != 0; at++)
        if (*at == L'/')
            *at = L'\\';
    return native;
}

static struct error *tree_do(const char *operation, HANDLE parent, const wchar_t *name, size_t units,
                             enum tree_what what, ACCESS_MASK access, ULONG share, ULONG disposition,
                             HANDLE *ret_handle)
{
    ULONG options = what == TREE_FOLDER ? FILE_DIRECTORY_FILE : what == TREE_FILE ? FILE_NON_DIRECTORY_FILE : 0;
    wchar_t *native = parent == NULL ? native_path(name) : NULL;
    NTSTATUS status;

    if (units > 0x7FFF)
        return error_win32(ERROR_FILENAME_EXCED_RANGE, operation, NULL, NULL);
    if (native != NULL)
        units = wcslen(native);
    status = tree_native(parent, native != NULL ? native : name, units * sizeof *name, access, share, disposition,
                         options, ret_handle);
    free(native);
    return status >= 0 ? NULL : tree_error(status, operation, name, native != NULL ? wcslen(name) : units);
}

struct error *tree_open(HANDLE parent, const wchar_t *name, size_t units, enum tree_what what, ACCESS_MASK access,
                        ULONG share, HANDLE *ret_handle)
{
    return tree_do("open", parent, name, units, what, access, share, FILE_OPEN, ret_handle);
}

struct error *tree_open_id(HANDLE parent, uint64_t id, ACCESS_MASK access, ULONG share, HANDLE *ret_handle)
{
    NTSTATUS status = tree_native(parent, (const wchar_t *)(const void *)&id, sizeof id, access, share, FILE_OPEN,
                                  FILE_OPEN_BY_FILE_ID, ret_handle);
    return status >= 0 ? NULL : tree_error(status, "open by id", L"", 0);
}

struct error *tree_create(HANDLE parent, const wchar_t *name, size_t units, enum tree_what what, HANDLE *ret_handle)
{
    ACCESS_MASK access = what == TREE_FOLDER ? TREE_LIST | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY | FILE_WRITE_ATTRIBUTES
                                             : GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE;
    return tree_do("create", parent, name, units, what, access, FILE_SHARE_READ | FILE_SHARE_DELETE, FILE_CREATE,
                   ret_handle);
}

struct error *tree_create_native(const wchar_t *path, HANDLE *ret_handle)
{
    NTSTATUS status =
        tree_native(NULL, path, wcslen(path) * sizeof *path, GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE,
                    FILE_SHARE_READ | FILE_SHARE_DELETE, FILE_CREATE, FILE_NON_DIRECTORY_FILE, ret_handle);
    return status >= 0 ? NULL : tree_error(status, "create", path, wcslen(path));
}

struct error *tree_make_folder(HANDLE parent, const wchar_t *name, size_t units, HANDLE *ret_handle)
{
    return tree_do("make folder", parent, name, units, TREE_FOLDER,
                   TREE_LIST | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY | FILE_WRITE_ATTRIBUTES,
                   FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, FILE_OPEN_IF, ret_handle);
}

static int compare_names(const wchar_t *a, size_t a_units, const wchar_t *b, size_t b_units)
{
    size_t shorter = a_units < b_units ? a_units : b_units;
    for (size_t i = 0; i < shorter; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return a_units == b_units ? 0 : a_units < b_units ? -1 : 1;
}

static int compare_entries(const void *a, const void *b)
{
    const struct tree_entry *one = a;
    const struct tree_entry *other = b;
    return compare_names(one->name, one->units, other->name, other->units);
}

static void folder_add(struct tree_folder *folder, size_t *capacity, const FILE_ID_BOTH_DIR_INFO *info)
{
    size_t units = info->FileNameLength / sizeof(wchar_t);
    struct tree_entry *entry;

    if (units == 1 && info->FileName[0] == L'.')
        return;
    if (units == 2 && info->FileName[0] == L'.' && info->FileName[1] == L'.')
        return;
    if (folder->count == *capacity) {
        *capacity = *capacity == 0 ? 16 : *capacity * 2;
        folder->entries = mem_resize_array(folder->entries, *capacity, sizeof *folder->entries);
    }
    entry = &folder->entries[folder->count++];
    entry->name = mem_new_array(units + 1, wchar_t);
    memcpy(entry->name, info->FileName, units * sizeof(wchar_t));
    entry->units = units;
    entry->attributes = info->FileAttributes;
    entry->size = (uint64_t)info->EndOfFile.QuadPart;
    entry->created = info->CreationTime.QuadPart;
    entry->accessed = info->LastAccessTime.QuadPart;
    entry->written = info->LastWriteTime.QuadPart;
    entry->id = (uint64_t)info->FileId.QuadPart;
}

struct error *tree_list(HANDLE handle, struct tree_folder *ret_folder)
{
    struct tree_folder folder = {0};
    size_t capacity = 0;
    uint8_t *buffer = mem_zero(LIST_SIZE);
    FILE_INFO_BY_HANDLE_CLASS class = FileIdBothDirectoryRestartInfo;
    DWORD code = 0;

    while (GetFileInformationByHandleEx(handle, class, buffer, LIST_SIZE)) {
        const uint8_t *at = buffer;
        const FILE_ID_BOTH_DIR_INFO *info;
        do {
            info = (const void *)at;
            folder_add(&folder, &capacity, info);
            at += info->NextEntryOffset;
        } while (info->NextEntryOffset != 0);
        class = FileIdBothDirectoryInfo;
    }
    code = GetLastError();
    free(buffer);
    if (code != ERROR_NO_MORE_FILES && code != ERROR_FILE_NOT_FOUND) {
        tree_free(&folder);
        return error_win32(code, "list folder", NULL, NULL);
    }
    if (folder.count > 1)
        qsort(folder.entries, folder.count, sizeof *folder.entries, compare_entries);
    *ret_folder = folder;
    return NULL;
}

void tree_free(struct tree_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++)
        free(folder->entries[i].name);
    free(folder->entries);
    *folder = (struct tree_folder){0};
}

const struct tree_entry *tree_find(const struct tree_folder *folder, const wchar_t *name, size_t units)
{
    size_t low = 0;
    size_t high = folder->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_names(name, units, folder->entries[middle].name, folder->entries[middle].units);
        if (order == 0)
            return &folder->entries[middle];
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

bool tree_is_folder(const struct tree_entry *entry)
{
    return (entry->attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)) == FILE_ATTRIBUTE_DIRECTORY;
}

struct error *tree_set_times(HANDLE file, int64_t created, int64_t accessed, int64_t written, uint32_t attributes)
{
    struct basic_information basic = {.created.QuadPart = created,
                                      .accessed.QuadPart = accessed,
                                      .written.QuadPart = written,
                                      .attributes = attributes};
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtSetInformationFile(file, &io, &basic, sizeof basic, FILE_BASIC_CLASS);
    return status >= 0 ? NULL : tree_error(status, "set times", L"", 0);
}

struct error *tree_id(HANDLE file, uint64_t *ret_id)
{
    LARGE_INTEGER id;
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtQueryInformationFile(file, &io, &id, sizeof id, FILE_INTERNAL_CLASS);
    if (status < 0)
        return tree_error(status, "query id", L"", 0);
    *ret_id = (uint64_t)id.QuadPart;
    return NULL;
}

struct error *tree_link(HANDLE file, HANDLE folder, const wchar_t *name, size_t units)
{
    size_t size = sizeof(struct link_information) + units * sizeof *name;
    struct link_information *link = mem_zero(size);
    IO_STATUS_BLOCK io;
    NTSTATUS status;

    link->folder = folder;
    link->size = (ULONG)(units * sizeof *name);
    memcpy(link->name, name, link->size);
    status = NtSetInformationFile(file, &io, link, (ULONG)size, FILE_LINK_CLASS);
    free(link);
    return status >= 0 ? NULL : tree_error(status, "link", name, units);
}

struct error *tree_delete(HANDLE file)
{
    BOOLEAN gone = TRUE;
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtSetInformationFile(file, &io, &gone, sizeof gone, FILE_DISPOSITION_CLASS);

    if (status == CANNOT_DELETE) { /* read-only */
        error_free(tree_set_times(file, 0, 0, 0, FILE_ATTRIBUTE_NORMAL));
        status = NtSetInformationFile(file, &io, &gone, sizeof gone, FILE_DISPOSITION_CLASS);
    }
    return status >= 0 ? NULL : tree_error(status, "delete", L"", 0);
}

static struct error *tree_empty_at(HANDLE folder, unsigned depth)
{
    ACCESS_MASK access = DELETE | TREE_LIST | FILE_WRITE_ATTRIBUTES;
    struct tree_folder list;
    struct error *first = tree_list(folder, &list);

    if (first != NULL)
        return first;
    if (depth > DEPTH_LIMIT)
        first = error_win32(ERROR_FILENAME_EXCED_RANGE, "delete", NULL, "too deep");
    for (size_t i = 0; i < list.count && depth <= DEPTH_LIMIT; i++) {
        const struct tree_entry *entry = &list.entries[i];
        ULONG share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        HANDLE handle;
        struct error *error = tree_open(folder, entry->name, entry->units, TREE_ANY, access, share, &handle);
        if (error != NULL && error->code == ERROR_SHARING_VIOLATION) {
            error_keep_first(&first, error);
            continue;
        }
        if (error != NULL) {
            error_free(error);
            error = tree_open_id(folder, entry->id, access, share, &handle);
        }
        if (error == NULL) {
            if (tree_is_folder(entry))
                error = tree_empty_at(handle, depth + 1);
            if (error == NULL)
                error = tree_delete(handle);
            CloseHandle(handle);
        }
        if (error != NULL)
            error_keep_first(&first, error);
    }
    tree_free(&list);
    return first;
}

struct error *tree_empty(HANDLE folder)
{
    return tree_empty_at(folder, 0);
}

struct error *tree_write(HANDLE file, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        DWORD done = 0;
        DWORD part = size > (1u << 30) ? 1u << 30 : (DWORD)size;
        if (!WriteFile(file, at, part, &done, NULL) || done == 0)
            return error_win32(GetLastError(), "write", NULL, NULL);
        at += done;
        size -= done;
    }
    return NULL;
}

struct error *tree_read(HANDLE file, void *data, size_t size, size_t *ret_got)
{
    DWORD done = 0;
    if (!ReadFile(file, data, (DWORD)size, &done, NULL) && GetLastError() != ERROR_HANDLE_EOF)
        return error_win32(GetLastError(), "read", NULL, NULL);
    *ret_got = done;
    return NULL;
}
