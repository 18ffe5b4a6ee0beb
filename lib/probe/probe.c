#include "probe/probe.h"

#include <stdarg.h>
#include <string.h>
#include <wchar.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "export/export.h"
#include "probe/checks.h"

#define FOUND_MAX 2000
#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

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

/* ---- the probe's folder ---- */

bool probe_is_folder(const char *path)
{
    wchar_t *wide = NULL;
    error_free(win_path(path, &wide));
    DWORD attributes = wide == NULL ? INVALID_FILE_ATTRIBUTES : GetFileAttributesW(wide);
    free(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

char *probe_folder(const struct probe *probe)
{
    return str_format("%s\\probe-%lu", probe->options->state_dir, GetCurrentProcessId());
}

wchar_t *probe_place(const struct probe *probe, const wchar_t *name)
{
    size_t folder = wcslen(probe->folder), size = wcslen(name);
    wchar_t *path = mem_new_array(folder + size + 2, wchar_t);
    memcpy(path, probe->folder, folder * sizeof *path);
    path[folder] = L'\\';
    memcpy(path + folder + 1, name, size * sizeof *path);
    return path;
}

HANDLE probe_make(struct probe *probe, const wchar_t *name, DWORD access, DWORD attributes,
                  enum probe_verdict *ret_verdict)
{
    if (probe->folder == NULL) {
        probe_found(probe, "no folder could be made in the state folder");
        *ret_verdict = PROBE_NOT_ASKED;
        return NULL;
    }
    wchar_t *path = probe_place(probe, name);
    DWORD count;
    HANDLE file = CreateFileW(path, GENERIC_WRITE, SHARE_ALL, NULL, CREATE_NEW, attributes, NULL);
    DWORD code = GetLastError();
    if (file != INVALID_HANDLE_VALUE) {
        WriteFile(file, "probe", 5, &count, NULL);
        CloseHandle(file);
        file = CreateFileW(path, access, SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
        code = GetLastError();
    }
    free(path);
    if (file != INVALID_HANDLE_VALUE)
        return file;
    *ret_verdict = probe_failed(probe, "CreateFile", code);
    return NULL;
}

/* Whether "probe-PID" is the folder of a process that runs; ours does. */
static bool is_running(const char *folder)
{
    DWORD pid = strtoul(folder + strlen("probe-"), NULL, 10), code = STILL_ACTIVE;
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
    bool running = process != NULL ? !GetExitCodeProcess(process, &code) || code == STILL_ACTIVE
                                   : GetLastError() != ERROR_INVALID_PARAMETER;
    win_close(process);
    return running;
}

/* What cannot be removed stays, for the next probe. */
static void remove_folder(const char *path)
{
    struct export_control control = {0};
    struct remover_report left = {0};
    export_control_init(&control);
    atomic_store(&control.go_around, true);
    error_free(remover_run(path, &control, &left));
    remover_report_free(&left);
    export_control_free(&control);
}

void probe_each_left(struct probe *probe, void (*use)(struct probe *probe, const char *folder))
{
    static const wchar_t names[] = L"\\probe-*";
    wchar_t *state = NULL;
    WIN32_FIND_DATAW data;
    error_free(win_path(probe->options->state_dir, &state));
    if (state == NULL)
        return;
    size_t units = wcslen(state);
    state = mem_resize_array(state, units + ARRAYSIZE(names), sizeof *state);
    memcpy(state + units, names, sizeof names);
    HANDLE find = FindFirstFileW(state, &data);
    free(state);
    for (bool more = find != INVALID_HANDLE_VALUE; more; more = FindNextFileW(find, &data)) {
        char *name = win_text(data.cFileName), *folder = path_join(probe->options->state_dir, name);
        if (!is_running(name))
            use(probe, folder);
        free(folder);
        free(name);
    }
    if (find != INVALID_HANDLE_VALUE)
        FindClose(find);
}

/* But not a scratch, which may be attached: layer.c knows what to do. */
static void remove_left(struct probe *probe, const char *folder)
{
    (void)probe;
    char *scratch = path_join(folder, PROBE_SCRATCH);
    if (!probe_is_folder(scratch))
        remove_folder(folder);
    free(scratch);
}

/* Long paths are allowed in it. */
static void open_folder(struct probe *probe)
{
    probe_each_left(probe, remove_left);
    char *path = probe_folder(probe);
    struct error *error = win_path(path, &probe->folder);
    if (error == NULL && !CreateDirectoryW(probe->folder, NULL)) {
        free(probe->folder);
        probe->folder = NULL;
    }
    error_free(error);
    free(path);
}

static void close_folder(struct probe *probe)
{
    char *path = probe_folder(probe);
    if (probe->folder != NULL)
        remove_folder(path);
    free(path);
    free(probe->folder);
}

/* ---- the run ---- */

void probe_run(const struct probe_options *options, struct probe_report *ret_report)
{
    static const struct probe_table *const tables[] = {&probe_system, &probe_token,     &probe_service,
                                                       &probe_files,  &probe_backup,    &probe_pipes,
                                                       &probe_hcs,    &probe_processes, &probe_layers};
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
    close_folder(&probe);
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
