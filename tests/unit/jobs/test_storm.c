/* Mixed work under random faults, cancels, kills of workers and kills of hcsd itself: afterwards, each time, nothing is left.
 *
 *   test_jobs_storm [ROUNDS [SEED]]     the seed is printed; the same one makes the same choices */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "fixture.h"

#define LAYERS  3
#define EXPORTS 3
#define KILL_MS 2500 /* the daemon is killed within this time of its start: a point, not a measure */

static unsigned rounds = 6, seed = 1;

static uint32_t random_state;

static unsigned pick(unsigned below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

struct storm {
    struct fixture fixture;
    char *base, *scratch;
    char *layers[LAYERS];
};

static struct jobs_options storm_options(void)
{
    struct jobs_options options = fixture_options();
    options.workers = 3;
    options.stall_seconds = 1;
    options.destroy_seconds = 1;
    options.call_seconds = 3;
    return options;
}

static void name_layers(struct storm *storm)
{
    storm->base = path_join(storm->fixture.layers, "base");
    storm->scratch = path_join(storm->fixture.layers, "scratch");
    for (unsigned i = 0; i < LAYERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer%u", i);
        storm->layers[i] = path_join(storm->fixture.layers, name);
    }
}

static void open_storm(struct storm *storm)
{
    struct jobs_options options = storm_options();
    *storm = (struct storm){0};
    fixture_open(&storm->fixture, &options);
    name_layers(storm);
    free(fixture_layer(&storm->fixture, "base", 5, 0));
    for (unsigned i = 0; i < LAYERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer%u", i);
        free(fixture_layer(&storm->fixture, name, 10 + 10 * i, i * 1500000));
    }
    char *scratch = NULL;
    fixture_scratch(&storm->fixture, "scratch", &scratch);
    free(scratch);
}

static void close_storm(struct storm *storm)
{
    fixture_close(&storm->fixture);
    free(storm->base);
    free(storm->scratch);
    for (unsigned i = 0; i < LAYERS; i++)
        free(storm->layers[i]);
}

/* ---- one round of work ------------------------------------------------------------------------------------------------ */

static void random_faults(const struct fixture *fixture)
{
    static const char *const calls[] = {"ActivateLayer",   "PrepareLayer", "UnprepareLayer",   "ExportLayer",
                                        "DeactivateLayer", "DestroyLayer", "GetLayerMountPath"};
    static const char *const actions[] = {"fail", "crash", "hang"};
    static const char *const phases[] = {"export cleanup hang", "export cleanup crash", "export archive crash",
                                         "export stage crash",  "clean cleanup crash",  ""};
    struct buffer rows = {0};
    unsigned count = pick(3);
    for (unsigned i = 0; i < count; i++)
        buffer_add_format(&rows, "%s{\"call\":\"%s\",\"action\":\"%s\",\"hresult\":\"0x80070005\",\"count\":%u}",
                          i > 0 ? "," : "", calls[pick(7)], actions[pick(3)], 1 + pick(2));
    fixture_faults(fixture, rows.data != NULL ? (const char *)rows.data : "");
    fixture_phase_fault(fixture, pick(3) == 0 ? phases[pick(6)] : "");
    buffer_free(&rows);
}

struct mounter {
    struct storm *storm;
    HANDLE thread;
    struct error *error;
};

static DWORD WINAPI mount_thread(void *context)
{
    struct mounter *mounter = context;
    struct storm *storm = mounter->storm;
    const char *parents[1] = {storm->base};
    char *volume = NULL;
    mounter->error = jobs_mount_layer(storm->fixture.jobs, "container web", storm->scratch, parents, 1, &volume);
    if (mounter->error == NULL)
        mounter->error = jobs_release_layer(storm->fixture.jobs, "container web", storm->scratch);
    free(volume);
    return 0;
}

static void kill_some_worker(struct jobs *jobs)
{
    struct worker_view *workers = NULL;
    size_t count = 0;
    jobs_workers(jobs, &workers, &count);
    uint32_t pid = count > 0 ? workers[pick((unsigned)count)].pid : 0;
    free(workers);
    HANDLE process = pid != 0 ? OpenProcess(PROCESS_TERMINATE, FALSE, pid) : NULL;
    if (process != NULL) {
        TerminateProcess(process, 77);
        CloseHandle(process);
    }
}

static void start_work(struct storm *storm, struct client clients[EXPORTS], char *outputs[EXPORTS],
                       struct mounter *mounter)
{
    for (unsigned i = 0; i < EXPORTS; i++) {
        char name[24];
        snprintf(name, sizeof name, "layer%u.tar", i);
        outputs[i] = pick(2) == 0 ? path_join(storm->fixture.out, name) : NULL;
        struct export_request request = {.layer = storm->layers[i],
                                         .parents = &storm->base,
                                         .parent_count = pick(5) == 0 ? 0 : 1,
                                         .output = outputs[i],
                                         .overwrite = true,
                                         .compression = EXPORT_NONE};
        client_submit(&clients[i], storm->fixture.jobs, &request, i, 0);
    }
    *mounter = (struct mounter){.storm = storm};
    mounter->thread = CreateThread(NULL, 0, mount_thread, mounter, 0, NULL);
    assert_non_null(mounter->thread);
}

static void disturb(struct storm *storm, struct client clients[EXPORTS])
{
    unsigned choice = pick(4), which = pick(EXPORTS);
    if (choice == 0)
        error_free(jobs_cancel(storm->fixture.jobs, clients[which].id, "storm"));
    else if (choice == 1)
        kill_some_worker(storm->fixture.jobs);
}

/* Nothing runs, nothing is left to be taken down. */
static bool is_quiet(struct jobs *jobs)
{
    size_t count = 0;
    char **folders = NULL;
    struct job_view *views = job_look(jobs, NULL, &count);
    bool quiet = true;
    for (size_t i = 0; i < count; i++)
        quiet = quiet && strcmp(views[i].state, "queued") != 0 && strcmp(views[i].state, "running") != 0 &&
                strcmp(views[i].cleanup, "pending") != 0;
    job_views_free(views, count);
    jobs_quarantined(jobs, &folders, &count);
    for (size_t i = 0; i < count; i++)
        free(folders[i]);
    free(folders);
    return quiet && count == 0;
}

static size_t count_documents(const struct fixture *fixture)
{
    char *folder = path_join(fixture->state, "jobs");
    size_t count = fixture_count_entries(folder);
    free(folder);
    return count - 1; /* the reserve */
}

static void wait_quiet(struct storm *storm, const char *when)
{
    uint64_t deadline = clock_ms() + 2 * PATIENCE_MS;
    while (!is_quiet(storm->fixture.jobs) || count_documents(&storm->fixture) != 0) {
        if (clock_ms() > deadline) {
            size_t count = 0;
            struct job_view *views = job_look(storm->fixture.jobs, NULL, &count);
            for (size_t i = 0; i < count; i++)
                if (strcmp(views[i].state, "done") != 0)
                    fprintf(stderr, "%s %s of %s: %s, phase %s, cleanup %s\n", views[i].kind, views[i].id,
                            views[i].object, views[i].state, views[i].phase, views[i].cleanup);
            fail_msg("%s: it does not become quiet; %zu documents are left", when, count_documents(&storm->fixture));
        }
        Sleep(20); /* banned-ok: bounded polling of what no event tells */
    }
}

/* A file under its final name is a whole archive: it ends with two empty blocks. Nothing unfinished lies beside it. */
static void check_outputs(const struct fixture *fixture)
{
    struct file_list list = {0};
    assert_null(file_list(fixture->out, 1000, &list));
    for (size_t i = 0; i < list.count; i++) {
        struct buffer content = {0};
        static const uint8_t zeros[1024];
        char *path = path_join(fixture->out, list.entries[i].name);
        assert_null(file_read(path, 64u << 20, &content));
        if (strstr(list.entries[i].name, ".partial") != NULL || content.size < 1024 ||
            memcmp(content.data + content.size - 1024, zeros, 1024) != 0)
            fail_msg("%s (%zu bytes) is no whole archive", path, content.size);
        buffer_free(&content);
        free(path);
    }
    file_list_free(&list);
}

static void check_nothing_left(struct storm *storm)
{
    assert_int_equal(fixture_count_entries(storm->fixture.staging), 0);
    fixture_check_released(&storm->fixture);
    check_outputs(&storm->fixture);
}

/* ---- workers die, calls fail ------------------------------------------------------------------------------------------ */

static void check_client(const struct client *client)
{
    static const enum error_kind allowed[] = {ERROR_KIND_CANCELLED, ERROR_KIND_DEADLINE_EXCEEDED, ERROR_KIND_INTERNAL,
                                              ERROR_KIND_UNAVAILABLE, ERROR_KIND_PERMISSION_DENIED};
    bool fine = client->error == NULL ? client->results == 1 : client->results == 0;
    for (size_t i = 0; client->error != NULL && i < sizeof allowed / sizeof allowed[0] + 1; i++) {
        if (i == sizeof allowed / sizeof allowed[0])
            fail_msg("job %s: %s: %s", client->id, error_kind_name(client->error->kind), client->error->message);
        if (client->error->kind == allowed[i])
            break;
    }
    if (!fine || !client->closed)
        fail_msg("job %s was told: %s", client->id, client->order);
}

static void test_workers(void **state)
{
    (void)state;
    struct storm storm;
    random_state = seed;
    open_storm(&storm);
    for (unsigned round = 0; round < rounds; round++) {
        struct client clients[EXPORTS] = {0};
        char *outputs[EXPORTS], when[40];
        struct mounter mounter;
        snprintf(when, sizeof when, "seed %u, round %u", seed, round);
        fprintf(stderr, "%s\n", when);
        random_faults(&storm.fixture);
        start_work(&storm, clients, outputs, &mounter);
        for (unsigned i = pick(3); i > 0; i--) {
            WaitForSingleObject(mounter.thread, pick(700));
            disturb(&storm, clients);
        }
        for (unsigned i = 0; i < EXPORTS; i++) {
            client_wait_closed(&clients[i]);
            check_client(&clients[i]);
        }
        assert_int_equal(WaitForSingleObject(mounter.thread, PATIENCE_MS), WAIT_OBJECT_0);
        fixture_faults(&storm.fixture, "");
        fixture_phase_fault(&storm.fixture, "");
        wait_quiet(&storm, when);
        check_nothing_left(&storm);
        CloseHandle(mounter.thread);
        error_free(mounter.error);
        for (unsigned i = 0; i < EXPORTS; i++) {
            client_free(&clients[i]);
            free(outputs[i]);
        }
    }
    close_storm(&storm);
}

/* ---- hcsd dies -------------------------------------------------------------------------------------------------------- */

/* What is killed: works without end. */
static int play_daemon(int argc, wchar_t **argv)
{
    struct storm storm = {0};
    if (argc < 4)
        return 2;
    char *root = win_text(argv[2]);
    random_state = wcstoul(argv[3], NULL, 10);
    storm.fixture = (struct fixture){.root = root,
                                     .emulator = path_join(root, "emulator"),
                                     .staging = path_join(root, "staging"),
                                     .state = path_join(root, "state"),
                                     .out = path_join(root, "out"),
                                     .layers = path_join(root, "layers")};
    storm.fixture.library = path_join(storm.fixture.emulator, "vmcompute.dll");
    name_layers(&storm);
    struct jobs_options options = storm_options();
    fixture_open_jobs(&storm.fixture, &options);
    for (;;) {
        struct client clients[EXPORTS] = {0};
        char *outputs[EXPORTS];
        struct mounter mounter;
        start_work(&storm, clients, outputs, &mounter);
        WaitForSingleObject(mounter.thread, pick(300));
        disturb(&storm, clients);
        for (unsigned i = 0; i < EXPORTS; i++)
            client_wait_closed(&clients[i]);
        WaitForSingleObject(mounter.thread, PATIENCE_MS);
        wait_quiet(&storm, "the daemon");
    }
}

static void run_and_kill(const struct storm *storm)
{
    char *line = str_format("\"%s\" --play-daemon \"%s\" %u", fixture_image(), storm->fixture.root, pick(1u << 20));
    wchar_t *wide = NULL;
    assert_null(win_wide(line, &wide));
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information = {0};
    assert_true(CreateProcessW(NULL, wide, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &information));
    if (WaitForSingleObject(information.hProcess, pick(KILL_MS)) == WAIT_OBJECT_0)
        fail_msg("the daemon ended by itself");
    assert_true(TerminateProcess(information.hProcess, 9));
    assert_int_equal(WaitForSingleObject(information.hProcess, PATIENCE_MS), WAIT_OBJECT_0);
    CloseHandle(information.hThread);
    CloseHandle(information.hProcess);
    free(wide);
    free(line);
}

static void test_daemon(void **state)
{
    (void)state;
    struct storm storm;
    struct jobs_options options = storm_options();
    random_state = seed + 1000003;
    open_storm(&storm);
    fixture_close_jobs(&storm.fixture);
    for (unsigned round = 0; round < rounds; round++) {
        char when[40];
        snprintf(when, sizeof when, "seed %u, kill %u", seed, round);
        fprintf(stderr, "%s\n", when);
        if (pick(2) == 0)
            random_faults(&storm.fixture);
        run_and_kill(&storm);
        fixture_faults(&storm.fixture, "");
        fixture_phase_fault(&storm.fixture, "");
        fixture_open_jobs(&storm.fixture, &options);
        jobs_keep_mounts(storm.fixture.jobs, NULL, 0);
        wait_quiet(&storm, when);
        check_nothing_left(&storm);
        fixture_close_jobs(&storm.fixture);
    }
    close_storm(&storm);
}

int main(void)
{
    fixture_main("storm");
    int argc = 0;
    wchar_t **argv = CommandLineToArgvW(GetCommandLineW(), &argc);
    if (argc > 1 && wcscmp(argv[1], L"--play-daemon") == 0)
        return play_daemon(argc, argv);
    if (argc > 1)
        rounds = (unsigned)wcstoul(argv[1], NULL, 10);
    seed = argc > 2 ? (unsigned)wcstoul(argv[2], NULL, 10) : (unsigned)clock_wall_ns() % 1000000;
    fprintf(stderr, "seed %u, %u rounds\n", seed, rounds);
    LocalFree(argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_workers), cmocka_unit_test(test_daemon)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
