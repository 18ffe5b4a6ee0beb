#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/job.h"
#include "cli/output.h"
#include "cli/task.h"

static void assert_text(char *found, const char *expected)
{
    assert_string_equal(found, expected);
    free(found);
}

static void assert_json(json_t *found, const char *expected)
{
    char *text = json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    assert_string_equal(text, expected);
    free(text);
    json_decref(found);
}

static void test_figures(void **state)
{
    (void)state;
    assert_text(format_bytes(0), "0 B");
    assert_text(format_bytes(999), "999 B");
    assert_text(format_bytes(1000), "1.0 KB");
    assert_text(format_bytes(99949), "99.9 KB");
    assert_text(format_bytes(123456), "123 KB");
    assert_text(format_bytes(999600), "1.0 MB");
    assert_text(format_bytes(95100000), "95.1 MB");
    assert_text(format_bytes(UINT64_MAX), "18.4 EB");
    assert_text(format_count(0), "0");
    assert_text(format_count(999), "999");
    assert_text(format_count(1000), "1,000");
    assert_text(format_count(UINT64_MAX), "18,446,744,073,709,551,615");
    assert_text(format_seconds(-1), "0.0 s");
    assert_text(format_seconds(0.44), "0.4 s");
    assert_text(format_seconds(12.9), "12 s");
    assert_text(format_seconds(185), "3 min 5 s");
    assert_text(format_seconds(7830), "2 h 10 min");
}

static void test_table(void **state)
{
    (void)state;
    struct table table = {.columns = 3};
    struct buffer text = {0};
    static const char *const cells[] = {"TASK",         "PID",   "STATUS", "gr\xC3\xBCn", "7", "running",
                                        "longer\tname", "12345", ""};
    for (size_t i = 0; i < 9; i++)
        table_add(&table, cells[i]);
    table_format(&table, &text);
    assert_string_equal((char *)text.data, "TASK            PID    STATUS\n"
                                           "gr\xC3\xBCn            7      running\n"
                                           "longer\\x09name  12345  \n");
    buffer_free(&text);
    table_free(&table);
}

static void test_error_lines(void **state)
{
    (void)state;
    struct buffer text = {0};
    struct error *error = error_make(ERROR_KIND_NOT_FOUND, "start", "web", "there is no such container");
    format_error(error, "task", "start", false, &text);
    assert_string_equal((char *)text.data, "hcsctl: task start: start web: there is no such container\n");
    buffer_clear(&text);
    format_error(error, "health", NULL, false, &text);
    assert_string_equal((char *)text.data, "hcsctl: health: start web: there is no such container\n");
    buffer_clear(&text);
    format_error(error, NULL, NULL, true, &text);
    assert_string_equal((char *)text.data,
                        "{\"error\":{\"code\":\"NOT_FOUND\",\"operation\":\"start\",\"object\":\"web\","
                        "\"message\":\"there is no such container\"}}\n");
    error_free(error);
    buffer_free(&text);
}

static void test_times(void **state)
{
    (void)state;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    assert_json(format_time(NULL), "null");
    assert_json(format_time(&time), "null");
    time.seconds = 1795221279;
    time.nanos = 250000000;
    assert_json(format_time(&time), "\"2026-11-21T00:34:39.25Z\"");
    time.seconds = INT64_MAX;
    assert_json(format_time(&time), "null");
    time.seconds = INT64_MIN;
    assert_json(format_time(&time), "null");
}

static void test_task_json(void **state)
{
    (void)state;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Containerd__Task__V3__StateResponse task = CONTAINERD__TASK__V3__STATE_RESPONSE__INIT;
    task.id = (char *)(uintptr_t) "web";
    task.status = CONTAINERD__V1__TYPES__STATUS__CREATED;
    task.exit_status = 255; /* not exited, on the wire */
    assert_json(task_json("default", &task), "{\"id\":\"web\",\"namespace\":\"default\",\"pid\":0,\"status\":"
                                             "\"created\",\"exit_status\":null,\"exited_at\":null}");
    task.status = CONTAINERD__V1__TYPES__STATUS__STOPPED;
    task.pid = 12;
    task.exit_status = 0xFFFFFFFFu;
    time.seconds = 1;
    task.exited_at = &time;
    assert_json(task_json("k8s.io", &task),
                "{\"id\":\"web\",\"namespace\":\"k8s.io\",\"pid\":12,\"status\":\"stopped\","
                "\"exit_status\":4294967295,\"exited_at\":\"1970-01-01T00:00:01Z\"}");
    static const char *const names[] = {"unknown", "created", "running", "stopped", "paused", "running"};
    for (unsigned i = 0; i < 6; i++)
        assert_string_equal(task_status_name((Containerd__V1__Types__Status)i), names[i]);
    assert_string_equal(task_status_name((Containerd__V1__Types__Status)99), "unknown");
}

static void test_export_json(void **state)
{
    (void)state;
    Hcsd__V1__Deviation deviation = HCSD__V1__DEVIATION__INIT, *deviations[] = {&deviation};
    deviation.kind = (char *)(uintptr_t) "not_utf16";
    deviation.path = (char *)(uintptr_t) "Files\\x";
    deviation.detail = (char *)(uintptr_t) "odd";
    Hcsd__V1__ExportSeconds seconds = HCSD__V1__EXPORT_SECONDS__INIT;
    seconds.staging = 1.5;
    Hcsd__V1__ExportResult result = HCSD__V1__EXPORT_RESULT__INIT;
    result.job = (char *)(uintptr_t) "j1";
    result.digest = (char *)(uintptr_t) "sha256:aa";
    result.diff_id = (char *)(uintptr_t) "sha256:bb";
    result.media_type = (char *)(uintptr_t) "m";
    result.size = 5000000000;
    result.entries = 7;
    result.seconds = &seconds;
    result.deviations = deviations;
    result.n_deviations = result.deviation_count = 1;
    Hcsd__V1__ExportCleanup cleanup = HCSD__V1__EXPORT_CLEANUP__INIT;
    cleanup.outcome = (char *)(uintptr_t) "done";
    cleanup.seconds = 0.25;
#define HEAD                                                                                                           \
    "{\"job\":\"j1\",\"digest\":\"sha256:aa\",\"diff_id\":\"sha256:bb\",\"size\":5000000000,\"media_type\":\"m\","     \
    "\"entries\":7,\"cleanup\":"
#define TAIL "\"deviations\":[{\"kind\":\"not_utf16\",\"path\":\"Files\\\\x\",\"detail\":\"odd\"}]"
    assert_json(export_json(&result, &cleanup),
                HEAD "\"done\",\"seconds\":{\"staging\":1.5,\"archive\":0.0,\"cleanup\":0.25}," TAIL "}");
    assert_json(export_json(&result, NULL),
                HEAD "\"pending\",\"seconds\":{\"staging\":1.5,\"archive\":0.0,\"cleanup\":null}," TAIL "}");
    cleanup.outcome = (char *)(uintptr_t) "quarantined";
    cleanup.left = deviations;
    cleanup.n_left = 1;
    result.n_deviations = 0;
    assert_json(
        export_json(&result, &cleanup),
        HEAD "\"quarantined\",\"seconds\":{\"staging\":1.5,\"archive\":0.0,\"cleanup\":0.25},\"deviations\":[],"
             "\"deviation_count\":1,\"left\":[{\"kind\":\"not_utf16\",\"path\":\"Files\\\\x\",\"detail\":\"odd\"}]}");
}

static void test_job_json(void **state)
{
    (void)state;
    Hcsd__V1__Job job = HCSD__V1__JOB__INIT;
    job.id = (char *)(uintptr_t) "j1";
    job.state = (char *)(uintptr_t) "failed";
    job.error = (char *)(uintptr_t) "why";
    job.error_code = (char *)(uintptr_t) "INTERNAL";
    json_t *json = job_json(&job, true);
    static const char *const keys[] = {"id", "kind", "object", "state", "phase", "cleanup", "submitted_at", "history"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(json_object_get(json, keys[i]));
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "error"), "code")), "INTERNAL");
    assert_null(json_object_get(json, "result"));
    json_decref(json);
}

static void test_progress(void **state)
{
    (void)state;
    struct buffer line = {0};
    struct progress_figures figures = {.phase = "archive",
                                       .path = "Files\\gr\xC3\xBCn\\longer",
                                       .entries = 12345,
                                       .bytes = 95100000,
                                       .seconds = 3,
                                       .entries_rate = 4000,
                                       .bytes_rate = 31200000};
    format_progress(&figures, 200, &line);
    assert_string_equal(
        (char *)line.data,
        "archive  3.0 s  12,345 entries  95.1 MB  4000 entries/s  31.2 MB/s  Files\\gr\xC3\xBCn\\longer");
    buffer_clear(&line);
    format_progress(&figures, 77, &line);
    assert_string_equal((char *)line.data,
                        "archive  3.0 s  12,345 entries  95.1 MB  4000 entries/s  31.2 MB/s  Files\\gr\xC3\xBC");
    buffer_clear(&line);
    figures.bytes_rate = -1;
    figures.path = "";
    format_progress(&figures, 80, &line);
    assert_string_equal((char *)line.data, "archive  3.0 s  12,345 entries  95.1 MB");
    buffer_free(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),  cmocka_unit_test(test_table),     cmocka_unit_test(test_error_lines),
        cmocka_unit_test(test_times),    cmocka_unit_test(test_task_json), cmocka_unit_test(test_export_json),
        cmocka_unit_test(test_job_json), cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
