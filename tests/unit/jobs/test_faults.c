/* What hangs, crashes and resists: the ladders' steps in order, the archive that does not wait, and nothing left in the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/path.h"
#include "fixture.h"

#define LADDER                                                                                                         \
    "STALL_NOTICED STALL_GO_AROUND STALL_WORKER_KILLED STAGING_QUARANTINED QUARANTINE_DESTROYED QUARANTINE_REMAINS "   \
    "WORKER_ABANDONED WORKER_GONE LAYER_RELEASE_FAILED LAYER_RELEASED"

struct layers {
    struct fixture fixture;
    char *app, *base, *other;
    char *parents[1];
};

static void open_layers(struct layers *layers, const struct jobs_options *options)
{
    fixture_open(&layers->fixture, options);
    layers->base = fixture_layer(&layers->fixture, "base", 5, 0);
    layers->app = fixture_layer(&layers->fixture, "app", 20, 100000);
    layers->other = fixture_layer(&layers->fixture, "other", 20, 100000);
    layers->parents[0] = layers->base;
}

static void close_layers(struct layers *layers)
{
    fixture_close(&layers->fixture);
    free(layers->app);
    free(layers->base);
    free(layers->other);
}

static struct export_request request_of(struct layers *layers, char *layer)
{
    return (struct export_request){
        .layer = layer, .parents = layers->parents, .parent_count = 1, .compression = EXPORT_NONE};
}

static void expect_events(const char *expected)
{
    char *seen = events_seen(LADDER);
    if (strcmp(seen, expected) != 0)
        fail_msg("expected %s, found %s", expected, seen);
    free(seen);
}

static struct jobs_options quick(void)
{
    struct jobs_options options = fixture_options();
    options.stall_seconds = 1;
    options.destroy_seconds = 1;
    return options;
}

static void expect_other_exports_run(struct layers *layers)
{
    struct client client = {0};
    struct export_request request = request_of(layers, layers->other);
    client_submit(&client, layers->fixture.jobs, &request, 9, 0);
    client_wait_closed(&client);
    client_expect_done(&client);
    client_free(&client);
}

static void test_hang_in_each_call(void **state)
{
    (void)state;
    static const struct {
        const char *call, *operation;
    } rows[] = {
        {"ActivateLayer", "ActivateLayer"},
        {"PrepareLayer", "PrepareLayer"},
        {"UnprepareLayer", "UnprepareLayer"},
        {"ExportLayer", "ExportLayer"},
    };
    struct jobs_options options = quick();
    struct layers layers;
    open_layers(&layers, &options);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client client = {0};
        char fault[100];
        events_clear();
        /* Only once: what undoes it makes the same call. */
        snprintf(fault, sizeof fault, "{\"call\":\"%s\",\"match\":\"app\",\"action\":\"hang\",\"count\":1}",
                 rows[i].call);
        fixture_faults(&layers.fixture, fault);
        struct export_request request = request_of(&layers, layers.app);
        client_submit(&client, layers.fixture.jobs, &request, 1, 0);
        client_wait_closed(&client);
        client_expect_error(&client, ERROR_KIND_DEADLINE_EXCEEDED, rows[i].operation);
        expect_events("STALL_NOTICED STALL_GO_AROUND STALL_WORKER_KILLED");
        assert_true(events_said("STALL_NOTICED", layers.app));
        fixture_faults(&layers.fixture, "");
        client_free(&client);
    }
    expect_other_exports_run(&layers);
    close_layers(&layers);
}

/* The archive is delivered; Deactivate hangs; a fresh worker releases the layer and removes the folder. */
static void test_hang_in_deactivate(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    struct jobs_options options = quick();
    open_layers(&layers, &options);
    fixture_faults(&layers.fixture, "{\"call\":\"DeactivateLayer\",\"action\":\"hang\",\"count\":1}");
    struct export_request request = request_of(&layers, layers.app);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_result(&client);
    assert_false(client.closed);
    client_wait_closed(&client);
    client_expect_done(&client);
    assert_string_equal(client.outcomes, "pending done");
    expect_events("STALL_NOTICED STALL_GO_AROUND STALL_WORKER_KILLED");
    /* The call that hangs concerns the layer, not the file that was written last. */
    char *in_hand = str_format("In hand: %s", layers.app);
    assert_true(events_said("STALL_NOTICED", in_hand));
    assert_true(events_said("STALL_WORKER_KILLED", in_hand));
    free(in_hand);
    client_free(&client);
    close_layers(&layers);
}

/* The freeze itself. */
static void test_hang_in_cleanup(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    struct jobs_options options = quick();
    open_layers(&layers, &options);
    fixture_phase_fault(&layers.fixture, "export cleanup hang");
    struct export_request request = request_of(&layers, layers.app);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_result(&client);
    assert_int_equal(client.results, 1);
    assert_false(client.closed);
    client_wait_closed(&client);
    client_expect_done(&client);
    assert_string_equal(client.outcomes, "pending done");
    expect_events("STALL_NOTICED STALL_GO_AROUND STALL_WORKER_KILLED STAGING_QUARANTINED QUARANTINE_DESTROYED");
    fixture_phase_fault(&layers.fixture, "");
    expect_other_exports_run(&layers);
    client_free(&client);
    close_layers(&layers);
}

/* DestroyLayer hangs too: the client hears "quarantined", the janitor goes on, and when the fault goes so does the folder. */
static void test_hang_in_destroy(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    struct jobs_options options = quick();
    open_layers(&layers, &options);
    fixture_phase_fault(&layers.fixture, "export cleanup hang");
    fixture_faults(&layers.fixture, "{\"call\":\"DestroyLayer\",\"action\":\"hang\"}");
    struct export_request request = request_of(&layers, layers.app);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&client);
    assert_string_equal(client.outcomes, "pending quarantined");
    assert_int_equal(client.results, 1);
    expect_events(
        "STALL_NOTICED STALL_GO_AROUND STALL_WORKER_KILLED STAGING_QUARANTINED STALL_WORKER_KILLED QUARANTINE_REMAINS");
    char **folders = NULL;
    size_t count = 0;
    jobs_quarantined(layers.fixture.jobs, &folders, &count);
    for (size_t i = 0; i < count; i++)
        free(folders[i]);
    free(folders);
    fixture_phase_fault(&layers.fixture, "");
    expect_other_exports_run(&layers);
    events_wait("QUARANTINE_DESTROYED", 1); /* by the janitor's other way, which does not need DestroyLayer */
    fixture_faults(&layers.fixture, "");
    client_free(&client);
    close_layers(&layers);
}

static void test_destroy_crashes_or_fails(void **state)
{
    (void)state;
    static const char *const faults[] = {"{\"call\":\"DestroyLayer\",\"action\":\"crash\"}",
                                         "{\"call\":\"DestroyLayer\",\"action\":\"fail\",\"hresult\":\"0x80070020\"}"};
    for (size_t i = 0; i < 2; i++) {
        struct layers layers;
        struct client client = {0};
        struct jobs_options options = quick();
        open_layers(&layers, &options);
        fixture_phase_fault(&layers.fixture, "export cleanup hang");
        fixture_faults(&layers.fixture, faults[i]);
        struct export_request request = request_of(&layers, layers.app);
        client_submit(&client, layers.fixture.jobs, &request, 1, 0);
        client_wait_closed(&client);
        assert_int_equal(client.results, 1);
        fixture_phase_fault(&layers.fixture, "");
        events_wait("QUARANTINE_DESTROYED", 1);
        if (i == 0)
            assert_true(events_said("QUARANTINE_REMAINS", "0xC0000420"));
        client_free(&client);
        close_layers(&layers);
    }
}

/* Somebody else has a file of the staging folder open: the remover reports it, DestroyLayer cannot either, and when it is closed
 * the janitor gets rid of it. */
static void test_foreign_handle(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    struct jobs_options options = quick();
    open_layers(&layers, &options);
    fixture_phase_fault(&layers.fixture, "export deactivate hang");
    struct export_request request = request_of(&layers, layers.app);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_result(&client);
    /* The one staging folder; a file that is read but shared for nothing. */
    WIN32_FIND_DATAW found;
    wchar_t path[300], pattern[300];
    swprintf(pattern, 300, L"%hs\\e*", layers.fixture.staging);
    HANDLE find = FindFirstFileW(pattern, &found);
    assert_true(find != INVALID_HANDLE_VALUE);
    FindClose(find);
    swprintf(path, 300, L"%hs\\%ls\\held.txt", layers.fixture.staging, found.cFileName);
    HANDLE held = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_NEW, 0, NULL);
    assert_true(held != INVALID_HANDLE_VALUE);
    fixture_phase_fault(&layers.fixture, "");
    client_wait_closed(&client);
    assert_string_equal(client.cleanup, "quarantined");
    assert_true(client.left > 0);
    events_wait("QUARANTINE_REMAINS", 1);
    assert_true(events_said("QUARANTINE_REMAINS", "held.txt"));
    CloseHandle(held);
    events_wait("QUARANTINE_DESTROYED", 1);
    client_free(&client);
    close_layers(&layers);
}

/* ---- a worker that does not die ------------------------------------------------------------------------------------------ */

static volatile LONG kills;

static void no_terminate(HANDLE process)
{
    (void)process;
    InterlockedIncrement(&kills);
}

static uint32_t abandoned_pid(struct jobs *jobs)
{
    struct worker_view *workers = NULL;
    size_t count = 0;
    uint32_t pid = 0;
    jobs_workers(jobs, &workers, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(workers[i].state, "abandoned") == 0)
            pid = workers[i].pid;
    free(workers);
    return pid;
}

static void test_worker_that_does_not_die(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    struct jobs_options options = quick();
    options.workers = 1;
    open_layers(&layers, &options);
    struct process_calls calls = process_calls;
    fixture_phase_fault(&layers.fixture, "export cleanup hang");
    struct export_request request = request_of(&layers, layers.app);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_result(&client);
    process_calls.terminate = no_terminate;
    client_wait_closed(&client);
    process_calls = calls;
    assert_true(kills > 0);
    assert_string_equal(client.outcomes, "pending quarantined");
    expect_events("STALL_NOTICED STALL_GO_AROUND STALL_WORKER_KILLED WORKER_ABANDONED STAGING_QUARANTINED");
    uint32_t pid = abandoned_pid(layers.fixture.jobs);
    assert_int_not_equal(pid, 0);
    /* Its folder is left alone, and the pool has its place back. */
    assert_int_equal(fixture_count_entries(layers.fixture.staging), 1);
    struct client other = {0};
    request.layer = layers.other;
    /* (the fault is still there for the first: it hangs on what it has read) */
    fixture_phase_fault(&layers.fixture, "export cleanup hang");
    client_submit(&other, layers.fixture.jobs, &request, 1, 0);
    client_wait_result(&other);
    assert_int_equal(other.results, 1);
    kill_process(pid);
    events_wait("WORKER_GONE", 1);
    events_wait("QUARANTINE_DESTROYED", 1);
    assert_int_equal(abandoned_pid(layers.fixture.jobs), 0);
    fixture_phase_fault(&layers.fixture, "");
    client_wait_closed(&other);
    client_free(&other);
    client_free(&client);
    close_layers(&layers);
}

static void test_close_is_bounded(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    struct jobs_options options = fixture_options();
    options.stall_seconds = 600;
    open_layers(&layers, &options);
    fixture_faults(&layers.fixture, "{\"call\":\"ExportLayer\",\"action\":\"hang\"}");
    struct export_request request = request_of(&layers, layers.app);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    job_wait(layers.fixture.jobs, client.id, "stage", NULL);
    jobs_close(layers.fixture.jobs, 8000);
    layers.fixture.jobs = NULL;
    assert_true(client.closed);
    client_expect_error(&client, ERROR_KIND_CANCELLED, "stopping");
    client_free(&client);
    fixture_faults(&layers.fixture, "");
    /* What could not be taken down in time is at the next start. */
    fixture_open_jobs(&layers.fixture, &options);
    expect_other_exports_run(&layers);
    close_layers(&layers);
}

int main(void)
{
    fixture_main("faults");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hang_in_each_call),        cmocka_unit_test(test_hang_in_deactivate),
        cmocka_unit_test(test_hang_in_cleanup),          cmocka_unit_test(test_hang_in_destroy),
        cmocka_unit_test(test_destroy_crashes_or_fails), cmocka_unit_test(test_foreign_handle),
        cmocka_unit_test(test_worker_that_does_not_die), cmocka_unit_test(test_close_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
