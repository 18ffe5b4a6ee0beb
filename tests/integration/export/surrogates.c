/* Names with lone surrogates, which Wine cannot have and Windows can: with HCSD_TEST_SURROGATES in the environment, U+E000 to U+E0FF of
 * real names are shown as U+DC00 to U+DCFF in listings, and translated back where a file is opened, made or linked by name. Put
 * between by the linker (--wrap). */
#include <windows.h>
#include <winternl.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_BY_ID  0x00002000
#define SHOWN_FIRST 0xdc00
#define REAL_FIRST  0xe000
#define COUNT       0x100
#define LINK_CLASS  11

NTSTATUS NTAPI __real_NtQueryDirectoryFile(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, PVOID, ULONG,
                                           FILE_INFORMATION_CLASS, BOOLEAN, PUNICODE_STRING, BOOLEAN);
NTSTATUS NTAPI __wrap_NtQueryDirectoryFile(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, PVOID, ULONG,
                                           FILE_INFORMATION_CLASS, BOOLEAN, PUNICODE_STRING, BOOLEAN);
NTSTATUS NTAPI __real_NtCreateFile(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PIO_STATUS_BLOCK, PLARGE_INTEGER, ULONG,
                                   ULONG, ULONG, ULONG, PVOID, ULONG);
NTSTATUS NTAPI __wrap_NtCreateFile(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PIO_STATUS_BLOCK, PLARGE_INTEGER, ULONG,
                                   ULONG, ULONG, ULONG, PVOID, ULONG);
NTSTATUS NTAPI __real_NtSetInformationFile(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, FILE_INFORMATION_CLASS);
NTSTATUS NTAPI __wrap_NtSetInformationFile(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, FILE_INFORMATION_CLASS);

static bool is_on(void)
{
    static int on = -1;
    if (on < 0)
        on = GetEnvironmentVariableW(L"HCSD_TEST_SURROGATES", NULL, 0) > 0;
    return on;
}

static void translate(WCHAR *name, size_t count, unsigned from, unsigned to)
{
    for (size_t i = 0; i < count; i++)
        if (name[i] >= from && name[i] < from + COUNT &&
            !(from == SHOWN_FIRST && i > 0 && name[i - 1] >> 10 == 0xd800 >> 10))
            name[i] = (WCHAR)(name[i] - from + to);
}

NTSTATUS NTAPI __wrap_NtQueryDirectoryFile(HANDLE file, HANDLE event, PIO_APC_ROUTINE apc, PVOID apc_context,
                                           PIO_STATUS_BLOCK io, PVOID data, ULONG size,
                                           FILE_INFORMATION_CLASS information, BOOLEAN single, PUNICODE_STRING pattern,
                                           BOOLEAN restart)
{
    NTSTATUS status = __real_NtQueryDirectoryFile(file, event, apc, apc_context, io, data, size, information, single,
                                                  pattern, restart);
    if (status < 0 || !is_on() || information != FileIdBothDirectoryInformation)
        return status;
    for (uint8_t *row = data;;) {
        FILE_ID_BOTH_DIR_INFORMATION *entry = (void *)row;
        translate(entry->FileName, entry->FileNameLength / sizeof(WCHAR), REAL_FIRST, SHOWN_FIRST);
        if (entry->NextEntryOffset == 0)
            return status;
        row += entry->NextEntryOffset;
    }
}

NTSTATUS NTAPI __wrap_NtCreateFile(PHANDLE handle, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes,
                                   PIO_STATUS_BLOCK io, PLARGE_INTEGER allocation, ULONG file_attributes, ULONG share,
                                   ULONG disposition, ULONG options, PVOID ea, ULONG ea_size)
{
    OBJECT_ATTRIBUTES real = *attributes;
    UNICODE_STRING name = *attributes->ObjectName;
    WCHAR units[32768];
    if (is_on() && !(options & OPEN_BY_ID)) {
        memcpy(units, name.Buffer, name.Length);
        translate(units, name.Length / sizeof(WCHAR), SHOWN_FIRST, REAL_FIRST);
        name.Buffer = units;
        real.ObjectName = &name;
    }
    return __real_NtCreateFile(handle, access, &real, io, allocation, file_attributes, share, disposition, options, ea,
                               ea_size);
}

NTSTATUS NTAPI __wrap_NtSetInformationFile(HANDLE file, PIO_STATUS_BLOCK io, PVOID data, ULONG size,
                                           FILE_INFORMATION_CLASS information)
{
    if (!is_on() || information != LINK_CLASS)
        return __real_NtSetInformationFile(file, io, data, size, information);
    uint8_t *copy = malloc(size);
    memcpy(copy, data, size);
    WCHAR *name = (WCHAR *)(copy + 20); /* FILE_LINK_INFORMATION: replace, folder, length, name */
    ULONG bytes;
    memcpy(&bytes, copy + 16, sizeof bytes);
    translate(name, bytes / sizeof(WCHAR), SHOWN_FIRST, REAL_FIRST);
    NTSTATUS status = __real_NtSetInformationFile(file, io, copy, size, information);
    free(copy);
    return status;
}
