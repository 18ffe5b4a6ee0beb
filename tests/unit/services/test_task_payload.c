#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include <cmocka.h>
#include <string.h>

#include "daemon/rpc/call.h"
#include "daemon/services/task_payload.h"

#include <containerd/events/task.pb-c.h>
#include <containerd/runhcs/stats/v1/stats.pb-c.h>
#include <containerd/runhcs/v1/runhcs.pb-c.h>

/* What the services' common part asks of the transport, which is not here. */
const struct rpc_caller *rpc_call_caller(const struct rpc_call *call)
{
    (void)call;
    return NULL;
}

static const struct task_statistics figures = {
    .timestamp_ns = 1795232893250000001,
    .started_ns = 1795232892000000000,
    .uptime_ns = 1,
    .runtime_ns = 2,
    .user_ns = 3,
    .kernel_ns = 4,
    .commit_bytes = 5,
    .commit_peak_bytes = 6,
    .private_bytes = 7,
    .read_count = 8,
    .read_bytes = 9,
    .write_count = 10,
    .write_bytes = 11,
};

static void windows_statistics(void **state)
{
    (void)state;
    Google__Protobuf__Any any;
    payload_statistics(&figures, &any);
    assert_string_equal(any.type_url, "containerd.runhcs.stats.v1.Statistics");
    Containerd__Runhcs__Stats__V1__Statistics *message =
        containerd__runhcs__stats__v1__statistics__unpack(NULL, any.value.len, any.value.data);
    assert_int_equal(message->container_case, CONTAINERD__RUNHCS__STATS__V1__STATISTICS__CONTAINER_WINDOWS);
    assert_null(message->vm);
    Containerd__Runhcs__Stats__V1__WindowsContainerStatistics *found = message->windows;
    assert_int_equal(found->timestamp->seconds, 1795232893);
    assert_int_equal(found->timestamp->nanos, 250000001);
    assert_int_equal(found->container_start_time->seconds, 1795232892);
    assert_int_equal(found->uptime_ns, 1);
    assert_int_equal(found->processor->total_runtime_ns, 2);
    assert_int_equal(found->processor->runtime_user_ns, 3);
    assert_int_equal(found->processor->runtime_kernel_ns, 4);
    assert_int_equal(found->memory->memory_usage_commit_bytes, 5);
    assert_int_equal(found->memory->memory_usage_commit_peak_bytes, 6);
    assert_int_equal(found->memory->memory_usage_private_working_set_bytes, 7);
    assert_int_equal(found->storage->read_count_normalized, 8);
    assert_int_equal(found->storage->read_size_bytes, 9);
    assert_int_equal(found->storage->write_count_normalized, 10);
    assert_int_equal(found->storage->write_size_bytes, 11);
    containerd__runhcs__stats__v1__statistics__free_unpacked(message, NULL);
    any_free(&any);
}

static void linux_statistics(void **state)
{
    (void)state;
    Google__Protobuf__Any any;
    struct task_statistics of_linux = figures;
    of_linux.linux_container = true;
    payload_statistics(&of_linux, &any);
    Containerd__Runhcs__Stats__V1__Statistics *message =
        containerd__runhcs__stats__v1__statistics__unpack(NULL, any.value.len, any.value.data);
    assert_int_equal(message->container_case, CONTAINERD__RUNHCS__STATS__V1__STATISTICS__CONTAINER_LINUX_CONTAINER);
    Io__Containerd__Cgroups__V1__Metrics *found = message->linux_container;
    assert_int_equal(found->cpu->usage->total, 2);
    assert_int_equal(found->cpu->usage->user, 3);
    assert_int_equal(found->cpu->usage->kernel, 4);
    assert_int_equal(found->memory->usage->usage, 5);
    assert_int_equal(found->memory->usage->max, 6);
    assert_int_equal(found->memory->rss, 7);
    assert_int_equal(found->blkio->n_io_service_bytes_recursive, 2);
    assert_string_equal(found->blkio->io_service_bytes_recursive[1]->op, "Write");
    assert_int_equal(found->blkio->io_service_bytes_recursive[1]->value, 11);
    assert_int_equal(found->blkio->io_serviced_recursive[0]->value, 8);
    containerd__runhcs__stats__v1__statistics__free_unpacked(message, NULL);
    any_free(&any);
}

static void processes(void **state)
{
    (void)state;
    char image[] = "cmd.exe";
    const struct task_process_view process = {.pid = 7,
                                              .exec_id = "one",
                                              .image = image,
                                              .created_ns = 1795232893000000000,
                                              .kernel_100ns = 1,
                                              .user_100ns = 2,
                                              .commit_bytes = 3,
                                              .private_bytes = 4,
                                              .shared_bytes = 5};
    Google__Protobuf__Any any;
    payload_process(&process, &any);
    assert_string_equal(any.type_url, "containerd.runhcs.v1.ProcessDetails");
    Containerd__Runhcs__V1__ProcessDetails *found =
        containerd__runhcs__v1__process_details__unpack(NULL, any.value.len, any.value.data);
    assert_string_equal(found->image_name, "cmd.exe");
    assert_string_equal(found->exec_id, "one");
    assert_int_equal(found->process_id, 7);
    assert_int_equal(found->created_at->seconds, 1795232893);
    assert_int_equal(found->kernel_time_100_ns, 1);
    assert_int_equal(found->user_time_100_ns, 2);
    assert_int_equal(found->memory_commit_bytes, 3);
    assert_int_equal(found->memory_working_set_private_bytes, 4);
    assert_int_equal(found->memory_working_set_shared_bytes, 5);
    containerd__runhcs__v1__process_details__free_unpacked(found, NULL);
    any_free(&any);
}

static const struct task_view view = {.containerd_namespace = "default",
                                      .id = "web",
                                      .exec_id = "",
                                      .bundle = "C:\\b",
                                      .stdin_path = "",
                                      .stdout_path = "out",
                                      .stderr_path = "err",
                                      .terminal = true,
                                      .pid = 7,
                                      .exit_status = 0xFFFFFFFF,
                                      .exited_ns = 1795232893000000000};

static void events(void **state)
{
    (void)state;
    Google__Protobuf__Any any;
    struct task_view exec = view;
    exec.exec_id = "one";
    assert_true(payload_event("/tasks/create", &view, &any));
    assert_string_equal(any.type_url, "containerd.events.TaskCreate");
    Containerd__Events__TaskCreate *create =
        containerd__events__task_create__unpack(NULL, any.value.len, any.value.data);
    assert_string_equal(create->bundle, "C:\\b");
    assert_string_equal(create->io->stdout, "out");
    assert_true(create->io->terminal);
    assert_int_equal(create->n_rootfs, 0);
    containerd__events__task_create__free_unpacked(create, NULL);
    any_free(&any);
    static const char *const parents[] = {"C:\\l\\app", "C:\\l\\base"};
    struct task_view made = view;
    made.rootfs_source = "C:\\l\\scratch";
    made.rootfs_parents = parents;
    made.rootfs_parent_count = 2;
    assert_true(payload_event("/tasks/create", &made, &any));
    create = containerd__events__task_create__unpack(NULL, any.value.len, any.value.data);
    assert_int_equal(create->n_rootfs, 1);
    assert_string_equal(create->rootfs[0]->type, "windows-layer");
    assert_string_equal(create->rootfs[0]->source, "C:\\l\\scratch");
    assert_int_equal(create->rootfs[0]->n_options, 2);
    assert_string_equal(create->rootfs[0]->options[0], "rw");
    assert_string_equal(create->rootfs[0]->options[1], "parentLayerPaths=[\"C:\\\\l\\\\app\",\"C:\\\\l\\\\base\"]");
    containerd__events__task_create__free_unpacked(create, NULL);
    any_free(&any);
    /* In an exit the init is called by the container's id, in a delete by nothing: containerd and runhcs have it so. */
    for (int i = 0; i < 2; i++) {
        assert_true(payload_event("/tasks/exit", i == 0 ? &view : &exec, &any));
        Containerd__Events__TaskExit *exit = containerd__events__task_exit__unpack(NULL, any.value.len, any.value.data);
        assert_string_equal(exit->container_id, "web");
        assert_string_equal(exit->id, i == 0 ? "web" : "one");
        assert_true(exit->exit_status == 0xFFFFFFFF);
        assert_int_equal(exit->exited_at->seconds, 1795232893);
        containerd__events__task_exit__free_unpacked(exit, NULL);
        any_free(&any);
        assert_true(payload_event("/tasks/delete", i == 0 ? &view : &exec, &any));
        Containerd__Events__TaskDelete *delete =
            containerd__events__task_delete__unpack(NULL, any.value.len, any.value.data);
        assert_string_equal(delete->id, i == 0 ? "" : "one");
        assert_int_equal(delete->pid, 7);
        containerd__events__task_delete__free_unpacked(delete, NULL);
        any_free(&any);
    }
    static const struct {
        const char *topic, *type;
    } rows[] = {{"/tasks/start", "containerd.events.TaskStart"},
                {"/tasks/exec-added", "containerd.events.TaskExecAdded"},
                {"/tasks/exec-started", "containerd.events.TaskExecStarted"},
                {"/tasks/paused", "containerd.events.TaskPaused"},
                {"/tasks/resumed", "containerd.events.TaskResumed"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(payload_event(rows[i].topic, &exec, &any));
        assert_string_equal(any.type_url, rows[i].type);
        any_free(&any);
    }
    assert_false(payload_event("/tasks/?", &view, &any));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows_statistics), cmocka_unit_test(linux_statistics),
                                       cmocka_unit_test(processes), cmocka_unit_test(events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
