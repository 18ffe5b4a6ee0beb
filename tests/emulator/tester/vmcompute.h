/* vmcompute.dll as a program sees it that was written for Windows: loaded by path, each export looked up by name, with
 * prototypes of its own. Nothing of the emulator's sources or of lib/hcs is used, so that an error in those shows. */
#ifndef EMULATOR_TESTER_VMCOMPUTE_H
#define EMULATOR_TESTER_VMCOMPUTE_H

#include <windows.h>

#include <stdbool.h>

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
    HANDLE in;
    HANDLE out;
    HANDLE err;
} process_information;

typedef void(CALLBACK *notification)(UINT32 type, void *context, HRESULT status, PCWSTR data);

struct vmcompute {
    HMODULE module;
    HRESULT(WINAPI *ActivateLayer)(const driver_info *, PCWSTR);
    HRESULT(WINAPI *DeactivateLayer)(const driver_info *, PCWSTR);
    HRESULT(WINAPI *PrepareLayer)(const driver_info *, PCWSTR, const layer_descriptor *, SIZE_T);
    HRESULT(WINAPI *UnprepareLayer)(const driver_info *, PCWSTR);
    HRESULT(WINAPI *ExportLayer)(const driver_info *, PCWSTR, PCWSTR, const layer_descriptor *, SIZE_T);
    HRESULT(WINAPI *ImportLayer)(const driver_info *, PCWSTR, PCWSTR, const layer_descriptor *, SIZE_T);
    HRESULT(WINAPI *CreateLayer)(const driver_info *, PCWSTR, PCWSTR);
    HRESULT(WINAPI *CreateSandboxLayer)(const driver_info *, PCWSTR, ULONG_PTR, const layer_descriptor *, SIZE_T);
    HRESULT(WINAPI *ExpandSandboxSize)(const driver_info *, PCWSTR, UINT64);
    HRESULT(WINAPI *CopyLayer)(const driver_info *, PCWSTR, PCWSTR, const layer_descriptor *, SIZE_T);
    HRESULT(WINAPI *DestroyLayer)(const driver_info *, PCWSTR);
    HRESULT(WINAPI *LayerExists)(const driver_info *, PCWSTR, UINT32 *);
    HRESULT(WINAPI *GetLayerMountPath)(const driver_info *, PCWSTR, SIZE_T *, PWSTR);
    HRESULT(WINAPI *GetBaseImages)(PWSTR *);
    HRESULT(WINAPI *NameToGuid)(PCWSTR, GUID *);
    HRESULT(WINAPI *ProcessBaseImage)(PCWSTR);
    HRESULT(WINAPI *ProcessUtilityImage)(PCWSTR);
    HRESULT(WINAPI *GrantVmAccess)(PCWSTR, PCWSTR);
    HRESULT(WINAPI *HcsCreateComputeSystem)(PCWSTR, PCWSTR, HANDLE, HANDLE *, PWSTR *);
    HRESULT(WINAPI *HcsOpenComputeSystem)(PCWSTR, HANDLE *, PWSTR *);
    HRESULT(WINAPI *HcsCloseComputeSystem)(HANDLE);
    HRESULT(WINAPI *HcsStartComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsShutdownComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsTerminateComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsPauseComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsResumeComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsSaveComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsGetComputeSystemProperties)(HANDLE, PCWSTR, PWSTR *, PWSTR *);
    HRESULT(WINAPI *HcsModifyComputeSystem)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsEnumerateComputeSystems)(PCWSTR, PWSTR *, PWSTR *);
    HRESULT(WINAPI *HcsRegisterComputeSystemCallback)(HANDLE, notification, void *, HANDLE *);
    HRESULT(WINAPI *HcsUnregisterComputeSystemCallback)(HANDLE);
    HRESULT(WINAPI *HcsCreateProcess)(HANDLE, PCWSTR, process_information *, HANDLE *, PWSTR *);
    HRESULT(WINAPI *HcsOpenProcess)(HANDLE, UINT32, HANDLE *, PWSTR *);
    HRESULT(WINAPI *HcsCloseProcess)(HANDLE);
    HRESULT(WINAPI *HcsTerminateProcess)(HANDLE, PWSTR *);
    HRESULT(WINAPI *HcsSignalProcess)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsGetProcessInfo)(HANDLE, process_information *, PWSTR *);
    HRESULT(WINAPI *HcsGetProcessProperties)(HANDLE, PWSTR *, PWSTR *);
    HRESULT(WINAPI *HcsModifyProcess)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *HcsRegisterProcessCallback)(HANDLE, notification, void *, HANDLE *);
    HRESULT(WINAPI *HcsUnregisterProcessCallback)(HANDLE);
    HRESULT(WINAPI *HcsGetServiceProperties)(PCWSTR, PWSTR *, PWSTR *);
    HRESULT(WINAPI *HcsModifyServiceSettings)(PCWSTR, PWSTR *);
};

/* The loaded library. */
extern struct vmcompute vm;
extern const driver_info driver;

/* Copies the emulator into a folder of the test's own, so that its broker and its fault file are nobody else's, and loads
 * it; fails the test when an export is missing. With `folder` given (a child process) it is loaded from there. */
void vmcompute_load(const wchar_t *folder);
/* Ends the broker and removes the folder. */
void vmcompute_end(void);
/* The same as cmocka wants it, for a group of tests. */
int vmcompute_setup(void **state);
int vmcompute_teardown(void **state);

/* The folder, and a path in it ("name" may have backslashes). The path lives until the next call but 15. */
const wchar_t *test_folder(void);
const wchar_t *test_path(const wchar_t *format, ...);

/* Files of a test. */
void file_write(const wchar_t *path, const void *data, size_t size);
void *file_read(const wchar_t *path, size_t *ret_size); /* NULL when it is not there */
void text_write(const wchar_t *path, const char *text);
void folders_make(const wchar_t *path);
bool file_exists(const wchar_t *path);

/* Puts `json` into the fault file, or takes the file away (NULL). */
void faults_set(const char *json);

/* hcsemu.exe --books. The caller frees the text. */
char *books_read(void);

/* Runs a program of the emulator's folder or this test itself and gives its exit code. */
int program_run(const wchar_t *command_line, char *output, size_t size);

#endif
