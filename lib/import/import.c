#include "import/import.h"

#include <windows.h>

#include <string.h>

#include "base/memory.h"
#include "base/win.h"
#include "export/folder_change.h"
#include "export/remover.h"
#include "import/import_archive.h"
#include "import/input.h"
#include "import/staging.h"

/* ---- a file as input ---- */

struct import_file {
    struct import_input input;
    HANDLE handle;
    char *path;
};

static struct error *read_file(void *context, void *data, size_t size, size_t *ret_got)
{
    struct import_file *file = context;
    size_t got = 0;
    while (got < size) {
        DWORD part = 0;
        if (!ReadFile(file->handle, (char *)data + got, (DWORD)(size - got), &part, NULL))
            return error_win32(GetLastError(), "read archive", file->path, NULL);
        if (part == 0)
            break;
        got += part;
    }
    *ret_got = got;
    return NULL;
}

struct error *import_file_open(const char *path, struct import_file **ret_file)
{
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error)
        return error;
    HANDLE handle = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                FILE_FLAG_SEQUENTIAL_SCAN, NULL);
    DWORD code = handle == INVALID_HANDLE_VALUE ? GetLastError() : 0;
    free(wide);
    if (code != 0)
        return error_win32(code, "open archive", path, NULL);
    struct import_file *file = mem_new(struct import_file);
    file->input = (struct import_input){read_file, file};
    file->handle = handle;
    file->path = str_copy(path);
    *ret_file = file;
    return NULL;
}

const struct import_input *import_file_input(struct import_file *file)
{
    return &file->input;
}

void import_file_free(struct import_file *file)
{
    if (!file)
        return;
    CloseHandle(file->handle);
    free(file->path);
    free(file);
}

/* ---- import ---- */

/* A failed import leaves an empty folder; what cannot be removed is the caller's to see. */
static void empty_folder(const char *path, struct export_control *control)
{
    HANDLE folder = NULL;
    struct folder_volume volume = {0};
    struct folder_list list = {0};
    struct error *error = folder_open(path, FILE_LIST_DIRECTORY | FILE_TRAVERSE, &folder);
    if (!error)
        folder_probe(&volume, folder);
    if (!error && folder_list(folder, &list) < 0)
        list.count = 0;
    for (size_t i = 0; i < list.count && !error; i++) {
        HANDLE handle = NULL;
        struct remover_report report = {0};
        if (folder_open_entry(&volume, folder, NULL, &list.entries[i], REMOVER_ACCESS, 0, &handle) < 0)
            continue;
        if (list.entries[i].attributes & FILE_ATTRIBUTE_DIRECTORY) {
            error_free(remover_run_handle(handle, path, control, &report));
            remover_report_free(&report);
        } else {
            folder_delete(&volume, handle);
            CloseHandle(handle);
        }
    }
    error_free(error);
    folder_list_free(&list);
    if (folder)
        CloseHandle(folder);
}

struct error *import_run(const struct import_options *options, struct import_result **ret_result)
{
    struct import_result *result = mem_new(struct import_result);
    struct staging *staging = NULL;
    struct input *input = NULL;
    struct deviations deviations = {0};
    uint64_t entries = options->control->entries;

    struct error *error = staging_open(options, &staging);
    if (error)
        goto out;
    error = input_open(options->input, options->control, &input);
    if (!error) {
        const struct import_archive_options archive = {
            .source = input_source(input),
            .tree = staging_tree(staging),
            .base = options->target == IMPORT_BASE,
            .control = options->control,
        };
        error = import_archive(&archive, &deviations);
    }
    if (!error)
        error = input_finish(input, result);
    if (!error)
        error = staging_finish(staging, &result->pending, &result->utility_vm);
    staging_free(staging);
    if (error) {
        empty_folder(options->folder, options->control);
        goto out;
    }
    result->entries = options->control->entries - entries;
    result->deviations = deviations.rows;
    result->deviation_count = deviations.count;
    result->deviation_total = deviations.total;
    deviations = (struct deviations){0};
    *ret_result = result;
    result = NULL;

out:
    input_free(input);
    deviations_free(&deviations);
    import_result_free(result);
    return error;
}

void import_result_free(struct import_result *result)
{
    if (!result)
        return;
    struct deviations rows = {result->deviations, result->deviation_count, result->deviation_total};
    deviations_free(&rows);
    import_pending_free(&result->pending);
    free(result);
}
