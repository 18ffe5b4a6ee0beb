#include "export/folder_change.h"

#include <string.h>

#include "base/memory.h"

#ifndef FILE_OPEN_REPARSE_POINT
#define FILE_OPEN_REPARSE_POINT 0x00200000
#endif
#define DONT_REPARSE           0x00001000u /* OBJ_DONT_REPARSE, since Windows 10 1607 */
#define NT_INVALID_PARAMETER   ((NTSTATUS)0xC000000DL)
#define FILE_LINK_CLASS        ((FILE_INFORMATION_CLASS)11)
#define FILE_END_OF_FILE_CLASS ((FILE_INFORMATION_CLASS)20)
/* What FileBasicInformation takes; the others are set by what they stand for. */
#define SETTABLE_ATTRIBUTES                                                                                            \
    (FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM | FILE_ATTRIBUTE_ARCHIVE |                \
     FILE_ATTRIBUTE_TEMPORARY | FILE_ATTRIBUTE_OFFLINE | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED)

NTSTATUS NTAPI NtWriteFile(HANDLE file, HANDLE event, PIO_APC_ROUTINE apc, PVOID apc_context, PIO_STATUS_BLOCK io,
                           const void *data, ULONG size, PLARGE_INTEGER offset, PULONG key);

/* FILE_LINK_INFORMATION of ntifs.h. */
struct link_information {
    BOOLEAN replace;
    HANDLE folder;
    ULONG name_bytes;
    WCHAR name[1];
};

NTSTATUS folder_create(struct folder_volume *volume, HANDLE folder, const WCHAR *name, size_t units, ACCESS_MASK access,
                       ULONG options, HANDLE *ret_handle)
{
    UNICODE_STRING text = {.Length = (USHORT)(units * sizeof(WCHAR)),
                           .MaximumLength = (USHORT)(units * sizeof(WCHAR)),
                           .Buffer = (WCHAR *)(uintptr_t)name};
    OBJECT_ATTRIBUTES attributes = {.Length = sizeof attributes, .RootDirectory = folder, .ObjectName = &text};
    attributes.Attributes = volume->no_dont_reparse ? 0 : DONT_REPARSE;
    for (;;) {
        HANDLE handle = NULL;
        IO_STATUS_BLOCK io;
        NTSTATUS status = NtCreateFile(
            &handle, access | SYNCHRONIZE | FILE_READ_ATTRIBUTES, &attributes, &io, NULL, FILE_ATTRIBUTE_NORMAL,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, FILE_CREATE,
            options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT | FILE_OPEN_REPARSE_POINT, NULL, 0);
        if (status >= 0)
            *ret_handle = handle;
        if (status != NT_INVALID_PARAMETER || attributes.Attributes == 0) {
            if (status >= 0 && attributes.Attributes == 0)
                volume->no_dont_reparse = true;
            return status;
        }
        attributes.Attributes = 0; /* this Windows may not know the flag: the call without it tells */
    }
}

NTSTATUS folder_link(HANDLE file, HANDLE folder, const WCHAR *name, size_t units)
{
    size_t size = sizeof(struct link_information) + units * sizeof(WCHAR);
    struct link_information *information = mem_zero(size);
    information->folder = folder;
    information->name_bytes = (ULONG)(units * sizeof(WCHAR));
    memcpy(information->name, name, units * sizeof(WCHAR));
    IO_STATUS_BLOCK io;
    NTSTATUS status = NtSetInformationFile(file, &io, information, (ULONG)size, FILE_LINK_CLASS);
    free(information);
    return status;
}

NTSTATUS folder_set_info(HANDLE handle, uint32_t attributes, uint64_t modified, uint64_t created)
{
    FILE_BASIC_INFORMATION basic = {0};
    IO_STATUS_BLOCK io;
    basic.LastWriteTime.QuadPart = (LONGLONG)modified;
    basic.CreationTime.QuadPart = (LONGLONG)created;
    if (attributes != 0) /* none of them is "normal": 0 would leave them as they are */
        basic.FileAttributes =
            attributes & SETTABLE_ATTRIBUTES ? attributes & SETTABLE_ATTRIBUTES : FILE_ATTRIBUTE_NORMAL;
    return NtSetInformationFile(handle, &io, &basic, sizeof basic, FileBasicInformation);
}

NTSTATUS folder_write(HANDLE handle, uint64_t offset, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        LARGE_INTEGER at = {.QuadPart = (LONGLONG)(offset + done)};
        IO_STATUS_BLOCK io = {0};
        ULONG part = size - done > 0x40000000 ? 0x40000000 : (ULONG)(size - done);
        NTSTATUS status = NtWriteFile(handle, NULL, NULL, NULL, &io, (const uint8_t *)data + done, part, &at, NULL);
        if (status < 0)
            return status;
        done += io.Information;
    }
    return 0;
}

NTSTATUS folder_set_size(HANDLE handle, uint64_t size)
{
    LARGE_INTEGER end = {.QuadPart = (LONGLONG)size};
    IO_STATUS_BLOCK io;
    return NtSetInformationFile(handle, &io, &end, sizeof end, FILE_END_OF_FILE_CLASS);
}
