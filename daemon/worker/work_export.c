/* Export: stage the layer, write the archive, say so at once, take the staging folder down. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"

struct export_work {
    struct work *work;
    struct export_request *request;
    const char *staging; /* its folder, to be made by us; the order's */
    bool staged;         /* the folder is ours to remove */
    bool activated, prepared;
    struct export_file *file;
    struct export_result *result;
    double staging_seconds;
};

static struct error *before_step(void *context, enum storage_step step)
{
    struct export_work *export = context;
    struct work *work = export->work;
    struct error *error = NULL;
    switch (step) {
    case STORAGE_ACTIVATE:
        error = work_request(work, "activate");
        if (error == NULL)
            work_phase(work, "activate");
        break;
    case STORAGE_PREPARE:
        error = work_turn_take(work);
        break;
    case STORAGE_UNPREPARE:
    case STORAGE_DEACTIVATE:
        break;
    }
    return error;
}

static void after_step(void *context, enum storage_step step, const struct error *error)
{
    struct export_work *export = context;
    if (step == STORAGE_ACTIVATE && error == NULL)
        export->activated = true;
    if (step == STORAGE_DEACTIVATE && error == NULL)
        export->activated = false;
    if (step == STORAGE_PREPARE) {
        export->prepared = error == NULL;
        work_turn_end(export->work);
    }
}

struct error *work_check_folder(const char *path, const char *what)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    DWORD attributes = GetFileAttributesW(wide);
    DWORD code = attributes == INVALID_FILE_ATTRIBUTES ? GetLastError() : ERROR_SUCCESS;
    if (code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND)
        error = error_make(ERROR_KIND_NOT_FOUND, "look at folder", path, "%s does not exist", what);
    else if (code != ERROR_SUCCESS)
        error = error_win32(code, "look at folder", path, "%s", what);
    else if ((attributes & FILE_ATTRIBUTE_DIRECTORY) == 0)
        error = error_make(ERROR_KIND_NOT_FOUND, "look at folder", path, "%s: it is no folder", what);
    free(wide);
    return error;
}

static struct error *make_folder(const char *path)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error == NULL && !CreateDirectoryW(wide, NULL))
        error = error_win32(GetLastError(), "make staging folder", path, NULL);
    free(wide);
    return error;
}

/* What can be found out before anything is touched. */
static struct error *check_request(struct export_work *export)
{
    const struct export_request *request = export->request;
    struct error *error = work_check_folder(request->layer, "the layer");
    for (size_t i = 0; i < request->parent_count && error == NULL; i++)
        error = work_check_folder(request->parents[i], "a parent of the layer");
    if (error == NULL && request->output[0] != '\0')
        error = export_file_open(request->output, request->overwrite, &export->file);
    return error;
}

static struct error *stage(struct export_work *export)
{
    struct work *work = export->work;
    const struct export_request *request = export->request;
    struct storage *storage = work->worker->storage;
    struct storage_hooks hooks = {before_step, after_step, export};
    struct hcs_layer_list parents = {0};
    uint64_t began = clock_ms();

    struct error *error =
        hcs_layer_list_make(storage, (const char *const *)request->parents, request->parent_count, &parents);
    if (error == NULL)
        error = storage_attach(storage, request->layer, &parents, &hooks);
    if (error == NULL) {
        work_phase(work, "unprepare");
        error = storage_unprepare(storage, request->layer);
    }
    if (error == NULL)
        export->prepared = false;
    if (error == NULL)
        error = work_check(work);
    if (error == NULL) {
        work_phase(work, "stage");
        error = make_folder(export->staging);
    }
    if (error == NULL) {
        export->staged = true;
        work_watch_staging(work, export->staging);
        error = storage_export(storage, request->layer, export->staging, &parents);
        work_watch_staging(work, NULL);
    }
    if (error == NULL)
        error = work_check(work);
    export->staging_seconds = (double)(clock_ms() - began) / 1000;
    hcs_layer_list_free(&parents);
    return error;
}

static struct error *archive(struct export_work *export)
{
    struct work *work = export->work;
    const struct export_request *request = export->request;
    struct export_output stream = {.write = work_send_data, .context = work};
    struct export_archive_options options = {
        .folder = export->staged ? export->staging : request->layer,
        .base = request->parent_count == 0,
        .remove_as_read = export->staged,
        .compression = request->compression,
        .level = request->level,
        .output = export->file != NULL ? export_file_output(export->file) : &stream,
        .control = &work->control,
    };
    uint64_t began = clock_ms();
    struct export_result *result = NULL;
    work_phase(work, "archive");
    struct error *error = export_archive(&options, &result);
    if (error == NULL)
        error = work_check(work);
    if (error == NULL && export->file != NULL)
        error = export_file_commit(export->file);
    if (error == NULL) {
        result->staging_seconds = export->staging_seconds;
        result->archive_seconds = (double)(clock_ms() - began) / 1000;
        export->result = result;
    } else {
        export_result_free(result);
    }
    return error;
}

/* The layer first: it does not wait for the folder. Both are tried whatever happens. */
static json_t *take_down(struct export_work *export)
{
    struct work *work = export->work;
    struct storage *storage = work->worker->storage;
    struct error *release_error = NULL, *remove_error = NULL;
    json_t *left = json_array();
    uint64_t left_total = 0;

    if (export->activated) {
        atomic_store(&work->calling, true);
        if (export->prepared) {
            work_phase(work, "unprepare");
            error_keep_first(&release_error, storage_unprepare(storage, export->request->layer));
        }
        work_phase(work, "deactivate");
        error_keep_first(&release_error, storage_deactivate(storage, export->request->layer));
        atomic_store(&work->calling, false);
        if (release_error == NULL) /* others may have it, whatever becomes of the folder */
            work_send(work, json_pack("{s:s}", "type", "released"));
    }
    if (export->staged) {
        work_phase(work, "cleanup");
        remove_error = work_remove(work, export->staging, left, &left_total);
    }
    json_t *end = json_pack("{s:o, s:o, s:o, s:I}", "release_error", message_pack_error(release_error), "remove_error",
                            message_pack_error(remove_error), "left", left, "left_total", (json_int_t)left_total);
    error_free(release_error);
    error_free(remove_error);
    return end;
}

json_t *work_export(struct work *work)
{
    struct export_work export = {.work = work, .staging = message_text(work->order, "staging")};
    struct error *error = message_unpack_request(json_object_get(work->order, "request"), &export.request);
    work_phase(work, "begin");
    if (error == NULL)
        error = check_request(&export);
    if (error == NULL && export.request->parent_count > 0) {
        atomic_store(&work->calling, true);
        error = stage(&export);
        atomic_store(&work->calling, false);
    }
    if (error == NULL)
        error = archive(&export);
    /* Without a commit the half-written output goes here, before anybody is told. */
    export_file_free(export.file);
    if (error == NULL)
        work_send(work, json_pack("{s:s, s:o}", "type", "complete", "result", message_pack_result(export.result)));
    else
        work_send(work, json_pack("{s:s, s:o}", "type", "failed", "error", message_pack_error(error)));

    json_t *end = take_down(&export);
    error_free(error);
    export_result_free(export.result);
    message_free_request(export.request);
    return end;
}
