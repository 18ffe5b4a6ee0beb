/* The storage half. State is the broker's, files are worked on here, in the calling process, as on Windows. */
#include <objbase.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"
#include "compute.h"
#include "connection.h"
#include "destroy.h"
#include "export.h"
#include "gate.h"
#include "guid.h"
#include "image.h"
#include "import.h"
#include "layer_path.h"
#include "sandbox.h"
#include "shared/frame.h"
#include "shared/result.h"
#include "staging.h"

#define PARENT_LIMIT 1024

/* One storage call: its name, the layer, the chain. */
struct storage {
    const char *call;
    wchar_t *path;
    char *text; /* path as UTF-8: what fault rows match on */
    const wchar_t **parents;
    size_t count;
    struct work_fault fault;
};

/* A fault with after_ms strikes these in the midst of their work, others before it. */
static bool works_through_files(const char *call)
{
    return strcmp(call, "ExportLayer") == 0 || strcmp(call, "ImportLayer") == 0 || strcmp(call, "DestroyLayer") == 0 ||
           strcmp(call, "CopyLayer") == 0;
}

/* Checks arguments, the fault file and privileges. storage_end in any case. */
static struct error *storage_begin(struct storage *storage, const char *call, const HCS_DRIVER_INFO *info, PCWSTR id,
                                   const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count, enum gate_privilege privilege)
{
    struct error *error = NULL;

    *storage = (struct storage){.call = call, .count = count};
    storage->path = layer_path_of(info == NULL ? NULL : info->HomeDir, id == NULL ? L"" : id);
    storage->text = text_from_utf16z((const char16_t *)storage->path);
    storage->fault.call = call;
    storage->fault.object = storage->text;
    storage->fault.began = GetTickCount64();
    if (info == NULL || id == NULL || *id == 0 || count > PARENT_LIMIT || (count > 0 && layers == NULL))
        return error_win32(ERROR_INVALID_PARAMETER, call, storage->text, "an argument is missing");
    storage->parents = mem_new_array(count, const wchar_t *);
    for (SIZE_T i = 0; i < count; i++) {
        storage->parents[i] = layers[i].Path;
        if (layers[i].Path == NULL)
            error = error_win32(ERROR_INVALID_PARAMETER, call, storage->text, "a parent is NULL");
    }
    if (error == NULL && works_through_files(call)) {
        error = gate_pass_work(call, storage->text, &storage->fault.fault);
    } else if (error == NULL) {
        error = gate_pass(call, storage->text, &storage->fault.fault);
    }
    if (error == NULL)
        error = gate_privileges(call, storage->text, privilege);
    return error;
}

static HRESULT storage_end(struct storage *storage, struct error *error)
{
    if (error == NULL)
        error = gate_strike_due(&storage->fault, true);
    fault_free(&storage->fault.fault);
    free((void *)storage->parents);
    free(storage->path);
    free(storage->text);
    return result_end(error);
}

/* Asks the broker. */
static struct error *storage_ask(const struct storage *storage, json_t **ret_reply)
{
    json_t *parents = json_array();

    for (size_t i = 0; i < storage->count; i++)
        json_array_append_new(parents, compute_json(storage->parents[i]));
    return connection_call(storage->call, 0, json_pack("{s:s, s:o}", "path", storage->text, "parents", parents),
                           ret_reply);
}

static struct error *check_exists(const struct storage *storage)
{
    return layer_path_is_folder(storage->path)
               ? NULL
               : error_win32(ERROR_PATH_NOT_FOUND, storage->call, storage->text, "there is no such layer");
}

HRESULT WINAPI ActivateLayer(const HCS_DRIVER_INFO *info, PCWSTR id)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "ActivateLayer", info, id, NULL, 0, GATE_BACKUP);
    if (error == NULL)
        error = check_exists(&storage);
    if (error == NULL)
        error = storage_ask(&storage, NULL);
    return storage_end(&storage, error);
}

HRESULT WINAPI DeactivateLayer(const HCS_DRIVER_INFO *info, PCWSTR id)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "DeactivateLayer", info, id, NULL, 0, GATE_BACKUP);
    if (error == NULL)
        error = storage_ask(&storage, NULL);
    return storage_end(&storage, error);
}

HRESULT WINAPI PrepareLayer(const HCS_DRIVER_INFO *info, PCWSTR id, const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "PrepareLayer", info, id, layers, count, GATE_BACKUP);
    if (error == NULL)
        error = sandbox_check_parents(storage.path, storage.parents, count);
    if (error == NULL)
        error = storage_ask(&storage, NULL);
    return storage_end(&storage, error);
}

HRESULT WINAPI UnprepareLayer(const HCS_DRIVER_INFO *info, PCWSTR id)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "UnprepareLayer", info, id, NULL, 0, GATE_BACKUP);
    if (error == NULL)
        error = storage_ask(&storage, NULL);
    return storage_end(&storage, error);
}

HRESULT WINAPI GetLayerMountPath(const HCS_DRIVER_INFO *info, PCWSTR id, SIZE_T *length, PWSTR path)
{
    struct storage storage;
    json_t *reply = NULL;
    struct error *error;
    size_t units = 0;
    char16_t *volume = NULL;

    if (length == NULL)
        return E_INVALIDARG;
    error = storage_begin(&storage, "GetLayerMountPath", info, id, NULL, 0, GATE_BACKUP);
    if (error == NULL)
        error = storage_ask(&storage, &reply);
    if (error == NULL)
        volume = text_to_utf16(frame_text(reply, "volume"), &units);
    if (error == NULL && path != NULL && *length < units + 1) {
        error = error_win32(ERROR_INSUFFICIENT_BUFFER, storage.call, storage.text, NULL);
    } else if (error == NULL && path != NULL) {
        memcpy(path, volume, (units + 1) * sizeof *path);
    }
    if (volume != NULL)
        *length = units + 1;
    free(volume);
    json_decref(reply);
    return storage_end(&storage, error);
}

HRESULT WINAPI ExportLayer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR folder, const HCS_LAYER_DESCRIPTOR *layers,
                           SIZE_T count)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "ExportLayer", info, id, layers, count, GATE_BACKUP);

    if (error == NULL)
        error = storage_ask(&storage, NULL); /* is it activated? */
    if (error == NULL && (folder == NULL || !layer_path_is_absolute(folder)))
        error = error_win32(ERROR_INVALID_PARAMETER, storage.call, storage.text, "the folder's path is not absolute");
    if (error == NULL && !layer_path_is_folder(folder))
        error = error_win32(ERROR_PATH_NOT_FOUND, storage.call, storage.text, "the folder is not there");
    if (error == NULL && !layer_path_is_empty(folder))
        error = error_win32(ERROR_DIR_NOT_EMPTY, storage.call, storage.text, "the folder is not empty");
    if (error == NULL)
        error = sandbox_check_parents(storage.path, storage.parents, count);
    if (error == NULL)
        error = staging_export(storage.path, storage.parents, count, folder, &storage.fault);
    return storage_end(&storage, error);
}

HRESULT WINAPI ImportLayer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR folder, const HCS_LAYER_DESCRIPTOR *layers,
                           SIZE_T count)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "ImportLayer", info, id, layers, count, GATE_BACKUP_RESTORE);

    if (error == NULL)
        error = check_exists(&storage);
    if (error == NULL && (folder == NULL || !layer_path_is_folder(folder)))
        error = error_win32(ERROR_PATH_NOT_FOUND, storage.call, storage.text, "the transport folder is not there");
    if (error == NULL)
        error = sandbox_check_parents(storage.path, storage.parents, count);
    if (error == NULL)
        error = import_layer(storage.path, storage.parents, count, folder, &storage.fault);
    return storage_end(&storage, error);
}

HRESULT WINAPI CreateLayer(const HCS_DRIVER_INFO *info, PCWSTR id, PCWSTR parent)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "CreateLayer", info, id, NULL, 0, GATE_BACKUP);

    (void)parent;
    if (error == NULL && !CreateDirectoryW(storage.path, NULL))
        error = error_win32(GetLastError(), storage.call, storage.text, NULL);
    return storage_end(&storage, error);
}

HRESULT WINAPI CreateSandboxLayer(const HCS_DRIVER_INFO *info, PCWSTR id, ULONG_PTR parent,
                                  const HCS_LAYER_DESCRIPTOR *layers, SIZE_T count)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "CreateSandboxLayer", info, id, layers, count, GATE_BACKUP);

    (void)parent;
    if (error == NULL)
        error = sandbox_check_parents(storage.path, storage.parents, count);
    if (error == NULL)
        error = sandbox_create(storage.path, storage.parents, count);
    return storage_end(&storage, error);
}

HRESULT WINAPI ExpandSandboxSize(const HCS_DRIVER_INFO *info, PCWSTR id, UINT64 bytes)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "ExpandSandboxSize", info, id, NULL, 0, GATE_BACKUP);
    if (error == NULL)
        error = sandbox_expand(storage.path, bytes);
    return storage_end(&storage, error);
}

HRESULT WINAPI CopyLayer(const HCS_DRIVER_INFO *info, PCWSTR source, PCWSTR target, const HCS_LAYER_DESCRIPTOR *layers,
                         SIZE_T count)
{
    struct storage storage;
    struct error *error = storage_begin(&storage, "CopyLayer", info, source, layers, count, GATE_BACKUP_RESTORE);
    wchar_t *to = layer_path_of(info == NULL ? NULL : info->HomeDir, target == NULL ? L"" : target);

    if (error == NULL)
        error = check_exists(&storage);
    if (error == NULL)
        error = sandbox_check_parents(storage.path, storage.parents, count);
    if (error == NULL)
        error = image_copy(storage.path, to, &storage.fault);
    free(to);
    return storage_end(&storage, error);
}

HRESULT WINAPI DestroyLayer(const HCS_DRIVER_INFO *info, PCWSTR id)
{
    struct storage storage;
    json_t *reply = NULL;
    struct error *error = storage_begin(&storage, "DestroyLayer", info, id, NULL, 0, GATE_BACKUP_RESTORE);

    if (error == NULL && !layer_path_is_absolute(storage.path))
        return storage_end(&storage, NULL); /* sic */
    if (error == NULL && storage.path[wcslen(storage.path) - 1] == L'\\')
        error = error_win32(ERROR_INVALID_NAME, storage.call, storage.text, "a backslash at the end");
    if (error == NULL)
        error = storage_ask(&storage, &reply);
    if (error == NULL && json_object_get(reply, "child") != NULL)
        RaiseException(0xC0000420, EXCEPTION_NONCONTINUABLE, 0, NULL); /* a mounted layer has it in its chain */
    if (error == NULL)
        error = destroy_layer(storage.path, &storage.fault);
    json_decref(reply);
    return storage_end(&storage, error);
}

HRESULT WINAPI LayerExists(const HCS_DRIVER_INFO *info, PCWSTR id, UINT32 *exists)
{
    struct storage storage;
    struct error *error;

    if (exists == NULL)
        return E_INVALIDARG;
    error = storage_begin(&storage, "LayerExists", info, id, NULL, 0, GATE_NONE);
    if (error == NULL)
        *exists = layer_path_is_folder(storage.path);
    return storage_end(&storage, error);
}

HRESULT WINAPI GetBaseImages(PWSTR *images)
{
    static const HCS_DRIVER_INFO none = {1, L""};
    struct storage storage;
    struct error *error;

    if (images == NULL)
        return E_INVALIDARG;
    error = storage_begin(&storage, "GetBaseImages", &none, L"*", NULL, 0, GATE_NONE);
    if (error == NULL)
        *images = compute_text("{\"Images\":[]}");
    return storage_end(&storage, error);
}

HRESULT WINAPI NameToGuid(PCWSTR name, GUID *guid)
{
    static const HCS_DRIVER_INFO none = {1, L""};
    struct storage storage;
    struct error *error;

    if (name == NULL || guid == NULL)
        return E_INVALIDARG;
    error = storage_begin(&storage, "NameToGuid", &none, *name == 0 ? L"*" : name, NULL, 0, GATE_NONE);
    if (error == NULL)
        *guid = guid_from_name(name);
    return storage_end(&storage, error);
}

/* ProcessBaseImage and the like: calls on a path that is no layer of the driver's. */
static HRESULT path_call(const char *call, PCWSTR path, struct error *(*work)(const wchar_t *path))
{
    static const HCS_DRIVER_INFO none = {1, L""};
    struct storage storage;
    struct error *error = storage_begin(&storage, call, &none, path, NULL, 0, GATE_BACKUP_RESTORE);

    if (error == NULL)
        error = work(storage.path);
    return storage_end(&storage, error);
}

HRESULT WINAPI ProcessBaseImage(PCWSTR path)
{
    return path_call("ProcessBaseImage", path, image_process_base);
}

HRESULT WINAPI ProcessUtilityImage(PCWSTR path)
{
    return path_call("ProcessUtilityImage", path, image_process_utility);
}

HRESULT WINAPI GrantVmAccess(PCWSTR vm, PCWSTR file)
{
    static const HCS_DRIVER_INFO none = {1, L""};
    struct storage storage;
    struct error *error;

    if (vm == NULL || *vm == 0)
        return E_INVALIDARG;
    error = storage_begin(&storage, "GrantVmAccess", &none, file, NULL, 0, GATE_NONE);
    if (error == NULL && GetFileAttributesW(storage.path) == INVALID_FILE_ATTRIBUTES)
        error = error_win32(GetLastError(), storage.call, storage.text, NULL);
    if (error == NULL)
        error = connection_call(storage.call, 0, json_pack("{s:o, s:s}", "vm", compute_json(vm), "path", storage.text),
                                NULL);
    return storage_end(&storage, error);
}
