/* lib/task over the emulator: what is done to a container while it runs. */
#include "host.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define VM ",\"hyperv\":{}"

static void run_with(const char *id, const char *command, const char *windows, const char *top)
{
    char *bundle = host_bundle_with(id, command, windows, top);
    expect_ok(begin_create(id, bundle), "create");
    free(bundle);
    expect_ok(begin_start(id), "start");
}

static void run(const char *id, const char *command)
{
    run_with(id, command, "", "");
}

static void end(const char *id)
{
    expect_ok(begin_delete(id, true), "delete by force");
}

static struct request *begin_pause(const char *id)
{
    struct request *request = request_new();
    task_pause(host.tasks, "default", id, request_done, request);
    return request;
}

static struct request *begin_resume(const char *id)
{
    struct request *request = request_new();
    task_resume(host.tasks, "default", id, request_done, request);
    return request;
}

static struct request *begin_resize(const char *id, const char *exec_id, uint32_t width, uint32_t height)
{
    struct request *request = request_new();
    task_resize(host.tasks, "default", id, exec_id, width, height, request_done, request);
    return request;
}

static struct request *begin_close_stdin(const char *id, const char *exec_id)
{
    struct request *request = request_new();
    task_close_stdin(host.tasks, "default", id, exec_id, request_done, request);
    return request;
}

static struct request *begin_update(const char *id, const char *type, const char *value)
{
    struct request *request = request_new();
    task_update(host.tasks, "default", id, type, value, strlen(value), request_done, request);
    return request;
}

/* ---- pausing ---- */

static void expect_nothing_asked(const char *id);

static void test_pause(void **state)
{
    (void)state;
    char *bundle = host_bundle_with("vm", "emu:sleep 3600", VM, "");
    expect_ok(begin_create("vm", bundle), "create");
    free(bundle);
    expect_error(begin_pause("vm"), ERROR_KIND_FAILED_PRECONDITION, "start it first");
    expect_ok(begin_start("vm"), "start");
    expect_error(begin_resume("vm"), ERROR_KIND_FAILED_PRECONDITION, "not paused");
    expect_ok(begin_exec("vm", "early", "emu:exit 0", ""), "exec");
    expect_ok(begin_pause("vm"), "pause");
    assert_int_equal(state_of("vm"), TASK_PAUSED);
    expect_error(begin_pause("vm"), ERROR_KIND_FAILED_PRECONDITION, "paused already");
    expect_error(begin_exec("vm", "one", "emu:exit 0", ""), ERROR_KIND_FAILED_PRECONDITION, "paused");
    expect_error(begin_start_exec("vm", "early"), ERROR_KIND_FAILED_PRECONDITION, "paused");
    expect_error(begin_kill("vm", 15), ERROR_KIND_FAILED_PRECONDITION, "resume it first");
    expect_error(begin_delete("vm", false), ERROR_KIND_FAILED_PRECONDITION, "paused");
    expect_nothing_asked("vm");
    expect_ok(begin_resume("vm"), "resume");
    assert_int_equal(state_of("vm"), TASK_RUNNING);
    expect_ok(begin_start_exec("vm", "early"), "start exec");
    assert_int_equal(event_lines("/tasks/paused vm"), 1);
    assert_int_equal(event_lines("/tasks/resumed vm"), 1);
    expect_ok(begin_pause("vm"), "pause again");
    expect_ok(begin_kill("vm", 9), "kill of a paused container");
    expect_exit("vm");
    expect_error(begin_pause("vm"), ERROR_KIND_FAILED_PRECONDITION, "ended");
    expect_ok(begin_delete("vm", false), "delete");
}

static void test_process_isolation_cannot_pause(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    expect_error(begin_pause("web"), ERROR_KIND_UNIMPLEMENTED, "process isolation");
    expect_error(begin_resume("web"), ERROR_KIND_UNIMPLEMENTED, "process isolation");
    expect_error(begin_pause("none"), ERROR_KIND_NOT_FOUND, "none");
    assert_int_equal(state_of("web"), TASK_RUNNING);
    end("web");
}

/* What HCS refuses leaves the container as HCS says that it is. */
static void test_pause_fails(void **state)
{
    (void)state;
    run_with("vm", "emu:sleep 3600", VM, "");
    host_faults("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}]");
    expect_error(begin_pause("vm"), ERROR_KIND_PERMISSION_DENIED, "HcsPauseComputeSystem");
    assert_int_equal(state_of("vm"), TASK_RUNNING);
    assert_int_equal(event_lines("/tasks/paused"), 0);
    host_faults(NULL);
    expect_ok(begin_pause("vm"), "pause");
    host_faults("[{\"call\":\"HcsResumeComputeSystem\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}]");
    expect_error(begin_resume("vm"), ERROR_KIND_PERMISSION_DENIED, "HcsResumeComputeSystem");
    assert_int_equal(state_of("vm"), TASK_PAUSED);
    host_faults(NULL);
    expect_ok(begin_resume("vm"), "resume");
    end("vm");
}

/* A kill does not wait for a pause that hangs. */
static void test_kill_while_pausing(void **state)
{
    (void)state;
    run_with("vm", "emu:sleep 3600", VM, "");
    host_faults("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"pending\"}]");
    struct request *pause = begin_pause("vm");
    assert_int_equal(state_of("vm"), TASK_PAUSING);
    expect_error(begin_pause("vm"), ERROR_KIND_FAILED_PRECONDITION, "paused already");
    expect_ok(begin_kill("vm", 9), "kill");
    struct answer answer = finish(pause);
    assert_non_null(answer.error);
    answer_free(&answer);
    expect_exit("vm");
    host_faults(NULL);
    expect_ok(begin_delete("vm", false), "delete");
}

static void test_paused_over_a_restart(void **state)
{
    (void)state;
    run_with("vm", "emu:sleep 3600", VM, "");
    expect_ok(begin_pause("vm"), "pause");
    host_restart(false);
    await_operator_event("TASK_RECOVERED", "vm");
    assert_int_equal(state_of("vm"), TASK_PAUSED);
    expect_ok(begin_resume("vm"), "resume");
    assert_int_equal(state_of("vm"), TASK_RUNNING);
    expect_ok(begin_kill("vm", 9), "kill");
    assert_int_not_equal(expect_exit("vm"), TASK_EXIT_UNKNOWN); /* its init was opened again by the resume */
    expect_ok(begin_delete("vm", false), "delete");
    assert_int_equal(event_lines("/tasks/exit vm"), 1);
}

/* ---- consoles ---- */

static void test_resize(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    expect_error(begin_resize("web", "", 80, 25), ERROR_KIND_FAILED_PRECONDITION, "no terminal");
    expect_error(begin_resize("web", "none", 80, 25), ERROR_KIND_NOT_FOUND, "none");
    const struct task_exec exec = {.containerd_namespace = "default",
                                   .id = "web",
                                   .exec_id = "shell",
                                   .stdin_path = "",
                                   .stdout_path = "",
                                   .stderr_path = "",
                                   .terminal = true,
                                   .spec = "{\"commandLine\":\"emu:sleep 3600\"}",
                                   .spec_size = strlen("{\"commandLine\":\"emu:sleep 3600\"}")};
    struct request *made = request_new();
    task_exec(host.tasks, &exec, request_done, made);
    expect_ok(made, "exec");
    expect_ok(begin_resize("web", "shell", 80, 25), "resize before the start is ignored");
    expect_ok(begin_start_exec("web", "shell"), "start exec");
    expect_ok(begin_resize("web", "shell", 200, 50), "resize");
    expect_error(begin_resize("web", "shell", 65536, 50), ERROR_KIND_INVALID_ARGUMENT, "65536 by 50");
    host_faults("[{\"call\":\"HcsModifyProcess\",\"action\":\"fail\",\"hresult\":\"0x80070057\"}]");
    expect_error(begin_resize("web", "shell", 201, 51), ERROR_KIND_INVALID_ARGUMENT, "HcsModifyProcess");
    host_faults(NULL);
    expect_ok(begin_kill_exec("web", "shell", 9), "kill exec");
    struct answer exited = finish(begin_wait_exec("web", "shell"));
    answer_free(&exited);
    expect_ok(begin_resize("web", "shell", 80, 25), "resize after the end is ignored");
    end("web");
}

static void test_close_stdin(void **state)
{
    (void)state;
    char *bundle = host_bundle("echo", "emu:echo;exit 6");
    HANDLE pipe = CreateNamedPipeW(L"\\\\.\\pipe\\hcsd-test-control-in", PIPE_ACCESS_OUTBOUND | FILE_FLAG_OVERLAPPED,
                                   PIPE_TYPE_BYTE, 1, 4096, 4096, 0, NULL);
    assert_ptr_not_equal(pipe, INVALID_HANDLE_VALUE);
    expect_ok(begin_create_stdio("echo", bundle, "\\\\.\\pipe\\hcsd-test-control-in", "", ""), "create");
    free(bundle);
    expect_ok(begin_start("echo"), "start");
    expect_ok(begin_close_stdin("echo", ""), "close stdin");
    assert_int_equal(expect_exit("echo"), 6); /* though the client's end is open */
    expect_ok(begin_close_stdin("echo", ""), "close stdin after the end");
    expect_error(begin_close_stdin("echo", "none"), ERROR_KIND_NOT_FOUND, "none");
    CloseHandle(pipe);
    expect_ok(begin_delete("echo", false), "delete");
}

/* ---- limits ---- */

#define RESOURCES "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources"

static void test_update(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    expect_ok(begin_update("web", RESOURCES, "{\"memory\":{\"limit\":1073741824}}"), "update");
    expect_ok(begin_update("web", RESOURCES, "{}"), "nothing to update");
    expect_error(begin_update("web", "", ""), ERROR_KIND_INVALID_ARGUMENT, "no resources");
    expect_error(begin_update("web", "x/LinuxResources", "{}"), ERROR_KIND_INVALID_ARGUMENT, "LinuxResources");
    expect_error(begin_update("none", RESOURCES, "{}"), ERROR_KIND_NOT_FOUND, "none");
    host_faults("[{\"call\":\"HcsModifyComputeSystem\",\"action\":\"fail\",\"hresult\":\"0xC0370105\"}]");
    expect_error(begin_update("web", RESOURCES, "{\"memory\":{\"limit\":2147483648}}"), ERROR_KIND_FAILED_PRECONDITION,
                 "memory");
    host_faults(NULL);
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    expect_error(begin_update("web", RESOURCES, "{}"), ERROR_KIND_NOT_FOUND, "ended");
    expect_ok(begin_delete("web", false), "delete");
    run_with("vm", "emu:sleep 3600", VM, "");
    expect_error(begin_update("vm", RESOURCES, "{\"memory\":{\"limit\":1073741824}}"), ERROR_KIND_UNIMPLEMENTED, "VM");
    end("vm");
}

/* ---- figures ---- */

struct seen {
    bool called;
    struct error *error;
    struct task_statistics statistics;
    size_t count;
    struct {
        uint32_t pid;
        char exec_id[40], image[40];
    } rows[8];
};

static bool is_called(void *context)
{
    return *(volatile bool *)context;
}

static void on_statistics(void *context, struct error *error, const struct task_statistics *statistics)
{
    struct seen *seen = context;
    seen->error = error;
    if (statistics)
        seen->statistics = *statistics;
    *(volatile bool *)&seen->called = true;
}

static void on_processes(void *context, struct error *error, const struct task_process_view *processes, size_t count)
{
    struct seen *seen = context;
    seen->error = error;
    seen->count = count;
    for (size_t i = 0; i < count && i < 8; i++) {
        seen->rows[i].pid = processes[i].pid;
        snprintf(seen->rows[i].exec_id, sizeof seen->rows[i].exec_id, "%s", processes[i].exec_id);
        snprintf(seen->rows[i].image, sizeof seen->rows[i].image, "%s", processes[i].image);
    }
    *(volatile bool *)&seen->called = true;
}

static struct seen statistics_of(const char *id)
{
    struct seen seen = {0};
    task_statistics(host.tasks, "default", id, on_statistics, &seen);
    await(is_called, &seen.called, "statistics");
    return seen;
}

static void test_statistics(void **state)
{
    (void)state;
    struct seen none = statistics_of("none");
    assert_int_equal(none.error->kind, ERROR_KIND_NOT_FOUND);
    error_free(none.error);
    run("web", "emu:sleep 3600");
    struct seen seen = statistics_of("web");
    assert_null(seen.error);
    assert_true(seen.statistics.timestamp_ns > INT64_C(1600000000) * 1000000000);
    assert_true(seen.statistics.started_ns > INT64_C(1600000000) * 1000000000);
    assert_true(seen.statistics.commit_bytes == 1 << 20); /* what the emulator says of an emu: command */
    assert_false(seen.statistics.linux_container);
    host_faults("[{\"call\":\"HcsGetComputeSystemProperties\",\"action\":\"fail\",\"hresult\":\"0x80070006\"}]");
    seen = statistics_of("web");
    assert_non_null(seen.error);
    assert_int_not_equal(seen.error->kind, ERROR_KIND_NOT_FOUND); /* it is there */
    error_free(seen.error);
    host_faults(NULL);
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    seen = statistics_of("web");
    assert_int_equal(seen.error->kind, ERROR_KIND_NOT_FOUND);
    error_free(seen.error);
    expect_ok(begin_delete("web", false), "delete");
}

/* Of a paused container HCS is asked nothing that its guest would have to answer. */
static void expect_nothing_asked(const char *id)
{
    struct seen seen = {0};
    host_faults("[{\"call\":\"HcsGetComputeSystemProperties\",\"action\":\"hang\"}]");
    task_processes(host.tasks, "default", id, 77, on_processes, &seen);
    await(is_called, &seen.called, "processes of a paused container");
    assert_null(seen.error);
    assert_int_equal(seen.count, 1); /* the init */
    assert_int_not_equal(seen.rows[0].pid, 77);
    seen = statistics_of(id);
    assert_int_equal(seen.error->kind, ERROR_KIND_NOT_FOUND);
    error_free(seen.error);
    host_faults(NULL);
}

static void test_processes(void **state)
{
    (void)state;
    struct seen seen = {0};
    run("web", "emu:sleep 3600");
    expect_ok(begin_exec("web", "look", "emu:sleep 3600", ""), "exec");
    struct answer started = finish(begin_start_exec("web", "look"));
    assert_null(started.error);
    task_processes(host.tasks, "default", "web", 77, on_processes, &seen);
    await(is_called, &seen.called, "processes");
    assert_null(seen.error);
    assert_int_equal(seen.count, 2);
    unsigned exec = seen.rows[0].pid == started.pid ? 0 : 1;
    assert_int_equal(seen.rows[exec].pid, started.pid);
    assert_string_equal(seen.rows[exec].exec_id, "look");
    assert_string_equal(seen.rows[!exec].exec_id, "web");
    assert_string_equal(seen.rows[0].image, "emu.exe");
    answer_free(&started);
    end("web");
}

/* ---- what the runtime's options ask for ---- */

static struct request *begin_create_with(const char *id, const char *windows, struct task_runtime runtime)
{
    struct request *request = request_new();
    char *bundle = host_bundle_with(id, "emu:sleep 3600", windows, "");
    const struct task_create create = {
        .containerd_namespace = "default", .id = id, .bundle = bundle, .runtime = runtime, .client = "test"};
    task_create(host.tasks, &create, request_done, request);
    free(bundle);
    return request;
}

/* A runtime class for VMs is not to be served with process isolation in silence. */
static void test_runtime_options(void **state)
{
    (void)state;
    static const char *const host_process[] = {"microsoft.com/hostprocess-container", "true", "other", "x"};
    expect_ok(begin_create_with("vm", "", (struct task_runtime){.given = true, .hypervisor = true}), "create");
    expect_ok(begin_start("vm"), "start");
    struct request *request = request_new();
    task_pause(host.tasks, "default", "vm", request_done, request); /* only what is in a VM can be paused */
    expect_ok(request, "pause");
    end("vm");
    expect_error(begin_create_with("vm", VM, (struct task_runtime){.given = true, .platform = "windows/amd64"}),
                 ERROR_KIND_INVALID_ARGUMENT, "process isolation");
    expect_error(begin_create_with("vm", "", (struct task_runtime){.given = true, .platform = "linux/amd64"}),
                 ERROR_KIND_INVALID_ARGUMENT, "for Linux");
    expect_error(begin_create_with("vm", "", (struct task_runtime){.given = true, .platform = "plan9"}),
                 ERROR_KIND_INVALID_ARGUMENT, "plan9");
    expect_error(
        begin_create_with("vm", "",
                          (struct task_runtime){.given = true, .annotations = host_process, .annotation_count = 2}),
        ERROR_KIND_UNIMPLEMENTED, "host");
    expect_ok(begin_create_with("vm", VM, (struct task_runtime){0}), "create without options");
    expect_ok(begin_delete("vm", false), "delete");
}

/* What is ignored of a spec is told, once. */
static void test_spec_warnings(void **state)
{
    (void)state;
    char *bundle = host_bundle_with("web", "emu:sleep 3600", ",\"network\":{\"networkNamespace\":\"n-1\"}", "");
    expect_ok(begin_create("web", bundle), "create");
    free(bundle);
    assert_true(operator_event("TASK_SPEC_WARNING", "networkNamespace"));
    assert_false(operator_event("TASK_SPEC_WARNING", " / ")); /* though the document was made twice */
    expect_ok(begin_delete("web", false), "delete");
}

/* ---- pods ---- */

#define SANDBOX(id)                                                                                                    \
    ",\"annotations\":{\"io.kubernetes.cri.container-type\":\"sandbox\",\"io.kubernetes.cri.sandbox-id\":\"" id "\"}"
#define WORKLOAD(id)                                                                                                   \
    ",\"annotations\":{\"io.kubernetes.cri.container-type\":\"container\",\"io.kubernetes.cri.sandbox-id\":\"" id "\"" \
    "}"

static struct request *begin_create_workload(const char *id, const char *windows, const char *top)
{
    char *bundle = host_bundle_with(id, "emu:sleep 3600", windows, top);
    struct request *request = begin_create(id, bundle);
    free(bundle);
    return request;
}

static struct request *begin_kill_all(const char *id, uint32_t sig)
{
    struct request *request = request_new();
    task_kill(host.tasks, "default", id, "", sig, true, request_done, request);
    return request;
}

static void test_all_of_one_exec(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    expect_ok(begin_exec("web", "one", "emu:sleep 3600", ""), "exec");
    expect_ok(begin_start_exec("web", "one"), "start exec");
    struct request *request = request_new();
    task_kill(host.tasks, "default", "web", "one", 9, true, request_done, request);
    expect_error(request, ERROR_KIND_FAILED_PRECONDITION, "all");
    expect_ok(begin_kill_all("web", 9), "kill all of what is no sandbox");
    expect_exit("web");
    expect_ok(begin_delete("web", false), "delete");
}

static void test_pod(void **state)
{
    (void)state;
    expect_error(begin_create_workload("app", "", WORKLOAD("pod")), ERROR_KIND_FAILED_PRECONDITION, "does not exist");
    expect_error(begin_create_workload("pod", "", SANDBOX("other")), ERROR_KIND_FAILED_PRECONDITION, "its own id");
    expect_ok(begin_create_workload("pod", "", SANDBOX("pod")), "create sandbox");
    expect_error(begin_create_workload("app", "", WORKLOAD("pod")), ERROR_KIND_FAILED_PRECONDITION, "does not run");
    expect_ok(begin_start("pod"), "start sandbox");
    expect_error(begin_create_workload("app", VM, WORKLOAD("pod")), ERROR_KIND_FAILED_PRECONDITION, "not isolated");
    run("alone", "emu:sleep 3600");
    expect_error(begin_create_workload("app", "", WORKLOAD("alone")), ERROR_KIND_FAILED_PRECONDITION, "no sandbox");
    expect_ok(begin_create_workload("app", "", WORKLOAD("pod")), "create workload");
    expect_ok(begin_start("app"), "start workload");
    expect_ok(begin_create_workload("gone", "", WORKLOAD("pod")), "create workload");
    expect_ok(begin_kill("gone", 9), "kill workload");
    host_restart(false); /* who belongs to whom survives */
    await_operator_event("TASK_RECOVERED", "alone");
    await_operator_event("TASK_RECOVERED", "pod");
    await_operator_event("TASK_RECOVERED", "app");
    expect_ok(begin_kill_all("pod", 9), "kill all");
    expect_exit("pod");
    expect_exit("app");
    assert_int_equal(state_of("alone"), TASK_RUNNING);
    expect_ok(begin_delete("app", false), "delete");
    expect_ok(begin_delete("gone", false), "delete");
    expect_ok(begin_delete("pod", false), "delete");
    end("alone");
}

static void test_pod_in_a_vm(void **state)
{
    (void)state;
    expect_ok(begin_create_workload("pod", VM, SANDBOX("pod")), "create sandbox");
    expect_ok(begin_start("pod"), "start sandbox");
    expect_error(begin_create_workload("app", VM, WORKLOAD("pod")), ERROR_KIND_UNIMPLEMENTED, "v1 document");
    end("pod");
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_pause),
        TEST(test_process_isolation_cannot_pause),
        TEST(test_pause_fails),
        TEST(test_kill_while_pausing),
        TEST(test_paused_over_a_restart),
        TEST(test_resize),
        TEST(test_close_stdin),
        TEST(test_update),
        TEST(test_statistics),
        TEST(test_processes),
        TEST(test_all_of_one_exec),
        TEST(test_runtime_options),
        TEST(test_spec_warnings),
        TEST(test_pod),
        TEST(test_pod_in_a_vm),
    };
    if (!host_begin(argc, argv))
        return 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_end();
    return failed;
}
