/* What a process holds: census.exe PID prints {"handles":N,"threads":N}, and fails when there is no such process. */
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

#include <tlhelp32.h>
#include <winternl.h>

#include "base/memory.h"

/* SystemHandleInformation (16), which winternl.h does not have: every handle of the machine. What the process query tells is
 * the size of the handle table under Wine, and GetProcessHandleCount gives 0 there. */
struct handle_list {
    ULONG count;
    struct {
        USHORT pid, creator;
        UCHAR type, attributes;
        USHORT handle;
        void *object;
        ULONG access;
    } entries[];
};

static long count_handles(DWORD pid)
{
    ULONG size = 1u << 20, needed = 0;
    struct handle_list *list = mem_zero(size);
    long found = 0;
    while (NtQuerySystemInformation((SYSTEM_INFORMATION_CLASS)16, list, size, &needed) == (NTSTATUS)0xC0000004 &&
           size < (64u << 20)) {
        size *= 2;
        list = mem_resize_array(list, size, 1);
    }
    for (ULONG i = 0; i < list->count; i++)
        found += list->entries[i].pid == pid;
    free(list);
    return found;
}

static long count_threads(DWORD pid)
{
    THREADENTRY32 entry = {.dwSize = sizeof entry};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    long found = 0;
    for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry))
        found += entry.th32OwnerProcessID == pid;
    CloseHandle(snapshot);
    return found;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    DWORD pid = argc == 2 ? wcstoul(argv[1], NULL, 10) : 0;
    long threads = pid != 0 ? count_threads(pid) : 0;
    if (threads == 0) {
        fputs("usage: census.exe PID-OF-A-RUNNING-PROCESS\n", stderr);
        return 1;
    }
    printf("{\"handles\":%ld,\"threads\":%ld}\n", count_handles(pid), threads);
    return 0;
}
