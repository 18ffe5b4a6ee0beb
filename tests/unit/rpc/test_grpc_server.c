#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/client.h"
#include "fixture.h"

#define Response Containerd__Task__V3__StateResponse

static struct client *client;

static void must_succeed(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    print_error("%s %s\n", error_kind_name(error->kind), text);
    free(text);
    error_free(error);
    fail();
}

static struct client *dial(const char *containerd_namespace)
{
    struct client *dialled = NULL;
    struct client_options options = {.address = fixture.pipe, .containerd_namespace = containerd_namespace};
    must_succeed(client_dial(&options, &dialled));
    return dialled;
}

static int open_server(void **state)
{
    (void)state;
    must_succeed(fixture_open((struct rpc_server_options){.max_message = 1 << 20}));
    client = dial("moby");
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    client_close(client);
    client = NULL;
    assert_int_equal(fixture_close(5000), 0);
    return 0;
}

static struct error *call(struct client *from, const char *method, const char *id, const char *exec_id,
                          unsigned timeout_ms, Response **ret_response)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    request.id = (char *)id;
    request.exec_id = (char *)exec_id;
    char *path = str_format("/%s", method);
    struct error *error = client_call(from, path, &request.base, &containerd__task__v3__state_response__descriptor,
                                      timeout_ms, (ProtobufCMessage **)ret_response);
    free(path);
    return error;
}

static void response_free(Response *response)
{
    containerd__task__v3__state_response__free_unpacked(response, NULL);
}

static void must_fail(struct error *error, enum error_kind kind, const char *message)
{
    assert_non_null(error);
    char *text = error_text(error);
    if (error->kind != kind || strstr(text, message) == NULL)
        print_error("expected %s with '%s', found %s: %s\n", error_kind_name(kind), message,
                    error_kind_name(error->kind), text);
    assert_int_equal(error->kind, kind);
    assert_non_null(strstr(text, message));
    free(text);
    error_free(error);
}

/* ---- unary ---- */

static void first_call_knows_the_caller(void **state)
{
    (void)state;
    Response *response = NULL;
    must_succeed(call(client, "test.Echo/Echo", "web", "init", 10000, &response));
    assert_string_equal(response->id, "web");
    assert_string_equal(response->exec_id, "init");
    assert_string_equal(response->bundle, "moby");
    assert_int_equal(response->pid, GetCurrentProcessId());
    assert_memory_equal(response->stdin, "S-1-", 4);
    assert_true(strlen(response->stdout) > 0);
    print_message("caller: pid %u, %s, %s\n", response->pid, response->stdin, response->stdout);
    response_free(response);
}

/* This program as another process: its exit code is 0 when the server knows it by its pid. */
static int run_as_client(const char *pipe)
{
    snprintf(fixture.pipe, sizeof fixture.pipe, "%s", pipe);
    struct client *other = dial("k8s.io");
    Response *response = NULL;
    struct error *error = call(other, "test.Echo/Echo", "other", "", 10000, &response);
    if (error != NULL)
        return 1;
    bool known = response->pid == GetCurrentProcessId() && strcmp(response->bundle, "k8s.io") == 0;
    response_free(response);
    client_close(other);
    return known ? 0 : 2;
}

static void another_process_is_known_by_its_pid(void **state)
{
    (void)state;
    wchar_t image[MAX_PATH], command[MAX_PATH + 100];
    GetModuleFileNameW(NULL, image, MAX_PATH);
    swprintf(command, ARRAYSIZE(command), L"\"%ls\" %hs", image, fixture.pipe);
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    assert_true(CreateProcessW(image, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process));
    assert_int_equal(WaitForSingleObject(process.hProcess, 30000), WAIT_OBJECT_0);
    DWORD code = 99;
    assert_true(GetExitCodeProcess(process.hProcess, &code));
    assert_int_equal(code, 0);
    CloseHandle(process.hProcess);
    CloseHandle(process.hThread);
}

static void aliases_and_defaults_hold(void **state)
{
    (void)state;
    Response *response = NULL;
    struct client *plain = dial(NULL);
    must_succeed(call(plain, "test.Alias/Echo", "", "", 10000, &response));
    assert_string_equal(response->bundle, "default");
    response_free(response);
    client_close(plain);
}

static void calls_in_a_row_and_from_other_threads_work(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        Response *response = NULL;
        char id[16];
        snprintf(id, sizeof id, "%u", i);
        must_succeed(call(client, i % 2 != 0 ? "test.Echo/Later" : "test.Echo/Echo", id, "", 10000, &response));
        assert_string_equal(response->id, id);
        response_free(response);
    }
    struct rpc_server_counters counters;
    rpc_server_count(fixture.server, &counters);
    assert_int_equal(counters.connections, 1);
    assert_true(counters.calls_begun >= 500);
    assert_int_equal(counters.calls_failed, 0);
}

/* ---- errors ---- */

static void bad_namespace_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a b", "-a", "a..b", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client *other = dial(bad[i]);
        Response *response = NULL;
        must_fail(call(other, "test.Echo/Echo", "web", "", 10000, &response), ERROR_KIND_INVALID_ARGUMENT,
                  "containerd-namespace");
        assert_null(response);
        client_close(other);
    }
}

static void bad_text_is_refused(void **state)
{
    (void)state;
    Response *response = NULL;
    must_fail(call(client, "test.Echo/Echo", "a\xff", "", 10000, &response), ERROR_KIND_INVALID_ARGUMENT,
              "containerd.task.v3.StateRequest");
    must_fail(call(client, "test.Echo/Echo", "a", "\xed\xa0\x80", 10000, &response), ERROR_KIND_INVALID_ARGUMENT,
              "exec_id");
}

static void unknown_methods_are_named(void **state)
{
    (void)state;
    Response *response = NULL;
    must_fail(call(client, "test.Echo/Nothing", "", "", 10000, &response), ERROR_KIND_UNIMPLEMENTED,
              "/test.Echo/Nothing");
    must_fail(call(client, "no.Service/Echo", "", "", 10000, &response), ERROR_KIND_UNIMPLEMENTED, "/no.Service/Echo");
    must_fail(call(client, "test.Echo/Missing", "", "", 10000, &response), ERROR_KIND_UNIMPLEMENTED,
              "/test.Echo/Missing");
}

static void errors_come_back_whole(void **state)
{
    (void)state;
    Response *response = NULL;
    struct error *error = call(client, "test.Echo/Fail", "web", "", 10000, &response);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    assert_int_equal(error->origin, ERROR_ORIGIN_HRESULT);
    assert_int_equal(error->code, 0xC037010E);
    assert_string_equal(error->operation, "HcsOpenComputeSystem");
    assert_string_equal(error->object, "web");
    assert_non_null(strstr(error->message, "looking for web"));
    assert_non_null(error->hcs_events);
    assert_non_null(strstr(error->hcs_events, "not there"));
    error_free(error);
}

static void oversize_is_refused_and_the_connection_lives(void **state)
{
    (void)state;
    Response *response = NULL;
    char *large = mem_zero((2 << 20) + 1);
    memset(large, 'x', 2 << 20);
    must_fail(call(client, "test.Echo/Echo", large, "", 10000, &response), ERROR_KIND_RESOURCE_EXHAUSTED,
              "larger than max");
    large[(1 << 20) - 100] = 0;
    must_succeed(call(client, "test.Echo/Echo", large, "", 10000, &response));
    assert_int_equal(strlen(response->id), (1 << 20) - 100);
    response_free(response);
    free(large);
}

static void deadline_ends_the_call_on_both_sides(void **state)
{
    (void)state;
    Response *response = NULL;
    must_fail(call(client, "test.Echo/Hold", "", "", 200, &response), ERROR_KIND_DEADLINE_EXCEEDED, "");
    assert_int_equal(WaitForSingleObject(fixture.gone_event, 10000), WAIT_OBJECT_0);
    assert_int_equal(fixture.gone, 1);
}

/* ---- cancelling ---- */

static DWORD WINAPI cancel_when_held(void *context)
{
    if (WaitForSingleObject(fixture.held_event, 10000) == WAIT_OBJECT_0)
        client_cancel(context);
    return 0;
}

static void cancel_from_another_thread_reaches_the_handler(void **state)
{
    (void)state;
    struct client *other = dial(NULL);
    HANDLE thread = CreateThread(NULL, 0, cancel_when_held, other, 0, NULL);
    Response *response = NULL;
    must_fail(call(other, "test.Echo/Hold", "", "", CLIENT_NO_LIMIT, &response), ERROR_KIND_CANCELLED, "");
    assert_int_equal(WaitForSingleObject(fixture.gone_event, 10000), WAIT_OBJECT_0);
    assert_int_equal(WaitForSingleObject(thread, 10000), WAIT_OBJECT_0);
    CloseHandle(thread);
    /* And later calls are refused without asking the server. */
    must_fail(call(other, "test.Echo/Echo", "", "", CLIENT_NO_LIMIT, &response), ERROR_KIND_CANCELLED, "");
    client_close(other);
}

/* ---- streams ---- */

static struct client_stream *stream(const char *method, const char *count, const char *size)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    request.id = (char *)count;
    request.exec_id = (char *)size;
    struct client_stream *opened = NULL;
    must_succeed(client_stream_open(client, method, &request.base, &containerd__task__v3__state_response__descriptor,
                                    60000, &opened));
    return opened;
}

static void stream_delivers_all_in_order(void **state)
{
    (void)state;
    struct client_stream *opened = stream(ECHO "Stream", "300", "65536");
    for (unsigned i = 0;; i++) {
        Response *response = NULL;
        must_succeed(client_stream_next(opened, (ProtobufCMessage **)&response));
        if (response == NULL) {
            assert_int_equal(i, 300);
            break;
        }
        assert_int_equal(response->pid, i);
        assert_int_equal(strlen(response->bundle), 65536);
        response_free(response);
    }
    client_stream_close(opened);
    assert_int_equal(fixture.streams_ended, 1);
}

static void stream_left_early_is_noticed(void **state)
{
    (void)state;
    struct client_stream *opened = stream(ECHO "Stream", "1000000", "65536");
    Response *response = NULL;
    must_succeed(client_stream_next(opened, (ProtobufCMessage **)&response));
    assert_non_null(response);
    response_free(response);
    client_stream_close(opened);
    /* The server drops its side: a new call on the same connection works, and the close finds nothing left. */
    must_succeed(call(client, "test.Echo/Echo", "still", "", 10000, &response));
    response_free(response);
}

static void wait_until_no_calls(void)
{
    struct rpc_server_counters counters;
    uint64_t end = clock_ms() + 10000;
    do
        rpc_server_count(fixture.server, &counters);
    while (counters.calls != 0 && clock_ms() < end && SwitchToThread() >= 0);
    assert_int_equal(counters.calls, 0);
}

/* The answer is larger than what a client takes in unasked, so it is under way when the client goes. */
static void talk_left_in_the_midst_of_an_answer_ends(void **state)
{
    (void)state;
    char *large = mem_zero(900001);
    memset(large, 'x', 900000);
    for (unsigned i = 0; i < 20; i++) {
        struct client_stream *opened = stream(ECHO "Talk", large, "");
        if (i % 2 == 0) {
            struct rpc_server_counters counters;
            do
                rpc_server_count(fixture.server, &counters);
            while (counters.calls == 0);
        }
        client_stream_close(opened);
    }
    free(large);
    wait_until_no_calls();
}

static void empty_stream_ends(void **state)
{
    (void)state;
    struct client_stream *opened = stream(ECHO "Stream", "0", "0");
    Response *response = NULL;
    must_succeed(client_stream_next(opened, (ProtobufCMessage **)&response));
    assert_null(response);
    client_stream_close(opened);
}

/* ---- ending ---- */

static void draining_refuses_new_calls(void **state)
{
    (void)state;
    Response *response = NULL;
    rpc_server_drain(fixture.server);
    must_fail(call(client, "test.Echo/Echo", "", "", 10000, &response), ERROR_KIND_UNAVAILABLE, "stopping");
}

static DWORD WINAPI call_keep(void *context)
{
    Response *response = NULL;
    *(struct error **)context = call(client, "test.Echo/Keep", "", "", CLIENT_NO_LIMIT, &response);
    return 0;
}

static void close_with_a_call_in_flight_is_bounded(void **state)
{
    (void)state;
    struct error *error = NULL;
    HANDLE thread = CreateThread(NULL, 0, call_keep, &error, 0, NULL);
    assert_int_equal(WaitForSingleObject(fixture.held_event, 10000), WAIT_OBJECT_0);
    /* Its handler never ends it: the close says so instead of waiting for ever. The client is told at once. */
    assert_int_equal(rpc_server_close(fixture.server, 400), 1);
    assert_int_equal(WaitForSingleObject(thread, 10000), WAIT_OBJECT_0);
    CloseHandle(thread);
    must_fail(error, ERROR_KIND_UNAVAILABLE, "");
    fixture_release();
    fixture.server = NULL;
}

static int close_client(void **state)
{
    (void)state;
    client_close(client);
    client = NULL;
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(int count, char **arguments)
{
    if (count == 2)
        return run_as_client(arguments[1]);
    const struct CMUnitTest tests[] = {
        TEST(first_call_knows_the_caller),
        TEST(another_process_is_known_by_its_pid),
        TEST(aliases_and_defaults_hold),
        TEST(calls_in_a_row_and_from_other_threads_work),
        TEST(bad_namespace_is_refused),
        TEST(bad_text_is_refused),
        TEST(unknown_methods_are_named),
        TEST(errors_come_back_whole),
        TEST(oversize_is_refused_and_the_connection_lives),
        TEST(deadline_ends_the_call_on_both_sides),
        TEST(cancel_from_another_thread_reaches_the_handler),
        TEST(stream_delivers_all_in_order),
        TEST(stream_left_early_is_noticed),
        TEST(talk_left_in_the_midst_of_an_answer_ends),
        TEST(empty_stream_ends),
        TEST(draining_refuses_new_calls),
        cmocka_unit_test_setup_teardown(close_with_a_call_in_flight_is_bounded, open_server, close_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
