#include "hcs/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/process.h"
#include "base/win.h"

#define uthash_fatal(message) process_end(1455, "hcsd: out of memory\n")
#include <uthash.h>

#define CACHE_LIMIT     4096
#define PATH_LIMIT      32768 /* UTF-16 units of any path */
#define ATTACH_TRIES    5
#define ATTACH_PAUSE_MS 100

struct cached_id {
    char *name;
    GUID guid;
    UT_hash_handle hh;
};

struct storage {
    struct hcs_library *library;
    struct guard *guard;
    const struct pause *pause;
    SRWLOCK lock; /* over the cache */
    struct cached_id *ids;
};

struct error *storage_new(struct hcs_library *library, struct guard *guard, const struct pause *pause,
                          struct storage **ret_storage)
{
    struct storage *storage = mem_new(struct storage);
    storage->library = library;
    storage->guard = guard;
    storage->pause = pause != NULL ? pause : &pause_system;
    InitializeSRWLock(&storage->lock);
    *ret_storage = storage;
    return NULL;
}

static void forget_ids(struct storage *storage)
{
    struct cached_id *id, *next;
    HASH_ITER(hh, storage->ids, id, next)
    {
        HASH_DEL(storage->ids, id);
        free(id->name);
        free(id);
    }
}

void storage_free(struct storage *storage)
{
    if (storage == NULL)
        return;
    forget_ids(storage);
    free(storage);
}

/* ---- one call ---- */

/* Everything a storage call takes and brings; the record owns all of it, so that a late return finds it. */
struct storage_call {
    struct guard_call base;
    struct hcs_library *library;
    enum hcs_export export;
    void (*run)(struct storage_call *call);
    wchar_t *layer;
    wchar_t *other; /* folder, target, file */
    struct hcs_layer_list parents;
    uint64_t bytes;
    struct error *error;
    HRESULT result;
    wchar_t *path; /* ours */
    PWSTR text;    /* HCS's */
    UINT32 exists;
    GUID guid;
};

static const HCS_DRIVER_INFO driver = {.Flavour = 1, .HomeDir = L""};

static void run_storage(struct guard_call *base)
{
    struct storage_call *call = (struct storage_call *)base;
    call->error = hcs_library_require(call->library, call->export);
    if (call->error == NULL)
        call->run(call);
}

static void free_storage(struct guard_call *base)
{
    struct storage_call *call = (struct storage_call *)base;
    if (call->text != NULL)
        call->library->free_text(call->text);
    hcs_layer_list_free(&call->parents);
    error_free(call->error);
    free(call->layer);
    free(call->other);
    free(call->path);
}

static struct storage_call *new_call(struct storage *storage, enum hcs_export export, const char *object,
                                     void (*run)(struct storage_call *call))
{
    struct storage_call *call = mem_new(struct storage_call);
    call->base.name = hcs_export_name(export);
    call->base.object = str_copy(object);
    call->base.run = run_storage;
    call->base.free = free_storage;
    call->library = storage->library;
    call->export = export;
    call->run = run;
    return call;
}

/* A path as HCS wants it. */
static struct error *set_path(struct storage_call *call, const char *path, wchar_t **field)
{
    if (!path_is_absolute(path))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, call->base.name, path, "the path is not absolute");
    struct error *error = error_wrap(win_wide(path, field), "%s", call->base.name);
    if (error != NULL)
        return error;
    size_t length = wcslen(*field);
    for (wchar_t *at = *field; *at != 0; at++)
        if (*at == L'/')
            *at = L'\\';
    while (length > 3 && (*field)[length - 1] == L'\\')
        (*field)[--length] = 0;
    return NULL;
}

static void set_parents(struct storage_call *call, const struct hcs_layer_list *parents)
{
    if (parents == NULL || parents->count == 0)
        return;
    call->parents.layers = mem_new_array(parents->count, HCS_LAYER_DESCRIPTOR);
    call->parents.count = parents->count;
    for (size_t i = 0; i < parents->count; i++) {
        call->parents.layers[i] = parents->layers[i];
        call->parents.layers[i].Path =
            mem_copy(parents->layers[i].Path, (wcslen(parents->layers[i].Path) + 1) * sizeof(wchar_t));
    }
}

/* Runs it here or under the guard; the error is the bound's or HCS's. */
static struct error *make(struct storage *storage, struct storage_call *call)
{
    struct error *error = NULL;
    if (storage->guard != NULL) {
        error = guard_run(storage->guard, &call->base, NULL);
        if (error != NULL)
            return error;
    } else {
        error = guard_check_token(call->base.name, call->base.object);
        if (error != NULL)
            return error;
        run_storage(&call->base);
    }
    if (call->error != NULL) {
        error = call->error;
        call->error = NULL;
    } else if (call->result < 0) {
        error = error_hresult((uint32_t)call->result, call->base.name, call->base.object, NULL);
    }
    return error;
}

static struct error *run_simple(struct storage *storage, enum hcs_export export, void (*run)(struct storage_call *call),
                                const char *layer, const char *other, const struct hcs_layer_list *parents,
                                uint64_t bytes)
{
    struct storage_call *call = new_call(storage, export, layer, run);
    call->bytes = bytes;
    struct error *error = set_path(call, layer, &call->layer);
    if (error == NULL && other != NULL)
        error = set_path(call, other, &call->other);
    set_parents(call, parents);
    if (error == NULL)
        error = make(storage, call);
    guard_release(&call->base);
    return error;
}

#define RUN(function, expression)                                                                                      \
    static void function(struct storage_call *call)                                                                    \
    {                                                                                                                  \
        call->result = call->library->expression;                                                                      \
    }
RUN(run_activate, ActivateLayer(&driver, call->layer))
RUN(run_deactivate, DeactivateLayer(&driver, call->layer))
RUN(run_prepare, PrepareLayer(&driver, call->layer, call->parents.layers, call->parents.count))
RUN(run_unprepare, UnprepareLayer(&driver, call->layer))
RUN(run_export, ExportLayer(&driver, call->layer, call->other, call->parents.layers, call->parents.count))
RUN(run_import, ImportLayer(&driver, call->layer, call->other, call->parents.layers, call->parents.count))
RUN(run_create_scratch, CreateSandboxLayer(&driver, call->layer, 0, call->parents.layers, call->parents.count))
RUN(run_expand, ExpandSandboxSize(&driver, call->layer, call->bytes))
RUN(run_create_layer, CreateLayer(&driver, call->layer, call->other == NULL ? L"" : call->other))
RUN(run_copy, CopyLayer(&driver, call->layer, call->other, call->parents.layers, call->parents.count))
RUN(run_destroy, DestroyLayer(&driver, call->layer))
RUN(run_exists, LayerExists(&driver, call->layer, &call->exists))
RUN(run_base_image, ProcessBaseImage(call->layer))
RUN(run_utility_image, ProcessUtilityImage(call->layer))
RUN(run_grant, GrantVmAccess(call->layer, call->other))
RUN(run_base_images, GetBaseImages(&call->text))
RUN(run_name_to_guid, NameToGuid(call->layer, &call->guid))

struct error *storage_activate(struct storage *storage, const char *layer)
{
    return run_simple(storage, HCS_EXPORT_ActivateLayer, run_activate, layer, NULL, NULL, 0);
}

struct error *storage_deactivate(struct storage *storage, const char *layer)
{
    return run_simple(storage, HCS_EXPORT_DeactivateLayer, run_deactivate, layer, NULL, NULL, 0);
}

struct error *storage_prepare(struct storage *storage, const char *layer, const struct hcs_layer_list *parents)
{
    return run_simple(storage, HCS_EXPORT_PrepareLayer, run_prepare, layer, NULL, parents, 0);
}

struct error *storage_unprepare(struct storage *storage, const char *layer)
{
    return run_simple(storage, HCS_EXPORT_UnprepareLayer, run_unprepare, layer, NULL, NULL, 0);
}

struct error *storage_export(struct storage *storage, const char *layer, const char *folder,
                             const struct hcs_layer_list *parents)
{
    return run_simple(storage, HCS_EXPORT_ExportLayer, run_export, layer, folder, parents, 0);
}

struct error *storage_import(struct storage *storage, const char *layer, const char *folder,
                             const struct hcs_layer_list *parents)
{
    return run_simple(storage, HCS_EXPORT_ImportLayer, run_import, layer, folder, parents, 0);
}

struct error *storage_create_scratch(struct storage *storage, const char *layer, const struct hcs_layer_list *parents)
{
    return run_simple(storage, HCS_EXPORT_CreateSandboxLayer, run_create_scratch, layer, NULL, parents, 0);
}

struct error *storage_expand_scratch(struct storage *storage, const char *layer, uint64_t bytes)
{
    return run_simple(storage, HCS_EXPORT_ExpandSandboxSize, run_expand, layer, NULL, NULL, bytes);
}

struct error *storage_create_layer(struct storage *storage, const char *layer, const char *parent)
{
    return run_simple(storage, HCS_EXPORT_CreateLayer, run_create_layer, layer, parent, NULL, 0);
}

struct error *storage_copy(struct storage *storage, const char *source, const char *target,
                           const struct hcs_layer_list *parents)
{
    return run_simple(storage, HCS_EXPORT_CopyLayer, run_copy, source, target, parents, 0);
}

struct error *storage_destroy(struct storage *storage, const char *layer)
{
    return run_simple(storage, HCS_EXPORT_DestroyLayer, run_destroy, layer, NULL, NULL, 0);
}

struct error *storage_process_base_image(struct storage *storage, const char *layer)
{
    return run_simple(storage, HCS_EXPORT_ProcessBaseImage, run_base_image, layer, NULL, NULL, 0);
}

struct error *storage_process_utility_image(struct storage *storage, const char *layer)
{
    return run_simple(storage, HCS_EXPORT_ProcessUtilityImage, run_utility_image, layer, NULL, NULL, 0);
}

struct error *storage_grant_vm_access(struct storage *storage, const char *vm_id, const char *file)
{
    struct storage_call *call = new_call(storage, HCS_EXPORT_GrantVmAccess, file, run_grant);
    struct error *error = error_wrap(win_wide(vm_id, &call->layer), "%s", call->base.name);
    if (error == NULL)
        error = set_path(call, file, &call->other);
    if (error == NULL)
        error = make(storage, call);
    guard_release(&call->base);
    return error;
}

struct error *storage_exists(struct storage *storage, const char *layer, bool *ret_exists)
{
    struct storage_call *call = new_call(storage, HCS_EXPORT_LayerExists, layer, run_exists);
    struct error *error = set_path(call, layer, &call->layer);
    if (error == NULL)
        error = make(storage, call);
    if (error == NULL)
        *ret_exists = call->exists != 0;
    guard_release(&call->base);
    return error;
}

struct error *storage_base_images(struct storage *storage, char **ret_json)
{
    struct storage_call *call = new_call(storage, HCS_EXPORT_GetBaseImages, NULL, run_base_images);
    struct error *error = make(storage, call);
    if (error == NULL)
        *ret_json = call->text == NULL ? str_copy("") : win_text(call->text);
    guard_release(&call->base);
    return error;
}

/* Twice: the length in units with the NUL, then the text. */
static void run_mount_path(struct storage_call *call)
{
    SIZE_T length = 0;
    call->result = call->library->GetLayerMountPath(&driver, call->layer, &length, NULL);
    if (call->result < 0 || length == 0)
        return;
    if (length > PATH_LIMIT) {
        call->result = (HRESULT)0x800700CE; /* ERROR_FILENAME_EXCED_RANGE */
        return;
    }
    SIZE_T room = length;
    call->path = mem_new_array(room + 1, wchar_t);
    call->result = call->library->GetLayerMountPath(&driver, call->layer, &length, call->path);
    call->path[room] = 0;
}

struct error *storage_mount_path(struct storage *storage, const char *layer, char **ret_path)
{
    struct storage_call *call = new_call(storage, HCS_EXPORT_GetLayerMountPath, layer, run_mount_path);
    struct error *error = set_path(call, layer, &call->layer);
    if (error == NULL)
        error = make(storage, call);
    if (error == NULL) {
        char *path = call->path == NULL ? str_copy("") : win_text(call->path);
        for (size_t size = strlen(path); size > 0 && path[size - 1] == '\\'; size--)
            path[size - 1] = 0;
        *ret_path = path;
    }
    guard_release(&call->base);
    return error;
}

/* ---- ids and chains ---- */

static bool find_id(struct storage *storage, const char *name, GUID *ret_guid)
{
    struct cached_id *id = NULL;
    AcquireSRWLockShared(&storage->lock);
    HASH_FIND_STR(storage->ids, name, id);
    if (id != NULL)
        *ret_guid = id->guid;
    ReleaseSRWLockShared(&storage->lock);
    return id != NULL;
}

static void keep_id(struct storage *storage, const char *name, const GUID *guid)
{
    struct cached_id *id = NULL;
    AcquireSRWLockExclusive(&storage->lock);
    HASH_FIND_STR(storage->ids, name, id);
    if (id == NULL) {
        if (HASH_COUNT(storage->ids) >= CACHE_LIMIT)
            forget_ids(storage);
        id = mem_new(struct cached_id);
        id->name = str_copy(name);
        id->guid = *guid;
        HASH_ADD_KEYPTR(hh, storage->ids, id->name, strlen(id->name), id);
    }
    ReleaseSRWLockExclusive(&storage->lock);
}

struct error *storage_name_to_guid(struct storage *storage, const char *name, GUID *ret_guid)
{
    if (find_id(storage, name, ret_guid))
        return NULL;
    struct storage_call *call = new_call(storage, HCS_EXPORT_NameToGuid, name, run_name_to_guid);
    struct error *error = error_wrap(win_wide(name, &call->layer), "%s", call->base.name);
    if (error == NULL)
        error = make(storage, call);
    if (error == NULL) {
        *ret_guid = call->guid;
        keep_id(storage, name, &call->guid);
    }
    guard_release(&call->base);
    return error;
}

void storage_guid_text(const GUID *guid, char text[37])
{
    const unsigned char *rest = guid->Data4;
    snprintf(text, 37, "%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", guid->Data1, guid->Data2, guid->Data3,
             rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]);
}

struct error *hcs_layer_list_make(struct storage *storage, const char *const *paths, size_t count,
                                  struct hcs_layer_list *ret_list)
{
    struct hcs_layer_list list = {.layers = mem_new_array(count, HCS_LAYER_DESCRIPTOR)};
    struct error *error = NULL;
    for (size_t i = 0; i < count && error == NULL; i++) {
        struct storage_call *call = new_call(storage, HCS_EXPORT_NameToGuid, paths[i], run_name_to_guid);
        char *name = path_last_part(paths[i]);
        HCS_LAYER_DESCRIPTOR *layer = &list.layers[list.count];
        error = set_path(call, paths[i], &call->layer);
        if (error == NULL && name[0] == 0)
            error = error_make(ERROR_KIND_INVALID_ARGUMENT, "NameToGuid", paths[i], "a layer is a folder, not a root");
        if (error == NULL)
            error = storage_name_to_guid(storage, name, &layer->LayerId);
        if (error == NULL) {
            layer->Path = call->layer;
            call->layer = NULL;
            list.count++;
        }
        free(name);
        guard_release(&call->base);
    }
    if (error != NULL)
        hcs_layer_list_free(&list);
    else
        *ret_list = list;
    return error;
}

void hcs_layer_list_free(struct hcs_layer_list *list)
{
    if (list == NULL)
        return;
    for (size_t i = 0; i < list->count; i++)
        free((void *)list->layers[i].Path);
    free(list->layers);
    *list = (struct hcs_layer_list){0};
}

/* ---- mounting ---- */

static struct error *do_step(struct storage *storage, const char *layer, const struct hcs_layer_list *parents,
                             enum storage_step step, const struct storage_hooks *hooks)
{
    struct error *error = NULL;
    if (hooks != NULL && hooks->before != NULL)
        error = hooks->before(hooks->context, step);
    if (error != NULL)
        return error;
    switch (step) {
    case STORAGE_ACTIVATE:
        error = storage_activate(storage, layer);
        break;
    case STORAGE_PREPARE:
        error = storage_prepare(storage, layer, parents);
        break;
    case STORAGE_UNPREPARE:
        error = storage_unprepare(storage, layer);
        break;
    case STORAGE_DEACTIVATE:
        error = storage_deactivate(storage, layer);
        break;
    }
    if (hooks != NULL && hooks->after != NULL)
        hooks->after(hooks->context, step, error);
    return error;
}

static bool may_pass(const struct error *error)
{
    return error->origin == ERROR_ORIGIN_HRESULT && (error->code == 0x80070015 || error->code == 0x8007048F);
}

struct error *storage_attach(struct storage *storage, const char *layer, const struct hcs_layer_list *parents,
                             const struct storage_hooks *hooks)
{
    for (unsigned try = 1;; try++) {
        struct error *error = do_step(storage, layer, NULL, STORAGE_ACTIVATE, hooks);
        if (error == NULL) {
            error = do_step(storage, layer, parents, STORAGE_PREPARE, hooks);
            if (error == NULL)
                return NULL;
            error_free(do_step(storage, layer, NULL, STORAGE_DEACTIVATE, hooks));
        }
        if (!may_pass(error))
            return error;
        if (try == ATTACH_TRIES)
            return error_wrap(error, "attach layer, tried %u times", try);
        error_free(error);
        storage->pause->wait(storage->pause->context, ATTACH_PAUSE_MS);
    }
}

struct error *storage_detach(struct storage *storage, const char *layer, const struct storage_hooks *hooks)
{
    struct error *first = NULL;
    error_keep_first(&first, do_step(storage, layer, NULL, STORAGE_UNPREPARE, hooks));
    error_keep_first(&first, do_step(storage, layer, NULL, STORAGE_DEACTIVATE, hooks));
    return first;
}
