/* The files that a container in a utility VM needs: looked at, made where they are missing, opened to the VM. All of it is in
 * layers, so a worker does it. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"
#include "layer/resolve.h"

static bool find(const char *folder, const char *name, WIN32_FILE_ATTRIBUTE_DATA *ret_data)
{
    char *path = path_join(folder, name);
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    bool found = error == NULL && GetFileAttributesExW(wide, GetFileExInfoStandard, ret_data);
    error_free(error);
    free(wide);
    free(path);
    return found;
}

/* ---- disks ----------------------------------------------------------------------------------------------------------- */

/* What clients of older ways leave out: the scratch disk itself. */
static struct error *ensure_scratch(struct work *work, const char *scratch, const struct hcs_layer_list *parents)
{
    WIN32_FILE_ATTRIBUTE_DATA data;
    if (find(scratch, "sandbox.vhdx", &data))
        return NULL;
    work_phase(work, "create");
    return storage_create_scratch(work->worker->storage, scratch, parents);
}

/* Another container's disk may be behind a link. */
static struct error *grant(struct work *work, const char *vm, const char *path, char **ret_disk)
{
    char *disk = NULL;
    struct error *error = resolve_file(path, &disk);
    if (error == NULL) {
        work_phase(work, "grant");
        error = storage_grant_vm_access(work->worker->storage, vm, disk);
    }
    if (error == NULL)
        *ret_disk = disk;
    else
        free(disk);
    return error;
}

static struct error *copy_template(const char *from, const char *to)
{
    wchar_t *source = NULL, *target = NULL;
    char *part = str_format("%s.partial", to);
    wchar_t *wide_part = NULL;
    struct error *error = win_path(from, &source);
    if (error == NULL)
        error = win_path(to, &target);
    if (error == NULL)
        error = win_path(part, &wide_part);
    if (error == NULL && !CopyFileW(source, wide_part, FALSE))
        error = error_win32(GetLastError(), "copy the VM's template disk", from, NULL);
    /* Only a whole copy has the name. */
    if (error == NULL && !MoveFileExW(wide_part, target, MOVEFILE_REPLACE_EXISTING))
        error = error_win32(GetLastError(), "put the VM's disk in place", to, NULL);
    if (error != NULL && wide_part != NULL)
        DeleteFileW(wide_part);
    free(source);
    free(target);
    free(wide_part);
    free(part);
    return error;
}

/* The VM's own disk: a copy of the image's template, in a folder of its own so as not to clash with the container's. */
static struct error *stage_machine_disk(struct work *work, const char *vm, const char *scratch, const char *image,
                                        json_t *end)
{
    char *folder = path_join(scratch, "vm"), *path = path_join(folder, "sandbox.vhdx");
    char *template = path_join(image, "SystemTemplate.vhdx"), *disk = NULL;
    wchar_t *wide = NULL;
    WIN32_FILE_ATTRIBUTE_DATA data;
    struct error *error = win_path(folder, &wide);
    if (error == NULL && !CreateDirectoryW(wide, NULL) && GetLastError() != ERROR_ALREADY_EXISTS)
        error = error_win32(GetLastError(), "make the VM's folder", folder, NULL);
    if (error == NULL && !find(folder, "sandbox.vhdx", &data)) {
        work_phase(work, "copy");
        error = copy_template(template, path);
    }
    if (error == NULL)
        error = grant(work, vm, path, &disk);
    if (error == NULL)
        json_object_set_new(end, "machine_disk", json_string(disk));
    free(wide);
    free(disk);
    free(template);
    free(path);
    free(folder);
    return error;
}

/* ---- layers ------------------------------------------------------------------------------------------------------------ */

static struct error *stage_windows(struct work *work, const char *scratch, const char **parents, size_t count,
                                   json_t *layers, json_t *end)
{
    struct hcs_layer_list list = {0};
    WIN32_FILE_ATTRIBUTE_DATA data;
    const char *image = NULL;
    struct error *error = hcs_layer_list_make(work->worker->storage, parents, count, &list);
    for (size_t i = 0; i < count && error == NULL; i++) {
        char id[37];
        storage_guid_text(&list.layers[i].LayerId, id);
        json_array_append_new(
            layers, json_pack("{s:s, s:s, s:b}", "path", parents[i], "id", id, "no_ids", !resolve_has_ids(parents[i])));
        if (image == NULL && find(parents[i], "UtilityVM", &data))
            image = parents[i];
    }
    if (error == NULL)
        error = ensure_scratch(work, scratch, &list);
    if (error == NULL && json_is_true(json_object_get(work->order, "machine"))) {
        if (image == NULL) {
            error = error_make(ERROR_KIND_NOT_FOUND, "find utility VM", scratch,
                               "none of the layers has a utility VM (a folder UtilityVM); the base image cannot be "
                               "used with Hyper-V isolation");
        } else {
            char *path = path_join(image, "UtilityVM");
            json_object_set_new(end, "image", json_string(path));
            error = stage_machine_disk(work, message_text(work->order, "vm"), scratch, path, end);
            free(path);
        }
    }
    hcs_layer_list_free(&list);
    return error;
}

static struct error *stage_linux(struct work *work, const char **parents, size_t count, json_t *layers)
{
    (void)work;
    for (size_t i = 0; i < count; i++) {
        WIN32_FILE_ATTRIBUTE_DATA data;
        char *path = path_join(parents[i], "layer.vhd");
        if (!find(parents[i], "layer.vhd", &data)) {
            struct error *error = error_make(ERROR_KIND_NOT_FOUND, "look at layer", path, "the layer has no layer.vhd");
            free(path);
            return error;
        }
        uint64_t size = (uint64_t)data.nFileSizeHigh << 32 | data.nFileSizeLow;
        json_array_append_new(layers, json_pack("{s:s, s:I}", "path", path, "size", (json_int_t)size));
        free(path);
    }
    return NULL;
}

/* Which of the folders of the host that are to be seen in the guest are files. */
static struct error *stage_binds(const json_t *paths, json_t *files)
{
    for (size_t i = 0; i < json_array_size(paths); i++) {
        const char *path = json_string_value(json_array_get(paths, i));
        wchar_t *wide = NULL;
        struct error *error = win_path(path != NULL ? path : "", &wide);
        if (error != NULL)
            return error_wrap(error, "mounts");
        DWORD attributes = GetFileAttributesW(wide);
        DWORD code = GetLastError();
        free(wide);
        if (attributes == INVALID_FILE_ATTRIBUTES)
            return error_win32(code, "look at mount source", path, NULL);
        json_array_append_new(files, json_boolean((attributes & FILE_ATTRIBUTE_DIRECTORY) == 0));
    }
    return NULL;
}

struct error *work_stage(struct work *work, const char *layer, json_t *end)
{
    const json_t *order_parents = json_object_get(work->order, "parents");
    size_t count = json_array_size(order_parents);
    const char **parents = mem_new_array(count + 1, const char *);
    char *path = path_join(layer, "sandbox.vhdx"), *disk = NULL;
    json_t *layers = json_array(), *files = json_array();
    atomic_store(&work->calling, true);
    struct error *error = work_check_folder(layer, "the scratch layer");
    for (size_t i = 0; i < count && error == NULL; i++) {
        parents[i] = json_string_value(json_array_get(order_parents, i));
        error = work_check_folder(parents[i] != NULL ? parents[i] : "", "a parent of the layer");
    }
    if (error == NULL)
        error = stage_binds(json_object_get(work->order, "binds"), files);
    if (error == NULL)
        error = json_is_true(json_object_get(work->order, "linux"))
                    ? stage_linux(work, parents, count, layers)
                    : stage_windows(work, layer, parents, count, layers, end);
    if (error == NULL)
        error = grant(work, message_text(work->order, "vm"), path, &disk);
    json_object_set_new(end, "disk", json_string(disk != NULL ? disk : ""));
    json_object_set_new(end, "layers", layers);
    json_object_set_new(end, "files", files);
    free(disk);
    free(path);
    free(parents);
    return error;
}
