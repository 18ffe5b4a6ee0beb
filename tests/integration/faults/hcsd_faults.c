/* hcsd.exe with fault points: the same program, but for what Wine cannot be made to do. The file that HCSD_FAULT_POINTS
 * names has one of them on each line, and is looked at whenever one is reached:
 *
 *   phase KIND PHASE hang      a worker's job blocks there for as long as the line is there
 *   phase KIND PHASE hold      the same for jobs in whose staging folder hold-me.bin is, with that open for nobody else
 *   phase KIND PHASE crash     it raises 0xC0000420
 *   start                      a worker that is started does not come up
 *   terminate                  a worker that is terminated goes on, as one does that is stuck in the kernel
 *   rename                     a folder is not renamed because something below it is open (5)
 *   privileges                 the token lacks what storage calls want */
#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/jobs/process.h"
#include "daemon/worker/worker.h"
#include "hcs/privilege.h"

#define LOOK_MS 50

int hcsd_wmain(int argc, wchar_t **argv);
int wmain(int argc, wchar_t **argv);

static bool is_set(const char *point)
{
    const char *path = getenv("HCSD_FAULT_POINTS");
    char line[200];
    bool found = false;
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        found = strcmp(line, point) == 0;
    }
    fclose(file);
    return found;
}

static void block(const char *point)
{
    while (is_set(point))
        Sleep(LOOK_MS); /* banned-ok: the hang is the fault */
}

/* hold-me.bin at or below the folder, opened for nobody else; INVALID_HANDLE_VALUE when there is none that is free. */
static HANDLE hold_below(const wchar_t *folder)
{
    wchar_t path[MAX_PATH];
    WIN32_FIND_DATAW found;
    HANDLE held = INVALID_HANDLE_VALUE;
    _snwprintf(path, MAX_PATH, L"%ls\\*", folder);
    HANDLE find = FindFirstFileW(path, &found);
    for (BOOL more = find != INVALID_HANDLE_VALUE; more && held == INVALID_HANDLE_VALUE;
         more = FindNextFileW(find, &found)) {
        if (wcscmp(found.cFileName, L".") == 0 || wcscmp(found.cFileName, L"..") == 0)
            continue;
        _snwprintf(path, MAX_PATH, L"%ls\\%ls", folder, found.cFileName);
        if ((found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0)
            held = hold_below(path);
        else if (wcscmp(found.cFileName, L"hold-me.bin") == 0)
            held = CreateFileW(path, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    }
    if (find != INVALID_HANDLE_VALUE)
        FindClose(find);
    return held;
}

static HANDLE hold_staging(void)
{
    const wchar_t *root = _wgetenv(L"HCSD_FAULT_STAGING");
    return root != NULL ? hold_below(root) : INVALID_HANDLE_VALUE;
}

static HANDLE control_thread;

static void phase_reached(const char *kind, const char *phase)
{
    char *hang = str_format("phase %s %s hang", kind, phase), *hold = str_format("phase %s %s hold", kind, phase);
    char *crash = str_format("phase %s %s crash", kind, phase);
    block(hang);
    if (is_set(hold)) {
        HANDLE held = hold_staging();
        if (held != INVALID_HANDLE_VALUE) {
            /* What cannot be terminated does not end by itself either when its pipe breaks. */
            bool stiff = is_set("terminate");
            if (stiff)
                SuspendThread(control_thread); /* banned-ok: it is to be stuck, locks and all */
            block(hold);
            CloseHandle(held);
            if (stiff)
                ResumeThread(control_thread);
        }
    }
    if (is_set(crash))
        RaiseException(0xC0000420, EXCEPTION_NONCONTINUABLE, 0, NULL);
    free(hang);
    free(hold);
    free(crash);
}

static bool (*true_rename)(const wchar_t *from, const wchar_t *to);
static void (*true_terminate)(HANDLE process);

static bool rename_folder(const wchar_t *from, const wchar_t *to)
{
    if (!is_set("rename"))
        return true_rename(from, to);
    SetLastError(ERROR_ACCESS_DENIED);
    return false;
}

static void terminate(HANDLE process)
{
    if (!is_set("terminate"))
        true_terminate(process);
}

/* Removed from the process's own token, for good: enabling them is then refused by the system itself. */
static void drop_privileges(void)
{
    HANDLE token;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &token))
        return;
    for (size_t i = 0; i < privilege_storage_count; i++) {
        TOKEN_PRIVILEGES change = {.PrivilegeCount = 1, .Privileges[0].Attributes = SE_PRIVILEGE_REMOVED};
        wchar_t *name = NULL;
        error_free(win_wide(privilege_storage[i], &name));
        if (name != NULL && LookupPrivilegeValueW(NULL, name, &change.Privileges[0].Luid))
            AdjustTokenPrivileges(token, FALSE, &change, 0, NULL, NULL);
        free(name);
    }
    CloseHandle(token);
}

int wmain(int argc, wchar_t **argv)
{
    DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &control_thread, 0, FALSE,
                    DUPLICATE_SAME_ACCESS);
    worker_phase_hook = phase_reached;
    true_rename = worker_rename_folder;
    worker_rename_folder = rename_folder;
    true_terminate = process_calls.terminate;
    process_calls.terminate = terminate;
    if (worker_wanted(argc, argv)) {
        block("start");
        if (is_set("privileges"))
            drop_privileges();
    }
    return hcsd_wmain(argc, argv);
}
