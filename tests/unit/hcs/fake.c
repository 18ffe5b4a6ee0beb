#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/win.h"

struct fake fake;

/* ---- rules ---- */

struct fake_rule *fake_rule(enum hcs_export export)
{
    return &fake.rules[export];
}

void fake_hold(enum hcs_export export)
{
    struct fake_rule *rule = &fake.rules[export];
    rule->entered = CreateEventW(NULL, TRUE, FALSE, NULL);
    rule->hold = CreateEventW(NULL, TRUE, FALSE, NULL);
}

void fake_await_entered(enum hcs_export export)
{
    if (WaitForSingleObject(fake.rules[export].entered, 30000) != WAIT_OBJECT_0)
        fail_msg("%s was not called", hcs_export_name(export));
}

void fake_release(enum hcs_export export)
{
    SetEvent(fake.rules[export].hold);
}

unsigned fake_calls(enum hcs_export export)
{
    AcquireSRWLockExclusive(&fake.lock);
    unsigned calls = fake.rules[export].calls;
    ReleaseSRWLockExclusive(&fake.lock);
    return calls;
}

/* Every fake call goes through here: logs, blocks as told, answers. */
static HRESULT enter(enum hcs_export export, const char *arguments)
{
    struct fake_rule *rule = &fake.rules[export];
    char line[1024];
    snprintf(line, sizeof line, "%s%s%s", hcs_export_name(export), arguments[0] != 0 ? " " : "", arguments);
    AcquireSRWLockExclusive(&fake.lock);
    add_line(fake.log, sizeof fake.log, line);
    rule->calls++;
    HANDLE hold = rule->hold, entered = rule->entered;
    ReleaseSRWLockExclusive(&fake.lock);
    if (hold != NULL) {
        SetEvent(entered);
        WaitForSingleObject(hold, 60000);
    }
    if (rule->notify != 0)
        fake_notify((ULONG)rule->notify, rule->notify_status);
    return rule->result;
}

static char *narrow(PCWSTR text)
{
    return text == NULL ? win_text(L"(null)") : win_text(text);
}

static HRESULT enter_text(enum hcs_export export, PCWSTR a, PCWSTR b)
{
    char *one = narrow(a), *two = b == NULL ? NULL : narrow(b), line[900];
    snprintf(line, sizeof line, "%s%s%s", one, two == NULL ? "" : " ", two == NULL ? "" : two);
    free(one);
    free(two);
    return enter(export, line);
}

static PWSTR out_text(const wchar_t *text)
{
    if (text == NULL)
        return NULL;
    size_t bytes = (wcslen(text) + 1) * sizeof(wchar_t);
    PWSTR copy = CoTaskMemAlloc(bytes);
    memcpy(copy, text, bytes);
    InterlockedIncrement(&fake.texts);
    return copy;
}

static void WINAPI free_text(void *text)
{
    InterlockedDecrement(&fake.texts);
    CoTaskMemFree(text);
}

static HRESULT answer(HRESULT result, PWSTR *text)
{
    if (result < 0 && result != HCS_E_OPERATION_PENDING && text != NULL)
        *text = out_text(fake.result_text);
    return result;
}

static bool is_handle(HRESULT result)
{
    return result >= 0 || result == HCS_E_OPERATION_PENDING;
}

static void *new_handle(volatile LONG *count)
{
    static volatile LONG last;
    InterlockedIncrement(count);
    return (void *)(uintptr_t)(0x1000 + InterlockedIncrement(&last));
}

/* ---- notifications ---- */

void fake_notify(ULONG type, INT32 status)
{
    struct fake_registration copy[64];
    AcquireSRWLockExclusive(&fake.lock);
    size_t count = fake.registered_count;
    memcpy(copy, fake.registered, sizeof copy);
    ReleaseSRWLockExclusive(&fake.lock);
    for (size_t i = 0; i < count; i++)
        if (copy[i].handle != NULL)
            copy[i].callback(type, copy[i].context, status, L"");
}

void fake_notify_one(size_t number, ULONG type, INT32 status)
{
    struct fake_registration *one = &fake.registered[number];
    one->callback(type, one->context, status, L"");
}

static HRESULT add_registration(enum hcs_export export, void *handle, HCS_NOTIFICATION_CALLBACK callback, void *context,
                                HCS_CALLBACK *registration)
{
    if (fake.rules[export].result >= 0) {
        AcquireSRWLockExclusive(&fake.lock);
        assert_true(fake.registered_count < 64);
        fake.registered[fake.registered_count] = (struct fake_registration){callback, context, handle};
        *registration = (HCS_CALLBACK)(uintptr_t)(++fake.registered_count);
        ReleaseSRWLockExclusive(&fake.lock);
        InterlockedIncrement(&fake.registrations);
    }
    return enter(export, "");
}

static HRESULT remove_registration(enum hcs_export export, HCS_CALLBACK registration)
{
    AcquireSRWLockExclusive(&fake.lock);
    fake.registered[(uintptr_t)registration - 1].handle = NULL;
    ReleaseSRWLockExclusive(&fake.lock);
    InterlockedDecrement(&fake.registrations);
    return enter(export, "");
}

/* ---- compute ---- */

#define E(name) HCS_EXPORT_##name

static HRESULT WINAPI create_system(PCWSTR id, PCWSTR config, HANDLE identity, HCS_SYSTEM *system, PWSTR *result)
{
    assert_null(identity);
    HRESULT answered = enter_text(E(HcsCreateComputeSystem), id, config);
    if (is_handle(answered))
        *system = new_handle(&fake.systems);
    return answer(answered, result);
}

static HRESULT WINAPI open_system(PCWSTR id, HCS_SYSTEM *system, PWSTR *result)
{
    HRESULT answered = enter_text(E(HcsOpenComputeSystem), id, NULL);
    if (is_handle(answered))
        *system = new_handle(&fake.systems);
    return answer(answered, result);
}

static HRESULT WINAPI close_system(HCS_SYSTEM system)
{
    assert_non_null(system);
    InterlockedDecrement(&fake.systems);
    return enter(E(HcsCloseComputeSystem), "");
}

#define SYSTEM_CALL(function, name)                                                                                    \
    static HRESULT WINAPI function(HCS_SYSTEM system, PCWSTR options, PWSTR *result)                                   \
    {                                                                                                                  \
        assert_non_null(system);                                                                                       \
        return answer(enter_text(E(name), options, NULL), result);                                                     \
    }
SYSTEM_CALL(start_system, HcsStartComputeSystem)
SYSTEM_CALL(shutdown_system, HcsShutdownComputeSystem)
SYSTEM_CALL(terminate_system, HcsTerminateComputeSystem)
SYSTEM_CALL(pause_system_call, HcsPauseComputeSystem)
SYSTEM_CALL(resume_system, HcsResumeComputeSystem)
SYSTEM_CALL(modify_system, HcsModifyComputeSystem)

static HRESULT WINAPI system_properties(HCS_SYSTEM system, PCWSTR query, PWSTR *properties, PWSTR *result)
{
    assert_non_null(system);
    HRESULT answered = enter_text(E(HcsGetComputeSystemProperties), query, NULL);
    *properties = out_text(fake.document);
    return answer(answered, result);
}

static HRESULT WINAPI enumerate(PCWSTR query, PWSTR *systems, PWSTR *result)
{
    HRESULT answered = enter_text(E(HcsEnumerateComputeSystems), query, NULL);
    *systems = out_text(fake.document);
    return answer(answered, result);
}

static HRESULT WINAPI register_system(HCS_SYSTEM system, HCS_NOTIFICATION_CALLBACK callback, void *context,
                                      HCS_CALLBACK *registration)
{
    return add_registration(E(HcsRegisterComputeSystemCallback), system, callback, context, registration);
}

static HRESULT WINAPI unregister_system(HCS_CALLBACK registration)
{
    return remove_registration(E(HcsUnregisterComputeSystemCallback), registration);
}

static HRESULT WINAPI create_process(HCS_SYSTEM system, PCWSTR parameters, HCS_PROCESS_INFORMATION *information,
                                     HCS_PROCESS *process, PWSTR *result)
{
    assert_non_null(system);
    HRESULT answered = enter_text(E(HcsCreateProcess), parameters, NULL);
    if (answered >= 0) {
        *process = new_handle(&fake.processes);
        *information = (HCS_PROCESS_INFORMATION){4321, 0, fake.pipes[0], fake.pipes[1], fake.pipes[2]};
    }
    return answer(answered, result);
}

static HRESULT WINAPI open_process(HCS_SYSTEM system, UINT32 pid, HCS_PROCESS *process, PWSTR *result)
{
    char text[16];
    assert_non_null(system);
    snprintf(text, sizeof text, "%u", (unsigned)pid);
    HRESULT answered = enter(E(HcsOpenProcess), text);
    if (answered >= 0)
        *process = new_handle(&fake.processes);
    return answer(answered, result);
}

static HRESULT WINAPI close_process(HCS_PROCESS process)
{
    assert_non_null(process);
    InterlockedDecrement(&fake.processes);
    return enter(E(HcsCloseProcess), "");
}

static HRESULT WINAPI terminate_process(HCS_PROCESS process, PWSTR *result)
{
    assert_non_null(process);
    return answer(enter(E(HcsTerminateProcess), ""), result);
}

SYSTEM_CALL(signal_process, HcsSignalProcess)
SYSTEM_CALL(modify_process, HcsModifyProcess)

static HRESULT WINAPI process_info(HCS_PROCESS process, HCS_PROCESS_INFORMATION *information, PWSTR *result)
{
    assert_non_null(process);
    *information = (HCS_PROCESS_INFORMATION){4321, 0, fake.pipes[0], fake.pipes[1], fake.pipes[2]};
    return answer(enter(E(HcsGetProcessInfo), ""), result);
}

static HRESULT WINAPI process_properties(HCS_PROCESS process, PWSTR *properties, PWSTR *result)
{
    assert_non_null(process);
    HRESULT answered = enter(E(HcsGetProcessProperties), "");
    *properties = out_text(fake.document);
    return answer(answered, result);
}

static HRESULT WINAPI register_process(HCS_PROCESS process, HCS_NOTIFICATION_CALLBACK callback, void *context,
                                       HCS_CALLBACK *registration)
{
    return add_registration(E(HcsRegisterProcessCallback), process, callback, context, registration);
}

static HRESULT WINAPI unregister_process(HCS_CALLBACK registration)
{
    return remove_registration(E(HcsUnregisterProcessCallback), registration);
}

/* ---- storage ---- */

static HRESULT enter_layer(enum hcs_export export, const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR other,
                           const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    assert_int_equal(info->Flavour, 1);
    assert_int_equal(info->HomeDir[0], 0);
    char line[800];
    char *one = narrow(id), *two = other == NULL ? NULL : narrow(other);
    size_t used = (size_t)snprintf(line, sizeof line, "%s%s%s", one, two == NULL ? "" : " ", two == NULL ? "" : two);
    free(one);
    free(two);
    if (count == 0)
        assert_null(layers);
    for (SIZE_T i = 0; i < count; i++) {
        char guid[37];
        storage_guid_text(&layers[i].LayerId, guid);
        assert_int_equal(layers[i].Flags, 0);
        char *path = narrow(layers[i].Path);
        used += (size_t)snprintf(line + used, sizeof line - used, " %s=%s", path, guid);
        free(path);
    }
    return enter(export, line);
}

#define LAYER_CALL(function, name)                                                                                     \
    static HRESULT WINAPI function(const HCS_DRIVER_INFO *info, PCWSTR id)                                             \
    {                                                                                                                  \
        return enter_layer(E(name), info, id, NULL, NULL, 0);                                                          \
    }
LAYER_CALL(activate, ActivateLayer)
LAYER_CALL(deactivate, DeactivateLayer)
LAYER_CALL(unprepare, UnprepareLayer)
LAYER_CALL(destroy, DestroyLayer)

static HRESULT WINAPI prepare(const HCS_DRIVER_INFO *info, PCWSTR id, const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    return enter_layer(E(PrepareLayer), info, id, NULL, layers, count);
}

static HRESULT WINAPI export_layer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR folder,
                                   const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    return enter_layer(E(ExportLayer), info, id, folder, layers, count);
}

static HRESULT WINAPI import_layer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR folder,
                                   const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    return enter_layer(E(ImportLayer), info, id, folder, layers, count);
}

static HRESULT WINAPI copy_layer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR target,
                                 const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    return enter_layer(E(CopyLayer), info, id, target, layers, count);
}

static HRESULT WINAPI create_layer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR parent)
{
    return enter_layer(E(CreateLayer), info, id, parent, NULL, 0);
}

static HRESULT WINAPI create_sandbox(const HCS_DRIVER_INFO *info, PCWSTR id, ULONG_PTR parent,
                                     const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    assert_int_equal(parent, 0);
    return enter_layer(E(CreateSandboxLayer), info, id, NULL, layers, count);
}

static HRESULT WINAPI expand(const HCS_DRIVER_INFO *info, PCWSTR id, UINT64 bytes)
{
    wchar_t text[32];
    swprintf(text, 32, L"%llu", (unsigned long long)bytes);
    return enter_layer(E(ExpandSandboxSize), info, id, text, NULL, 0);
}

static HRESULT WINAPI exists(const HCS_DRIVER_INFO *info, PCWSTR id, UINT32 *ret)
{
    *ret = fake.exists;
    return enter_layer(E(LayerExists), info, id, NULL, NULL, 0);
}

static HRESULT WINAPI mount_path(const HCS_DRIVER_INFO *info, PCWSTR id, SIZE_T *length, PWSTR path)
{
    HRESULT answered = enter_layer(E(GetLayerMountPath), info, id, path == NULL ? L"length" : L"text", NULL, 0);
    SIZE_T wanted = fake.mount_path == NULL ? 0 : wcslen(fake.mount_path) + 1;
    if (path == NULL)
        *length = wanted;
    else
        memcpy(path, fake.mount_path, wanted * sizeof(wchar_t));
    return answered;
}

static HRESULT WINAPI base_images(PWSTR *images)
{
    *images = out_text(fake.document);
    return enter(E(GetBaseImages), "");
}

static HRESULT WINAPI name_to_guid(PCWSTR name, GUID *guid)
{
    *guid = fake.guid;
    guid->Data4[7] = (unsigned char)name[0];
    return enter_text(E(NameToGuid), name, NULL);
}

static HRESULT WINAPI base_image(PCWSTR path)
{
    return enter_text(E(ProcessBaseImage), path, NULL);
}

static HRESULT WINAPI utility_image(PCWSTR path)
{
    return enter_text(E(ProcessUtilityImage), path, NULL);
}

static HRESULT WINAPI grant(PCWSTR vm, PCWSTR file)
{
    return enter_text(E(GrantVmAccess), vm, file);
}

/* ---- ---- */

void fake_reset(void)
{
    for (size_t i = 0; i < HCS_EXPORT_COUNT; i++) {
        win_close(fake.rules[i].hold);
        win_close(fake.rules[i].entered);
    }
    fake = (struct fake){
        .library =
            {
                .ActivateLayer = activate,
                .DeactivateLayer = deactivate,
                .PrepareLayer = prepare,
                .UnprepareLayer = unprepare,
                .ExportLayer = export_layer,
                .ImportLayer = import_layer,
                .CreateLayer = create_layer,
                .CreateSandboxLayer = create_sandbox,
                .ExpandSandboxSize = expand,
                .CopyLayer = copy_layer,
                .DestroyLayer = destroy,
                .LayerExists = exists,
                .GetLayerMountPath = mount_path,
                .GetBaseImages = base_images,
                .NameToGuid = name_to_guid,
                .ProcessBaseImage = base_image,
                .ProcessUtilityImage = utility_image,
                .GrantVmAccess = grant,
                .HcsCreateComputeSystem = create_system,
                .HcsOpenComputeSystem = open_system,
                .HcsCloseComputeSystem = close_system,
                .HcsStartComputeSystem = start_system,
                .HcsShutdownComputeSystem = shutdown_system,
                .HcsTerminateComputeSystem = terminate_system,
                .HcsPauseComputeSystem = pause_system_call,
                .HcsResumeComputeSystem = resume_system,
                .HcsGetComputeSystemProperties = system_properties,
                .HcsModifyComputeSystem = modify_system,
                .HcsEnumerateComputeSystems = enumerate,
                .HcsRegisterComputeSystemCallback = register_system,
                .HcsUnregisterComputeSystemCallback = unregister_system,
                .HcsCreateProcess = create_process,
                .HcsOpenProcess = open_process,
                .HcsCloseProcess = close_process,
                .HcsTerminateProcess = terminate_process,
                .HcsSignalProcess = signal_process,
                .HcsGetProcessInfo = process_info,
                .HcsGetProcessProperties = process_properties,
                .HcsModifyProcess = modify_process,
                .HcsRegisterProcessCallback = register_process,
                .HcsUnregisterProcessCallback = unregister_process,
                .free_text = free_text,
                .loaded = true,
            },
        .document = L"{}",
    };
    InitializeSRWLock(&fake.lock);
}

static LONG allocations_before;

int fixture_setup(void **state)
{
    (void)state;
    fake_reset();
    events_reset();
    allocations_before = allocations();
    return 0;
}

int fixture_teardown(void **state)
{
    (void)state;
    await_long(fake.systems, 0);
    await_long(fake.processes, 0);
    await_long(fake.registrations, 0);
    await_long(fake.texts, 0);
    await_allocations(allocations_before);
    return 0;
}
