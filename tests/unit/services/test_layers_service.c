/* hcsd.v1.Layers over a transport and a jobs module of the test's own: order, back-pressure, coalescing, clients that go away. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <hcsd/v1/layers.pb-c.h>

#include "base/memory.h"
#include "daemon/services/services.h"

/* ---- the transport: one call; what was sent is a line each ---- */

struct rpc_call {
    char log[4096];
    void (*sent)(void *context, bool ok);
    void *sent_context;
    void (*gone)(void *context);
    void *gone_context;
    bool gone_called;
    unsigned ended;
    struct error *error;
};

static const struct rpc_caller caller = {
    .containerd_namespace = "default", .pid = 12, .sid = "S-1-5-18", .user = "SYSTEM", .connection = 3};

const struct rpc_caller *rpc_call_caller(const struct rpc_call *call)
{
    (void)call;
    return &caller;
}

static void note(struct rpc_call *call, const char *text)
{
    size_t size = strlen(call->log);
    snprintf(call->log + size, sizeof call->log - size, "%s\n", text);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *response)
{
    (void)call, (void)response;
    fail();
}

void rpc_call_fail(struct rpc_call *call, struct error *error)
{
    assert_int_equal(call->ended++, 0);
    assert_null(call->sent);
    call->error = error;
    note(call, "fail");
}

void rpc_call_finish(struct rpc_call *call)
{
    assert_int_equal(call->ended++, 0);
    assert_null(call->sent);
    note(call, "finish");
}

void rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message, void (*sent)(void *context, bool ok),
                   void *context)
{
    const Hcsd__V1__ExportResponse *response = (const Hcsd__V1__ExportResponse *)message;
    char line[256];
    assert_int_equal(call->ended, 0);
    assert_null(call->sent); /* one at a time */
    assert_true(protobuf_c_message_check(message));
    switch (response->kind_case) {
    case HCSD__V1__EXPORT_RESPONSE__KIND_ACCEPTED:
        snprintf(line, sizeof line, "accepted %s", response->accepted->job);
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_PROGRESS:
        snprintf(line, sizeof line, "progress %s %u", response->progress->phase, (unsigned)response->progress->entries);
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_DATA:
        snprintf(line, sizeof line, "data %.*s", (int)response->data.len, (const char *)response->data.data);
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_RESULT:
        snprintf(line, sizeof line, "result %s %u", response->result->digest, (unsigned)response->result->n_deviations);
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_CLEANUP:
        snprintf(line, sizeof line, "cleanup %s %u", response->cleanup->outcome, (unsigned)response->cleanup->n_left);
        break;
    default:
        fail();
    }
    note(call, line);
    call->sent = sent;
    call->sent_context = context;
}

void rpc_call_on_gone(struct rpc_call *call, void (*gone)(void *context), void *context)
{
    call->gone = gone;
    call->gone_context = context;
}

bool rpc_call_off_gone(struct rpc_call *call)
{
    return !call->gone_called;
}

/* The message under way has left (or not). */
static void leave(struct rpc_call *call, bool ok)
{
    void (*sent)(void *, bool) = call->sent;
    assert_non_null(sent);
    call->sent = NULL;
    sent(call->sent_context, ok);
}

static void go_away(struct rpc_call *call)
{
    call->gone_called = true;
    call->gone(call->gone_context);
}

/* ---- the jobs module ---- */

static struct {
    const struct job_listener *listener;
    void *context;
    unsigned taken, cancelled;
    bool refuse, early;
} job;

static const struct export_counters some = {.entries = 5};

struct error *jobs_submit_export(struct jobs *jobs, const struct job_submit *submit, char **ret_id)
{
    (void)jobs;
    if (job.refuse)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "submit", submit->request->layer, "the queue is full");
    assert_string_equal(submit->client, "pid 12, SYSTEM");
    assert_int_equal(submit->fairness_key, 3);
    job.listener = submit->listener;
    job.context = submit->context;
    if (job.early)
        job.listener->progress(job.context, &some, "queued", "");
    *ret_id = str_copy("job-1");
    return NULL;
}

void jobs_data_taken(struct jobs *jobs, const char *id)
{
    (void)jobs;
    assert_string_equal(id, "job-1");
    job.taken++;
}

struct error *jobs_cancel(struct jobs *jobs, const char *id, const char *reason)
{
    (void)jobs;
    assert_string_equal(id, "job-1");
    assert_non_null(reason);
    job.cancelled++;
    return NULL;
}

/* Not the engine's: it would bring the whole of it in. */
struct export_result *export_result_copy(const struct export_result *result)
{
    return mem_copy(result, sizeof *result);
}

void export_result_free(struct export_result *result)
{
    free(result);
}

static struct export_result done = {.digest = "sha256:ab", .diff_id = "sha256:cd", .media_type = "m"};

static void data(const char *text)
{
    job.listener->data(job.context, (const uint8_t *)text, strlen(text));
}

/* ---- tests ---- */

static struct rpc_call *begin(bool wait_cleanup)
{
    static const struct rpc_service *service;
    Hcsd__V1__ExportRequest request = HCSD__V1__EXPORT_REQUEST__INIT;
    struct rpc_call *call = mem_new(struct rpc_call);
    if (!service)
        service = layers_service_open(NULL, NULL);
    request.layer = (char *)"C:\\layers\\a";
    request.wait_cleanup = wait_cleanup;
    service->methods[0].handle(call, &request.base, service->context);
    return call;
}

static void end(struct rpc_call *call, const char *expected)
{
    if (strcmp(call->log, expected))
        print_error("expected:\n%sfound:\n%s", expected, call->log);
    assert_string_equal(call->log, expected);
    assert_int_equal(call->ended, 1);
    error_free(call->error);
    free(call);
}

static int setup(void **state)
{
    (void)state;
    memset(&job, 0, sizeof job);
    return 0;
}

static void test_to_a_file(void **state)
{
    (void)state;
    struct rpc_call *call = begin(false);
    leave(call, true);
    job.listener->progress(job.context, &some, "stage", "");
    leave(call, true);
    job.listener->result(job.context, &done);
    leave(call, true);
    job.listener->cleanup(job.context, "done", 1, NULL, 0); /* nobody waits for it */
    job.listener->closed(job.context);
    end(call, "accepted job-1\nprogress stage 5\nresult sha256:ab 0\nfinish\n");
}

static void test_streamed(void **state)
{
    (void)state;
    struct rpc_call *call = begin(true);
    data("one"); /* before `accepted` has left */
    assert_int_equal(job.taken, 0);
    leave(call, true);
    assert_int_equal(job.taken, 0); /* only when the data itself has left */
    leave(call, true);
    assert_int_equal(job.taken, 1);
    data("two");
    leave(call, true);
    assert_int_equal(job.taken, 2);
    job.listener->result(job.context, &done);
    job.listener->cleanup(job.context, "pending", 1, NULL, 0);
    leave(call, true);
    const struct export_deviation left = {(char *)"kind", (char *)"path", (char *)"detail"};
    job.listener->cleanup(job.context, "quarantined", 2, &left, 1);
    job.listener->closed(job.context);
    leave(call, true);
    end(call, "accepted job-1\ndata one\ndata two\nresult sha256:ab 0\ncleanup quarantined 1\nfinish\n");
}

/* Progress that comes while something is under way is one message, the latest; too soon after another it waits. */
static void test_progress_is_coalesced(void **state)
{
    (void)state;
    struct export_counters counters = {0};
    struct rpc_call *call = begin(false);
    for (counters.entries = 1; counters.entries <= 50; counters.entries++)
        job.listener->progress(job.context, &counters, "archive", "");
    leave(call, true);
    leave(call, true);
    for (counters.entries = 51; counters.entries <= 99; counters.entries++)
        job.listener->progress(job.context, &counters, "archive", "");
    job.listener->result(job.context, &done); /* never queued behind it */
    leave(call, true);
    job.listener->closed(job.context);
    end(call, "accepted job-1\nprogress archive 50\nresult sha256:ab 0\nfinish\n");
}

static void test_early_listener(void **state)
{
    (void)state;
    job.early = true;
    struct rpc_call *call = begin(false);
    leave(call, true);
    leave(call, true);
    job.listener->result(job.context, &done);
    leave(call, true);
    job.listener->closed(job.context);
    end(call, "accepted job-1\nprogress queued 5\nresult sha256:ab 0\nfinish\n");
}

static void test_failure(void **state)
{
    (void)state;
    struct rpc_call *call = begin(false);
    job.listener->failed(job.context, error_make(ERROR_KIND_DATA_LOSS, "export", "x", "broken"));
    job.listener->closed(job.context);
    assert_int_equal(call->ended, 0); /* `accepted` is still under way */
    leave(call, true);
    assert_int_equal(call->error->kind, ERROR_KIND_DATA_LOSS);
    end(call, "accepted job-1\nfail\n");
}

static void test_client_gone(void **state)
{
    (void)state;
    struct rpc_call *call = begin(false);
    leave(call, true);
    data("one");
    go_away(call);
    assert_int_equal(job.cancelled, 1);
    leave(call, false);
    assert_int_equal(job.taken, 1);
    assert_int_equal(call->error->kind, ERROR_KIND_CANCELLED);
    data("two"); /* what the job still says is taken and dropped */
    assert_int_equal(job.taken, 2);
    job.listener->failed(job.context, error_make(ERROR_KIND_CANCELLED, "export", "x", "cancelled"));
    job.listener->closed(job.context);
    end(call, "accepted job-1\ndata one\nfail\n");
}

static void test_client_gone_after_the_result(void **state)
{
    (void)state;
    struct rpc_call *call = begin(true);
    leave(call, true);
    job.listener->result(job.context, &done);
    leave(call, true);
    go_away(call);
    job.listener->cleanup(job.context, "done", 1, NULL, 0);
    job.listener->closed(job.context);
    end(call, "accepted job-1\nresult sha256:ab 0\nfail\n");
}

static void test_refused(void **state)
{
    (void)state;
    job.refuse = true;
    struct rpc_call *call = begin(false);
    assert_int_equal(call->error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
    end(call, "fail\n");
}

static void test_bad_requests(void **state)
{
    (void)state;
    static const struct {
        const char *layer, *parent, *output;
        int compression, level;
    } rows[] = {
        {"layer", NULL, "", 0, 0},        {"", NULL, "", 0, 0},       {"C:\\a", "b", "", 0, 0},
        {"C:\\a", NULL, "out.tar", 0, 0}, {"C:\\a", NULL, "", 3, 0},  {"C:\\a", NULL, "", -1, 0},
        {"C:\\a", NULL, "", 0, 13},       {"C:\\a", NULL, "", 1, 20}, {"C:\\a", NULL, "", 2, 1},
        {"C:\\a", NULL, "", 0, -1},
    };
    const struct rpc_service *service = layers_service_open(NULL, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Hcsd__V1__ExportRequest request = HCSD__V1__EXPORT_REQUEST__INIT;
        struct rpc_call *call = mem_new(struct rpc_call);
        char *parents[] = {(char *)rows[i].parent};
        request.layer = (char *)rows[i].layer;
        request.parents = parents;
        request.n_parents = rows[i].parent != NULL;
        request.output = (char *)rows[i].output;
        request.compression = (Hcsd__V1__Compression)rows[i].compression;
        request.level = rows[i].level;
        service->methods[0].handle(call, &request.base, service->context);
        assert_non_null(call->error);
        print_message("%s: %s\n", call->error->operation, call->error->message);
        assert_int_equal(call->error->kind, ERROR_KIND_INVALID_ARGUMENT);
        end(call, "fail\n");
    }
    service_close(service);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_to_a_file),
        TEST(test_streamed),
        TEST(test_progress_is_coalesced),
        TEST(test_early_listener),
        TEST(test_failure),
        TEST(test_client_gone),
        TEST(test_client_gone_after_the_result),
        TEST(test_refused),
        TEST(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
