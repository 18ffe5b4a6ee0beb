/* The export engine from a command line, for tests: one staged folder or base layer becomes a tar, without daemon, worker or HCS.
 *
 *     export_tool archive FOLDER OUTPUT [--base] [--remove] [--compression none|gzip|zstd] [--level N] [--cancel-after BYTES]
 *                         [--hold-after BYTES]     says "held" once so much is written and waits for its end
 *     export_tool remove FOLDER
 *     export_tool import ARCHIVE FOLDER [--base] [--hcs] [--layer LAYER --parent PARENT] [--cancel-after BYTES]     FOLDER is made
 *     export_tool apply ARCHIVE LAYER [PARENT…]     what import_apply does, with the whiteouts and hard links of ARCHIVE
 *
 * Prints one JSON object. Exit status 1 with the error's JSON on stderr. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "export/export.h"
#include "import/import.h"

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_rows(const char *key, const struct export_deviation *rows, size_t count)
{
    printf(",\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        printf("%s{\"kind\":", i ? "," : "");
        print_text(rows[i].kind);
        printf(",\"path\":");
        print_text(rows[i].path);
        printf(",\"detail\":");
        print_text(rows[i].detail);
        printf("}");
    }
    printf("]");
}

static int fail(struct error *error)
{
    char *json = error_json(error);
    fprintf(stderr, "%s\n", json);
    free(json);
    error_free(error);
    return 1;
}

/* Passes on to the file, and cancels once so much was written. */
struct counting {
    struct export_output output;
    const struct export_output *file;
    struct export_control *control;
    uint64_t written, cancel_after, hold_after;
};

static struct error *counting_write(void *context, const void *data, size_t size)
{
    struct counting *counting = context;
    counting->written += size;
    if (counting->cancel_after && counting->written >= counting->cancel_after)
        counting->control->cancelled = true;
    struct error *error = counting->file->write(counting->file->context, data, size);
    if (!error && counting->hold_after && counting->written >= counting->hold_after) {
        puts("held");
        fflush(stdout);
        getchar();
    }
    return error;
}

static int archive(int count, char **arguments)
{
    struct export_control control = {0};
    struct counting counting = {.control = &control};
    struct export_archive_options options = {.folder = arguments[0], .control = &control, .compression = EXPORT_NONE};
    for (int i = 2; i < count; i++) {
        if (strcmp(arguments[i], "--base") == 0)
            options.base = true;
        else if (strcmp(arguments[i], "--remove") == 0)
            options.remove_as_read = true;
        else if (strcmp(arguments[i], "--level") == 0 && ++i < count)
            options.level = (int)strtol(arguments[i], NULL, 10);
        else if (strcmp(arguments[i], "--cancel-after") == 0 && ++i < count)
            counting.cancel_after = strtoull(arguments[i], NULL, 10);
        else if (strcmp(arguments[i], "--hold-after") == 0 && ++i < count)
            counting.hold_after = strtoull(arguments[i], NULL, 10);
        else if (strcmp(arguments[i], "--compression") == 0 && ++i < count)
            options.compression = strcmp(arguments[i], "gzip") == 0   ? EXPORT_GZIP
                                  : strcmp(arguments[i], "zstd") == 0 ? EXPORT_ZSTD
                                                                      : EXPORT_NONE;
    }
    struct export_file *file = NULL;
    struct export_result *result = NULL;
    export_control_init(&control);
    struct error *error = export_file_open(arguments[1], true, &file);
    if (!error) {
        counting.output = (struct export_output){counting_write, &counting};
        counting.file = export_file_output(file);
        options.output = &counting.output;
        error = export_archive(&options, &result);
    }
    if (!error)
        error = export_file_commit(file);
    export_file_free(file);
    if (error)
        printf("{\"written\":%llu}\n", (unsigned long long)counting.written);
    if (!error) {
        printf("{\"digest\":\"%s\",\"diff_id\":\"%s\",\"size\":%llu,\"entries\":%llu,\"media_type\":\"%s\",\"removed\":"
               "%llu,"
               "\"seconds\":%.3f",
               result->digest, result->diff_id, (unsigned long long)result->size, (unsigned long long)result->entries,
               result->media_type, (unsigned long long)control.removed, result->archive_seconds);
        print_rows("deviations", result->deviations, result->deviation_count);
        printf(",\"deviation_total\":%llu}\n", (unsigned long long)result->deviation_total);
    }
    export_result_free(result);
    export_control_free(&control);
    return error ? fail(error) : 0;
}

static int remove_folder(const char *folder)
{
    struct export_control control = {0};
    struct remover_report report = {0};
    export_control_init(&control);
    struct error *error = remover_run(folder, &control, &report);
    if (!error) {
        printf("{\"removed\":%llu,\"left_total\":%llu", (unsigned long long)report.removed,
               (unsigned long long)report.left_total);
        print_rows("left", report.left, report.left_count);
        printf("}\n");
    }
    remover_report_free(&report);
    export_control_free(&control);
    return error ? fail(error) : 0;
}

/* Reads from the file, and cancels once so much was read. */
struct counting_input {
    struct import_input input;
    const struct import_input *file;
    struct export_control *control;
    uint64_t read, cancel_after;
};

static struct error *counting_read(void *context, void *data, size_t size, size_t *ret_got)
{
    struct counting_input *counting = context;
    struct error *error = counting->file->read(counting->file->context, data, size, ret_got);
    if (error)
        return error;
    counting->read += *ret_got;
    if (counting->cancel_after && counting->read >= counting->cancel_after)
        counting->control->cancelled = true;
    return NULL;
}

static struct error *run_import(const char *archive_path, struct import_options *options, uint64_t cancel_after,
                                struct import_result **ret_result)
{
    struct import_file *file = NULL;
    struct error *error = import_file_open(archive_path, &file);
    if (error)
        return error;
    struct counting_input counting = {
        .file = import_file_input(file), .control = options->control, .cancel_after = cancel_after};
    counting.input = (struct import_input){counting_read, &counting};
    options->input = &counting.input;
    wchar_t *folder = NULL;
    error = win_path(options->folder, &folder);
    if (!error) {
        CreateDirectoryW(folder, NULL); /* it may be there */
        error = import_run(options, ret_result);
    }
    free(folder);
    import_file_free(file);
    return error;
}

static int import(int count, char **arguments)
{
    struct export_control control = {0};
    struct import_options options = {.folder = arguments[1], .control = &control};
    struct import_result *result = NULL;
    uint64_t cancel_after = 0;
    for (int i = 2; i < count; i++) {
        if (strcmp(arguments[i], "--base") == 0)
            options.target = IMPORT_BASE;
        else if (strcmp(arguments[i], "--hcs") == 0)
            options.target = IMPORT_FOR_HCS;
        else if (strcmp(arguments[i], "--layer") == 0 && ++i < count)
            options.layer = arguments[i];
        else if (strcmp(arguments[i], "--parent") == 0 && ++i < count)
            options.parent = arguments[i];
        else if (strcmp(arguments[i], "--cancel-after") == 0 && ++i < count)
            cancel_after = strtoull(arguments[i], NULL, 10);
    }
    export_control_init(&control);
    struct error *error = run_import(arguments[0], &options, cancel_after, &result);
    if (!error) {
        printf("{\"digest\":\"%s\",\"diff_id\":\"%s\",\"size\":%llu,\"entries\":%llu,\"media_type\":\"%s\",\"utility_"
               "vm\":%s,"
               "\"whiteouts\":%llu,\"links\":%llu",
               result->digest, result->diff_id, (unsigned long long)result->size, (unsigned long long)result->entries,
               result->media_type, result->utility_vm ? "true" : "false",
               (unsigned long long)result->pending.whiteout_count, (unsigned long long)result->pending.link_count);
        print_rows("deviations", result->deviations, result->deviation_count);
        printf("}\n");
    }
    import_result_free(result);
    export_control_free(&control);
    return error ? fail(error) : 0;
}

/* The archive is unpacked beside the layer for its list alone. */
static int apply(int count, char **arguments)
{
    struct export_control control = {0};
    char *folder = str_format("%s.staged", arguments[1]);
    struct import_options options = {.folder = folder, .target = IMPORT_FOR_HCS, .control = &control};
    struct import_result *result = NULL;
    struct remover_report report = {0};
    export_control_init(&control);
    struct error *error = run_import(arguments[0], &options, 0, &result);
    if (!error)
        error = import_apply(arguments[1], (const char *const *)arguments + 2, (size_t)count - 2, &result->pending,
                             &control);
    if (!error)
        error = remover_run(folder, &control, &report);
    if (!error)
        printf("{\"whiteouts\":%llu,\"links\":%llu}\n", (unsigned long long)result->pending.whiteout_count,
               (unsigned long long)result->pending.link_count);
    remover_report_free(&report);
    import_result_free(result);
    export_control_free(&control);
    free(folder);
    return error ? fail(error) : 0;
}

int wmain(int count, wchar_t **wide);
int wmain(int count, wchar_t **wide)
{
    char **arguments = mem_new_array((size_t)count + 1, char *);
    for (int i = 0; i < count; i++)
        arguments[i] = win_text(wide[i]);
    int result = 2;
    if (count >= 4 && strcmp(arguments[1], "archive") == 0)
        result = archive(count - 2, arguments + 2);
    else if (count == 3 && strcmp(arguments[1], "remove") == 0)
        result = remove_folder(arguments[2]);
    else if (count >= 4 && strcmp(arguments[1], "import") == 0)
        result = import(count - 2, arguments + 2);
    else if (count >= 4 && strcmp(arguments[1], "apply") == 0)
        result = apply(count - 2, arguments + 2);
    else
        fprintf(stderr, "see the head of export_tool.c for what it takes\n");
    for (int i = 0; i < count; i++)
        free(arguments[i]);
    free(arguments);
    return result;
}
