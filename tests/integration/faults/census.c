/* What a process holds: census.exe PID prints {"handles":N,"threads":N,"types":{"File":N,…},"starts":{"hcsd.exe+0x1234":N,…}}: its
 * handles by what they are of, its threads by where they began. Fails when there is no such process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include <tlhelp32.h>
#include <winternl.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/win.h"
#include "tests/integration/handles.h"

#define START_ADDRESS 9 /* ThreadQuerySetWin32StartAddress */

static void count_one(json_t *counts, const char *name)
{
    json_object_set_new(counts, name, json_integer(json_integer_value(json_object_get(counts, name)) + 1));
}

/* "File", "Event", …; "?" for what cannot be told. */
static void count_type(json_t *types, HANDLE process, USHORT value)
{
    HANDLE handle = NULL;
    union {
        PUBLIC_OBJECT_TYPE_INFORMATION information;
        char room[1024];
    } type = {0};
    char *name = NULL;
    if (DuplicateHandle(process, (HANDLE)(uintptr_t)value, GetCurrentProcess(), &handle, 0, FALSE,
                        DUPLICATE_SAME_ACCESS) &&
        NtQueryObject(handle, ObjectTypeInformation, &type, sizeof type, NULL) == 0 && type.information.TypeName.Buffer)
        name = win_text(type.information.TypeName.Buffer);
    if (handle != NULL)
        CloseHandle(handle);
    count_one(types, name != NULL ? name : "?");
    free(name);
}

struct types_of {
    json_t *counts;
    HANDLE process;
};

static void count_handle(void *context, USHORT value)
{
    const struct types_of *types = context;
    count_type(types->counts, types->process, value);
}

static long count_handles(DWORD pid, json_t *counts)
{
    struct types_of types = {counts, OpenProcess(PROCESS_DUP_HANDLE, FALSE, pid)};
    long found = handles_of(pid, count_handle, &types);
    if (types.process != NULL)
        CloseHandle(types.process);
    return found;
}

/* The module of the process that has the address, and how far in: what addr2line is given. */
static char *place(DWORD pid, uintptr_t address)
{
    MODULEENTRY32W entry = {.dwSize = sizeof entry};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPMODULE, pid);
    char *text = NULL;
    for (BOOL more = Module32FirstW(snapshot, &entry); more && text == NULL; more = Module32NextW(snapshot, &entry)) {
        uintptr_t base = (uintptr_t)entry.modBaseAddr;
        if (address < base || address >= base + entry.modBaseSize)
            continue;
        char *name = win_text(entry.szModule);
        text = str_format("%s+0x%llx", name, (unsigned long long)(address - base));
        free(name);
    }
    CloseHandle(snapshot);
    return text != NULL ? text : str_format("0x%llx", (unsigned long long)address);
}

static long count_threads(DWORD pid, json_t *starts)
{
    THREADENTRY32 entry = {.dwSize = sizeof entry};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    long found = 0;
    for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry)) {
        void *address = NULL;
        if (entry.th32OwnerProcessID != pid)
            continue;
        HANDLE thread = OpenThread(THREAD_QUERY_INFORMATION, FALSE, entry.th32ThreadID);
        if (thread != NULL) {
            NtQueryInformationThread(thread, (THREADINFOCLASS)START_ADDRESS, &address, sizeof address, NULL);
            CloseHandle(thread);
        }
        char *where = place(pid, (uintptr_t)address);
        count_one(starts, where);
        free(where);
        found++;
    }
    CloseHandle(snapshot);
    return found;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    DWORD pid = argc == 2 ? wcstoul(argv[1], NULL, 10) : 0;
    json_t *types = json_object(), *starts = json_object();
    long threads = pid != 0 ? count_threads(pid, starts) : 0;
    if (threads == 0) {
        fputs("usage: census.exe PID-OF-A-RUNNING-PROCESS\n", stderr);
        return 1;
    }
    json_t *census = json_pack("{s:I, s:I, s:o, s:o}", "handles", (json_int_t)count_handles(pid, types), "threads",
                               (json_int_t)threads, "types", types, "starts", starts);
    char *text = json_dumps(census, JSON_COMPACT);
    puts(text);
    free(text);
    json_decref(census);
    return 0;
}
