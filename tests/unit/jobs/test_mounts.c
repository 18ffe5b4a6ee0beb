/* Mounting and releasing layers for containers, bounded and undone; and what a crash of hcsd leaves for the next start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "daemon/jobs/layers.h"
#include "fixture.h"
#include "journal/journal.h"

static void expect(struct error *error, enum error_kind kind, const char *words)
{
    char *text = error != NULL ? error_text(error) : str_copy("success");
    if (error == NULL || error->kind != kind || (words != NULL && strstr(text, words) == NULL))
        fail_msg("expected %s with \"%s\", found %s", error_kind_name(kind), words != NULL ? words : "", text);
    free(text);
    error_free(error);
}

/* The journal's documents are written by this; each is one flush. */
static _Atomic unsigned flushes;
struct error *__real_file_replace(const char *path, const void *data, size_t size, const struct pause *pause);
struct error *__wrap_file_replace(const char *path, const void *data, size_t size, const struct pause *pause);

struct error *__wrap_file_replace(const char *path, const void *data, size_t size, const struct pause *pause)
{
    flushes++;
    return __real_file_replace(path, data, size, pause);
}

static void expect_none(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    fail_msg("%s", text);
}

static void test_mount_and_release(void **state)
{
    (void)state;
    struct fixture fixture;
    char *scratch = NULL, *volume = NULL, *other = NULL;
    fixture_open(&fixture, NULL);
    char *base = fixture_layer(&fixture, "base", 3, 0), *absent = path_join(fixture.layers, "absent");
    const char *parents[1] = {base}, *absent_parents[1] = {absent};
    fixture_scratch(&fixture, "scratch", &scratch);

    unsigned before = flushes;
    expect_none(jobs_mount_layer(fixture.jobs, "container web", scratch, parents, 1, &volume));
    assert_int_equal(flushes - before, 2);
    assert_true(strncmp(volume, "\\\\?\\Volume{", 11) == 0);
    assert_int_equal(volume[strlen(volume) - 1], '}');
    json_t *books = fixture_books(&fixture);
    assert_int_not_equal(
        json_array_size(json_object_get(books, "prepared")) + json_object_size(json_object_get(books, "prepared")), 0);
    json_decref(books);

    /* Another spelling is the same layer. */
    char *spelled = str_format("\\\\?\\%s\\", scratch);
    expect(jobs_mount_layer(fixture.jobs, "container other", spelled, parents, 1, &other),
           ERROR_KIND_FAILED_PRECONDITION, "container web");
    struct client client = {0};
    struct export_request request = {.layer = scratch, .parents = &base, .parent_count = 1};
    client_submit(&client, fixture.jobs, &request, 1, ERROR_KIND_FAILED_PRECONDITION);
    client_expect_error(&client, ERROR_KIND_FAILED_PRECONDITION, "container web");
    client_free(&client);
    /* Its parent may be exported meanwhile. */
    request = (struct export_request){.layer = base};
    client_submit(&client, fixture.jobs, &request, 1, 0);
    client_wait_closed(&client);
    client_expect_done(&client);
    client_free(&client);

    expect(jobs_release_layer(fixture.jobs, "container other", scratch), ERROR_KIND_FAILED_PRECONDITION,
           "container web");
    before = flushes;
    expect_none(jobs_release_layer(fixture.jobs, "container web", spelled));
    assert_int_equal(flushes - before, 1);
    expect(jobs_release_layer(fixture.jobs, "container web", scratch), ERROR_KIND_NOT_FOUND, "container web");
    fixture_check_released(&fixture);

    expect(jobs_mount_layer(fixture.jobs, "container a", absent, parents, 1, &other), ERROR_KIND_NOT_FOUND, "absent");
    expect(jobs_mount_layer(fixture.jobs, "container a", scratch, absent_parents, 1, &other), ERROR_KIND_NOT_FOUND,
           "absent");
    expect(jobs_mount_layer(fixture.jobs, "container a", "scratch", parents, 1, &other), ERROR_KIND_INVALID_ARGUMENT,
           "scratch");
    expect_none(jobs_mount_layer(fixture.jobs, "container a", scratch, parents, 1, &other));
    expect_none(jobs_release_layer(fixture.jobs, "container a", scratch));
    free(spelled);
    free(volume);
    free(other);
    free(scratch);
    free(absent);
    free(base);
    fixture_close(&fixture);
}

static void test_mount_faults(void **state)
{
    (void)state;
    static const struct {
        const char *call, *action;
        enum error_kind kind;
        const char *words;
    } rows[] = {
        {"ActivateLayer", "fail", ERROR_KIND_PERMISSION_DENIED, "ActivateLayer"},
        {"PrepareLayer", "fail", ERROR_KIND_PERMISSION_DENIED, "PrepareLayer"},
        {"GetLayerMountPath", "fail", ERROR_KIND_PERMISSION_DENIED, "GetLayerMountPath"},
        {"ActivateLayer", "crash", ERROR_KIND_INTERNAL, "0xC0000420"},
        {"PrepareLayer", "crash", ERROR_KIND_INTERNAL, "0xC0000420"},
        {"ActivateLayer", "hang", ERROR_KIND_DEADLINE_EXCEEDED, "ActivateLayer"},
        {"PrepareLayer", "hang", ERROR_KIND_DEADLINE_EXCEEDED, "PrepareLayer"},
        {"GetLayerMountPath", "hang", ERROR_KIND_DEADLINE_EXCEEDED, "GetLayerMountPath"},
    };
    struct jobs_options options = fixture_options();
    options.call_seconds = 2;
    options.stall_seconds = 1;
    struct fixture fixture;
    fixture_open(&fixture, &options);
    char *base = fixture_layer(&fixture, "base", 3, 0), *volume = NULL;
    const char *parents[1] = {base};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[16], fault[160], *scratch = NULL;
        snprintf(name, sizeof name, "scratch%zu", i);
        fixture_scratch(&fixture, name, &scratch);
        snprintf(fault, sizeof fault, "{\"call\":\"%s\",\"match\":\"%s\",\"action\":\"%s\"%s}", rows[i].call, name,
                 rows[i].action, strcmp(rows[i].action, "fail") == 0 ? ",\"hresult\":\"0x80070005\"" : "");
        fixture_faults(&fixture, fault);
        expect(jobs_mount_layer(fixture.jobs, "container web", scratch, parents, 1, &volume), rows[i].kind,
               rows[i].words);
        fixture_faults(&fixture, "");
        free(scratch);
    }
    /* Everybody's turn is passed on: a mount works as before. */
    char *scratch = NULL;
    fixture_scratch(&fixture, "good", &scratch);
    expect_none(jobs_mount_layer(fixture.jobs, "container good", scratch, parents, 1, &volume));
    expect_none(jobs_release_layer(fixture.jobs, "container good", scratch));
    free(scratch);
    free(volume);
    free(base);
    fixture_close(&fixture);
}

/* The volume on a folder too, as job containers have it: made with the mount, taken off before it, and never what is in it. */
static void test_mount_points(void **state)
{
    (void)state;
    struct fixture fixture;
    char *scratch = NULL, *volume = NULL;
    fixture_open(&fixture, NULL);
    char *base = fixture_layer(&fixture, "base", 3, 0), *target = path_join(fixture.root, "mounts\\web"),
         *refused = path_join(fixture.root, "refused"), *full = path_join(fixture.root, "full"),
         *inner = path_join(full, "inner");
    const char *parents[1] = {base};
    fixture_scratch(&fixture, "scratch", &scratch);
    expect_none(jobs_mount_layer_at(fixture.jobs, "layer mount", scratch, parents, 1, target, &volume));
    assert_true(fixture_exists(target));
    char *expected = str_format("%s\\ %s\\\n", target, volume), *found = fixture_targets(&fixture);
    assert_string_equal(found, expected);
    free(expected);
    free(found);
    expect_none(jobs_release_layer(fixture.jobs, "layer mount", scratch));
    assert_false(fixture_exists(target));
    expected = str_format("%s\\ %s\\\n%s\\ off\n", target, volume, target);
    found = fixture_targets(&fixture);
    assert_string_equal(found, expected);
    free(expected);
    free(found);
    fixture_check_released(&fixture);

    /* What cannot be mounted there is mounted nowhere. */
    expect(jobs_mount_layer_at(fixture.jobs, "layer mount", scratch, parents, 1, refused, &volume),
           ERROR_KIND_PERMISSION_DENIED, "SetVolumeMountPoint");
    assert_false(fixture_exists(refused));
    expect_none(file_ensure_folder(inner));
    expect(jobs_mount_layer_at(fixture.jobs, "layer mount", scratch, parents, 1, full, &volume),
           ERROR_KIND_FAILED_PRECONDITION, "not empty");
    assert_true(fixture_exists(inner));
    fixture_check_released(&fixture);
    expect_none(file_delete_folder(inner));
    expect_none(file_delete_folder(full));

    /* A folder that was filled meanwhile stays, and is told of; the layer is released all the same. */
    free(volume);
    volume = NULL;
    expect_none(jobs_mount_layer_at(fixture.jobs, "layer mount", scratch, parents, 1, target, &volume));
    free(inner);
    inner = path_join(target, "inner");
    expect_none(file_ensure_folder(inner));
    struct error *error = jobs_release_layer(fixture.jobs, "layer mount", scratch);
    assert_non_null(error);
    error_free(error);
    assert_true(fixture_exists(inner));
    fixture_check_released(&fixture);
    expect_none(file_delete_folder(inner));
    events_wait("LAYER_RELEASED", 1);
    assert_false(fixture_exists(target));
    free(inner);
    free(full);
    free(refused);
    free(target);
    free(volume);
    free(scratch);
    free(base);
    fixture_close(&fixture);
}

/* A scratch folder without its disk: a container's is given one, a client's own mount is not. */
static void test_missing_disk(void **state)
{
    (void)state;
    struct fixture fixture;
    char *scratch = NULL, *volume = NULL;
    fixture_open(&fixture, NULL);
    char *base = fixture_layer(&fixture, "base", 3, 0);
    const char *parents[1] = {base};
    fixture_scratch(&fixture, "scratch", &scratch);
    char *disk = path_join(scratch, "sandbox.vhdx");
    expect_none(file_delete(disk, NULL));
    struct error *error = jobs_mount_layer_at(fixture.jobs, "layer mount", scratch, parents, 1, NULL, &volume);
    assert_false(fixture_exists(disk));
    if (error == NULL) /* which is HCS's to say */
        expect_none(jobs_release_layer(fixture.jobs, "layer mount", scratch));
    error_free(error);
    fixture_faults(&fixture, "{\"call\":\"CreateSandboxLayer\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}");
    expect(jobs_mount_layer(fixture.jobs, "container web", scratch, parents, 1, &volume), ERROR_KIND_PERMISSION_DENIED,
           "CreateSandboxLayer");
    fixture_faults(&fixture, "");
    fixture_check_released(&fixture);
    expect_none(jobs_mount_layer(fixture.jobs, "container web", scratch, parents, 1, &volume));
    assert_true(fixture_exists(disk));
    expect_none(jobs_release_layer(fixture.jobs, "container web", scratch));
    free(disk);
    free(volume);
    free(scratch);
    free(base);
    fixture_close(&fixture);
}

static void test_release_faults(void **state)
{
    (void)state;
    static const char *const faults[] = {
        "{\"call\":\"DeactivateLayer\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}",
        "{\"call\":\"DeactivateLayer\",\"action\":\"hang\"}",
        "{\"call\":\"UnprepareLayer\",\"action\":\"crash\"}",
        "{\"call\":\"UnprepareLayer\",\"action\":\"fail\",\"hresult\":\"0x80070005\"},"
        "{\"call\":\"DeactivateLayer\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}",
    };
    static const enum error_kind kinds[] = {ERROR_KIND_PERMISSION_DENIED, ERROR_KIND_DEADLINE_EXCEEDED,
                                            ERROR_KIND_INTERNAL, ERROR_KIND_PERMISSION_DENIED};
    static const char *const words[] = {"DeactivateLayer", "DeactivateLayer", "UnprepareLayer",
                                        "DeactivateLayer failed too"};
    struct jobs_options options = fixture_options();
    options.call_seconds = 2;
    options.stall_seconds = 1;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct fixture fixture;
        char *scratch = NULL, *volume = NULL;
        fixture_open(&fixture, &options);
        char *base = fixture_layer(&fixture, "base", 3, 0);
        const char *parents[1] = {base};
        fixture_scratch(&fixture, "scratch", &scratch);
        expect_none(jobs_mount_layer(fixture.jobs, "container web", scratch, parents, 1, &volume));
        fixture_faults(&fixture, faults[i]);
        expect(jobs_release_layer(fixture.jobs, "container web", scratch), kinds[i], words[i]);
        events_wait("LAYER_RELEASE_FAILED", 1);
        expect(jobs_mount_layer(fixture.jobs, "container next", scratch, parents, 1, &volume),
               ERROR_KIND_FAILED_PRECONDITION, "container web");
        fixture_faults(&fixture, "");
        events_wait("LAYER_RELEASED", 1);
        expect_none(jobs_mount_layer(fixture.jobs, "container next", scratch, parents, 1, &volume));
        expect_none(jobs_release_layer(fixture.jobs, "container next", scratch));
        free(scratch);
        free(volume);
        free(base);
        fixture_close(&fixture);
    }
}

/* ---- after a crash of hcsd --------------------------------------------------------------------------------------------- */

/* A second process of this program, which plays hcsd until it is killed: it mounts, exports and says how far it has come. */
static int play_daemon(int argc, wchar_t **argv)
{
    if (argc < 4)
        return 2;
    char *root = win_text(argv[2]), *phase = win_text(argv[3]);
    char *layers = path_join(root, "layers"), *staging = path_join(root, "staging"), *state = path_join(root, "state");
    char *emulator = path_join(root, "emulator"), *library = path_join(emulator, "vmcompute.dll"),
         *out = path_join(root, "out");
    char *app = path_join(layers, "app"), *base = path_join(layers, "base"), *scratch = path_join(layers, "scratch");
    char *output = path_join(out, "app.tar"), *ready = path_join(root, "ready.txt"), *volume = NULL;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 600;
    options.staging_dir = staging;
    options.state_dir = state;
    options.hcs_library = library;
    struct jobs *jobs = NULL;
    struct error *error = jobs_open(&options, &jobs);
    const char *parents[1] = {base};
    if (error == NULL)
        error = jobs_mount_layer(jobs, "container web", scratch, parents, 1, &volume);
    if (error != NULL)
        return 3;
    struct client client = {0};
    struct export_request request = {.layer = app, .parents = &base, .parent_count = 1, .output = output};
    client_submit(&client, jobs, &request, 1, 0);
    job_wait(jobs, client.id, phase, NULL);
    error_free(file_replace(ready, "ready", 5, NULL));
    WaitForSingleObject(GetCurrentProcess(), INFINITE); /* until it is killed */
    return 4;
}

static void run_and_kill(const struct fixture *fixture, const char *phase)
{
    char *line = str_format("\"%s\" --play-daemon \"%s\" %s", fixture_image(), fixture->root, phase);
    char *ready = path_join(fixture->root, "ready.txt");
    wchar_t *wide = NULL;
    expect_none(win_wide(line, &wide));
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information = {0};
    assert_true(CreateProcessW(NULL, wide, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &information));
    for (unsigned i = 0; i < PATIENCE_MS / 50 && !fixture_exists(ready); i++) {
        DWORD code = WaitForSingleObject(information.hProcess, 50);
        if (code == WAIT_OBJECT_0)
            fail_msg("the daemon ended by itself");
    }
    assert_true(fixture_exists(ready));
    assert_true(TerminateProcess(information.hProcess, 9));
    assert_int_equal(WaitForSingleObject(information.hProcess, PATIENCE_MS), WAIT_OBJECT_0);
    CloseHandle(information.hThread);
    CloseHandle(information.hProcess);
    error_free(file_delete(ready, NULL));
    free(wide);
    free(ready);
    free(line);
}

static void test_killed_daemon(void **state)
{
    (void)state;
    static const struct {
        const char *phase, *fault, *phase_fault;
    } rows[] = {
        {"activate", "{\"call\":\"ActivateLayer\",\"match\":\"app\",\"action\":\"hang\"}", ""},
        {"prepare", "{\"call\":\"PrepareLayer\",\"match\":\"app\",\"action\":\"hang\"}", ""},
        {"stage", "{\"call\":\"ExportLayer\",\"action\":\"hang\",\"after_ms\":200}", ""},
        {"archive", "", "export archive hang"},
        {"cleanup", "", "export cleanup hang"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture fixture;
        char *scratch = NULL;
        fixture_open(&fixture, NULL);
        fixture_close_jobs(&fixture);
        char *base = fixture_layer(&fixture, "base", 5, 0), *app = fixture_layer(&fixture, "app", 30, 100000);
        fixture_scratch(&fixture, "scratch", &scratch);
        fixture_faults(&fixture, rows[i].fault);
        fixture_phase_fault(&fixture, rows[i].phase_fault);
        run_and_kill(&fixture, rows[i].phase);
        fixture_faults(&fixture, "");
        fixture_phase_fault(&fixture, "");

        events_clear();
        fixture_open_jobs(&fixture, NULL);
        events_wait("JANITOR_SWEPT", 1);
        assert_int_equal(fixture_count_entries(fixture.staging), 0);
        bool complete = strcmp(rows[i].phase, "cleanup") == 0;
        assert_int_equal(fixture_count_entries(fixture.out), complete ? 1 : 0);
        /* The container's layer stayed mounted, and its owner's. */
        char *volume = NULL;
        const char *parents[1] = {base};
        expect(jobs_mount_layer(fixture.jobs, "container other", scratch, parents, 1, &volume),
               ERROR_KIND_FAILED_PRECONDITION, "container web");
        if (i % 2 == 0) {
            expect_none(jobs_release_layer(fixture.jobs, "container web", scratch));
        } else {
            jobs_keep_mounts(fixture.jobs, NULL, 0);
            expect(jobs_release_layer(fixture.jobs, "container web", scratch), ERROR_KIND_FAILED_PRECONDITION, "hcsd");
        }
        struct client client = {0};
        struct export_request request = {.layer = app, .parents = &base, .parent_count = 1};
        client_submit(&client, fixture.jobs, &request, 1, 0);
        client_wait_closed(&client);
        client_expect_done(&client);
        client_free(&client);
        free(base);
        free(app);
        free(scratch);
        fixture_close(&fixture);
    }
}

/* Folders of ours that no document tells of are removed; others' are not touched. */
static void test_sweep_of_unknown_folders(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, NULL);
    fixture_close_jobs(&fixture);
    char *ours = path_join(fixture.staging, "eabcaaaa"), *inner = path_join(ours, "Files"),
         *renamed = path_join(fixture.staging, "eabcaaab-q");
    char *theirs = path_join(fixture.staging, "something");
    expect_none(file_ensure_folder(inner));
    expect_none(file_ensure_folder(renamed));
    expect_none(file_ensure_folder(theirs));
    events_clear();
    fixture_open_jobs(&fixture, NULL);
    events_wait("JANITOR_SWEPT", 1);
    assert_false(fixture_exists(ours));
    assert_false(fixture_exists(renamed));
    assert_true(fixture_exists(theirs));
    assert_true(events_said("JANITOR_SWEPT", "2 folders"));
    expect_none(file_delete_folder(theirs));
    free(ours);
    free(inner);
    free(renamed);
    free(theirs);
    fixture_close(&fixture);
}

/* What resists the sweep is not forgotten until the next start. */
static void test_unknown_folder_that_resists(void **state)
{
    (void)state;
    struct fixture fixture;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 1;
    fixture_open(&fixture, &options);
    fixture_close_jobs(&fixture);
    char *ours = path_join(fixture.staging, "eabcaaaa"), *file = path_join(ours, "held.txt");
    wchar_t *wide = NULL;
    expect_none(file_ensure_folder(ours));
    expect_none(win_path(file, &wide));
    HANDLE held = CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW, 0, NULL);
    assert_true(held != INVALID_HANDLE_VALUE);
    events_clear();
    fixture_open_jobs(&fixture, &options);
    events_wait("JANITOR_SWEPT", 1);
    assert_true(events_said("JANITOR_SWEPT", "1 things stay"));
    events_wait("QUARANTINE_REMAINS", 1);
    CloseHandle(held);
    events_wait("QUARANTINE_DESTROYED", 1);
    free(wide);
    free(file);
    free(ours);
    fixture_close(&fixture);
}

/* A document as an earlier life left it; takes the body. */
static void save_document(const struct fixture *fixture, const char *id, json_t *body)
{
    char *folder = path_join(fixture->state, "jobs");
    struct journal *journal = NULL;
    struct journal_key key = {NULL, id};
    assert_non_null(body);
    expect_none(journal_open(folder, "remains", 1, &journal));
    expect_none(journal_save(journal, &key, body));
    journal_free(journal);
    json_decref(body);
    free(folder);
}

/* hcsd was killed between a layer's release and the end of its document, and the layer has somebody else since. */
static void test_document_that_is_out_of_date(void **state)
{
    (void)state;
    struct fixture fixture;
    char *scratch = NULL, *volume = NULL;
    fixture_open(&fixture, NULL);
    char *base = fixture_layer(&fixture, "base", 3, 0);
    const char *parents[1] = {base}, *holder = "container web";
    fixture_scratch(&fixture, "scratch", &scratch);
    expect_none(jobs_mount_layer(fixture.jobs, holder, scratch, parents, 1, &volume));
    fixture_close_jobs(&fixture);
    /* Each spelling is the same layer. */
    char *spelled = str_format("\\\\?\\%s", scratch);
    save_document(&fixture, "eabcaaaa",
                  json_pack("{s:s, s:s, s:s, s:b, s:b, s:I}", "kind", "mount", "holder", "container old", "layer",
                            spelled, "activated", 1, "mounted", 0, "since_ns", (json_int_t)1));
    fixture_open_jobs(&fixture, NULL);
    jobs_keep_mounts(fixture.jobs, &holder, 1);
    fixture_close_jobs(&fixture); /* which waits for the cleaners */
    json_t *books = fixture_books(&fixture);
    assert_int_equal(json_array_size(json_object_get(books, "prepared")), 1);
    json_decref(books);
    fixture_open_jobs(&fixture, NULL);
    jobs_keep_mounts(fixture.jobs, &holder, 1);
    expect_none(jobs_release_layer(fixture.jobs, holder, scratch));
    free(spelled);
    free(volume);
    free(scratch);
    free(base);
    fixture_close(&fixture);
}

/* The unfinished output is named after the worker that wrote it; the first one that cleaned up after it was lost too. */
static void test_unfinished_output_after_a_lost_cleaner(void **state)
{
    (void)state;
    struct fixture fixture;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 1;
    fixture_open(&fixture, NULL);
    fixture_close_jobs(&fixture);
    char *output = path_join(fixture.out, "app.tar"), *partial = str_format("%s.partial-4242-0", output);
    expect_none(file_replace(partial, "half", 4, NULL));
    save_document(&fixture, "eabcaaaa",
                  json_pack("{s:s, s:s, s:I, s:I}", "kind", "export", "output", output, "output_pid", (json_int_t)4242,
                            "worker_pid", (json_int_t)4242));
    fixture_phase_fault(&fixture, "clean cleanup crash");
    events_clear();
    fixture_open_jobs(&fixture, &options);
    events_wait("WORKER_DIED", 1);
    assert_true(fixture_exists(partial));
    fixture_phase_fault(&fixture, "");
    while (fixture_exists(partial)) /* ctest bounds it */
        Sleep(20);                  /* banned-ok: nothing tells of it */
    free(partial);
    free(output);
    fixture_close(&fixture);
}

/* A worker of an earlier life that did not die with it: recognised, counted, and its folder left alone until it is gone. */
static void test_worker_of_an_earlier_life(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, NULL);
    fixture_close_jobs(&fixture);
    char *folder = path_join(fixture.staging, "eabcaaaa");
    expect_none(file_ensure_folder(folder));
    /* Any process that stays will do. */
    wchar_t line[] = L"C:\\windows\\system32\\ping.exe -n 600 127.0.0.1";
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information = {0};
    FILETIME created, ended, kernel, user;
    if (!CreateProcessW(NULL, line, NULL, NULL, FALSE, CREATE_SUSPENDED, NULL, NULL, &startup, &information))
        fail_msg("no process: %lu", GetLastError());
    GetProcessTimes(information.hProcess, &created, &ended, &kernel, &user);
    save_document(&fixture, "eabcaaaa",
                  json_pack("{s:s, s:s, s:I, s:I}", "kind", "export", "staging", folder, "worker_pid",
                            (json_int_t)information.dwProcessId, "worker_created",
                            (json_int_t)((uint64_t)created.dwHighDateTime << 32 | created.dwLowDateTime)));
    events_clear();
    fixture_open_jobs(&fixture, NULL);
    events_wait("JANITOR_SWEPT", 1);
    assert_true(events_said("JANITOR_SWEPT", "1 things stay"));
    char pid[16];
    snprintf(pid, sizeof pid, "%lu", information.dwProcessId);
    assert_true(events_said("WORKER_ABANDONED", pid));
    struct worker_view *workers = NULL;
    size_t count = 0, abandoned = 0;
    jobs_workers(fixture.jobs, &workers, &count);
    for (size_t i = 0; i < count; i++)
        abandoned += strcmp(workers[i].state, "abandoned") == 0 && workers[i].pid == information.dwProcessId;
    free(workers);
    assert_int_equal(abandoned, 1);
    assert_true(fixture_exists(folder));
    kill_process(information.dwProcessId);
    events_wait("WORKER_GONE", 1);
    while (fixture_exists(folder)) /* ctest bounds it */
        Sleep(20);                 /* banned-ok: nothing tells of it */
    CloseHandle(information.hThread);
    CloseHandle(information.hProcess);
    free(folder);
    fixture_close(&fixture);
}

struct caller {
    struct jobs *jobs;
    const char *scratch, *base;
    struct error *error;
};

static DWORD WINAPI call_mount(void *context)
{
    struct caller *caller = context;
    char *volume = NULL;
    const char *parents[1] = {caller->base};
    caller->error = jobs_mount_layer(caller->jobs, "container web", caller->scratch, parents, 1, &volume);
    free(volume);
    return 0;
}

/* Until the mount that is under way has come to the phase. */
static void wait_for_mount(struct jobs *jobs, const char *phase)
{
    for (bool waiting = true; waiting;) {
        size_t count = 0;
        struct job_view *views = job_look(jobs, NULL, &count);
        char id[40] = "";
        for (size_t i = 0; i < count; i++)
            if (strcmp(views[i].kind, "mount") == 0 && strcmp(views[i].state, "done") != 0)
                snprintf(id, sizeof id, "%s", views[i].id);
        job_views_free(views, count);
        waiting = id[0] == '\0';
        if (!waiting)
            job_wait(jobs, id, phase, NULL);
    }
}

/* A mount that has PrepareLayer's turn and does not come to use it keeps nobody from it; one that does, does. */
static void test_turn_is_asked_back(void **state)
{
    static const struct {
        const char *call, *phase;
        bool shuts_out;
    } rows[] = {
        {"ActivateLayer", "activate", false}, {"GetLayerMountPath", "path", false}, {"PrepareLayer", "prepare", true}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture fixture;
        struct jobs_options options = fixture_options();
        char *stuck = NULL, *free_one = NULL, *volume = NULL, fault[128];
        options.call_seconds = rows[i].shuts_out ? 3 : 100;
        options.stall_seconds = 60;
        fixture_open(&fixture, &options);
        char *base = fixture_layer(&fixture, "base", 3, 0);
        const char *parents[1] = {base};
        fixture_scratch(&fixture, "stuck", &stuck);
        fixture_scratch(&fixture, "free", &free_one);
        snprintf(fault, sizeof fault, "{\"call\":\"%s\",\"match\":\"stuck\",\"action\":\"hang\"}", rows[i].call);
        fixture_faults(&fixture, fault);
        struct caller caller = {fixture.jobs, stuck, base, NULL};
        HANDLE thread = CreateThread(NULL, 0, call_mount, &caller, 0, NULL);
        wait_for_mount(fixture.jobs, rows[i].phase);
        for (unsigned round = 0; round < 2 && !rows[i].shuts_out; round++) {
            expect_none(jobs_mount_layer(fixture.jobs, "container free", free_one, parents, 1, &volume));
            expect_none(jobs_release_layer(fixture.jobs, "container free", free_one));
            free(volume);
            volume = NULL;
        }
        if (rows[i].shuts_out) /* until its time is up and its worker ended; then the other has it */
            expect_none(jobs_mount_layer(fixture.jobs, "container free", free_one, parents, 1, &volume));
        fixture_faults(&fixture, "");
        assert_int_equal(WaitForSingleObject(thread, PATIENCE_MS), WAIT_OBJECT_0);
        CloseHandle(thread);
        if (rows[i].shuts_out) {
            expect(caller.error, ERROR_KIND_DEADLINE_EXCEEDED, "PrepareLayer");
            expect_none(jobs_release_layer(fixture.jobs, "container free", free_one));
        } else {
            expect_none(caller.error);
            expect_none(jobs_release_layer(fixture.jobs, "container web", stuck));
        }
        free(volume);
        free(stuck);
        free(free_one);
        free(base);
        fixture_close(&fixture);
    }
}

/* Closing answers who waits in a call that hangs, and what it had begun is undone at the next start. */
static void test_close_answers_callers(void **state)
{
    (void)state;
    struct fixture fixture;
    struct jobs_options options = fixture_options();
    options.call_seconds = 600;
    fixture_open(&fixture, &options);
    char *scratch = NULL, *base = fixture_layer(&fixture, "base", 3, 0);
    fixture_scratch(&fixture, "scratch", &scratch);
    fixture_faults(&fixture, "{\"call\":\"PrepareLayer\",\"action\":\"hang\"}");
    struct caller caller = {fixture.jobs, scratch, base, NULL};
    HANDLE thread = CreateThread(NULL, 0, call_mount, &caller, 0, NULL);
    wait_for_mount(fixture.jobs, "prepare");
    jobs_close(fixture.jobs, 6000);
    fixture.jobs = NULL;
    assert_int_equal(WaitForSingleObject(thread, PATIENCE_MS), WAIT_OBJECT_0);
    CloseHandle(thread);
    expect(caller.error, ERROR_KIND_UNAVAILABLE, "PrepareLayer");
    fixture_faults(&fixture, "");
    events_clear();
    fixture_open_jobs(&fixture, NULL);
    events_wait("JANITOR_SWEPT", 1);
    free(scratch);
    free(base);
    fixture_close(&fixture);
}

int main(void)
{
    fixture_main("mounts");
    int argc = 0;
    wchar_t **argv = CommandLineToArgvW(GetCommandLineW(), &argc);
    if (argc > 1 && wcscmp(argv[1], L"--play-daemon") == 0)
        return play_daemon(argc, argv);
    LocalFree(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mount_and_release),
        cmocka_unit_test(test_mount_faults),
        cmocka_unit_test(test_mount_points),
        cmocka_unit_test(test_missing_disk),
        cmocka_unit_test(test_release_faults),
        cmocka_unit_test(test_killed_daemon),
        cmocka_unit_test(test_sweep_of_unknown_folders),
        cmocka_unit_test(test_unknown_folder_that_resists),
        cmocka_unit_test(test_worker_of_an_earlier_life),
        cmocka_unit_test(test_document_that_is_out_of_date),
        cmocka_unit_test(test_unfinished_output_after_a_lost_cleaner),
        cmocka_unit_test(test_turn_is_asked_back),
        cmocka_unit_test(test_close_answers_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
