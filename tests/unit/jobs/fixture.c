#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "daemon/worker/worker.h"
#include "layer/volume.h"

static char program_name[32];
static unsigned folder_number;

/* ---- small things ---------------------------------------------------------------------------------------------- */

static wchar_t *wide(const char *text)
{
    wchar_t *result = NULL;
    struct error *error = win_wide(text, &result);
    if (error != NULL)
        fail_msg("%s", error->message);
    return result;
}

void fixture_check(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    fail_msg("%s", text);
}

static char *environment(const char *name)
{
    wchar_t *wide_name = wide(name), value[1024];
    DWORD size = GetEnvironmentVariableW(wide_name, value, 1024);
    free(wide_name);
    return size == 0 || size >= 1024 ? NULL : win_text(value);
}

static void set_environment(const char *name, const char *value)
{
    wchar_t *wide_name = wide(name), *wide_value = wide(value);
    SetEnvironmentVariableW(wide_name, wide_value);
    free(wide_name);
    free(wide_value);
}

static void write_file(const char *path, const void *data, size_t size)
{
    fixture_check(file_replace(path, data, size, NULL));
}

bool fixture_exists(const char *path)
{
    wchar_t *name = wide(path);
    bool exists = GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES;
    free(name);
    return exists;
}

size_t fixture_count_entries(const char *folder)
{
    struct file_list list = {0};
    fixture_check(file_list(folder, 100000, &list));
    size_t count = list.count;
    file_list_free(&list);
    return count;
}

const char *fixture_image(void)
{
    static char *image;
    wchar_t path[1024];
    if (image == NULL && GetModuleFileNameW(NULL, path, 1024) > 0)
        image = win_text(path);
    return image;
}

static void copy_file(const char *from, const char *to)
{
    wchar_t *source = wide(from), *target = wide(to);
    if (!CopyFileW(source, target, FALSE))
        fail_msg("%s cannot be copied to %s: %lu", from, to, GetLastError());
    free(source);
    free(target);
}

void kill_process(uint32_t pid)
{
    HANDLE process = OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, pid);
    assert_non_null(process);
    assert_true(TerminateProcess(process, 77));
    assert_int_equal(WaitForSingleObject(process, PATIENCE_MS), WAIT_OBJECT_0);
    CloseHandle(process);
}

/* ---- a worker with faults of its own --------------------------------------------------------------------------- */

static bool phase_fault_is(const char *path, const char *wanted)
{
    struct buffer content = {0};
    struct error *error = file_read(path, 4096, &content);
    bool same = error == NULL && content.data != NULL && strcmp((const char *)content.data, wanted) == 0;
    error_free(error);
    buffer_free(&content);
    return same;
}

static bool (*true_rename)(const wchar_t *from, const wchar_t *to);

/* On Linux an open file below keeps nobody from renaming a folder. */
static bool rename_folder(const wchar_t *from, const wchar_t *to)
{
    char *path = environment("HCSD_TEST_PHASE_FILE");
    bool refused = path != NULL && phase_fault_is(path, "rename refused");
    free(path);
    if (!refused)
        return true_rename(from, to);
    SetLastError(ERROR_SHARING_VIOLATION);
    return false;
}

static void phase_reached(const char *kind, const char *phase)
{
    char *path = environment("HCSD_TEST_PHASE_FILE"), *hang = str_format("%s %s hang", kind, phase),
         *crash = str_format("%s %s crash", kind, phase);
    if (path != NULL) {
        while (phase_fault_is(path, hang))
            Sleep(50); /* banned-ok: the hang is the fault */
        if (phase_fault_is(path, crash))
            RaiseException(0xC0000420, EXCEPTION_NONCONTINUABLE, 0, NULL);
    }
    free(path);
    free(hang);
    free(crash);
}

/* ---- volumes, which Wine has none of ------------------------------------------------------------------------------ */

static void note_target(const wchar_t *folder, const wchar_t *volume)
{
    char *path = environment("HCSD_TEST_TARGET_FILE"), *name = win_text(folder), *of = win_text(volume);
    char *line = str_format("%s %s\n", name, of);
    wchar_t *wide_path = wide(path);
    HANDLE file = CreateFileW(wide_path, FILE_APPEND_DATA, 0, NULL, OPEN_ALWAYS, 0, NULL);
    DWORD done;
    WriteFile(file, line, (DWORD)strlen(line), &done, NULL);
    CloseHandle(file);
    free(wide_path);
    free(line);
    free(path);
    free(name);
    free(of);
}

static BOOL WINAPI set_mount_point(LPCWSTR folder, LPCWSTR volume)
{
    note_target(folder, volume);
    if (wcsstr(folder, L"refused") == NULL)
        return TRUE;
    SetLastError(ERROR_ACCESS_DENIED);
    return FALSE;
}

static BOOL WINAPI delete_mount_point(LPCWSTR folder)
{
    note_target(folder, L"off");
    return TRUE;
}

char *fixture_targets(const struct fixture *fixture)
{
    struct buffer content = {0};
    char *path = path_join(fixture->root, "targets.txt");
    error_free(file_read(path, 65536, &content));
    char *text = str_copy(content.data != NULL ? (const char *)content.data : "");
    buffer_free(&content);
    free(path);
    return text;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static struct {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
    struct {
        const char *name;
        char text[1200];
    } entries[400];
    size_t count;
} events = {.lock = SRWLOCK_INIT, .changed = CONDITION_VARIABLE_INIT};

static void events_emit(void *context, const struct event_entry *entry, const char *const *arguments)
{
    char *text = event_text(entry, arguments);
    (void)context;
    AcquireSRWLockExclusive(&events.lock);
    if (events.count < sizeof events.entries / sizeof events.entries[0]) {
        events.entries[events.count].name = entry->name;
        snprintf(events.entries[events.count++].text, sizeof events.entries[0].text, "%s", text);
    }
    ReleaseSRWLockExclusive(&events.lock);
    WakeAllConditionVariable(&events.changed);
    free(text);
}

static void events_debug(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "debug: %s\n", line);
}

void events_clear(void)
{
    AcquireSRWLockExclusive(&events.lock);
    events.count = 0;
    ReleaseSRWLockExclusive(&events.lock);
}

char *events_seen(const char *filter)
{
    struct buffer names = {0};
    AcquireSRWLockShared(&events.lock);
    for (size_t i = 0; i < events.count; i++)
        if (filter == NULL || strstr(filter, events.entries[i].name) != NULL)
            buffer_add_format(&names, "%s%s", names.size > 0 ? " " : "", events.entries[i].name);
    ReleaseSRWLockShared(&events.lock);
    return names.data != NULL ? (char *)names.data : str_copy("");
}

static unsigned events_count(const char *name)
{
    unsigned count = 0;
    for (size_t i = 0; i < events.count; i++)
        count += strcmp(events.entries[i].name, name) == 0;
    return count;
}

void events_print(void)
{
    for (size_t i = 0; i < events.count; i++)
        fprintf(stderr, "event %s: %s\n", events.entries[i].name, events.entries[i].text);
}

void events_wait(const char *name, unsigned count)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    AcquireSRWLockExclusive(&events.lock);
    while (events_count(name) < count && clock_ms() < deadline)
        SleepConditionVariableSRW(&events.changed, &events.lock, (DWORD)(deadline - clock_ms()), 0);
    bool came = events_count(name) >= count;
    if (!came)
        events_print();
    ReleaseSRWLockExclusive(&events.lock);
    if (!came)
        fail_msg("event %s did not come %u times", name, count);
}

bool events_said(const char *name, const char *words)
{
    bool said = false;
    AcquireSRWLockShared(&events.lock);
    for (size_t i = 0; i < events.count; i++)
        said = said || (strcmp(events.entries[i].name, name) == 0 && strstr(events.entries[i].text, words) != NULL);
    if (!said)
        events_print();
    ReleaseSRWLockShared(&events.lock);
    return said;
}

/* ---- folders ------------------------------------------------------------------------------------------------------ */

void fixture_main(const char *name)
{
    int argc = 0;
    wchar_t **argv = CommandLineToArgvW(GetCommandLineW(), &argc);
    if (worker_wanted(argc, argv)) {
        worker_phase_hook = phase_reached;
        true_rename = worker_rename_folder;
        worker_rename_folder = rename_folder;
        volume_calls = (struct volume_calls){set_mount_point, delete_mount_point};
        exit(worker_main(argc, argv));
    }
    LocalFree(argv);
    snprintf(program_name, sizeof program_name, "%s", name);
    static const struct event_sink sink = {events_emit, events_debug, NULL};
    event_set_sink(&sink);
}

struct jobs_options fixture_options(void)
{
    return (struct jobs_options){
        .workers = 2, .queue = 4, .stall_seconds = 20, .destroy_seconds = 2, .call_seconds = 20};
}

static char *make_folder(const char *root, const char *name)
{
    char *folder = path_join(root, name);
    fixture_check(file_ensure_folder(folder));
    return folder;
}

/* The emulator's faults, settings and broker are those of the folder it lies in. */
static void copy_emulator(struct fixture *fixture)
{
    static const char *const files[] = {"vmcompute.dll", "hcsemu.exe"};
    char *tests = path_folder(fixture_image()), *build = path_folder(tests), *emulator = path_join(build, "emulator");
    for (size_t i = 0; i < 2; i++) {
        char *from = path_join(emulator, files[i]), *to = path_join(fixture->emulator, files[i]);
        copy_file(from, to);
        free(from);
        free(to);
    }
    free(tests);
    free(build);
    free(emulator);
}

void fixture_open_jobs(struct fixture *fixture, const struct jobs_options *options)
{
    struct jobs_options used = options != NULL ? *options : fixture_options();
    used.staging_dir = fixture->staging;
    used.state_dir = fixture->state;
    used.hcs_library = fixture->library;
    fixture_check(jobs_open(&used, &fixture->jobs));
}

static void fixture_name(struct fixture *fixture, const char *root)
{
    fixture->root = str_copy(root);
    fixture->emulator = make_folder(fixture->root, "emulator");
    fixture->library = path_join(fixture->emulator, "vmcompute.dll");
    fixture->staging = make_folder(fixture->root, "staging");
    fixture->state = make_folder(fixture->root, "state");
    fixture->out = make_folder(fixture->root, "out");
    fixture->layers = make_folder(fixture->root, "layers");
}

void fixture_open(struct fixture *fixture, const struct jobs_options *options)
{
    char *root = str_format("C:\\jobs-%s-%lu-%u", program_name, GetCurrentProcessId(), ++folder_number);
    *fixture = (struct fixture){0};
    fixture_name(fixture, root);
    free(root);
    copy_emulator(fixture);
    char *phase_file = path_join(fixture->root, "phase-fault.txt");
    set_environment("HCSD_TEST_PHASE_FILE", phase_file);
    free(phase_file);
    char *target_file = path_join(fixture->root, "targets.txt");
    set_environment("HCSD_TEST_TARGET_FILE", target_file);
    free(target_file);
    events_clear();
    fixture_open_jobs(fixture, options);
}

void fixture_close_jobs(struct fixture *fixture)
{
    jobs_close(fixture->jobs, 10000);
    fixture->jobs = NULL;
}

static void check_journal_is_empty(const struct fixture *fixture)
{
    char *folder = path_join(fixture->state, "jobs");
    struct file_list list = {0};
    fixture_check(file_list(folder, 1000, &list));
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.entries[i].name, "reserve.bin") != 0)
            fail_msg("left in the journal: %s", list.entries[i].name);
    file_list_free(&list);
    free(folder);
}

static void stop_broker(const struct fixture *fixture);

void fixture_close(struct fixture *fixture)
{
    if (fixture->jobs != NULL)
        fixture_close_jobs(fixture);
    fixture_check_released(fixture);
    if (fixture_count_entries(fixture->staging) != 0)
        fail_msg("the staging folder is not empty");
    check_journal_is_empty(fixture);
    stop_broker(fixture);
    char *texts[] = {fixture->root,  fixture->emulator, fixture->library, fixture->staging,
                     fixture->state, fixture->out,      fixture->layers};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
}

char *fixture_layer(const struct fixture *fixture, const char *name, unsigned files, size_t big)
{
    char *layer = make_folder(fixture->layers, name), *content = make_folder(layer, "Files"),
         *hives = make_folder(layer, "Hives");
    for (unsigned i = 0; i < files; i++) {
        char *folder_name = str_format("folder%u", i % 5), *folder = make_folder(content, folder_name);
        char *file_name = str_format("file%u.txt", i), *file = path_join(folder, file_name),
             *text = str_format("%s %u\n", name, i);
        write_file(file, text, strlen(text));
        free(folder_name);
        free(folder);
        free(file_name);
        free(file);
        free(text);
    }
    if (big > 0) {
        char *file = path_join(content, "big.bin");
        uint8_t *data = mem_zero(big);
        uint32_t state = 1;
        for (size_t i = 0; i < big; i++) {
            state = state * 1664525 + 1013904223;
            data[i] = (uint8_t)(state >> 24);
        }
        write_file(file, data, big);
        free(data);
        free(file);
    }
    free(content);
    free(hives);
    return layer;
}

void fixture_scratch(const struct fixture *fixture, const char *name, char **ret_path)
{
    char *layer = make_folder(fixture->layers, name), *disk = path_join(layer, "sandbox.vhdx"), zeros[4096] = {0};
    write_file(disk, zeros, sizeof zeros);
    free(disk);
    *ret_path = layer;
}

void fixture_faults(const struct fixture *fixture, const char *rows)
{
    char *path = path_join(fixture->emulator, "vmcompute-faults.json"), *text = str_format("[%s]", rows);
    write_file(path, text, strlen(text));
    free(path);
    free(text);
}

void fixture_phase_fault(const struct fixture *fixture, const char *fault)
{
    char *path = path_join(fixture->root, "phase-fault.txt");
    write_file(path, fault, strlen(fault));
    free(path);
}

/* ---- the emulator's books ------------------------------------------------------------------------------------------ */

/* Runs the broker's program; what it said, NUL-terminated. */
static struct buffer ask_broker(const struct fixture *fixture, const char *option)
{
    char *program = path_join(fixture->emulator, "hcsemu.exe"), *line = str_format("\"%s\" %s", program, option);
    wchar_t *wide_line = wide(line);
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE ours = NULL, theirs = NULL;
    PROCESS_INFORMATION information = {0};
    assert_true(CreatePipe(&ours, &theirs, &inherited, 0));
    SetHandleInformation(ours, HANDLE_FLAG_INHERIT, 0);
    STARTUPINFOW startup = {
        .cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES, .hStdOutput = theirs, .hStdError = theirs};
    /* Wine 8 under load fails to start a program about once in thousands of times. */
    for (unsigned try = 1;
         !CreateProcessW(NULL, wide_line, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &startup, &information);
         try++)
        if (try == 3)
            fail_msg("%s was not started: %lu", line, GetLastError());
    CloseHandle(theirs);
    struct buffer output = {0};
    uint8_t piece[4096];
    DWORD count;
    while (ReadFile(ours, piece, sizeof piece, &count, NULL) && count > 0)
        buffer_add(&output, piece, count);
    CloseHandle(ours);
    CloseHandle(information.hThread);
    CloseHandle(information.hProcess);
    free(wide_line);
    free(line);
    free(program);
    return output;
}

json_t *fixture_books(const struct fixture *fixture)
{
    struct buffer output = ask_broker(fixture, "--books");
    json_error_t where;
    json_t *books = json_loadb((const char *)output.data, output.size, 0, &where);
    if (books == NULL)
        fail_msg("hcsemu --books: %s: %s", where.text, output.data != NULL ? (const char *)output.data : "");
    buffer_free(&output);
    return books;
}

/* It would live as long as the prefix otherwise. */
static void stop_broker(const struct fixture *fixture)
{
    struct buffer output = ask_broker(fixture, "--stop");
    buffer_free(&output);
}

void fixture_check_released(const struct fixture *fixture)
{
    json_t *books = fixture_books(fixture);
    static const char *const lists[] = {"activated", "prepared"};
    for (size_t i = 0; i < 2; i++) {
        json_t *list = json_object_get(books, lists[i]);
        size_t count = json_is_array(list) ? json_array_size(list) : json_object_size(list);
        if (list == NULL || count != 0) {
            char *text = json_dumps(books, JSON_COMPACT);
            fail_msg("expected nothing %s, found %s", lists[i], text);
        }
    }
    json_decref(books);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

struct job_view *job_look(struct jobs *jobs, const char *id, size_t *ret_count)
{
    struct job_view *views = NULL;
    jobs_view(jobs, id, &views, ret_count);
    return views;
}

void job_wait(struct jobs *jobs, const char *id, const char *phase, uint32_t *ret_pid)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    char last[64] = "nothing";
    for (;;) {
        size_t count = 0;
        struct job_view *views = job_look(jobs, id, &count);
        bool reached = count == 1 && (strcmp(views[0].phase, phase) == 0 || strcmp(views[0].state, phase) == 0);
        if (count == 1)
            snprintf(last, sizeof last, "%s, %s", views[0].state, views[0].phase);
        if (reached && ret_pid != NULL)
            *ret_pid = views[0].worker_pid;
        job_views_free(views, count);
        if (reached)
            return;
        if (clock_ms() >= deadline)
            fail_msg("job %s does not come to \"%s\": %s", id, phase, last);
        Sleep(20); /* banned-ok: bounded polling, nothing tells of phases but the job's own listener */
    }
}
