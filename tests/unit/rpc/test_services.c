#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/client.h"
#include "daemon/rpc/health_service.h"
#include "daemon/rpc/reflection_service.h"
#include "fixture.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "hcsd_descriptor_set.h"

#define HEALTH       "/grpc.health.v1.Health/"
#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
#define ASKED(what)  GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TOLD(what)   GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

static struct health_service *health;
static struct reflection_service *reflection;
static struct rpc_server *server;
static struct client *client;

static void must_succeed(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    print_error("%s\n", text);
    free(text);
    fail();
}

static int open_server(void **state)
{
    (void)state;
    static struct rpc_service task = {"containerd.task.v3.Task", "containerd.task.v2.Task", NULL, 0, NULL};
    static const struct rpc_service *services[3] = {&task};
    char pipe[64];
    snprintf(pipe, sizeof pipe, "\\\\.\\pipe\\hcsd-test-services-%lu", GetCurrentProcessId());
    health = health_service_open(services, 1);
    must_succeed(reflection_service_open(services, 1, hcsd_descriptor_set, hcsd_descriptor_set_size, &reflection));
    services[1] = health_service_table(health);
    services[2] = reflection_service_table(reflection);
    struct rpc_server_options options = {.pipe = pipe, .services = services, .service_count = 3};
    must_succeed(rpc_server_open(&options, &server));
    rpc_server_start(server);
    struct client_options client_options = {.address = pipe};
    must_succeed(client_dial(&client_options, &client));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    client_close(client);
    assert_int_equal(rpc_server_close(server, 5000), 0);
    health_service_close(health);
    reflection_service_close(reflection);
    return 0;
}

/* ---- health ---- */

static struct error *check(const char *service, int *ret_status)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)service;
    Grpc__Health__V1__HealthCheckResponse *response = NULL;
    struct error *error =
        client_call(client, HEALTH "Check", &request.base, &grpc__health__v1__health_check_response__descriptor, 10000,
                    (ProtobufCMessage **)&response);
    if (error != NULL)
        return error;
    *ret_status = response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return NULL;
}

static void health_is_what_was_set(void **state)
{
    (void)state;
    int status = -1;
    must_succeed(check("", &status));
    assert_int_equal(status, STATUS(NOT_SERVING));
    health_service_set(health, NULL, true);
    must_succeed(check("containerd.task.v2.Task", &status));
    assert_int_equal(status, STATUS(SERVING));
    health_service_set(health, "", false);
    must_succeed(check("", &status));
    assert_int_equal(status, STATUS(NOT_SERVING));
    must_succeed(check("containerd.task.v3.Task", &status));
    assert_int_equal(status, STATUS(SERVING));
    struct error *error = check("no.Service", &status);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
}

static void health_lists_all(void **state)
{
    (void)state;
    Grpc__Health__V1__HealthListRequest request = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
    Grpc__Health__V1__HealthListResponse *response = NULL;
    must_succeed(client_call(client, HEALTH "List", &request.base, &grpc__health__v1__health_list_response__descriptor,
                             10000, (ProtobufCMessage **)&response));
    assert_int_equal(response->n_statuses, 3);
    grpc__health__v1__health_list_response__free_unpacked(response, NULL);
}

static struct client_stream *watch(const char *service)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)service;
    struct client_stream *stream = NULL;
    must_succeed(client_stream_open(client, HEALTH "Watch", &request.base,
                                    &grpc__health__v1__health_check_response__descriptor, 60000, &stream));
    return stream;
}

static int next_status(struct client_stream *stream)
{
    Grpc__Health__V1__HealthCheckResponse *response = NULL;
    must_succeed(client_stream_next(stream, (ProtobufCMessage **)&response));
    assert_non_null(response);
    int status = response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return status;
}

static void watchers_are_told_each_change(void **state)
{
    (void)state;
    struct client_stream *whole = watch(""), *unknown = watch("no.Service");
    assert_int_equal(next_status(whole), STATUS(NOT_SERVING));
    assert_int_equal(next_status(unknown), STATUS(SERVICE_UNKNOWN));
    for (unsigned i = 0; i < 20; i++) {
        health_service_set(health, NULL, i % 2 == 0);
        assert_int_equal(next_status(whole), i % 2 == 0 ? STATUS(SERVING) : STATUS(NOT_SERVING));
    }
    client_stream_close(whole);
    /* One is left watching when the server closes. */
    health_service_set(health, NULL, true);
    client_stream_close(unknown);
}

static void watcher_does_not_hold_up_the_close(void **state)
{
    (void)state;
    struct client_stream *whole = watch("");
    assert_int_equal(next_status(whole), STATUS(NOT_SERVING));
    assert_int_equal(rpc_server_close(server, 1000), 0);
    ProtobufCMessage *message = NULL;
    struct error *error = client_stream_next(whole, &message);
    assert_non_null(error);
    error_free(error);
    client_stream_close(whole);
    client_close(client);
}

static int close_services(void **state)
{
    (void)state;
    health_service_close(health);
    reflection_service_close(reflection);
    return 0;
}

/* ---- reflection ---- */

static Grpc__Reflection__V1__ServerReflectionResponse *ask(const char *version, int what, const char *text)
{
    Grpc__Reflection__V1__ServerReflectionRequest request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    request.host = (char *)"here";
    request.message_request_case = what;
    request.file_by_filename = (char *)text; /* the same place for each text */
    char method[100];
    snprintf(method, sizeof method, "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo", version);
    struct client_stream *stream = NULL;
    must_succeed(client_stream_open(client, method, &request.base,
                                    &grpc__reflection__v1__server_reflection_response__descriptor, 10000, &stream));
    Grpc__Reflection__V1__ServerReflectionResponse *response = NULL;
    must_succeed(client_stream_next(stream, (ProtobufCMessage **)&response));
    assert_non_null(response);
    assert_string_equal(response->valid_host, "here");
    assert_int_equal(response->original_request->message_request_case, what);
    ProtobufCMessage *more = NULL;
    must_succeed(client_stream_next(stream, &more));
    assert_null(more);
    client_stream_close(stream);
    return response;
}

static void done(Grpc__Reflection__V1__ServerReflectionResponse *response)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
}

static void reflection_lists_services_and_aliases(void **state)
{
    (void)state;
    static const char *const names[] = {"containerd.task.v3.Task", "containerd.task.v2.Task",
                                        "grpc.reflection.v1.ServerReflection",
                                        "grpc.reflection.v1alpha.ServerReflection"};
    Grpc__Reflection__V1__ServerReflectionResponse *response = ask("v1alpha", ASKED(LIST_SERVICES), "*");
    assert_int_equal(response->message_response_case, TOLD(LIST_SERVICES_RESPONSE));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool found = false;
        for (size_t j = 0; j < response->list_services_response->n_service; j++)
            found = found || strcmp(response->list_services_response->service[j]->name, names[i]) == 0;
        if (!found)
            fail_msg("%s is not listed", names[i]);
    }
    done(response);
}

static void reflection_gives_files_with_what_they_need(void **state)
{
    (void)state;
    Grpc__Reflection__V1__ServerReflectionResponse *response =
        ask("v1", ASKED(FILE_CONTAINING_SYMBOL), "containerd.task.v2.Task");
    assert_int_equal(response->message_response_case, TOLD(FILE_DESCRIPTOR_RESPONSE));
    assert_true(response->file_descriptor_response->n_file_descriptor_proto > 3);
    done(response);
    response = ask("v1", ASKED(FILE_BY_FILENAME), "google/protobuf/any.proto");
    assert_int_equal(response->message_response_case, TOLD(FILE_DESCRIPTOR_RESPONSE));
    assert_int_equal(response->file_descriptor_response->n_file_descriptor_proto, 1);
    done(response);
}

static void reflection_answers_errors_in_the_stream(void **state)
{
    (void)state;
    static const struct {
        int what;
        int32_t code;
    } rows[] = {
        {ASKED(FILE_BY_FILENAME), 5}, {ASKED(FILE_CONTAINING_SYMBOL), 5}, {ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE), 5}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Grpc__Reflection__V1__ServerReflectionResponse *response = ask("v1", rows[i].what, "nothing.Here");
        assert_int_equal(response->message_response_case, TOLD(ERROR_RESPONSE));
        assert_int_equal(response->error_response->error_code, rows[i].code);
        done(response);
    }
    Grpc__Reflection__V1__ServerReflectionResponse *response =
        ask("v1", ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE), "containerd.task.v3.StateRequest");
    assert_int_equal(response->message_response_case, TOLD(ALL_EXTENSION_NUMBERS_RESPONSE));
    assert_int_equal(response->all_extension_numbers_response->n_extension_number, 0);
    done(response);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(health_is_what_was_set),
        TEST(health_lists_all),
        TEST(watchers_are_told_each_change),
        cmocka_unit_test_setup_teardown(watcher_does_not_hold_up_the_close, open_server, close_services),
        TEST(reflection_lists_services_and_aliases),
        TEST(reflection_gives_files_with_what_they_need),
        TEST(reflection_answers_errors_in_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
