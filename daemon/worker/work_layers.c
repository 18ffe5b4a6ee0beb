/* Mounting and releasing layers, and taking down what others left. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"
#include "daemon/worker/worker.h"
#include "layer/volume.h"

#define LISTED_MAX 10000

/* ---- mount and release --------------------------------------------------------------------------------------- */

static struct error *before_step(void *context, enum storage_step step)
{
    struct work *work = context;
    struct error *error = NULL;
    switch (step) {
    case STORAGE_ACTIVATE: /* journalled with the order */
        error = work_check(work);
        if (error == NULL)
            work_phase(work, "activate");
        break;
    case STORAGE_PREPARE:
        error = work_turn_take(work);
        break;
    case STORAGE_UNPREPARE:
        work_phase(work, "unprepare");
        break;
    case STORAGE_DEACTIVATE: /* of what could not be prepared */
        work_phase(work, "deactivate");
        break;
    }
    return error;
}

static void after_step(void *context, enum storage_step step, const struct error *error)
{
    struct work *work = context;
    if (step == STORAGE_ACTIVATE && error == NULL)
        work->activated = true;
    if (step == STORAGE_DEACTIVATE && error == NULL)
        work->activated = false;
    if (step == STORAGE_PREPARE)
        work_turn_end(work);
}

bool work_is_there(const char *path)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error != NULL) {
        error_free(error);
        return false;
    }
    DWORD attributes = GetFileAttributesW(wide);
    DWORD code = GetLastError();
    free(wide);
    return attributes != INVALID_FILE_ATTRIBUTES || (code != ERROR_FILE_NOT_FOUND && code != ERROR_PATH_NOT_FOUND);
}

/* The first error is the one that is returned; it tells of the others. Takes `error`. */
static void also_failed(struct error **first, struct error *error)
{
    if (*first == NULL) {
        *first = error;
        return;
    }
    if (error != NULL)
        *first = error_wrap(*first, "(and %s failed too: %s)", error->operation, error->message);
    error_free(error);
}

/* What clients of older ways leave to the runtime: the scratch disk itself. */
static struct error *ensure_disk(struct work *work, const char *layer, const struct hcs_layer_list *parents)
{
    char *disk = path_join(layer, "sandbox.vhdx");
    bool missing = !work_is_there(disk);
    free(disk);
    if (!missing)
        return NULL;
    work_phase(work, "create");
    return storage_create_scratch(work->worker->storage, layer, parents);
}

json_t *work_mount(struct work *work)
{
    struct storage *storage = work->worker->storage;
    struct storage_hooks hooks = {before_step, after_step, work};
    const char *layer = message_text(work->order, "layer");
    const json_t *order_parents = json_object_get(work->order, "parents");
    size_t count = json_array_size(order_parents);
    const char **parents = mem_new_array(count + 1, const char *);
    struct hcs_layer_list list = {0};
    const char *target = message_text(work->order, "target");
    char *volume = NULL;
    bool attached = false;

    struct error *error = work_check_folder(layer, "the scratch layer");
    for (size_t i = 0; i < count && error == NULL; i++) {
        parents[i] = json_string_value(json_array_get(order_parents, i));
        error = work_check_folder(parents[i] != NULL ? parents[i] : "", "a parent of the layer");
    }
    if (error == NULL)
        error = hcs_layer_list_make(storage, parents, count, &list);
    if (error == NULL && json_is_true(json_object_get(work->order, "make")))
        error = ensure_disk(work, layer, &list);
    if (error == NULL) {
        error = storage_attach(storage, layer, &list, &hooks);
        attached = error == NULL;
    }
    if (error == NULL) {
        work_phase(work, "path");
        error = storage_mount_path(storage, layer, &volume);
    }
    if (error == NULL && volume[0] == '\0')
        error = error_make(ERROR_KIND_INTERNAL, "GetLayerMountPath", layer, "the mounted layer has no volume");
    if (error == NULL && target[0] != '\0') {
        work_phase(work, "target");
        error = volume_mount(volume, target);
    }
    if (error != NULL && attached)
        also_failed(&error, storage_detach(storage, layer, &hooks));

    json_t *end = json_pack("{s:o, s:b, s:s}", "error", message_pack_error(error), "activated", work->activated,
                            "volume", volume != NULL ? volume : "");
    error_free(error);
    hcs_layer_list_free(&list);
    free(volume);
    free(parents);
    return end;
}

/* Nothing is attached (any more): that is what releasing is for. A host that was booted meanwhile has nothing attached. */
static bool is_detached(const struct error *error)
{
    static const uint32_t codes[] = {ERROR_NOT_READY, ERROR_DEVICE_NOT_CONNECTED, ERROR_FILE_NOT_FOUND,
                                     ERROR_PATH_NOT_FOUND, ERROR_NOT_FOUND};
    uint32_t code = error == NULL ? 0 : error_as_hresult(error);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (code == (uint32_t)HRESULT_FROM_WIN32(codes[i]))
            return true;
    return error == NULL;
}

/* All steps are tried; Deactivate's word counts: with the disk its filter is gone, whatever Unprepare said. */
static struct error *release_layer(struct work *work, const char *layer)
{
    struct storage *storage = work->worker->storage;
    const char *target = message_text(work->order, "target");
    struct error *unmount = NULL;
    atomic_store(&work->calling, true);
    if (target[0] != '\0') {
        work_phase(work, "target");
        unmount = volume_unmount(target);
    }
    work_phase(work, "unprepare");
    struct error *unprepare = storage_unprepare(storage, layer);
    work_phase(work, "deactivate");
    struct error *deactivate = storage_deactivate(storage, layer);
    atomic_store(&work->calling, false);
    if (is_detached(deactivate)) {
        error_free(unprepare);
        error_free(deactivate);
        return unmount;
    }
    also_failed(&unmount, unprepare);
    also_failed(&unmount, deactivate);
    return unmount;
}

json_t *work_unmount(struct work *work)
{
    struct error *error = release_layer(work, message_text(work->order, "layer"));
    json_t *end = json_pack("{s:o}", "release_error", message_pack_error(error));
    error_free(error);
    return end;
}

/* ---- removing ------------------------------------------------------------------------------------------------ */

struct error *work_remove(struct work *work, const char *folder, json_t *left, uint64_t *ret_total)
{
    struct remover_report report = {0};
    struct error *error = remover_run(folder, &work->cleaning, &report);
    if (error != NULL)
        return error;
    /* The rows of many folders go into one message, whose size is limited; the total counts all. */
    size_t have = json_array_size(left), room = have < EXPORT_DEVIATIONS_MAX ? EXPORT_DEVIATIONS_MAX - have : 0;
    json_t *rows = message_pack_deviations(report.left, report.left_count, room);
    json_array_extend(left, rows);
    json_decref(rows);
    *ret_total += report.left_total;
    remover_report_free(&report);
    return NULL;
}

/* A layer that a dead worker may have left activated; whether it came to that is not always known. */
static struct error *release_left_layer(struct work *work)
{
    const char *layer = message_text(work->order, "layer");
    return layer[0] == '\0' || !work_is_there(layer) ? NULL : release_layer(work, layer);
}

/* Only a plain folder: what a reparse point leads to is not ours. */
static struct error *check_plain_folder(const char *folder)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(folder, &wide);
    if (error != NULL)
        return error;
    DWORD attributes = GetFileAttributesW(wide);
    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "destroy folder", folder, "it is a reparse point");
    free(wide);
    return error;
}

/* Begins a search in the folder, however long its path is. Nothing found, the folder included, is no error and gives
 * INVALID_HANDLE_VALUE. */
static struct error *find_begin(const char *folder, const char *pattern, WIN32_FIND_DATAW *found, HANDLE *ret_find)
{
    char *verbatim = NULL, *path = NULL;
    wchar_t *wide = NULL;
    *ret_find = INVALID_HANDLE_VALUE;
    struct error *error = path_verbatim(folder, &verbatim);
    if (error == NULL) {
        path = path_join(verbatim, pattern);
        error = win_wide(path, &wide);
    }
    if (error == NULL && (*ret_find = FindFirstFileW(wide, found)) == INVALID_HANDLE_VALUE) {
        DWORD code = GetLastError();
        if (code != ERROR_FILE_NOT_FOUND && code != ERROR_PATH_NOT_FOUND && code != ERROR_NO_MORE_FILES)
            error = error_win32(code, "list folder", folder, NULL);
    }
    free(wide);
    free(path);
    free(verbatim);
    return error;
}

/* What lib/export/file_output.c leaves when its process is killed at the wrong moment: NAME.partial-PID-N. */
static struct error *remove_partial(struct work *work)
{
    const char *output = message_text(work->order, "output");
    if (output[0] == '\0')
        return NULL;
    char *folder = path_folder(output), *last = path_last_part(output);
    char *pattern = str_format("%s.partial-%llu-*", last, (unsigned long long)message_number(work->order, "pid"));
    WIN32_FIND_DATAW found;
    HANDLE find;
    struct error *error = find_begin(folder, pattern, &found, &find);
    for (BOOL more = find != INVALID_HANDLE_VALUE; more; more = FindNextFileW(find, &found)) {
        char *name = win_text(found.cFileName), *path = path_join(folder, name);
        wchar_t *file = NULL;
        error_keep_first(&error, win_path(path, &file));
        if (file != NULL && !DeleteFileW(file) && GetLastError() != ERROR_FILE_NOT_FOUND)
            error_keep_first(&error, error_win32(GetLastError(), "remove unfinished output", path, NULL));
        free(file);
        free(path);
        free(name);
    }
    if (find != INVALID_HANDLE_VALUE)
        FindClose(find);
    free(pattern);
    free(last);
    free(folder);
    return error;
}

static json_t *end_of_cleaning(struct error *release_error, struct error *remove_error, json_t *left,
                               uint64_t left_total, const char *how)
{
    json_t *end =
        json_pack("{s:o, s:o, s:o, s:I, s:s}", "release_error", message_pack_error(release_error), "remove_error",
                  message_pack_error(remove_error), "left", left, "left_total", (json_int_t)left_total, "how", how);
    error_free(release_error);
    error_free(remove_error);
    return end;
}

/* What a quarantined folder may be called after try_rename. */
static char *quarantine_name(const char *folder)
{
    return str_format("%s-q", folder);
}

/* The last of a cleaning. */
static void add_unmade(struct work *work, json_t *end)
{
    const char *how = "it was gone already";
    struct error *error = work_unmake(work, &how);
    json_object_set_new(end, "unmake_error", message_pack_error(error));
    json_object_set_new(end, "unmake_how", json_string(how));
    error_free(error);
}

json_t *work_clean(struct work *work)
{
    const char *folder = message_text(work->order, "folder");
    json_t *left = json_array();
    uint64_t left_total = 0;
    struct error *release_error = release_left_layer(work);
    work_phase(work, "cleanup");
    struct error *remove_error = remove_partial(work);
    char *renamed = quarantine_name(folder);
    const char *names[2] = {folder, renamed};
    for (size_t i = 0; i < 2 && folder[0] != '\0'; i++)
        if (work_is_there(names[i]))
            error_keep_first(&remove_error, work_remove(work, names[i], left, &left_total));
    free(renamed);
    json_t *end = end_of_cleaning(release_error, remove_error, left, left_total, "it was removed entry by entry");
    add_unmade(work, end);
    return end;
}

static bool rename_folder(const wchar_t *from, const wchar_t *to)
{
    return MoveFileExW(from, to, 0);
}

bool (*worker_rename_folder)(const wchar_t *from, const wchar_t *to) = rename_folder;

/* Renaming succeeds only when nobody has anything below open: so it is tried for what it tells, and for a name that says
 * what the folder is. */
static char *try_rename(const char *folder)
{
    char *renamed = quarantine_name(folder);
    wchar_t *from = NULL, *to = NULL;
    struct error *error = win_path(folder, &from);
    error_keep_first(&error, win_path(renamed, &to));
    bool moved = error == NULL && worker_rename_folder(from, to);
    error_free(error);
    free(from);
    free(to);
    if (!moved) {
        free(renamed);
        renamed = str_copy(folder);
    }
    return renamed;
}

struct error *work_destroy_folder(struct work *work, const char *name, json_t *left, uint64_t *left_total,
                                  const char **how)
{
    struct error *error = check_plain_folder(name);
    if (error != NULL)
        return error;
    work_phase(work, "destroy");
    error = storage_destroy(work->worker->storage, name);
    *how = "DestroyLayer";
    /* Its word is not enough: it has been seen to succeed without effect. */
    if (work_is_there(name)) {
        work_phase(work, "cleanup");
        struct error *removed = work_remove(work, name, left, left_total);
        if (removed == NULL && !work_is_there(name)) {
            *how = "DestroyLayer left it; it was removed entry by entry";
            error_free(error);
            error = NULL;
        }
        error_keep_first(&error, removed);
    } else {
        error_free(error);
        error = NULL;
    }
    return error;
}

json_t *work_destroy(struct work *work)
{
    const char *folder = message_text(work->order, "folder");
    char *name = quarantine_name(folder);
    const char *how = "it was gone already";
    json_t *left = json_array();
    uint64_t left_total = 0;
    struct error *release_error = release_left_layer(work);
    struct error *remove_error = remove_partial(work);
    if (folder[0] != '\0' && work_is_there(folder)) {
        free(name);
        name = try_rename(folder);
    }
    if (folder[0] != '\0' && work_is_there(name))
        error_keep_first(&remove_error, work_destroy_folder(work, name, left, &left_total, &how));
    free(name);
    json_t *end = end_of_cleaning(release_error, remove_error, left, left_total, how);
    add_unmade(work, end);
    return end;
}

/* ---- sweep --------------------------------------------------------------------------------------------------- */

/* The names of staging folders: `e`, three letters that are one life's of hcsd, four of the folder, and maybe `-q`. */
static bool is_staging_name(const wchar_t *name, const char *own_life)
{
    size_t size = wcslen(name);
    if (name[0] != L'e' || (size != 8 && !(size == 10 && wcscmp(name + 8, L"-q") == 0)))
        return false;
    for (size_t i = 1; i < 8; i++)
        if (!((name[i] >= L'a' && name[i] <= L'z') || (name[i] >= L'2' && name[i] <= L'7')))
            return false;
    for (size_t i = 0; i < 3; i++)
        if (own_life[i] == '\0' || name[i + 1] != (wchar_t)own_life[i])
            return true;
    return false; /* this life's folders have their jobs */
}

static bool is_kept(const json_t *keep, const char *name)
{
    for (size_t i = 0; i < json_array_size(keep); i++) {
        const char *kept = json_string_value(json_array_get(keep, i));
        if (kept != NULL && strncmp(kept, name, 8) == 0)
            return true;
    }
    return false;
}

/* Staging folders of earlier lives that no document tells of. */
json_t *work_sweep(struct work *work)
{
    const char *root = message_text(work->order, "root"), *life = message_text(work->order, "life");
    const json_t *keep = json_object_get(work->order, "keep");
    json_t *left = json_array();
    json_t *stays = json_array();
    uint64_t left_total = 0, removed = 0;
    size_t count = 0;
    char **names = mem_new_array(LISTED_MAX, char *);

    work_phase(work, "cleanup");
    WIN32_FIND_DATAW found;
    HANDLE find;
    struct error *error = find_begin(root, "e*", &found, &find);
    for (BOOL more = find != INVALID_HANDLE_VALUE; more && count < LISTED_MAX; more = FindNextFileW(find, &found))
        if ((found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0 && is_staging_name(found.cFileName, life))
            names[count++] = win_text(found.cFileName);
    if (find != INVALID_HANDLE_VALUE)
        FindClose(find);
    for (size_t i = 0; i < count; i++) {
        if (!is_kept(keep, names[i])) {
            char *folder = path_join(root, names[i]);
            error_keep_first(&error, work_remove(work, folder, left, &left_total));
            if (work_is_there(folder))
                json_array_append_new(stays, json_string(names[i]));
            else
                removed++;
            free(folder);
        }
        free(names[i]);
    }
    free(names);
    json_t *end = end_of_cleaning(NULL, error, left, left_total, "swept");
    json_object_set_new(end, "removed", json_integer((json_int_t)removed));
    json_object_set_new(end, "stays", stays);
    return end;
}
