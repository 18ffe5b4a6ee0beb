/* hcsemu.exe: the broker, and its controls. */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "broker.h"
#include "detach.h"
#include "server.h"
#include "shared/ask.h"
#include "shared/frame.h"

#define STOP_MS 15000

struct broker broker;

static const char help[] =
    "hcsemu.exe: the broker of the emulated vmcompute.dll. The DLL starts it when it is needed.\n"
    "\n"
    "  hcsemu.exe --books         what it holds, as JSON (systems, layers, disks, clients, calls); it is not started\n"
    "  hcsemu.exe --stop          ends it and every container; waits until it is gone\n"
    "  hcsemu.exe --break ID      makes a container end by itself (SystemExited with 0xC0370106)\n"
    "  hcsemu.exe --serve         what the DLL starts\n"
    "  hcsemu.exe --help\n"
    "\n"
    "Each folder has its own broker. Beside the DLL it looks for two files:\n"
    "  vmcompute-faults.json      faults for the calls; see tests/emulator/shared/faults.h\n"
    "  vmcompute-settings.json    {\"check_privileges\":true}: storage calls need SeBackupPrivilege, enabled\n"
    "\n"
    "Container commands that begin with emu: run inside the broker: emu:exit 7, emu:sleep 5, emu:echo,\n"
    "emu:print TEXT, emu:error TEXT, emu:write 1073741824; several are separated by \";\".\n";

uint64_t broker_filetime(void)
{
    FILETIME time;
    GetSystemTimePreciseAsFileTime(&time);
    return ((uint64_t)time.dwHighDateTime << 32) | time.dwLowDateTime;
}

/* Until it is told to stop, or its own file is removed: a folder that is gone is nobody's emulator any more. */
static void wait_for_end(void)
{
    HANDLE change = FindFirstChangeNotificationW(broker.names.folder, FALSE, FILE_NOTIFY_CHANGE_FILE_NAME);
    HANDLE handles[2] = {broker.stop, change};
    DWORD count = change == INVALID_HANDLE_VALUE ? 1 : 2;

    while (WaitForMultipleObjects(count, handles, FALSE, INFINITE) == WAIT_OBJECT_0 + 1) {
        if (GetFileAttributesW(broker.names.broker) == INVALID_FILE_ATTRIBUTES)
            return;
        if (!FindNextChangeNotification(change))
            count = 1;
    }
}

static int serve(void)
{
    struct error *error;
    HANDLE mutex;

    detach_streams();
    mutex = CreateMutexW(NULL, TRUE, broker.names.mutex);
    if (mutex == NULL || GetLastError() == ERROR_ALREADY_EXISTS)
        return 0; /* another one serves */
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
    InitializeCriticalSection(&broker.lock);
    broker.faults = faults_new(broker.names.faults);
    broker.calls = json_object();
    broker.stop = CreateEventW(NULL, TRUE, FALSE, NULL);
    error = server_start();
    if (error != NULL) {
        error_free(error);
        return 1;
    }
    wait_for_end();
    /* The jobs end their processes with the broker. */
    TerminateProcess(GetCurrentProcess(), 0);
    return 0;
}

static void print_json(const json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS);
    printf("%s\n", text);
    free(text);
}

static int print_books(void)
{
    json_t *request = json_pack("{s:i, s:s}", "n", 1, "call", "books");
    json_t *reply = broker_ask(&broker.names, request);

    if (reply == NULL) {
        json_t *empty =
            json_pack("{s:b, s:{}, s:[], s:[], s:[], s:{}, s:[], s:[], s:[], s:{}}", "running", 0, "systems",
                      "processes", "activated", "prepared", "mount_paths", "layers", "clients", "disks", "calls");
        print_json(empty);
        json_decref(empty);
    } else {
        print_json(json_object_get(reply, "books"));
    }
    json_decref(reply);
    json_decref(request);
    return 0;
}

static int stop(void)
{
    json_t *books_request = json_pack("{s:i, s:s}", "n", 1, "call", "books");
    json_t *request = json_pack("{s:i, s:s}", "n", 1, "call", "stop");
    json_t *books = broker_ask(&broker.names, books_request);
    DWORD pid = (DWORD)frame_number(json_object_get(books, "books"), "pid");
    HANDLE process = pid == 0 ? NULL : OpenProcess(SYNCHRONIZE, FALSE, pid);
    int code = 0;

    if (process != NULL) {
        json_decref(broker_ask(&broker.names, request));
        if (WaitForSingleObject(process, STOP_MS) != WAIT_OBJECT_0) {
            fprintf(stderr, "hcsemu: the broker (process %lu) has not ended within %d s\n", pid, STOP_MS / 1000);
            code = 1;
        }
        CloseHandle(process);
    }
    json_decref(books);
    json_decref(books_request);
    json_decref(request);
    return code;
}

static int break_system(const wchar_t *id)
{
    char *text = text_from_utf16z((const char16_t *)id);
    json_t *request = json_pack("{s:i, s:s, s:s}", "n", 1, "call", "break", "id", text);
    json_t *reply = broker_ask(&broker.names, request);
    bool done = reply != NULL && frame_number(reply, "hr") == S_OK;

    if (!done)
        fprintf(stderr, "hcsemu: no container %s\n", text);
    json_decref(reply);
    json_decref(request);
    free(text);
    return done ? 0 : 1;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    const wchar_t *what = argc > 1 ? argv[1] : L"--help";

    _setmode(1, _O_BINARY);
    if (!names_init(&broker.names, NULL))
        return 1;
    if (wcscmp(what, L"--serve") == 0)
        return serve();
    if (wcscmp(what, L"--books") == 0)
        return print_books();
    if (wcscmp(what, L"--stop") == 0)
        return stop();
    if (wcscmp(what, L"--break") == 0 && argc > 2)
        return break_system(argv[2]);
    fputs(help, stdout);
    return wcscmp(what, L"--help") == 0 ? 0 : 1;
}
