#include "export/folder.h"

#include <string.h>

#include "base/memory.h"
#include "base/win.h"

#ifndef FILE_OPEN_BY_FILE_ID
#define FILE_OPEN_BY_FILE_ID 0x00002000
#endif
#ifndef FILE_OPEN_REPARSE_POINT
#define FILE_OPEN_REPARSE_POINT 0x00200000
#endif
#define DONT_REPARSE              0x00001000u /* OBJ_DONT_REPARSE, since Windows 10 1607 */
#define DISPOSITION_EX            64          /* FileDispositionInformationEx, since 1607; IGNORE_READONLY since 1809 */
#define FILE_ID_INFORMATION_CLASS 59
#define LIST_BUFFER               (64u << 10)
#define NAME_BUFFER               (sizeof(FILE_NAME_INFORMATION) + 65536)

#define NT_BUFFER_OVERFLOW        ((NTSTATUS)0x80000005L)
#define NT_INVALID_INFO_CLASS     ((NTSTATUS)0xC0000003L)
#define NT_INVALID_PARAMETER      ((NTSTATUS)0xC000000DL)
#define NT_NOT_IMPLEMENTED        ((NTSTATUS)0xC0000002L)
#define NT_NOT_SUPPORTED          ((NTSTATUS)0xC00000BBL)
#define NT_INVALID_DEVICE_REQUEST ((NTSTATUS)0xC0000010L)
#define NT_NO_MORE_FILES          ((NTSTATUS)0x80000006L)
#define NT_NO_SUCH_FILE           ((NTSTATUS)0xC000000FL)
#define NT_END_OF_FILE            ((NTSTATUS)0xC0000011L)
#define NT_OBJECT_PATH_NOT_FOUND  ((NTSTATUS)0xC000003AL)
#define NT_OBJECT_NAME_INVALID    ((NTSTATUS)0xC0000033L)
#define NT_OBJECT_PATH_SYNTAX_BAD ((NTSTATUS)0xC000003BL)
#define NT_NOT_A_DIRECTORY        ((NTSTATUS)0xC0000103L)

NTSTATUS NTAPI NtQueryDirectoryFile(HANDLE file, HANDLE event, PIO_APC_ROUTINE apc, PVOID apc_context,
                                    PIO_STATUS_BLOCK io, PVOID data, ULONG size, FILE_INFORMATION_CLASS information,
                                    BOOLEAN single, PUNICODE_STRING pattern, BOOLEAN restart);
NTSTATUS NTAPI NtReadFile(HANDLE file, HANDLE event, PIO_APC_ROUTINE apc, PVOID apc_context, PIO_STATUS_BLOCK io,
                          PVOID data, ULONG size, PLARGE_INTEGER offset, PULONG key);

/* Most paths fit into this; the longest does not belong on a stack. */
union name_space {
    FILE_NAME_INFORMATION information;
    uint8_t bytes[2048];
};

static const ULONG share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
static const ULONG options_all = FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT | FILE_OPEN_REPARSE_POINT;

struct error *folder_open(const char *path, ACCESS_MASK access, HANDLE *ret_handle)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error)
        return error;
    HANDLE handle = CreateFileW(wide, access | SYNCHRONIZE | FILE_READ_ATTRIBUTES, share_all, NULL, OPEN_EXISTING,
                                FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    free(wide);
    if (handle == INVALID_HANDLE_VALUE)
        return error_win32(GetLastError(), "open folder", path, NULL);
    struct folder_info info;
    NTSTATUS status = folder_info(handle, &info);
    if (status < 0)
        error = error_ntstatus((uint32_t)status, "open folder", path, NULL);
    else if (info.attributes & FILE_ATTRIBUTE_REPARSE_POINT || !(info.attributes & FILE_ATTRIBUTE_DIRECTORY))
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "open folder", path, "it is a link or a file, not a folder");
    if (error) {
        CloseHandle(handle);
        return error;
    }
    *ret_handle = handle;
    return NULL;
}

static NTSTATUS open_relative(struct folder_volume *volume, HANDLE folder, const void *name, size_t bytes,
                              ACCESS_MASK access, ULONG options, HANDLE *ret_handle)
{
    UNICODE_STRING text = {.Length = (USHORT)bytes, .MaximumLength = (USHORT)bytes, .Buffer = (WCHAR *)(uintptr_t)name};
    OBJECT_ATTRIBUTES attributes = {
        .Length = sizeof attributes,
        .RootDirectory = folder,
        .ObjectName = &text,
        .Attributes = volume->no_dont_reparse ? 0 : DONT_REPARSE,
    };
    HANDLE handle = NULL;
    IO_STATUS_BLOCK io;
    for (;;) {
        NTSTATUS status = NtCreateFile(&handle, access | SYNCHRONIZE | FILE_READ_ATTRIBUTES, &attributes, &io, NULL, 0,
                                       share_all, FILE_OPEN, options | options_all, NULL, 0);
        if (status >= 0) {
            *ret_handle = handle;
            return status;
        }
        if (status != NT_INVALID_PARAMETER || attributes.Attributes == 0)
            return status;
        /* Either this Windows does not know the flag, or something else is wrong: the call without it tells. */
        attributes.Attributes = 0;
        status = NtCreateFile(&handle, access | SYNCHRONIZE | FILE_READ_ATTRIBUTES, &attributes, &io, NULL, 0,
                              share_all, FILE_OPEN, options | options_all, NULL, 0);
        if (status >= 0) {
            volume->no_dont_reparse = !(options & FILE_OPEN_BY_FILE_ID);
            *ret_handle = handle;
        }
        return status;
    }
}

NTSTATUS folder_open_name(struct folder_volume *volume, HANDLE folder, const WCHAR *name, ACCESS_MASK access,
                          ULONG options, HANDLE *ret_handle)
{
    return open_relative(volume, folder, name, wcslen(name) * sizeof(WCHAR), access, options, ret_handle);
}

/* Is it worth trying another way to the entry? Denials and sharing are not about the name. */
static bool name_failed(NTSTATUS status)
{
    return status == NT_OBJECT_NAME_NOT_FOUND || status == NT_OBJECT_PATH_NOT_FOUND ||
           status == NT_OBJECT_NAME_INVALID || status == NT_OBJECT_PATH_SYNTAX_BAD || status == NT_INVALID_PARAMETER ||
           status == NT_NO_SUCH_FILE || status == NT_NOT_A_DIRECTORY;
}

static NTSTATUS open_listed(struct folder_volume *volume, HANDLE folder, const struct folder_entry *entry,
                            ACCESS_MASK access, ULONG options, HANDLE *ret_handle)
{
    NTSTATUS status = NT_OBJECT_NAME_NOT_FOUND;
    if (!entry->ambiguous) {
        status =
            open_relative(volume, folder, entry->name, entry->name_units * sizeof(WCHAR), access, options, ret_handle);
        if (status >= 0 || !name_failed(status))
            return status;
        if (entry->short_units > 0) {
            NTSTATUS second = open_relative(volume, folder, entry->short_name, entry->short_units * sizeof(WCHAR),
                                            access, options, ret_handle);
            if (second >= 0)
                return second;
        }
    }
    if (entry->id == 0 || entry->id == UINT64_MAX)
        return status;
    NTSTATUS by_id =
        open_relative(volume, folder, &entry->id, sizeof entry->id, access, options | FILE_OPEN_BY_FILE_ID, ret_handle);
    return by_id >= 0 || !name_failed(by_id) ? by_id : status;
}

static bool is_lacking(NTSTATUS status)
{
    return status == NT_INVALID_INFO_CLASS || status == NT_INVALID_PARAMETER || status == NT_NOT_IMPLEMENTED ||
           status == NT_NOT_SUPPORTED || status == NT_INVALID_DEVICE_REQUEST;
}

void folder_probe(struct folder_volume *volume, HANDLE folder)
{
    ULONG flags = 0; /* do not delete */
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtSetInformationFile(folder, &io, &flags, sizeof flags, (FILE_INFORMATION_CLASS)DISPOSITION_EX);
    if (is_lacking(status))
        volume->no_posix_delete = true;
}

/* The path within its volume, in `space` where it fits, else in *ret_long, which the caller frees. NULL: it cannot be had. */
static const FILE_NAME_INFORMATION *query_name(HANDLE handle, void *space, ULONG size, FILE_NAME_INFORMATION **ret_long)
{
    IO_STATUS_BLOCK io;
    *ret_long = NULL;
    NTSTATUS status = NtQueryInformationFile(handle, &io, space, size, FileNameInformation);
    if (status >= 0)
        return space;
    if (status != NT_BUFFER_OVERFLOW)
        return NULL;
    *ret_long = mem_resize_array(NULL, NAME_BUFFER, 1);
    status = NtQueryInformationFile(handle, &io, *ret_long, NAME_BUFFER, FileNameInformation);
    return status >= 0 ? *ret_long : NULL;
}

void folder_find_place(const struct folder_volume *volume, HANDLE folder, struct folder_place *ret_place)
{
    *ret_place = (struct folder_place){0};
    if (!volume->no_posix_delete)
        return;
    union name_space space;
    FILE_NAME_INFORMATION *more;
    const FILE_NAME_INFORMATION *name = query_name(folder, &space, sizeof space, &more);
    if (name) {
        ret_place->path = mem_copy(name->FileName, name->FileNameLength);
        ret_place->units = name->FileNameLength / sizeof(WCHAR);
    }
    free(more);
}

static bool has_separator(const WCHAR *name, size_t units)
{
    for (size_t i = 0; i < units; i++)
        if (name[i] == '\\' || name[i] == '/' || name[i] == 0)
            return true;
    return false;
}

/* Is what was opened an entry of the folder? Its name there may be the 8.3 one, and Wine drops trailing dots and blanks; so
 * only a separator in it tells that it is elsewhere, unless the listed name has one too. */
static bool is_in_place(const struct folder_place *place, const struct folder_entry *entry, HANDLE handle)
{
    union name_space space;
    FILE_NAME_INFORMATION *more;
    const FILE_NAME_INFORMATION *found = query_name(handle, &space, sizeof space, &more);
    bool in = true;
    if (found) {
        const WCHAR *path = found->FileName;
        size_t units = found->FileNameLength / sizeof(WCHAR);
        size_t at = place->units;
        in = units > at && memcmp(path, place->path, at * sizeof(WCHAR)) == 0;
        while (in && at < units && (path[at] == '.' || path[at] == ' '))
            at++;
        if (in && (at == 0 || path[at - 1] != '\\'))
            in = at < units && path[at++] == '\\';
        if (in && !entry->ambiguous)
            in = !has_separator(path + at, units - at);
    }
    free(more);
    return in;
}

NTSTATUS folder_open_entry(struct folder_volume *volume, HANDLE folder, const struct folder_place *place,
                           const struct folder_entry *entry, ACCESS_MASK access, ULONG options, HANDLE *ret_handle)
{
    HANDLE handle = NULL;
    NTSTATUS status = open_listed(volume, folder, entry, access, options, &handle);
    if (status < 0)
        return status;
    if (place && place->path && !is_in_place(place, entry, handle)) {
        CloseHandle(handle);
        return NT_REPARSE_POINT_ENCOUNTERED;
    }
    *ret_handle = handle;
    return status;
}

/* The code point that begins at `at`; a lone surrogate is its own. */
static uint32_t code_point(const WCHAR *units, size_t count, size_t at)
{
    uint32_t unit = units[at];
    if (unit >= 0xd800 && unit < 0xdc00 && at + 1 < count && units[at + 1] >= 0xdc00 && units[at + 1] < 0xe000)
        return 0x10000 + ((unit - 0xd800) << 10) + (units[at + 1] - 0xdc00u);
    return unit;
}

int folder_compare_names(const WCHAR *a, size_t a_units, const WCHAR *b, size_t b_units)
{
    size_t at = 0;
    while (at < a_units && at < b_units && a[at] == b[at])
        at++;
    if (at == a_units || at == b_units)
        return (a_units > b_units) - (a_units < b_units);
    /* The difference may be in the second half of a pair. */
    if (at > 0 && a[at - 1] >= 0xd800 && a[at - 1] < 0xdc00)
        at--;
    uint32_t left = code_point(a, a_units, at);
    uint32_t right = code_point(b, b_units, at);
    if (left == right) { /* the same lone surrogate: the difference is behind it */
        left = code_point(a, a_units, at + 1);
        right = code_point(b, b_units, at + 1);
    }
    return (left > right) - (left < right);
}

static int compare_entries(const void *a, const void *b)
{
    const struct folder_entry *left = a;
    const struct folder_entry *right = b;
    return folder_compare_names(left->name, left->name_units, right->name, right->name_units);
}

static bool is_dot(const WCHAR *name, size_t units)
{
    return (units == 1 && name[0] == '.') || (units == 2 && name[0] == '.' && name[1] == '.');
}

struct listing {
    struct folder_list list;
    size_t entry_capacity, name_units, name_capacity;
};

static void add_listed(struct listing *listing, const FILE_ID_BOTH_DIR_INFORMATION *row)
{
    size_t units = row->FileNameLength / sizeof(WCHAR);
    if (is_dot(row->FileName, units))
        return;
    if (listing->list.count == listing->entry_capacity) {
        listing->entry_capacity = listing->entry_capacity ? listing->entry_capacity * 2 : 16;
        listing->list.entries =
            mem_resize_array(listing->list.entries, listing->entry_capacity, sizeof *listing->list.entries);
    }
    while (listing->name_units + units > listing->name_capacity) {
        listing->name_capacity = listing->name_capacity ? listing->name_capacity * 2 : 512;
        listing->list.names = mem_resize_array(listing->list.names, listing->name_capacity, sizeof(WCHAR));
    }
    memcpy(listing->list.names + listing->name_units, row->FileName, units * sizeof(WCHAR));
    listing->name_units += units;
    struct folder_entry *entry = &listing->list.entries[listing->list.count++];
    *entry = (struct folder_entry){
        .name_units = (uint16_t)units,
        .attributes = row->FileAttributes,
        .size = (uint64_t)row->EndOfFile.QuadPart,
        .id = (uint64_t)row->FileId.QuadPart,
        .ambiguous = has_separator(row->FileName, units),
    };
    size_t short_units = (size_t)(unsigned char)row->ShortNameLength / sizeof(WCHAR);
    if (short_units <= 12) {
        entry->short_units = (uint16_t)short_units;
        memcpy(entry->short_name, row->ShortName, short_units * sizeof(WCHAR));
    }
}

NTSTATUS folder_list(HANDLE folder, struct folder_list *ret_list)
{
    struct listing listing = {0};
    uint8_t *data = mem_resize_array(NULL, LIST_BUFFER, 1);
    NTSTATUS status;
    for (bool restart = true;; restart = false) {
        IO_STATUS_BLOCK io = {0};
        status = NtQueryDirectoryFile(folder, NULL, NULL, NULL, &io, data, LIST_BUFFER, FileIdBothDirectoryInformation,
                                      FALSE, NULL, restart);
        if (status < 0)
            break;
        for (size_t at = 0;;) {
            const FILE_ID_BOTH_DIR_INFORMATION *row = (const void *)(data + at);
            add_listed(&listing, row);
            if (row->NextEntryOffset == 0)
                break;
            at += row->NextEntryOffset;
        }
    }
    free(data);
    if (status != NT_NO_MORE_FILES && status != NT_NO_SUCH_FILE) {
        folder_list_free(&listing.list);
        return status;
    }
    struct folder_list *list = &listing.list;
    const WCHAR *name = list->names;
    for (size_t i = 0; i < list->count; i++) {
        list->entries[i].name = name;
        name += list->entries[i].name_units;
    }
    if (list->count > 0)
        qsort(list->entries, list->count, sizeof *list->entries, compare_entries);
    for (size_t i = 1; i < list->count; i++)
        if (compare_entries(&list->entries[i - 1], &list->entries[i]) == 0)
            list->entries[i - 1].ambiguous = list->entries[i].ambiguous = true;
    *ret_list = *list;
    return 0;
}

void folder_list_free(struct folder_list *list)
{
    if (!list)
        return;
    free(list->entries);
    free(list->names);
    *list = (struct folder_list){0};
}

static NTSTATUS delete_classic(HANDLE handle)
{
    FILE_DISPOSITION_INFORMATION disposition = {TRUE};
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtSetInformationFile(handle, &io, &disposition, sizeof disposition, FileDispositionInformation);
    if (status != NT_CANNOT_DELETE)
        return status;
    /* The attribute belongs to the file, not the name: with more names it may be another layer's. */
    struct folder_info info;
    if (folder_info(handle, &info) < 0 || !(info.attributes & FILE_ATTRIBUTE_READONLY) || info.links > 1)
        return status;
    FILE_BASIC_INFORMATION basic = {0};
    basic.FileAttributes = FILE_ATTRIBUTE_NORMAL;
    if (NtSetInformationFile(handle, &io, &basic, sizeof basic, FileBasicInformation) < 0)
        return status;
    return NtSetInformationFile(handle, &io, &disposition, sizeof disposition, FileDispositionInformation);
}

NTSTATUS folder_delete(struct folder_volume *volume, HANDLE handle)
{
    if (volume->no_posix_delete)
        return delete_classic(handle);
    ULONG flags = 0x1 | 0x2 | 0x10; /* DELETE, POSIX_SEMANTICS, IGNORE_READONLY_ATTRIBUTE */
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtSetInformationFile(handle, &io, &flags, sizeof flags, (FILE_INFORMATION_CLASS)DISPOSITION_EX);
    if (!is_lacking(status))
        return status;
    status = delete_classic(handle);
    if (status >= 0)
        volume->no_posix_delete = true;
    return status;
}

NTSTATUS folder_info(HANDLE handle, struct folder_info *ret_info)
{
    FILE_BASIC_INFORMATION basic;
    FILE_STANDARD_INFORMATION standard;
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtQueryInformationFile(handle, &io, &basic, sizeof basic, FileBasicInformation);
    if (status < 0)
        return status;
    status = NtQueryInformationFile(handle, &io, &standard, sizeof standard, FileStandardInformation);
    if (status < 0)
        return status;
    ret_info->size = (uint64_t)standard.EndOfFile.QuadPart;
    ret_info->links = standard.NumberOfLinks;
    ret_info->attributes = basic.FileAttributes;
    ret_info->modified = (uint64_t)basic.LastWriteTime.QuadPart;
    ret_info->created = (uint64_t)basic.CreationTime.QuadPart;
    return 0;
}

NTSTATUS folder_id(HANDLE handle, uint8_t ret_id[16])
{
    struct {
        ULONGLONG volume;
        uint8_t id[16];
    } information;
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtQueryInformationFile(handle, &io, &information, sizeof information,
                                             (FILE_INFORMATION_CLASS)FILE_ID_INFORMATION_CLASS);
    if (status >= 0)
        memcpy(ret_id, information.id, 16);
    return status;
}

NTSTATUS folder_read(HANDLE handle, uint64_t offset, void *data, size_t size, size_t *ret_got)
{
    size_t got = 0;
    while (got < size) {
        LARGE_INTEGER at = {.QuadPart = (LONGLONG)(offset + got)};
        IO_STATUS_BLOCK io = {0};
        ULONG part = size - got > 0x40000000 ? 0x40000000 : (ULONG)(size - got);
        NTSTATUS status = NtReadFile(handle, NULL, NULL, NULL, &io, (uint8_t *)data + got, part, &at, NULL);
        if (status == NT_END_OF_FILE || (status >= 0 && io.Information == 0))
            break;
        if (status < 0)
            return status;
        got += io.Information;
    }
    *ret_got = got;
    return 0;
}

char *folder_status_text(NTSTATUS status)
{
    struct error *error = error_ntstatus((uint32_t)status, "", "", NULL);
    char *text = str_format("%s (0x%08lX, Windows error %lu)", error->message, (unsigned long)status,
                            RtlNtStatusToDosError(status));
    error_free(error);
    return text;
}
