/* What a process holds: census.exe PID prints {"handles":N,"threads":N}, and fails when there is no such process. */
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

#include <tlhelp32.h>

#include "tests/integration/handles.h"

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
    printf("{\"handles\":%ld,\"threads\":%ld}\n", handles_of(pid), threads);
    return 0;
}
