#include "vmcompute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

struct vmcompute vm;
const driver_info driver = {1, L""};

static wchar_t folder[MAX_PATH];
static bool own_folder;

const wchar_t *test_folder(void)
{
    return folder;
}

const wchar_t *test_path(const wchar_t *format, ...)
{
    static wchar_t paths[16][1024];
    static unsigned next;
    wchar_t *path = paths[next++ % 16];
    size_t length;
    va_list arguments;

    swprintf(path, 1024, L"%ls\\", folder);
    length = wcslen(path);
    va_start(arguments, format);
    vswprintf(path + length, 1024 - length, format, arguments);
    va_end(arguments);
    return path;
}

static const char *const names[] = {
    "ActivateLayer",
    "DeactivateLayer",
    "PrepareLayer",
    "UnprepareLayer",
    "ExportLayer",
    "ImportLayer",
    "CreateLayer",
    "CreateSandboxLayer",
    "ExpandSandboxSize",
    "CopyLayer",
    "DestroyLayer",
    "LayerExists",
    "GetLayerMountPath",
    "GetBaseImages",
    "NameToGuid",
    "ProcessBaseImage",
    "ProcessUtilityImage",
    "GrantVmAccess",
    "HcsCreateComputeSystem",
    "HcsOpenComputeSystem",
    "HcsCloseComputeSystem",
    "HcsStartComputeSystem",
    "HcsShutdownComputeSystem",
    "HcsTerminateComputeSystem",
    "HcsPauseComputeSystem",
    "HcsResumeComputeSystem",
    "HcsSaveComputeSystem",
    "HcsGetComputeSystemProperties",
    "HcsModifyComputeSystem",
    "HcsEnumerateComputeSystems",
    "HcsRegisterComputeSystemCallback",
    "HcsUnregisterComputeSystemCallback",
    "HcsCreateProcess",
    "HcsOpenProcess",
    "HcsCloseProcess",
    "HcsTerminateProcess",
    "HcsSignalProcess",
    "HcsGetProcessInfo",
    "HcsGetProcessProperties",
    "HcsModifyProcess",
    "HcsRegisterProcessCallback",
    "HcsUnregisterProcessCallback",
    "HcsGetServiceProperties",
    "HcsModifyServiceSettings",
};

/* The function pointers of struct vmcompute are in the order of `names`. */
static void exports_find(void)
{
    FARPROC *slot = (FARPROC *)(void *)((char *)&vm + offsetof(struct vmcompute, ActivateLayer));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        slot[i] = GetProcAddress(vm.module, names[i]);
        if (slot[i] == NULL)
            fail_msg("vmcompute.dll does not export %s", names[i]);
    }
}

static void emulator_copy(const char *file)
{
    wchar_t program[MAX_PATH];
    wchar_t source[MAX_PATH * 2];
    wchar_t target[MAX_PATH * 2];
    wchar_t *slash;

    GetModuleFileNameW(NULL, program, MAX_PATH);
    slash = wcsrchr(program, L'\\');
    *slash = 0;
    swprintf(target, MAX_PATH * 2, L"%ls\\%hs", folder, file);
    swprintf(source, MAX_PATH * 2, L"%ls\\..\\emulator\\%hs", program, file);
    if (CopyFileW(source, target, FALSE))
        return;
    swprintf(source, MAX_PATH * 2, L"%ls\\%hs", program, file);
    if (!CopyFileW(source, target, FALSE))
        fail_msg("%s is neither in ..\\emulator nor beside the test", file);
}

void vmcompute_load(const wchar_t *given)
{
    wchar_t temp[MAX_PATH];

    if (given != NULL) {
        swprintf(folder, MAX_PATH, L"%ls", given);
    } else {
        GetTempPathW(MAX_PATH, temp);
        swprintf(folder, MAX_PATH, L"%lshcsemu-test-%lu", temp, GetCurrentProcessId());
        CreateDirectoryW(folder, NULL);
        own_folder = true;
        emulator_copy("vmcompute.dll");
        emulator_copy("hcsemu.exe");
    }
    vm.module = LoadLibraryExW(test_path(L"vmcompute.dll"), NULL,
                               LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (vm.module == NULL)
        fail_msg("vmcompute.dll cannot be loaded: %lu", GetLastError());
    exports_find();
}

static void folder_remove(const wchar_t *path)
{
    wchar_t pattern[1200];
    WIN32_FIND_DATAW data;
    HANDLE find;

    swprintf(pattern, 1200, L"%ls\\*", path);
    find = FindFirstFileW(pattern, &data);
    if (find != INVALID_HANDLE_VALUE) {
        do {
            wchar_t below[1200];
            if (wcscmp(data.cFileName, L".") == 0 || wcscmp(data.cFileName, L"..") == 0)
                continue;
            swprintf(below, 1200, L"%ls\\%ls", path, data.cFileName);
            SetFileAttributesW(below, FILE_ATTRIBUTE_NORMAL);
            if (data.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) {
                folder_remove(below);
            } else {
                DeleteFileW(below);
            }
        } while (FindNextFileW(find, &data));
        FindClose(find);
    }
    RemoveDirectoryW(path);
}

void vmcompute_end(void)
{
    if (!own_folder)
        return;
    program_run(L"hcsemu.exe --stop", NULL, 0);
    folder_remove(folder);
}

int vmcompute_setup(void **state)
{
    (void)state;
    vmcompute_load(NULL);
    return 0;
}

int vmcompute_teardown(void **state)
{
    (void)state;
    vmcompute_end();
    return 0;
}

void file_write(const wchar_t *path, const void *data, size_t size)
{
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS, 0, NULL);
    DWORD done = 0;

    if (file == INVALID_HANDLE_VALUE)
        fail_msg("%ls cannot be made: %lu", path, GetLastError());
    if (!WriteFile(file, data, (DWORD)size, &done, NULL))
        fail_msg("%ls cannot be written: %lu", path, GetLastError());
    CloseHandle(file);
}

void text_write(const wchar_t *path, const char *text)
{
    file_write(path, text, strlen(text));
}

void *file_read(const wchar_t *path, size_t *ret_size)
{
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, 0, NULL);
    LARGE_INTEGER size;
    char *data;
    DWORD got = 0;

    if (file == INVALID_HANDLE_VALUE)
        return NULL;
    GetFileSizeEx(file, &size);
    data = calloc(1, (size_t)size.QuadPart + 1);
    if (data == NULL || !ReadFile(file, data, (DWORD)size.QuadPart, &got, NULL))
        fail_msg("%ls cannot be read", path);
    CloseHandle(file);
    if (ret_size != NULL)
        *ret_size = got;
    return data;
}

void folders_make(const wchar_t *path)
{
    wchar_t part[1024];
    for (const wchar_t *end = wcschr(path + 3, L'\\'); end != NULL; end = wcschr(end + 1, L'\\')) {
        swprintf(part, 1024, L"%.*ls", (int)(end - path), path);
        CreateDirectoryW(part, NULL);
    }
    CreateDirectoryW(path, NULL);
}

bool file_exists(const wchar_t *path)
{
    return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

void faults_set(const char *json)
{
    const wchar_t *path = test_path(L"vmcompute-faults.json");
    const wchar_t *part = test_path(L"vmcompute-faults.new");

    if (json == NULL) {
        DeleteFileW(path);
        return;
    }
    text_write(part, json);
    if (!MoveFileExW(part, path, MOVEFILE_REPLACE_EXISTING))
        fail_msg("the fault file cannot be put in place");
}

int program_run(const wchar_t *command_line, char *output, size_t size)
{
    SECURITY_ATTRIBUTES inheritable = {.nLength = sizeof inheritable, .bInheritHandle = TRUE};
    STARTUPINFOW startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION information;
    wchar_t command[2048];
    HANDLE out = NULL, in = NULL;
    DWORD code = 0;

    swprintf(command, 2048, L"\"%ls\\%.*ls\"%ls", folder, (int)wcscspn(command_line, L" "), command_line,
             command_line + wcscspn(command_line, L" "));
    if (!CreatePipe(&in, &out, &inheritable, 0))
        fail_msg("no pipe");
    SetHandleInformation(in, HANDLE_FLAG_INHERIT, 0);
    startup.hStdOutput = out;
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &information))
        fail_msg("%ls cannot be started: %lu", command, GetLastError());
    CloseHandle(out);
    for (size_t used = 0;;) {
        char part[4096];
        DWORD got = 0;
        if (!ReadFile(in, part, sizeof part, &got, NULL) || got == 0)
            break;
        if (output != NULL && used + got < size) {
            memcpy(output + used, part, got);
            used += got;
            output[used] = 0;
        }
    }
    CloseHandle(in);
    if (WaitForSingleObject(information.hProcess, 60000) != WAIT_OBJECT_0)
        fail_msg("%ls does not end", command);
    GetExitCodeProcess(information.hProcess, &code);
    CloseHandle(information.hProcess);
    CloseHandle(information.hThread);
    return (int)code;
}

char *books_read(void)
{
    char *text = calloc(1, 4 << 20);
    program_run(L"hcsemu.exe --books", text, 4 << 20);
    return text;
}
