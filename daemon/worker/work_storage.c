/* Storage calls on one layer: each a job of the kind "layer" with a verb. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"
#include "daemon/worker/worker.h"
#include "layer/volume.h"

/* ---- what the verbs share -------------------------------------------------------------------------------------------- */

struct chain {
    const char **paths;
    size_t count;
    struct hcs_layer_list list;
};

static struct error *chain_read(struct work *work, struct chain *chain)
{
    const json_t *parents = json_object_get(work->order, "parents");
    struct error *error = NULL;
    chain->paths = mem_new_array(json_array_size(parents) + 1, const char *);
    for (size_t i = 0; i < json_array_size(parents) && error == NULL; i++) {
        const char *path = json_string_value(json_array_get(parents, i));
        chain->paths[chain->count++] = path != NULL ? path : "";
        error = work_check_folder(chain->paths[i], "a parent of the layer");
    }
    return error != NULL ? error : hcs_layer_list_make(work->worker->storage, chain->paths, chain->count, &chain->list);
}

static void chain_free(struct chain *chain)
{
    hcs_layer_list_free(&chain->list);
    free(chain->paths);
}

static void begin_call(struct work *work, const char *phase)
{
    atomic_store(&work->calling, true);
    work_phase(work, phase);
}

static DWORD attributes_of(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    DWORD attributes = error == NULL ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    error_free(error);
    free(wide);
    free(path);
    return attributes;
}

/* ---- the verbs; each adds what it found out to `end` -------------------------------------------------------------------- */

static struct error *verb_exists(struct work *work, const char *layer, json_t *end)
{
    bool exists = false;
    begin_call(work, "exists");
    struct error *error = storage_exists(work->worker->storage, layer, &exists);
    json_object_set_new(end, "exists", json_boolean(exists));
    return error;
}

static struct error *verb_mount_path(struct work *work, const char *layer, json_t *end)
{
    char *volume = NULL;
    begin_call(work, "path");
    struct error *error = storage_mount_path(work->worker->storage, layer, &volume);
    json_object_set_new(end, "volume", json_string(volume != NULL ? volume : ""));
    free(volume);
    return error;
}

/* The disk, then the volume on it: only new scratch disks are extended by PrepareLayer itself. */
static struct error *expand(struct work *work, const char *layer, uint64_t bytes, json_t *end)
{
    bool extended = false;
    begin_call(work, "expand");
    struct error *error = storage_expand_scratch(work->worker->storage, layer, bytes);
    if (error != NULL)
        return error;
    error = volume_extend(work->worker->storage, layer, &extended);
    json_object_set_new(end, "extended", json_boolean(extended));
    /* No virtual disks on this system (Wine): the disk has its size, and that the volume has not is said. */
    if (error != NULL && error->kind == ERROR_KIND_UNIMPLEMENTED) {
        json_object_set_new(end, "deviation", json_string(error->message));
        error_free(error);
        error = NULL;
    }
    return error;
}

static struct error *verb_expand(struct work *work, const char *layer, json_t *end)
{
    struct error *error = work_check_folder(layer, "the scratch layer");
    return error != NULL ? error : expand(work, layer, message_number(work->order, "bytes"), end);
}

/* Half a scratch is none. */
static struct error *undo_scratch(struct work *work, const char *layer, struct error *error, json_t *end)
{
    const char *how = "";
    json_t *left = json_array();
    uint64_t left_total = 0;
    struct error *undo = work_is_there(layer) ? work_destroy_folder(work, layer, left, &left_total, &how) : NULL;
    bool stays = work_is_there(layer);
    if (stays)
        error = error_wrap(error, "(and its folder could not be removed yet: %s)",
                           undo != NULL ? undo->message : "it is still there");
    json_object_set_new(end, "made_left", json_boolean(stays));
    error_free(undo);
    json_decref(left);
    return error;
}

static struct error *verb_create_scratch(struct work *work, const char *layer, json_t *end)
{
    struct chain chain = {0};
    uint64_t bytes = message_number(work->order, "bytes");
    bool made = false;
    struct error *error = NULL;
    if (attributes_of(layer, "") != INVALID_FILE_ATTRIBUTES)
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "CreateSandboxLayer", layer, "the folder exists already");
    if (error == NULL)
        error = chain_read(work, &chain);
    if (error == NULL)
        error = work_make(work);
    if (error == NULL) {
        begin_call(work, "create");
        error = storage_create_scratch(work->worker->storage, layer, &chain.list);
        made = true;
    }
    if (error == NULL) {
        work_made(work, layer);
        if (bytes > 0)
            error = expand(work, layer, bytes, end);
    }
    if (error != NULL && made)
        error = undo_scratch(work, layer, error, end);
    chain_free(&chain);
    return error;
}

static bool is_folder(DWORD attributes)
{
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

/* After a base layer's files are there. A UtilityVM that is a reparse point would lead the call elsewhere. */
static struct error *verb_process_image(struct work *work, const char *layer, json_t *end)
{
    struct error *error = work_check_folder(layer, "the layer");
    DWORD vm = attributes_of(layer, "UtilityVM"), files = attributes_of(layer, "UtilityVM\\Files");
    if (error == NULL && !is_folder(attributes_of(layer, "Files")))
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "ProcessBaseImage", layer, "the layer has no folder Files");
    bool has_vm = is_folder(files);
    if (error == NULL && has_vm && (((vm | files) & FILE_ATTRIBUTE_REPARSE_POINT) != 0))
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "ProcessUtilityImage", layer,
                           "UtilityVM or UtilityVM\\Files is a reparse point");
    if (error == NULL) {
        begin_call(work, "image");
        error = storage_process_base_image(work->worker->storage, layer);
    }
    if (error == NULL && has_vm) {
        char *path = path_join(layer, "UtilityVM");
        work_phase(work, "utility_image");
        error = storage_process_utility_image(work->worker->storage, path);
        free(path);
    }
    json_object_set_new(end, "utility_vm", json_boolean(has_vm));
    return error;
}

/* ---- destroy ----------------------------------------------------------------------------------------------------------- */

static struct error *move(const char *from, const char *to)
{
    wchar_t *source = NULL, *target = NULL;
    struct error *error = win_path(from, &source);
    if (error == NULL)
        error = win_path(to, &target);
    if (error == NULL && !worker_rename_folder(source, target))
        error = error_win32(GetLastError(), "rename layer", from, NULL);
    free(source);
    free(target);
    return error;
}

static bool is_denied(const struct error *error)
{
    return error != NULL && (error->code == ERROR_ACCESS_DENIED || error->code == ERROR_SHARING_VIOLATION);
}

/* Renaming comes first: it fails while anybody has anything below open, so nothing that is in use is half deleted. A scratch
 * may still be attached after a crash. */
static struct error *rename_layer(struct work *work, const char *layer, const char *doomed)
{
    struct error *error = move(layer, doomed);
    if (!is_denied(error))
        return error;
    work_phase(work, "deactivate");
    struct error *attached = storage_deactivate(work->worker->storage, layer);
    if (attached == NULL) {
        error_free(error);
        error = move(layer, doomed);
    }
    error_free(attached);
    if (is_denied(error))
        error = error_set_kind(error_wrap(error, "something in the layer is in use"), ERROR_KIND_FAILED_PRECONDITION);
    return error;
}

static struct error *check_destroyable(const char *layer)
{
    struct error *error = work_check_folder(layer, "the layer");
    if (error == NULL && (attributes_of(layer, "") & FILE_ATTRIBUTE_REPARSE_POINT) != 0)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "DestroyLayer", layer, "it is a reparse point");
    /* DestroyLayer removes whatever folder it is given. */
    static const char *const marks[] = {"sandbox.vhdx", "Files", "Hives", "UtilityVM", "layer.vhd", "layerchain.json"};
    bool found = false;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0] && !found; i++)
        found = attributes_of(layer, marks[i]) != INVALID_FILE_ATTRIBUTES;
    if (error == NULL && !found)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "DestroyLayer", layer,
                           "the folder does not look like a layer: it has neither Files, Hives, UtilityVM nor a disk");
    return error;
}

static struct error *verb_destroy(struct work *work, const char *layer, json_t *end)
{
    const char *doomed = message_text(work->order, "doomed"), *how = "";
    json_t *left = json_array();
    uint64_t left_total = 0;
    struct error *error = check_destroyable(layer);
    if (error == NULL)
        error = rename_layer(work, layer, doomed);
    if (error == NULL) {
        json_object_set_new(end, "renamed", json_true());
        error = work_destroy_folder(work, doomed, left, &left_total, &how);
        if (error == NULL && left_total > 0)
            error = error_make(ERROR_KIND_INTERNAL, "DestroyLayer", layer, "%llu entries resist in %s",
                               (unsigned long long)left_total, doomed);
    }
    json_object_set_new(end, "left", left);
    json_object_set_new(end, "left_total", json_integer((json_int_t)left_total));
    json_object_set_new(end, "how", json_string(how));
    return error;
}

/* ---- the table --------------------------------------------------------------------------------------------------------- */

json_t *work_layer(struct work *work)
{
    static const struct {
        const char *verb;
        struct error *(*run)(struct work *work, const char *layer, json_t *end);
    } verbs[] = {
        {"exists", verb_exists},
        {"mount_path", verb_mount_path},
        {"expand", verb_expand},
        {"create_scratch", verb_create_scratch},
        {"process_image", verb_process_image},

        {"destroy", verb_destroy},
        {"stage", work_stage},
    };
    const char *verb = message_text(work->order, "verb"), *layer = message_text(work->order, "layer");
    json_t *end = json_object();
    struct error *error = NULL;
    size_t i = 0;
    while (i < sizeof verbs / sizeof verbs[0] && strcmp(verbs[i].verb, verb) != 0)
        i++;
    error = i < sizeof verbs / sizeof verbs[0]
                ? verbs[i].run(work, layer, end)
                : error_make(ERROR_KIND_UNIMPLEMENTED, verb, layer, "this worker knows no such verb");
    atomic_store(&work->calling, false);
    json_object_set_new(end, "error", message_pack_error(error));
    error_free(error);
    return end;
}
