#include "probe/probe.h"

#include <stdarg.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "export/export.h"
#include "probe/checks.h"

#define FOUND_MAX 2000

void probe_found(struct probe *probe, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    buffer_clear(&probe->text);
    buffer_add_text(&probe->text, text);
    free(text);
}

enum probe_verdict probe_failed(struct probe *probe, const char *call, DWORD code)
{
    struct error *error = error_win32(code, call, NULL, NULL);
    char *text = error_text(error);
    probe_found(probe, "%s", text);
    free(text);
    error_free(error);
    return PROBE_DIFFERENT;
}

enum probe_verdict probe_status(struct probe *probe, const char *call, int32_t status)
{
    probe_found(probe, "%s: status 0x%08X", call, (unsigned)status);
    return PROBE_DIFFERENT;
}

enum probe_verdict probe_judge(bool as_expected)
{
    return as_expected ? PROBE_AS_EXPECTED : PROBE_DIFFERENT;
}

const char *probe_verdict_name(enum probe_verdict verdict)
{
    static const char *const names[] = {"as expected", "different", "not asked"};
    return names[verdict];
}

/* A folder of the probe's own, long paths allowed in it. */
static void open_folder(struct probe *probe)
{
    char *path = str_format("%s\\probe-%lu", probe->options->state_dir, GetCurrentProcessId());
    struct error *error = win_path(path, &probe->folder);
    if (error == NULL && !CreateDirectoryW(probe->folder, NULL)) {
        free(probe->folder);
        probe->folder = NULL;
    }
    error_free(error);
    free(path);
}

static void remove_folder(struct probe *probe)
{
    struct export_control control = {0};
    struct remover_report left = {0};
    char *path = str_format("%s\\probe-%lu", probe->options->state_dir, GetCurrentProcessId());
    export_control_init(&control);
    atomic_store(&control.go_around, true);
    if (probe->folder != NULL)
        error_free(remover_run(path, &control, &left));
    remover_report_free(&left);
    export_control_free(&control);
    free(path);
    free(probe->folder);
}

void probe_run(const struct probe_options *options, struct probe_report *ret_report)
{
    static const struct probe_table *const tables[] = {&probe_system, &probe_token, &probe_service,  &probe_files,
                                                       &probe_pipes,  &probe_hcs,   &probe_processes};
    struct probe probe = {.options = options, .wine = win_function(L"ntdll.dll", "wine_get_version") != NULL};
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        count += tables[i]->count;
    struct probe_report report = {.wine = probe.wine, .rows = mem_new_array(count, struct probe_row)};
    open_folder(&probe);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (size_t n = 0; n < tables[i]->count; n++) {
            const struct probe_check *check = &tables[i]->checks[n];
            struct probe_row *row = &report.rows[report.count++];
            *row = (struct probe_row){.group = check->group, .name = check->name, .expected = check->expected};
            probe_found(&probe, "nothing");
            row->verdict = check->look(&probe, check->argument);
            row->found = text_printable((char *)probe.text.data, probe.text.size, FOUND_MAX);
        }
    }
    remove_folder(&probe);
    buffer_free(&probe.text);
    *ret_report = report;
}

void probe_report_free(struct probe_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        free(report->rows[i].found);
    free(report->rows);
    *report = (struct probe_report){0};
}

void probe_json(const struct probe_report *report, struct buffer *json)
{
    json_t *rows = json_array();
    json_int_t different = 0;
    for (size_t i = 0; i < report->count; i++) {
        const struct probe_row *row = &report->rows[i];
        different += row->verdict == PROBE_DIFFERENT;
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s, s:s}", "group", row->group, "name", row->name,
                                              "expected", row->expected, "found", row->found, "verdict",
                                              probe_verdict_name(row->verdict)));
    }
    json_t *object = json_pack("{s:b, s:o, s:I}", "wine", report->wine, "rows", rows, "different", different);
    char *text = json_dumps(object, JSON_COMPACT);
    buffer_add_text(json, text);
    free(text);
    json_decref(object);
}
