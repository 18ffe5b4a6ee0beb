/* The export engine from a command line, for tests: one staged folder or base layer becomes a tar, without daemon, worker or HCS.
 *
 *     export_tool archive FOLDER OUTPUT [--base] [--remove] [--compression none|gzip|zstd] [--level N] [--cancel-after BYTES]
 *     export_tool remove FOLDER
 *
 * Prints one JSON object. Exit status 1 with the error's JSON on stderr. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "export/export.h"

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
    uint64_t written, cancel_after;
};

static struct error *counting_write(void *context, const void *data, size_t size)
{
    struct counting *counting = context;
    counting->written += size;
    if (counting->cancel_after && counting->written >= counting->cancel_after)
        counting->control->cancelled = true;
    return counting->file->write(counting->file->context, data, size);
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
    if (!error) {
        printf("{\"digest\":\"%s\",\"diff_id\":\"%s\",\"size\":%llu,\"entries\":%llu,\"media_type\":\"%s\",\"removed\":%llu,"
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
    else
        fprintf(stderr, "usage: export_tool archive FOLDER OUTPUT [options] | export_tool remove FOLDER\n");
    for (int i = 0; i < count; i++)
        free(arguments[i]);
    free(arguments);
    return result;
}
