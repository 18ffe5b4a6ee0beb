/* hcsemu-drive.exe: vmcompute.dll by hand, for scripts and people.
 *
 *   hcsemu-drive DLL activate|deactivate|unprepare|destroy|mount-path LAYER
 *   hcsemu-drive DLL prepare|scratch LAYER PARENT…
 *   hcsemu-drive DLL export|import LAYER FOLDER PARENT…
 *   hcsemu-drive DLL run ID COMMAND        creates and starts a container, runs COMMAND in it; prints the pid
 *   hcsemu-drive DLL terminate ID
 *
 * Prints the call's HRESULT; exit code 0 when it is no failure. */
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

typedef struct {
    INT64 flavour;
    PCWSTR home;
} driver_info;

typedef struct {
    GUID id;
    ULONG flags;
    PCWSTR path;
} layer_descriptor;

typedef struct {
    UINT32 pid;
    UINT32 reserved;
    HANDLE streams[3];
} process_information;

static const driver_info driver = {1, L""};
static HMODULE library;

#define CALL(name, ...) ((HRESULT(WINAPI *)(__VA_ARGS__))(void *)GetProcAddress(library, name))

static HRESULT layer_call(const wchar_t *verb, const wchar_t *layer, wchar_t **rest, int count)
{
    static const struct {
        const wchar_t *verb;
        const char *name;
    } simple[] = {{L"activate", "ActivateLayer"},
                  {L"deactivate", "DeactivateLayer"},
                  {L"unprepare", "UnprepareLayer"},
                  {L"destroy", "DestroyLayer"}};
    layer_descriptor chain[64] = {0};
    const wchar_t *folder = L"";
    bool with_folder = wcscmp(verb, L"export") == 0 || wcscmp(verb, L"import") == 0;
    int parents = 0;

    if (with_folder && count > 0) {
        folder = *rest++;
        count--;
    }
    for (; parents < count && parents < 64; parents++) {
        const wchar_t *name = wcsrchr(rest[parents], L'\\');
        chain[parents].path = rest[parents];
        CALL("NameToGuid", PCWSTR, GUID *)(name == NULL ? rest[parents] : name + 1, &chain[parents].id);
    }
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++)
        if (wcscmp(verb, simple[i].verb) == 0)
            return CALL(simple[i].name, const driver_info *, PCWSTR)(&driver, layer);
    if (wcscmp(verb, L"prepare") == 0)
        return CALL("PrepareLayer", const driver_info *, PCWSTR, const layer_descriptor *,
                    SIZE_T)(&driver, layer, chain, (SIZE_T)parents);
    if (wcscmp(verb, L"scratch") == 0)
        return CALL("CreateSandboxLayer", const driver_info *, PCWSTR, ULONG_PTR, const layer_descriptor *,
                    SIZE_T)(&driver, layer, 0, chain, (SIZE_T)parents);
    if (wcscmp(verb, L"mount-path") == 0) {
        wchar_t path[128] = L"";
        SIZE_T length = 128;
        HRESULT code =
            CALL("GetLayerMountPath", const driver_info *, PCWSTR, SIZE_T *, PWSTR)(&driver, layer, &length, path);
        if (code >= 0)
            printf("%ls\n", path);
        return code;
    }
    if (with_folder)
        return CALL(wcscmp(verb, L"export") == 0 ? "ExportLayer" : "ImportLayer", const driver_info *, PCWSTR, PCWSTR,
                    const layer_descriptor *, SIZE_T)(&driver, layer, folder, chain, (SIZE_T)parents);
    return E_INVALIDARG;
}

static HANDLE completed;

static void CALLBACK notified(UINT32 type, void *context, HRESULT status, PCWSTR data)
{
    (void)type;
    (void)context;
    (void)status;
    (void)data;
    SetEvent(completed);
}

static HRESULT container_run(const wchar_t *id, const wchar_t *command)
{
    wchar_t document[1024];
    HANDLE container = NULL, process = NULL, registration = NULL;
    process_information information = {0};
    HRESULT code;

    completed = CreateEventW(NULL, FALSE, FALSE, NULL);
    swprintf(document, 1024, L"{\"SystemType\":\"Container\",\"Name\":\"%ls\",\"Owner\":\"drive\"}", id);
    code =
        CALL("HcsCreateComputeSystem", PCWSTR, PCWSTR, HANDLE, HANDLE *, PWSTR *)(id, document, NULL, &container, NULL);
    if (code != (HRESULT)0xC0370103)
        return code;
    CALL("HcsRegisterComputeSystemCallback", HANDLE, void *, void *, HANDLE *)
    (container, (void *)notified, NULL, &registration);
    if (WaitForSingleObject(completed, 30000) != WAIT_OBJECT_0)
        return HRESULT_FROM_WIN32(WAIT_TIMEOUT);
    code = CALL("HcsStartComputeSystem", HANDLE, PCWSTR, PWSTR *)(container, L"", NULL);
    if (code != (HRESULT)0xC0370103)
        return code;
    if (WaitForSingleObject(completed, 30000) != WAIT_OBJECT_0)
        return HRESULT_FROM_WIN32(WAIT_TIMEOUT);
    swprintf(document, 1024, L"{\"CommandLine\":\"%ls\"}", command);
    code = CALL("HcsCreateProcess", HANDLE, PCWSTR, process_information *, HANDLE *,
                PWSTR *)(container, document, &information, &process, NULL);
    if (code >= 0)
        printf("%u\n", information.pid);
    return code;
}

static HRESULT container_terminate(const wchar_t *id)
{
    HANDLE container = NULL;
    HRESULT code = CALL("HcsOpenComputeSystem", PCWSTR, HANDLE *, PWSTR *)(id, &container, NULL);
    if (code >= 0)
        code = CALL("HcsTerminateComputeSystem", HANDLE, PCWSTR, PWSTR *)(container, L"", NULL);
    return code == (HRESULT)0xC0370103 ? S_OK : code;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    HRESULT code;

    _setmode(1, _O_BINARY);
    if (argc < 4) {
        fputs("hcsemu-drive DLL VERB LAYER|ID …: see tests/emulator/tester/drive.c\n", stderr);
        return 2;
    }
    library = LoadLibraryExW(argv[1], NULL, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (library == NULL) {
        fprintf(stderr, "%ls cannot be loaded: %lu\n", argv[1], GetLastError());
        return 2;
    }
    if (wcscmp(argv[2], L"run") == 0) {
        code = container_run(argv[3], argc > 4 ? argv[4] : L"emu:sleep 3600");
    } else if (wcscmp(argv[2], L"terminate") == 0) {
        code = container_terminate(argv[3]);
    } else {
        code = layer_call(argv[2], argv[3], argv + 4, argc - 4);
    }
    printf("0x%08lx\n", (unsigned long)code);
    return code < 0 ? 1 : 0;
}
