/* The ABI of vmcompute.dll, x64: types, numbers and the list of its exports.
 *
 * Source: what microsoft/hcsshim v0.10.0-rc.7 passes and expects (internal/vmcompute, internal/wclayer), gathered in
 * docs/hcs.md. Text in is NUL-terminated UTF-16 and never NULL; text out is allocated with CoTaskMemAlloc by the DLL and
 * freed with CoTaskMemFree by the caller, also when the call fails. The emulator and the binding share this file and
 * nothing else. */
#ifndef HCSD_HCS_ABI_H
#define HCSD_HCS_ABI_H

#include <windows.h>

typedef void *HCS_SYSTEM; /* NULL: none */
typedef void *HCS_PROCESS;
typedef void *HCS_CALLBACK;

/* 16 bytes: a 4-byte enum widened, and a pointer. */
typedef struct {
    INT64 Flavour; /* 1: filter driver */
    PCWSTR HomeDir;
} HCS_DRIVER_INFO;

/* 32 bytes. */
typedef struct {
    GUID LayerId;
    ULONG Flags; /* 0; bit 31: dirty */
    PCWSTR Path;
} HCS_LAYER_DESCRIPTOR;

/* The host's ends of a process's pipes; NULL where none was asked for. The client owns them. */
typedef struct {
    ULONG ProcessId;
    ULONG Reserved;
    HANDLE StdInput;
    HANDLE StdOutput;
    HANDLE StdError;
} HCS_PROCESS_INFORMATION;

/* `type` and `status` are 32-bit; the return value is not used. Called on the DLL's own threads. */
typedef void(CALLBACK *HCS_NOTIFICATION_CALLBACK)(ULONG type, void *context, INT32 status, PCWSTR data);

enum hcs_notification {
    HCS_NOTIFICATION_SYSTEM_EXITED = 0x00000001,
    HCS_NOTIFICATION_SYSTEM_CREATE_COMPLETED = 0x00000002,
    HCS_NOTIFICATION_SYSTEM_START_COMPLETED = 0x00000003,
    HCS_NOTIFICATION_SYSTEM_PAUSE_COMPLETED = 0x00000004,
    HCS_NOTIFICATION_SYSTEM_RESUME_COMPLETED = 0x00000005,
    HCS_NOTIFICATION_SYSTEM_CRASH_REPORT = 0x00000006,
    HCS_NOTIFICATION_SYSTEM_SILO_JOB_CREATED = 0x00000007,
    HCS_NOTIFICATION_SYSTEM_SAVE_COMPLETED = 0x00000008,
    HCS_NOTIFICATION_PROCESS_EXITED = 0x00010000,
    HCS_NOTIFICATION_SERVICE_DISCONNECT = 0x01000000,
};

#define HCS_E_OPERATION_PENDING       ((HRESULT)0xC0370103)
#define HCS_E_INVALID_STATE           ((HRESULT)0xC0370105)
#define HCS_E_UNEXPECTED_EXIT         ((HRESULT)0xC0370106)
#define HCS_E_UNKNOWN_MESSAGE         ((HRESULT)0xC037010B)
#define HCS_E_INVALID_JSON            ((HRESULT)0xC037010D)
#define HCS_E_SYSTEM_NOT_FOUND        ((HRESULT)0xC037010E)
#define HCS_E_SYSTEM_ALREADY_EXISTS   ((HRESULT)0xC037010F)
#define HCS_E_SYSTEM_ALREADY_STOPPED  ((HRESULT)0xC0370110)
#define HCS_E_PROCESS_ALREADY_STOPPED ((HRESULT)0x8037011F)

/* clang-format takes the pointers in the parameter lists for products. */
/* clang-format off */

/* Every export of vmcompute.dll that this project knows: X(name, parameters), all `HRESULT WINAPI`. */
#define HCS_STORAGE_EXPORTS(X)                                                                                         \
    X(ActivateLayer, (const HCS_DRIVER_INFO *info, PCWSTR id))                                                         \
    X(DeactivateLayer, (const HCS_DRIVER_INFO *info, PCWSTR id))                                                       \
    X(PrepareLayer, (const HCS_DRIVER_INFO *info, PCWSTR id, const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count))        \
    X(UnprepareLayer, (const HCS_DRIVER_INFO *info, PCWSTR id))                                                        \
    X(ExportLayer, (const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR folder, const HCS_LAYER_DESCRIPTOR *layers,         \
                    SIZE_T count))                                                                                     \
    X(ImportLayer, (const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR folder, const HCS_LAYER_DESCRIPTOR *layers,         \
                    SIZE_T count))                                                                                     \
    X(CreateLayer, (const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR parent))                                            \
    X(CreateSandboxLayer, (const HCS_DRIVER_INFO *info, PCWSTR id, ULONG_PTR parent,                                   \
                           const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count))                                          \
    X(ExpandSandboxSize, (const HCS_DRIVER_INFO *info, PCWSTR id, UINT64 bytes))                                       \
    X(CopyLayer, (const HCS_DRIVER_INFO *info, PCWSTR source, PCWSTR target, const HCS_LAYER_DESCRIPTOR *layers,       \
                  SIZE_T count))                                                                                       \
    X(DestroyLayer, (const HCS_DRIVER_INFO *info, PCWSTR id))                                                          \
    X(LayerExists, (const HCS_DRIVER_INFO *info, PCWSTR id, UINT32 *exists))                                           \
    X(GetLayerMountPath, (const HCS_DRIVER_INFO *info, PCWSTR id, SIZE_T *length, PWSTR path))                         \
    X(GetBaseImages, (PWSTR * images))                                                                                 \
    X(NameToGuid, (PCWSTR name, GUID * guid))                                                                          \
    X(ProcessBaseImage, (PCWSTR path))                                                                                 \
    X(ProcessUtilityImage, (PCWSTR path))                                                                              \
    X(GrantVmAccess, (PCWSTR vm, PCWSTR file))

#define HCS_COMPUTE_EXPORTS(X)                                                                                         \
    X(HcsCreateComputeSystem, (PCWSTR id, PCWSTR config, HANDLE identity, HCS_SYSTEM *system, PWSTR *result))          \
    X(HcsOpenComputeSystem, (PCWSTR id, HCS_SYSTEM *system, PWSTR *result))                                            \
    X(HcsCloseComputeSystem, (HCS_SYSTEM system))                                                                      \
    X(HcsStartComputeSystem, (HCS_SYSTEM system, PCWSTR options, PWSTR *result))                                       \
    X(HcsShutdownComputeSystem, (HCS_SYSTEM system, PCWSTR options, PWSTR *result))                                    \
    X(HcsTerminateComputeSystem, (HCS_SYSTEM system, PCWSTR options, PWSTR *result))                                   \
    X(HcsPauseComputeSystem, (HCS_SYSTEM system, PCWSTR options, PWSTR *result))                                       \
    X(HcsResumeComputeSystem, (HCS_SYSTEM system, PCWSTR options, PWSTR *result))                                      \
    X(HcsSaveComputeSystem, (HCS_SYSTEM system, PCWSTR options, PWSTR *result))                                        \
    X(HcsGetComputeSystemProperties, (HCS_SYSTEM system, PCWSTR query, PWSTR *properties, PWSTR *result))              \
    X(HcsModifyComputeSystem, (HCS_SYSTEM system, PCWSTR config, PWSTR *result))                                       \
    X(HcsEnumerateComputeSystems, (PCWSTR query, PWSTR *systems, PWSTR *result))                                       \
    X(HcsRegisterComputeSystemCallback, (HCS_SYSTEM system, HCS_NOTIFICATION_CALLBACK callback, void *context,         \
                                         HCS_CALLBACK *registration))                                                  \
    X(HcsUnregisterComputeSystemCallback, (HCS_CALLBACK registration))                                                 \
    X(HcsCreateProcess, (HCS_SYSTEM system, PCWSTR parameters, HCS_PROCESS_INFORMATION *information,                   \
                         HCS_PROCESS *process, PWSTR *result))                                                         \
    X(HcsOpenProcess, (HCS_SYSTEM system, UINT32 pid, HCS_PROCESS *process, PWSTR *result))                            \
    X(HcsCloseProcess, (HCS_PROCESS process))                                                                          \
    X(HcsTerminateProcess, (HCS_PROCESS process, PWSTR *result))                                                       \
    X(HcsSignalProcess, (HCS_PROCESS process, PCWSTR options, PWSTR *result))                                          \
    X(HcsGetProcessInfo, (HCS_PROCESS process, HCS_PROCESS_INFORMATION *information, PWSTR *result))                   \
    X(HcsGetProcessProperties, (HCS_PROCESS process, PWSTR *properties, PWSTR *result))                                \
    X(HcsModifyProcess, (HCS_PROCESS process, PCWSTR settings, PWSTR *result))                                         \
    X(HcsRegisterProcessCallback, (HCS_PROCESS process, HCS_NOTIFICATION_CALLBACK callback, void *context,             \
                                   HCS_CALLBACK *registration))                                                        \
    X(HcsUnregisterProcessCallback, (HCS_CALLBACK registration))                                                       \
    X(HcsGetServiceProperties, (PCWSTR query, PWSTR *properties, PWSTR *result))                                       \
    X(HcsModifyServiceSettings, (PCWSTR settings, PWSTR *result))

/* clang-format on */

#endif
