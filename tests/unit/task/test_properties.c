#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "task/properties.h"

static void statistics(void **state)
{
    (void)state;
    struct task_statistics found;
    assert_null(properties_statistics(
        "{\"Id\":\"web\",\"Statistics\":{\"Timestamp\":\"2026-11-21T03:48:13.25Z\",\"ContainerStartTime\":\"2026-11-"
        "21T03:"
        "48:12Z\",\"Uptime100ns\":12500000,\"Memory\":{\"MemoryUsageCommitBytes\":1,\"MemoryUsageCommitPeakBytes\":2,"
        "\"MemoryUsagePrivateWorkingSetBytes\":3},\"Processor\":{\"TotalRuntime100ns\":7,\"RuntimeUser100ns\":4,"
        "\"RuntimeKernel100ns\":3},\"Storage\":{\"ReadCountNormalized\":10,\"ReadSizeBytes\":11,"
        "\"WriteCountNormalized\":"
        "12,\"WriteSizeBytes\":13}}}",
        "web", &found));
    assert_int_equal(found.timestamp_ns, 1795232893250000000);
    assert_int_equal(found.started_ns, 1795232892000000000);
    assert_int_equal(found.uptime_ns, 1250000000);
    assert_int_equal(found.runtime_ns, 700);
    assert_int_equal(found.user_ns, 400);
    assert_int_equal(found.kernel_ns, 300);
    assert_int_equal(found.commit_bytes, 1);
    assert_int_equal(found.commit_peak_bytes, 2);
    assert_int_equal(found.private_bytes, 3);
    assert_int_equal(found.read_count, 10);
    assert_int_equal(found.read_bytes, 11);
    assert_int_equal(found.write_count, 12);
    assert_int_equal(found.write_bytes, 13);
}

/* What one Windows does not tell must not cost the rest; what is no answer at all is an error. */
static void strange_answers(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "[]", "{}", "{\"Statistics\":null}", "{\"Statistics\":5}", "{"};
    struct task_statistics found = {.uptime_ns = 77};
    struct task_process_view *processes = NULL;
    size_t count = 77;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error *error = properties_statistics(bad[i], "web", &found);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_INTERNAL);
        assert_string_equal(error->object, "web");
        error_free(error);
        error = properties_processes(bad[i], "web", 1, &processes, &count);
        assert_non_null(error);
        error_free(error);
    }
    assert_int_equal(found.uptime_ns, 77);
    assert_null(processes);
    assert_int_equal(count, 77);
    assert_null(properties_statistics("{\"Statistics\":{\"Uptime100ns\":-5,\"Memory\":[],\"Timestamp\":\"soon\","
                                      "\"Processor\":{\"TotalRuntime100ns\":9223372036854775807}}}",
                                      "web", &found));
    assert_int_equal(found.uptime_ns, 0);
    assert_int_equal(found.timestamp_ns, 0);
    assert_int_equal(found.commit_bytes, 0);
    assert_true(found.runtime_ns == UINT64_MAX); /* and not what is left of the overflow */
}

static void processes(void **state)
{
    (void)state;
    struct task_process_view *found;
    size_t count;
    assert_null(properties_processes(
        "{\"ProcessList\":[{\"ProcessId\":12,\"ImageName\":\"cmd.exe\",\"CreateTimestamp\":\"2026-11-21T03:48:13Z\","
        "\"KernelTime100ns\":1,\"UserTime100ns\":2,\"MemoryCommitBytes\":3,\"MemoryWorkingSetPrivateBytes\":4,"
        "\"MemoryWorkingSetSharedBytes\":5},{\"ProcessId\":0},{\"ProcessId\":4294967296},{},7,{\"ProcessId\":16}]}",
        "web", 1, &found, &count));
    assert_int_equal(count, 2);
    assert_int_equal(found[0].pid, 12);
    assert_string_equal(found[0].image, "cmd.exe");
    assert_string_equal(found[0].exec_id, "");
    assert_int_equal(found[0].created_ns, 1795232893000000000);
    assert_int_equal(found[0].kernel_100ns, 1);
    assert_int_equal(found[0].user_100ns, 2); /* and not the kernel's, as elsewhere */
    assert_int_equal(found[0].commit_bytes, 3);
    assert_int_equal(found[0].private_bytes, 4);
    assert_int_equal(found[0].shared_bytes, 5);
    assert_int_equal(found[1].pid, 16);
    assert_string_equal(found[1].image, "");
    task_processes_free(found, count);
    assert_null(properties_processes("{\"ProcessList\":[]}", "web", 1, &found, &count));
    assert_int_equal(count, 0);
    task_processes_free(found, count);
}

static void pauses(void **state)
{
    (void)state;
    assert_true(properties_paused("{\"State\":\"Paused\"}"));
    assert_false(properties_paused("{\"State\":\"Running\"}"));
    assert_false(properties_paused("{}"));
    assert_false(properties_paused(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(statistics), cmocka_unit_test(strange_answers),
                                       cmocka_unit_test(processes), cmocka_unit_test(pauses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
