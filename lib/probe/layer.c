/* A layer from end to end, in the order that an export has: a scratch is made over the layer that was named, activated, prepared,
 * exported and destroyed. Each check goes on where the one before has left off. */
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "export/folder.h"
#include "hcs/privilege.h"
#include "hcs/storage.h"
#include "probe/checks.h"

struct probe_layer {
    struct hcs_library *library;
    struct storage *storage;
    struct hcs_layer_list parents;
    char *scratch, *target;
    bool made, activated, prepared, unprepared;
};

/* Takes the error. */
static enum probe_verdict told(struct probe *probe, struct error *error, const char *good)
{
    char *text = error == NULL ? NULL : error_text(error);
    bool done = error == NULL;
    probe_found(probe, "%s", done ? good : text);
    free(text);
    error_free(error);
    return probe_judge(done);
}

static struct error *open_layer(struct probe *probe, struct probe_layer *layer)
{
    struct error *error = privilege_enable(privilege_storage, privilege_storage_count);
    if (error == NULL)
        error = hcs_library_new(probe->options->hcs_library, &layer->library);
    if (error == NULL)
        error = storage_new(layer->library, NULL, NULL, &layer->storage);
    if (error == NULL)
        error =
            hcs_layer_list_make(layer->storage, probe->options->layers, probe->options->layer_count, &layer->parents);
    return error;
}

/* What a probe has left attached that was killed in one of these calls. */
static void destroy_left(struct probe *probe, const char *folder)
{
    char *scratch = path_join(folder, PROBE_SCRATCH);
    if (probe_is_folder(scratch)) {
        error_free(storage_detach(probe->layer->storage, scratch, NULL));
        error_free(storage_destroy(probe->layer->storage, scratch));
    }
    free(scratch);
}

static enum probe_verdict look_create(struct probe *probe, const char *argument)
{
    (void)argument;
    if (probe->options->layer_count == 0 || probe->folder == NULL) {
        probe_found(probe, "%s",
                    probe->folder == NULL ? "no folder could be made in the state folder" : "no --layer was given");
        return PROBE_NOT_ASKED;
    }
    struct probe_layer *layer = probe->layer = mem_new(struct probe_layer);
    char *folder = probe_folder(probe);
    layer->scratch = path_join(folder, PROBE_SCRATCH);
    layer->target = path_join(folder, "export");
    free(folder);
    struct error *error = open_layer(probe, layer);
    if (error == NULL) {
        probe_each_left(probe, destroy_left);
        error = storage_create_scratch(layer->storage, layer->scratch, &layer->parents);
        layer->made = probe_is_folder(layer->scratch);
    }
    if (error != NULL || layer->made)
        return told(probe, error, "it is there");
    probe_found(probe, "success, and no folder");
    return PROBE_DIFFERENT;
}

/* Whether a step can be tried: told already when not. */
static bool is_due(struct probe *probe, bool due)
{
    if (!due)
        probe_found(probe, "%s",
                    probe->options->layer_count == 0 ? "no --layer was given" : "the step before it failed");
    return due;
}

static enum probe_verdict look_activate(struct probe *probe, const char *argument)
{
    (void)argument;
    struct probe_layer *layer = probe->layer;
    if (!is_due(probe, layer != NULL && layer->made))
        return PROBE_NOT_ASKED;
    enum probe_verdict verdict = told(probe, storage_activate(layer->storage, layer->scratch), "done");
    layer->activated = verdict == PROBE_AS_EXPECTED;
    return verdict;
}

static enum probe_verdict look_prepare(struct probe *probe, const char *argument)
{
    (void)argument;
    struct probe_layer *layer = probe->layer;
    if (!is_due(probe, layer != NULL && layer->activated))
        return PROBE_NOT_ASKED;
    enum probe_verdict verdict = told(probe, storage_prepare(layer->storage, layer->scratch, &layer->parents), "done");
    layer->prepared = verdict == PROBE_AS_EXPECTED;
    return verdict;
}

static enum probe_verdict look_mount_path(struct probe *probe, const char *argument)
{
    static const char start[] = "\\\\?\\Volume{";
    (void)argument;
    struct probe_layer *layer = probe->layer;
    char *path = NULL;
    if (!is_due(probe, layer != NULL && layer->prepared))
        return PROBE_NOT_ASKED;
    struct error *error = storage_mount_path(layer->storage, layer->scratch, &path);
    enum probe_verdict verdict = told(probe, error, path);
    if (path != NULL)
        verdict = probe_judge(strncmp(path, start, sizeof start - 1) == 0 && path[strlen(path) - 1] == '}');
    free(path);
    return verdict;
}

static enum probe_verdict look_unprepare(struct probe *probe, const char *argument)
{
    (void)argument;
    struct probe_layer *layer = probe->layer;
    if (!is_due(probe, layer != NULL && layer->prepared))
        return PROBE_NOT_ASKED;
    enum probe_verdict verdict = told(probe, storage_unprepare(layer->storage, layer->scratch), "done");
    layer->unprepared = verdict == PROBE_AS_EXPECTED;
    return verdict;
}

static enum probe_verdict look_export(struct probe *probe, const char *argument)
{
    (void)argument;
    struct probe_layer *layer = probe->layer;
    wchar_t *wide = NULL;
    struct folder_list list = {0};
    HANDLE folder = NULL;
    if (!is_due(probe, layer != NULL && layer->unprepared))
        return PROBE_NOT_ASKED;
    struct error *error = win_path(layer->target, &wide);
    if (error == NULL && !CreateDirectoryW(wide, NULL))
        error = error_win32(GetLastError(), "CreateDirectory", layer->target, NULL);
    if (error == NULL)
        error = storage_export(layer->storage, layer->scratch, layer->target, &layer->parents);
    if (error == NULL)
        error = folder_open(layer->target, FILE_LIST_DIRECTORY, &folder);
    free(wide);
    if (error != NULL)
        return told(probe, error, NULL);
    folder_list(folder, &list);
    CloseHandle(folder);
    struct buffer names = {0};
    bool files = false;
    for (size_t i = 0; i < list.count; i++) {
        char *name = text_from_utf16((const char16_t *)list.entries[i].name, list.entries[i].name_units);
        files = files || strcmp(name, "Files") == 0;
        buffer_add_format(&names, "%s%s", i == 0 ? "" : ", ", name);
        free(name);
    }
    probe_found(probe, "%s", list.count == 0 ? "nothing" : (char *)names.data);
    buffer_free(&names);
    folder_list_free(&list);
    return probe_judge(files);
}

static enum probe_verdict look_deactivate(struct probe *probe, const char *argument)
{
    (void)argument;
    struct probe_layer *layer = probe->layer;
    if (!is_due(probe, layer != NULL && layer->activated))
        return PROBE_NOT_ASKED;
    return told(probe, storage_deactivate(layer->storage, layer->scratch), "done");
}

/* The last one, which frees what the others have used. */
static enum probe_verdict look_destroy(struct probe *probe, const char *argument)
{
    (void)argument;
    struct probe_layer *layer = probe->layer;
    enum probe_verdict verdict = PROBE_NOT_ASKED;
    if (is_due(probe, layer != NULL && layer->made)) {
        verdict = told(probe, storage_destroy(layer->storage, layer->scratch), "the folder is gone");
        if (verdict == PROBE_AS_EXPECTED && probe_is_folder(layer->scratch)) {
            probe_found(probe, "success, and the folder is still there");
            verdict = PROBE_DIFFERENT;
        }
    }
    if (layer == NULL)
        return verdict;
    hcs_layer_list_free(&layer->parents);
    storage_free(layer->storage);
    hcs_library_free(layer->library);
    free(layer->scratch);
    free(layer->target);
    free(layer);
    probe->layer = NULL;
    return verdict;
}

static const struct probe_check layer_checks[] = {
    {"layer", "CreateSandboxLayer", "its folder is there", look_create, NULL},
    {"layer", "ActivateLayer", "done", look_activate, NULL},
    {"layer", "PrepareLayer", "done", look_prepare, NULL},
    {"layer", "GetLayerMountPath", "\\\\?\\Volume{…} without a trailing backslash", look_mount_path, NULL},
    {"layer", "UnprepareLayer", "done", look_unprepare, NULL},
    {"layer", "ExportLayer", "a folder Files, and maybe others", look_export, NULL},
    {"layer", "DeactivateLayer", "done", look_deactivate, NULL},
    {"layer", "DestroyLayer", "the folder is gone", look_destroy, NULL},
};
const struct probe_table probe_layers = {layer_checks, sizeof layer_checks / sizeof layer_checks[0]};
