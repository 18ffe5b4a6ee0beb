/* Exports through real worker processes against the emulator: what is delivered, refused, cancelled and retried. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "fixture.h"

struct layers {
    struct fixture fixture;
    char *app, *base;
    char *parents[1];
};

static void open_layers(struct layers *layers, const struct jobs_options *options, size_t big)
{
    fixture_open(&layers->fixture, options);
    layers->base = fixture_layer(&layers->fixture, "base", 20, 0);
    layers->app = fixture_layer(&layers->fixture, "app", 40, big);
    layers->parents[0] = layers->base;
}

static void close_layers(struct layers *layers)
{
    fixture_close(&layers->fixture);
    free(layers->app);
    free(layers->base);
}

static struct export_request request_of(struct layers *layers, char *output)
{
    return (struct export_request){.layer = layers->app,
                                   .parents = layers->parents,
                                   .parent_count = 1,
                                   .output = output,
                                   .compression = EXPORT_NONE};
}

static void test_to_file_and_stream(void **state)
{
    (void)state;
    struct layers layers;
    struct client to_file = {0}, streamed = {0};
    open_layers(&layers, NULL, 3000000);
    char *output = path_join(layers.fixture.out, "app.tar");
    struct export_request request = request_of(&layers, output);
    client_submit(&to_file, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&to_file);
    client_expect_done(&to_file);
    assert_true(fixture_exists(output));
    assert_true(to_file.result->entries > 40);
    assert_true(to_file.result->size > 3000000);
    assert_string_equal(to_file.result->media_type, "application/vnd.oci.image.layer.v1.tar");
    assert_string_equal(to_file.result->digest, to_file.result->diff_id);
    assert_int_equal(to_file.bytes, 0);
    assert_true(to_file.progress > 0);
    assert_int_equal(fixture_count_entries(layers.fixture.out), 1);
    assert_int_equal(fixture_count_entries(layers.fixture.staging), 0);
    fixture_check_released(&layers.fixture);

    request.output = NULL;
    client_submit(&streamed, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&streamed);
    client_expect_done(&streamed);
    assert_int_equal(streamed.bytes, to_file.result->size);
    assert_string_equal(streamed.data_digest, to_file.result->digest);
    assert_string_equal(streamed.result->digest, to_file.result->digest);
    assert_string_equal(strstr(streamed.order, "r"), "rc.");

    size_t count = 0;
    struct job_view *views = job_look(layers.fixture.jobs, to_file.id, &count);
    assert_int_equal(count, 1);
    assert_string_equal(views[0].state, "done");
    assert_string_equal(views[0].cleanup, "done");
    assert_string_equal(views[0].result->digest, to_file.result->digest);
    assert_int_equal(views[0].attempts, 1);
    assert_true(views[0].history_count > 4);
    job_views_free(views, count);
    client_free(&to_file);
    client_free(&streamed);
    free(output);
    close_layers(&layers);
}

/* A reader that takes each piece at once has the worker's first thread busy with credit: what is told of the progress, which
 * the watchdog lives on, must come all the same. */
static void test_stream_tells_its_progress(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    open_layers(&layers, NULL, 160000000);
    struct export_request request = request_of(&layers, NULL);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&client);
    client_expect_done(&client);
    assert_int_equal(client.bytes, client.result->size);
    const char *told = strstr(client.order, "dp"), *result = strchr(client.order, 'r');
    if (told == NULL || result == NULL || told > result)
        print_error("expected progress between pieces of the stream and before the result, found \"%s\"\n",
                    client.order);
    assert_true(told != NULL && result != NULL && told < result);
    client_free(&client);
    close_layers(&layers);
}

static void test_base_layer_in_place(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {0};
    open_layers(&layers, NULL, 0);
    char *output = path_join(layers.fixture.out, "base.tar");
    struct export_request request = request_of(&layers, output);
    request.layer = layers.base;
    request.parent_count = 0;
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&client);
    client_expect_done(&client);
    assert_true(fixture_exists(output));
    client_free(&client);
    free(output);
    close_layers(&layers);
}

static void test_refusals(void **state)
{
    (void)state;
    struct layers layers;
    open_layers(&layers, NULL, 0);
    char *nothing = path_join(layers.fixture.layers, "nothing"), *output = path_join(layers.fixture.out, "x.tar");
    char *kept = fixture_layer(&layers.fixture, "kept", 1, 0), *nowhere = path_join(nothing, "x.tar");
    char *absent[1] = {nothing}, relative[] = "app", no_text[] = "C:\\\xff";
    const struct {
        const char *what;
        struct export_request request;
        bool at_once;
        enum error_kind kind;
        const char *words;
    } rows[] = {
        {"no such layer",
         {nothing, layers.parents, 1, output, false, EXPORT_NONE, 0},
         false,
         ERROR_KIND_NOT_FOUND,
         "nothing"},
        {"no such parent",
         {layers.app, absent, 1, output, false, EXPORT_NONE, 0},
         false,
         ERROR_KIND_NOT_FOUND,
         "nothing"},
        {"no such folder",
         {layers.app, layers.parents, 1, nowhere, false, EXPORT_NONE, 0},
         false,
         ERROR_KIND_NOT_FOUND,
         "x.tar"},
        {"a folder",
         {layers.app, layers.parents, 1, kept, false, EXPORT_NONE, 0},
         false,
         ERROR_KIND_FAILED_PRECONDITION,
         "kept"},
        {"relative",
         {relative, layers.parents, 1, output, false, EXPORT_NONE, 0},
         true,
         ERROR_KIND_INVALID_ARGUMENT,
         "app"},
        {"level",
         {layers.app, layers.parents, 1, output, false, EXPORT_ZSTD, 99},
         true,
         ERROR_KIND_INVALID_ARGUMENT,
         "level"},
        {"no text",
         {no_text, layers.parents, 1, output, false, EXPORT_NONE, 0},
         true,
         ERROR_KIND_INVALID_ARGUMENT,
         "UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client client = {0};
        client_submit(&client, layers.fixture.jobs, &rows[i].request, 1, rows[i].at_once ? rows[i].kind : 0);
        if (!rows[i].at_once)
            client_wait_closed(&client);
        client_expect_error(&client, rows[i].kind, rows[i].words);
        client_free(&client);
    }
    assert_int_equal(fixture_count_entries(layers.fixture.out), 0);

    struct client first = {0}, second = {0}, third = {0};
    struct export_request request = request_of(&layers, output);
    client_submit(&first, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&first);
    client_expect_done(&first);
    client_submit(&second, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&second);
    client_expect_error(&second, ERROR_KIND_ALREADY_EXISTS, "x.tar");
    request.overwrite = true;
    client_submit(&third, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&third);
    client_expect_done(&third);
    client_free(&first);
    client_free(&second);
    client_free(&third);
    free(nothing);
    free(nowhere);
    free(output);
    free(kept);
    close_layers(&layers);
}

static void test_queue_and_owner(void **state)
{
    (void)state;
    struct layers layers;
    struct jobs_options options = fixture_options();
    options.workers = 1;
    options.queue = 2;
    options.stall_seconds = 60;
    open_layers(&layers, &options, 0);
    fixture_faults(&layers.fixture, "{\"call\":\"ExportLayer\",\"action\":\"hang\"}");
    struct client clients[5] = {0};
    char *others[5];
    struct export_request request = request_of(&layers, NULL);
    client_submit(&clients[0], layers.fixture.jobs, &request, 1, 0);
    job_wait(layers.fixture.jobs, clients[0].id, "stage", NULL);
    client_submit(&clients[4], layers.fixture.jobs, &request, 1, ERROR_KIND_FAILED_PRECONDITION);
    client_expect_error(&clients[4], ERROR_KIND_FAILED_PRECONDITION, clients[0].id);
    client_free(&clients[4]);
    for (unsigned i = 1; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "app%u", i);
        others[i] = fixture_layer(&layers.fixture, name, 3, 0);
        request.layer = others[i];
        client_submit(&clients[i], layers.fixture.jobs, &request, i, i < 3 ? 0 : ERROR_KIND_RESOURCE_EXHAUSTED);
    }
    client_expect_error(&clients[3], ERROR_KIND_RESOURCE_EXHAUSTED, "2");
    assert_int_equal(jobs_in_flight(layers.fixture.jobs), 3);

    assert_null(jobs_cancel(layers.fixture.jobs, clients[2].id, "not wanted any more"));
    client_wait_closed(&clients[2]);
    client_expect_error(&clients[2], ERROR_KIND_CANCELLED, "not wanted any more");
    struct error *error = jobs_cancel(layers.fixture.jobs, clients[2].id, "again");
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
    error = jobs_cancel(layers.fixture.jobs, "nobody", "again");
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);

    fixture_faults(&layers.fixture, "");
    for (unsigned i = 0; i < 2; i++) {
        client_wait_closed(&clients[i]);
        client_expect_done(&clients[i]);
    }
    jobs_drain(layers.fixture.jobs);
    client_free(&clients[3]);
    client_submit(&clients[3], layers.fixture.jobs, &request, 1, ERROR_KIND_UNAVAILABLE);
    for (unsigned i = 0; i < 4; i++)
        client_free(&clients[i]);
    for (unsigned i = 1; i < 4; i++)
        free(others[i]);
    close_layers(&layers);
}

static void check_pool(struct jobs *jobs, size_t expected)
{
    struct worker_view *workers = NULL;
    size_t count = 0;
    jobs_workers(jobs, &workers, &count);
    free(workers);
    assert_true(count <= expected + 2);
}

static void test_cancel_in_the_archive(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {.hold = true};
    open_layers(&layers, NULL, 5000000);
    struct export_request request = request_of(&layers, NULL);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_data(&client);
    assert_null(jobs_cancel(layers.fixture.jobs, client.id, "the client went away"));
    client_wait_closed(&client);
    client_expect_error(&client, ERROR_KIND_CANCELLED, "the client went away");
    assert_true(events_said("EXPORT_CANCELLED", "the client went away"));
    check_pool(layers.fixture.jobs, 2);
    client_free(&client);
    close_layers(&layers);
}

/* A small archive is complete long before its reader has taken it: until it has, it can still be called off. */
static void test_cancel_before_it_is_taken(void **state)
{
    (void)state;
    struct layers layers;
    struct client client = {.hold = true};
    open_layers(&layers, NULL, 0);
    struct export_request request = request_of(&layers, NULL);
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_data(&client);
    job_wait(layers.fixture.jobs, client.id, "done", NULL);
    assert_null(jobs_cancel(layers.fixture.jobs, client.id, "the client went away"));
    client_wait_closed(&client);
    client_expect_error(&client, ERROR_KIND_CANCELLED, "the client went away");
    assert_int_equal(client.results, 0);
    struct error *error = jobs_cancel(layers.fixture.jobs, client.id, "again");
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
    client_free(&client);
    close_layers(&layers);
}

/* Nothing that hangs can be called off: the worker goes, and what it left is undone before the client hears of it. */
static void test_cancel_in_a_call(void **state)
{
    (void)state;
    static const struct {
        const char *call, *phase;
    } rows[] = {{"ActivateLayer", "activate"},
                {"PrepareLayer", "prepare"},
                {"UnprepareLayer", "unprepare"},
                {"ExportLayer", "stage"}};
    struct layers layers;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 60;
    open_layers(&layers, &options, 0);
    char *output = path_join(layers.fixture.out, "x.tar");
    struct export_request request = request_of(&layers, output);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client client = {0};
        char fault[120];
        snprintf(fault, sizeof fault, "{\"call\":\"%s\",\"action\":\"hang\",\"count\":1}", rows[i].call);
        fixture_faults(&layers.fixture, fault);
        client_submit(&client, layers.fixture.jobs, &request, 1, 0);
        job_wait(layers.fixture.jobs, client.id, rows[i].phase, NULL);
        assert_null(jobs_cancel(layers.fixture.jobs, client.id, "test"));
        client_wait_closed(&client);
        client_expect_error(&client, ERROR_KIND_CANCELLED, "test");
        assert_int_equal(fixture_count_entries(layers.fixture.staging), 0);
        assert_int_equal(fixture_count_entries(layers.fixture.out), 0);
        fixture_check_released(&layers.fixture);
        client_free(&client);
    }
    fixture_faults(&layers.fixture, "");
    struct client client = {0};
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&client);
    client_expect_done(&client);
    client_free(&client);
    free(output);
    close_layers(&layers);
}

static void suspend_process(uint32_t pid)
{
    LONG(NTAPI * suspend)
    (HANDLE) = (LONG(NTAPI *)(HANDLE))(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtSuspendProcess");
    HANDLE process = OpenProcess(PROCESS_SUSPEND_RESUME, FALSE, pid);
    assert_non_null(suspend);
    assert_non_null(process);
    assert_int_equal(suspend(process), 0);
    CloseHandle(process);
}

/* The stall's time, which stood still for the reader, runs again when it takes its data: nothing else wakes the watchdog. */
static void test_stall_after_a_slow_reader(void **state)
{
    (void)state;
    struct layers layers;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 1;
    struct client slow = {.hold = true}, other = {0};
    open_layers(&layers, &options, 5000000);
    char *second = fixture_layer(&layers.fixture, "second", 3, 0);
    struct export_request request = request_of(&layers, NULL);
    uint32_t pid = 0;
    client_submit(&slow, layers.fixture.jobs, &request, 1, 0);
    client_wait_data(&slow);
    request.layer = second; /* by its end the first one's window has been full for long */
    client_submit(&other, layers.fixture.jobs, &request, 2, 0);
    client_wait_closed(&other);
    client_expect_done(&other);
    job_wait(layers.fixture.jobs, slow.id, "archive", &pid);
    suspend_process(pid);
    client_take(&slow);
    client_wait_closed(&slow);
    client_expect_error(&slow, ERROR_KIND_DEADLINE_EXCEEDED, NULL);
    assert_true(events_said("STALL_NOTICED", slow.id));
    client_free(&slow);
    client_free(&other);
    free(second);
    close_layers(&layers);
}

static void test_slow_reader_is_no_stall(void **state)
{
    (void)state;
    struct layers layers;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 1;
    struct client slow = {.hold = true}, other = {0};
    open_layers(&layers, &options, 5000000);
    char *second = fixture_layer(&layers.fixture, "second", 3, 0);
    struct export_request request = request_of(&layers, NULL);
    client_submit(&slow, layers.fixture.jobs, &request, 1, 0);
    client_wait_data(&slow);
    /* Meanwhile another one is noticed to be stuck, which takes longer than the first would need for a stall. */
    fixture_faults(&layers.fixture, "{\"call\":\"ExportLayer\",\"match\":\"second\",\"action\":\"hang\"}");
    request.layer = second;
    client_submit(&other, layers.fixture.jobs, &request, 2, 0);
    client_wait_closed(&other);
    client_expect_error(&other, ERROR_KIND_DEADLINE_EXCEEDED, "ExportLayer");
    assert_false(events_said("STALL_NOTICED", slow.id));
    fixture_faults(&layers.fixture, "");
    client_take(&slow);
    client_wait_closed(&slow);
    client_expect_done(&slow);
    client_free(&slow);
    client_free(&other);
    free(second);
    close_layers(&layers);
}

static void test_killed_worker_costs_a_retry(void **state)
{
    (void)state;
    struct layers layers;
    struct jobs_options options = fixture_options();
    options.stall_seconds = 60;
    open_layers(&layers, &options, 0);
    struct client client = {0};
    uint32_t pid = 0;
    char *output = path_join(layers.fixture.out, "x.tar");
    struct export_request request = request_of(&layers, output);
    fixture_faults(&layers.fixture, "{\"call\":\"ExportLayer\",\"action\":\"hang\"}");
    client_submit(&client, layers.fixture.jobs, &request, 1, 0);
    job_wait(layers.fixture.jobs, client.id, "stage", &pid);
    fixture_faults(&layers.fixture, "");
    kill_process(pid);
    client_wait_closed(&client);
    client_expect_done(&client);
    assert_true(events_said("WORKER_DIED", client.id));
    assert_true(events_said("JOB_RETRIED", client.id));
    size_t count = 0;
    struct job_view *views = job_look(layers.fixture.jobs, client.id, &count);
    assert_int_equal(views[0].attempts, 2);
    assert_int_not_equal(views[0].worker_pid, pid);
    job_views_free(views, count);
    client_free(&client);
    free(output);
    close_layers(&layers);
}

static void test_crash(void **state)
{
    (void)state;
    struct layers layers;
    open_layers(&layers, NULL, 0);
    struct client once = {0}, always = {0};
    struct export_request request = request_of(&layers, NULL);
    fixture_faults(&layers.fixture, "{\"call\":\"ExportLayer\",\"action\":\"crash\",\"count\":1}");
    client_submit(&once, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&once);
    client_expect_done(&once);
    assert_true(events_said("WORKER_DIED", "0xC0000420"));
    fixture_faults(&layers.fixture, "{\"call\":\"ExportLayer\",\"action\":\"crash\"}");
    client_submit(&always, layers.fixture.jobs, &request, 1, 0);
    client_wait_closed(&always);
    client_expect_error(&always, ERROR_KIND_INTERNAL, "0xC0000420");
    client_expect_error(&always, ERROR_KIND_INTERNAL, "ExportLayer");
    fixture_faults(&layers.fixture, "");
    client_free(&once);
    client_free(&always);
    close_layers(&layers);
}

/* An image that is not there, and one that ends at once: who asks is told, and nothing is tried for ever. */
static void test_workers_that_do_not_start(void **state)
{
    (void)state;
    static const char *const images[] = {"C:\\nowhere\\hcsd.exe", "C:\\windows\\system32\\hostname.exe"};
    for (size_t i = 0; i < 2; i++) {
        struct layers layers;
        struct jobs_options options = fixture_options();
        struct client client = {0};
        options.worker_image = images[i];
        open_layers(&layers, &options, 0);
        struct export_request request = request_of(&layers, NULL);
        client_submit(&client, layers.fixture.jobs, &request, 1, 0);
        client_wait_closed(&client);
        client_expect_error(&client, ERROR_KIND_UNAVAILABLE, "worker");
        assert_true(events_said("WORKER_START_FAILED", ""));
        char *volume = NULL;
        const char *parents[1] = {layers.base};
        struct error *error = jobs_mount_layer(layers.fixture.jobs, "container web", layers.app, parents, 1, &volume);
        assert_non_null(error);
        if (error->kind != ERROR_KIND_UNAVAILABLE && error->kind != ERROR_KIND_INTERNAL)
            fail_msg("%s: %s", error_kind_name(error->kind), error->message);
        error_free(error);
        client_free(&client);
        close_layers(&layers);
    }
}

static void test_failing_calls(void **state)
{
    (void)state;
    static const char *const calls[] = {"ActivateLayer", "PrepareLayer", "UnprepareLayer", "ExportLayer"};
    struct layers layers;
    open_layers(&layers, NULL, 0);
    struct export_request request = request_of(&layers, NULL);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct client client = {0};
        char fault[120];
        snprintf(fault, sizeof fault, "{\"call\":\"%s\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}", calls[i]);
        fixture_faults(&layers.fixture, fault);
        client_submit(&client, layers.fixture.jobs, &request, 1, 0);
        client_wait_closed(&client);
        client_expect_error(&client, ERROR_KIND_PERMISSION_DENIED, calls[i]);
        client_free(&client);
        fixture_faults(&layers.fixture, "");
        fixture_check_released(&layers.fixture);
    }
    close_layers(&layers);
}

int main(void)
{
    fixture_main("export");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_file_and_stream),
        cmocka_unit_test(test_stream_tells_its_progress),
        cmocka_unit_test(test_base_layer_in_place),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_queue_and_owner),
        cmocka_unit_test(test_cancel_in_the_archive),
        cmocka_unit_test(test_cancel_before_it_is_taken),
        cmocka_unit_test(test_cancel_in_a_call),
        cmocka_unit_test(test_slow_reader_is_no_stall),
        cmocka_unit_test(test_stall_after_a_slow_reader),
        cmocka_unit_test(test_killed_worker_costs_a_retry),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_workers_that_do_not_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
