/* An archive becomes a layer: lib/import's steps with HCS's between them. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"
#include "import/import.h"

struct importing {
    struct work *work;
    const char *layer, *staging; /* staging "": a base layer */
    const char **parents;
    size_t parent_count;
    struct import_result *result;
};

static struct error *check_empty(const char *layer)
{
    struct file_list list = {0};
    struct error *error = file_list(layer, 1, &list);
    if (list.count > 0 || (error != NULL && error->kind == ERROR_KIND_RESOURCE_EXHAUSTED)) {
        error_free(error);
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "import layer", layer, "the folder exists and is not empty");
    }
    file_list_free(&list);
    return error;
}

/* The layer's folder: made here, or there and empty. */
static struct error *open_layer(struct work *work, const char *layer)
{
    struct error *error = work_is_there(layer) ? check_empty(layer) : NULL;
    if (error == NULL)
        error = work_make(work);
    if (error == NULL)
        error = file_ensure_folder(layer);
    if (error == NULL)
        error = check_empty(layer);
    if (error == NULL)
        work_made(work, layer);
    return error;
}

static struct error *compare(const struct work *work, const char *field, const char *found)
{
    const char *wanted = message_text(work->order, field);
    if (wanted[0] == '\0' || strcmp(wanted, found) == 0)
        return NULL;
    return error_make(ERROR_KIND_DATA_LOSS, "import layer", message_text(work->order, "input"),
                      "its %s is %s, not %s: the archive is another one or damaged", field, found, wanted);
}

static struct error *unpack(struct importing *importing, const char *folder, enum import_target target)
{
    struct work *work = importing->work;
    struct import_file *file = NULL;
    struct error *error = import_file_open(message_text(work->order, "input"), &file);
    if (error == NULL) {
        const struct import_options options = {
            .folder = folder, .target = target, .input = import_file_input(file), .control = &work->control};
        work_phase(work, "archive");
        error = import_run(&options, &importing->result);
    }
    import_file_free(file);
    if (error == NULL)
        error = compare(work, "digest", importing->result->digest);
    return error != NULL ? error : compare(work, "diff_id", importing->result->diff_id);
}

static struct error *import_child(struct importing *importing)
{
    struct work *work = importing->work;
    struct storage *storage = work->worker->storage;
    struct hcs_layer_list list = {0};
    struct error *error = file_ensure_folder(importing->staging);
    if (error == NULL)
        error = unpack(importing, importing->staging, IMPORT_FOR_HCS);
    if (error == NULL)
        error = hcs_layer_list_make(storage, importing->parents, importing->parent_count, &list);
    if (error == NULL) {
        atomic_store(&work->calling, true);
        work_phase(work, "import");
        error = storage_import(storage, importing->layer, importing->staging, &list);
        atomic_store(&work->calling, false);
    }
    if (error == NULL) {
        work_phase(work, "apply");
        error = import_apply(importing->layer, importing->parents, importing->parent_count, &importing->result->pending,
                             &work->control);
    }
    hcs_layer_list_free(&list);
    return error;
}

static struct error *import_base(struct importing *importing)
{
    struct work *work = importing->work;
    struct storage *storage = work->worker->storage;
    struct error *error = unpack(importing, importing->layer, IMPORT_BASE);
    if (error != NULL)
        return error;
    atomic_store(&work->calling, true);
    work_phase(work, "image");
    error = storage_process_base_image(storage, importing->layer);
    if (error == NULL && importing->result->utility_vm) {
        char *path = path_join(importing->layer, "UtilityVM");
        work_phase(work, "utility_image");
        error = storage_process_utility_image(storage, path);
        free(path);
    }
    atomic_store(&work->calling, false);
    return error;
}

/* Half a layer is none: what was made of it goes. */
static struct error *remove_layer(struct importing *importing, struct error *error)
{
    const char *how = "";
    uint64_t left_total = 0;
    json_t *left = json_array();
    struct error *undo = work_destroy_folder(importing->work, importing->layer, left, &left_total, &how);
    if (undo != NULL || left_total > 0)
        error = error_wrap(error, "(and what was made of the layer could not be removed%s%s)", undo != NULL ? ": " : "",
                           undo != NULL ? undo->message : "");
    error_free(undo);
    json_decref(left);
    return error;
}

static void add_result(json_t *end, const struct import_result *result)
{
    json_object_set_new(end, "digest", json_string(result->digest));
    json_object_set_new(end, "diff_id", json_string(result->diff_id));
    json_object_set_new(end, "size", json_integer((json_int_t)result->size));
    json_object_set_new(end, "entries", json_integer((json_int_t)result->entries));
    json_object_set_new(end, "deviations",
                        message_pack_deviations(result->deviations, result->deviation_count, EXPORT_DEVIATIONS_MAX));
    json_object_set_new(end, "deviation_total", json_integer((json_int_t)result->deviation_total));
}

json_t *work_import(struct work *work)
{
    const json_t *order_parents = json_object_get(work->order, "parents");
    struct importing importing = {
        .work = work, .layer = message_text(work->order, "layer"), .staging = message_text(work->order, "folder")};
    json_t *end = json_object(), *left = json_array();
    uint64_t left_total = 0;
    bool opened = false;
    importing.parents = mem_new_array(json_array_size(order_parents) + 1, const char *);
    struct error *error = NULL;
    for (size_t i = 0; i < json_array_size(order_parents) && error == NULL; i++) {
        const char *path = json_string_value(json_array_get(order_parents, i));
        importing.parents[importing.parent_count++] = path != NULL ? path : "";
        error = work_check_folder(importing.parents[i], "a parent of the layer");
    }
    if (error == NULL) {
        error = open_layer(work, importing.layer);
        opened = error == NULL;
    }
    if (error == NULL)
        error = importing.parent_count > 0 ? import_child(&importing) : import_base(&importing);
    if (error != NULL && opened) {
        error = remove_layer(&importing, error);
        json_object_set_new(end, "made_left", json_boolean(work_is_there(importing.layer)));
    }
    if (importing.staging[0] != '\0') {
        work_phase(work, "cleanup");
        struct error *removed = work_remove(work, importing.staging, left, &left_total);
        if (removed != NULL && removed->kind != ERROR_KIND_NOT_FOUND)
            left_total++;
        error_free(removed);
    }
    json_object_set_new(end, "left_total", json_integer((json_int_t)left_total));
    if (error == NULL)
        add_result(end, importing.result);
    json_object_set_new(end, "error", message_pack_error(error));
    error_free(error);
    import_result_free(importing.result);
    json_decref(left);
    free(importing.parents);
    return end;
}
