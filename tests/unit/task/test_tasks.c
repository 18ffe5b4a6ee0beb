/* lib/task over the emulator: the life of containers, bad input, and what the emulator's faults do to it. */
#include "host.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "journal/journal.h"

static void create(const char *id, const char *command)
{
    char *bundle = host_bundle(id, command);
    expect_ok(begin_create(id, bundle), "create");
    free(bundle);
}

static void run(const char *id, const char *command)
{
    create(id, command);
    expect_ok(begin_start(id), "start");
}

static void delete (const char *id)
{
    expect_ok(begin_delete(id, false), "delete");
    assert_int_equal(state_of(id), TASK_UNKNOWN);
    assert_false(host_layer_mounted(id));
}

static void assert_events(const char *expected)
{
    char *found = events();
    if (strcmp(found, expected))
        print_error("expected:\n%sfound:\n%s", expected, found);
    assert_string_equal(found, expected);
    free(found);
}

/* ---- lives ---- */

static void test_life(void **state)
{
    (void)state;
    create("web", "emu:sleep 0.2;exit 7");
    assert_int_equal(state_of("web"), TASK_CREATED);
    assert_true(host_layer_mounted("web"));
    struct request *wait = begin_wait("web"); /* before the start: legal */
    struct answer started = finish(begin_start("web"));
    assert_null(started.error);
    assert_int_equal(started.status, TASK_RUNNING);
    assert_true(started.pid != 0);
    assert_int_equal(started.exit_status, TASK_EXIT_NONE);
    answer_free(&started);
    struct answer exited = finish(wait);
    assert_null(exited.error);
    assert_int_equal(exited.exit_status, 7);
    assert_false(host_layer_mounted("web"));          /* the wait ends after the teardown … */
    assert_true(event_lines("/tasks/exit web") == 1); /* … and after the event */
    answer_free(&exited);
    assert_int_equal(state_of("web"), TASK_STOPPED);
    assert_int_equal(expect_exit("web"), 7); /* and again, at once */
    delete ("web");
    assert_events("/tasks/create web 1 255\n/tasks/start web 2 255\n/tasks/exit web 3 7\n/tasks/delete web 3 7\n");
}

static void test_real_process(void **state)
{
    (void)state;
    run("cmd", "cmd.exe /c exit 42");
    assert_int_equal(expect_exit("cmd"), 42);
    delete ("cmd");
}

/* The start event comes before the exit event however fast the init is. */
static void test_instant_exit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        run("fast", "emu:exit 3");
        assert_int_equal(expect_exit("fast"), 3);
        delete ("fast");
    }
    char *text = events();
    const char *at = text;
    for (unsigned i = 0; i < 10; i++)
        for (const char **topic = (const char *[]){"/tasks/create fast", "/tasks/start fast", "/tasks/exit fast",
                                                   "/tasks/delete fast", NULL};
             *topic; topic++) {
            assert_int_equal(strncmp(at, *topic, strlen(*topic)), 0);
            at = strchr(at, '\n') + 1;
        }
    assert_string_equal(at, "");
    free(text);
}

static void test_kill(void **state)
{
    (void)state;
    run("loop", "emu:sleep 3600");
    struct request *waits[3] = {begin_wait("loop"), begin_wait("loop"), begin_wait("loop")};
    expect_ok(begin_kill("loop", 9), "kill");
    for (unsigned i = 0; i < 3; i++) {
        struct answer answer = finish(waits[i]);
        assert_null(answer.error);
        assert_int_equal(answer.status, TASK_STOPPED);
        answer_free(&answer);
    }
    expect_error(begin_kill("loop", 9), ERROR_KIND_NOT_FOUND, "loop");
    delete ("loop");
    assert_int_equal(event_lines("/tasks/exit loop"), 1);
}

static void test_term_shuts_down(void **state)
{
    (void)state;
    run("loop", "emu:sleep 3600");
    expect_ok(begin_kill("loop", 15), "kill 15");
    expect_exit("loop");
    delete ("loop");
    assert_false(operator_event("TASK_EXITED_UNEXPECTEDLY", "loop"));
}

static void test_signals_that_mean_nothing(void **state)
{
    (void)state;
    run("loop", "emu:sleep 3600");
    expect_error(begin_kill("loop", 3), ERROR_KIND_FAILED_PRECONDITION, "signal 3");
    assert_int_equal(state_of("loop"), TASK_RUNNING);
    expect_ok(begin_kill("loop", 9), "kill");
    expect_exit("loop");
    delete ("loop");
}

static void test_kill_created(void **state)
{
    (void)state;
    create("idle", "emu:exit 0");
    expect_ok(begin_kill("idle", 15), "kill");
    assert_int_equal(expect_exit("idle"), 1);
    expect_error(begin_start("idle"), ERROR_KIND_FAILED_PRECONDITION, "idle");
    delete ("idle");
    assert_events("/tasks/create idle 1 255\n/tasks/exit idle 3 1\n/tasks/delete idle 3 1\n");
}

static void test_delete_created(void **state)
{
    (void)state;
    create("idle", "emu:exit 0");
    struct answer answer = finish(begin_delete("idle", false));
    assert_null(answer.error);
    assert_int_equal(answer.exit_status, 0);
    answer_free(&answer);
    assert_int_equal(state_of("idle"), TASK_UNKNOWN);
    assert_false(host_layer_mounted("idle"));
    assert_events("/tasks/create idle 1 255\n/tasks/exit idle 3 0\n/tasks/delete idle 3 0\n");
}

static void test_wrong_states(void **state)
{
    (void)state;
    expect_error(begin_start("none"), ERROR_KIND_NOT_FOUND, "none");
    expect_error(begin_kill("none", 9), ERROR_KIND_NOT_FOUND, "none");
    expect_error(begin_delete("none", false), ERROR_KIND_NOT_FOUND, "none");
    expect_error(begin_wait("none"), ERROR_KIND_NOT_FOUND, "none");
    run("web", "emu:sleep 3600");
    expect_error(begin_start("web"), ERROR_KIND_FAILED_PRECONDITION, "web");
    expect_error(begin_delete("web", false), ERROR_KIND_FAILED_PRECONDITION, "web");
    struct task_view view;
    struct error *error = task_state(host.tasks, "other", "web", "", &view);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
    error = task_state(host.tasks, "default", "web", "exec", &view);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
    struct answer forced = finish(begin_delete("web", true));
    assert_null(forced.error);
    assert_null(forced.stuck);
    answer_free(&forced);
    assert_int_equal(state_of("web"), TASK_UNKNOWN);
}

static void test_wait_can_be_taken_back(void **state)
{
    (void)state;
    run("loop", "emu:sleep 3600");
    struct request *wait = begin_wait("loop");
    assert_true(request_ticket(wait) != 0);
    assert_true(task_wait_cancel(host.tasks, request_ticket(wait)));
    assert_false(task_wait_cancel(host.tasks, request_ticket(wait)));
    expect_ok(begin_kill("loop", 9), "kill");
    expect_exit("loop");
    assert_false(request_answered(wait));
    abandon(wait);
    delete ("loop");
}

static void on_pids(void *context, struct error *error, const struct task_process_view *processes, size_t count)
{
    assert_null(error);
    assert_true(count >= 1);
    *(volatile uint32_t *)context = processes[0].pid;
}

static bool is_set(void *context)
{
    return *(volatile uint32_t *)context != 0;
}

static void test_pids(void **state)
{
    (void)state;
    volatile uint32_t pid = 0;
    create("web", "emu:sleep 3600");
    task_processes(host.tasks, "default", "web", 77, on_pids, (void *)&pid);
    await(is_set, (void *)&pid, "pids of a created container");
    assert_int_equal(pid, 77);
    struct answer started = finish(begin_start("web"));
    pid = 0;
    task_processes(host.tasks, "default", "web", 77, on_pids, (void *)&pid);
    await(is_set, (void *)&pid, "pids of a running container");
    assert_int_equal(pid, started.pid);
    answer_free(&started);
    expect_ok(begin_delete("web", true), "delete by force");
}

/* ---- execs ---- */

static void test_exec(void **state)
{
    (void)state;
    create("web", "emu:sleep 3600");
    expect_error(begin_exec("web", "one", "emu:exit 5", ""), ERROR_KIND_FAILED_PRECONDITION, "start it first");
    expect_ok(begin_start("web"), "start");
    expect_error(begin_exec("web", "", "emu:exit 5", ""), ERROR_KIND_ALREADY_EXISTS, NULL);
    expect_error(begin_exec("web", "a b", "emu:exit 5", ""), ERROR_KIND_INVALID_ARGUMENT, "a b");
    expect_error(begin_start_exec("web", "one"), ERROR_KIND_NOT_FOUND, "one");
    expect_ok(begin_exec("web", "one", "emu:exit 5", ""), "exec");
    expect_error(begin_exec("web", "one", "emu:exit 5", ""), ERROR_KIND_ALREADY_EXISTS, "one");
    struct request *wait = begin_wait_exec("web", "one");
    expect_ok(begin_start_exec("web", "one"), "start the exec");
    struct answer exited = finish(wait);
    assert_null(exited.error);
    assert_int_equal(exited.exit_status, 5);
    answer_free(&exited);
    expect_error(begin_kill_exec("web", "one", 9), ERROR_KIND_NOT_FOUND, "one");
    expect_ok(begin_delete_exec("web", "one"), "delete the exec");
    expect_error(begin_delete_exec("web", "one"), ERROR_KIND_NOT_FOUND, "one");

    expect_ok(begin_exec("web", "two", "emu:sleep 3600", ""), "exec");
    expect_ok(begin_start_exec("web", "two"), "start the exec");
    expect_error(begin_delete_exec("web", "two"), ERROR_KIND_FAILED_PRECONDITION, "two");
    expect_ok(begin_kill_exec("web", "two", 9), "kill the exec");
    exited = finish(begin_wait_exec("web", "two"));
    assert_int_equal(exited.status, TASK_STOPPED);
    answer_free(&exited);
    assert_int_equal(state_of("web"), TASK_RUNNING);

    expect_ok(begin_exec("web", "three", "no-such-program-at-all.exe", ""), "exec");
    expect_error(begin_start_exec("web", "three"), ERROR_KIND_NOT_FOUND, NULL);
    exited = finish(begin_wait_exec("web", "three"));
    assert_int_equal(exited.exit_status, 1);
    answer_free(&exited);

    /* What still runs ends with the container, and its exit is told before the container's. */
    expect_ok(begin_exec("web", "four", "emu:sleep 3600", ""), "exec");
    expect_ok(begin_start_exec("web", "four"), "start the exec");
    expect_ok(begin_exec("web", "five", "emu:exit 0", ""), "exec that is never started");
    struct request *five = begin_wait_exec("web", "five");
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    exited = finish(five);
    assert_int_equal(exited.exit_status, 1);
    answer_free(&exited);
    delete ("web");
    char *text = events();
    const char *exec_exit = strstr(text, "/tasks/exit web/four"), *exit = strstr(text, "/tasks/exit web ");
    assert_true(exec_exit && exit && exec_exit < exit);
    assert_null(strstr(text, "/tasks/exit web/five"));
    assert_null(strstr(text, "/tasks/exit web/three"));
    free(text);
    assert_int_equal(event_lines("/tasks/exec-added web/one"), 1);
    assert_int_equal(event_lines("/tasks/exec-started web/one"), 1);
    assert_int_equal(event_lines("/tasks/exit web/one"), 1);
    assert_int_equal(event_lines("/tasks/delete web/one"), 1);
}

/* ---- bad input ---- */

static void refuse(const char *what, const char *id, char *bundle, enum error_kind kind, const char *part)
{
    print_message("%s: ", what);
    expect_error(begin_create(id, bundle), kind, part);
    assert_int_equal(state_of(id), TASK_UNKNOWN);
    assert_false(host_layer_mounted(id));
    assert_int_equal(tasks_count(host.tasks), 0);
    free(bundle);
}

static void test_bad_bundles(void **state)
{
    (void)state;
    refuse("no bundle", "x", host_path("nowhere"), ERROR_KIND_NOT_FOUND, "nowhere");
    refuse("no config.json", "x", host_bundle_text("x", NULL), ERROR_KIND_NOT_FOUND, "config.json");
    refuse("no JSON", "x", host_bundle_text("x", "{"), ERROR_KIND_INVALID_ARGUMENT, "config.json");
    refuse("wrong type", "x", host_bundle_text("x", "{\"ociVersion\":\"1.1.0\",\"process\":{\"cwd\":7}}"),
           ERROR_KIND_INVALID_ARGUMENT, "process.cwd");
    refuse("one layer folder", "x",
           host_bundle_text("x", "{\"ociVersion\":\"1.1.0\",\"root\":{\"path\":\"\"},\"process\":{\"cwd\":\"C:\\\\\","
                                 "\"args\":[\"cmd\"]},\"windows\":{\"layerFolders\":[\"C:\\\\base\"]}}"),
           ERROR_KIND_INVALID_ARGUMENT, "layerFolders");
    refuse("missing layer", "x",
           host_bundle_text("x",
                            "{\"ociVersion\":\"1.1.0\",\"root\":{\"path\":\"\"},\"process\":{\"cwd\":\"C:\\\\\","
                            "\"args\":[\"cmd\"]},\"windows\":{\"layerFolders\":[\"C:\\\\base\",\"C:\\\\nolayer\"]}}"),
           ERROR_KIND_NOT_FOUND, "nolayer");
    refuse("bundle on another machine", "x", str_copy("\\\\server\\share\\bundle"), ERROR_KIND_INVALID_ARGUMENT,
           "local");
    refuse("bundle that is a pipe", "x", str_copy("\\\\.\\pipe\\x"), ERROR_KIND_INVALID_ARGUMENT, "local");
    refuse("relative bundle", "x", str_copy("bundle"), ERROR_KIND_INVALID_ARGUMENT, "absolute");
    refuse("bad id", "a/b", host_bundle("y", "emu:exit 0"), ERROR_KIND_INVALID_ARGUMENT, "id");
    refuse("empty id", "", host_bundle("y", "emu:exit 0"), ERROR_KIND_INVALID_ARGUMENT, "id");
    char *bundle = host_bundle("y", "emu:exit 0");
    expect_error(begin_create_stdio("y", bundle, "", "\\\\.\\pipe\\nobody-serves-this", ""), ERROR_KIND_NOT_FOUND,
                 "nobody-serves-this");
    expect_error(begin_create_stdio("y", bundle, "", "tcp://127.0.0.1/", ""), ERROR_KIND_INVALID_ARGUMENT, "stdout");
    assert_int_equal(tasks_count(host.tasks), 0);
    free(bundle);
}

static void test_id_in_use(void **state)
{
    (void)state;
    create("web", "emu:exit 0");
    char *bundle = host_bundle("web", "emu:exit 0");
    expect_error(begin_create("web", bundle), ERROR_KIND_ALREADY_EXISTS, "web");
    assert_int_equal(state_of("web"), TASK_CREATED);
    free(bundle);
    delete ("web");
}

/* Two containers over one scratch: the second's mount is refused, the first is not touched. */
static void test_scratch_in_use(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    char *bundle = host_path("bundle-web");
    struct answer answer = finish(begin_create("other", bundle));
    if (answer.error) /* who owns a layer is judged by the jobs module in the daemon */
        print_message("refused: %s\n", answer.error->message);
    assert_int_equal(state_of("web"), TASK_RUNNING);
    if (!answer.error)
        expect_ok(begin_delete("other", true), "delete");
    answer_free(&answer);
    free(bundle);
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    expect_ok(begin_delete("web", false), "delete");
}

static void test_no_such_command(void **state)
{
    (void)state;
    create("web", "no-such-program-at-all.exe");
    expect_error(begin_start("web"), ERROR_KIND_NOT_FOUND, NULL);
    assert_int_equal(expect_exit("web"), TASK_EXIT_NOT_STARTED);
    assert_int_equal(state_of("web"), TASK_STOPPED);
    delete ("web");
    assert_events("/tasks/create web 1 255\n/tasks/exit web 3 127\n/tasks/delete web 3 127\n");
}

static void test_draining(void **state)
{
    (void)state;
    tasks_drain(host.tasks);
    char *bundle = host_bundle("web", "emu:exit 0");
    expect_error(begin_create("web", bundle), ERROR_KIND_UNAVAILABLE, "stopping");
    free(bundle);
}

/* ---- many ---- */

#define MANY 50

static void test_many(void **state)
{
    (void)state;
    struct request *requests[MANY];
    char ids[MANY][16];
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "many%u", i);
        char command[32];
        snprintf(command, sizeof command, "emu:exit %u", i);
        char *bundle = host_bundle(ids[i], command);
        requests[i] = begin_create(ids[i], bundle);
        free(bundle);
    }
    for (unsigned i = 0; i < MANY; i++)
        expect_ok(requests[i], "create");
    assert_int_equal(tasks_count(host.tasks), MANY);
    for (unsigned i = 0; i < MANY; i++)
        requests[i] = begin_start(ids[i]);
    for (unsigned i = 0; i < MANY; i++)
        expect_ok(requests[i], "start");
    for (unsigned i = 0; i < MANY; i++)
        requests[i] = begin_wait(ids[i]);
    for (unsigned i = 0; i < MANY; i++) {
        struct answer answer = finish(requests[i]);
        assert_null(answer.error);
        assert_int_equal(answer.exit_status, i);
        answer_free(&answer);
    }
    struct task_view *views;
    size_t count;
    task_list(host.tasks, "default", &views, &count);
    assert_int_equal(count, MANY);
    for (size_t i = 1; i < count; i++)
        assert_true(strcmp(views[i - 1].id, views[i].id) < 0);
    task_views_free(views, count);
    task_list(host.tasks, "other", &views, &count);
    assert_int_equal(count, 0);
    task_views_free(views, count);
    for (unsigned i = 0; i < MANY; i++)
        requests[i] = begin_delete(ids[i], false);
    for (unsigned i = 0; i < MANY; i++)
        expect_ok(requests[i], "delete");
    assert_int_equal(event_lines("/tasks/exit"), MANY);
}

static void cycle(void)
{
    run("cycle", "emu:exit 0");
    assert_int_equal(expect_exit("cycle"), 0);
    delete ("cycle");
    create("cycle", "no-such-program-at-all.exe");
    struct answer answer = finish(begin_start("cycle"));
    assert_non_null(answer.error);
    answer_free(&answer);
    expect_exit("cycle");
    delete ("cycle");
    char *bundle = host_bundle_text("bad", "{");
    answer = finish(begin_create("cycle", bundle));
    assert_non_null(answer.error);
    answer_free(&answer);
    free(bundle);
}

/* Threads of pools come and go, so a few handles may differ; twenty leaky cycles would not stay below that. */
static void test_handles(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        cycle();
    unsigned long before = host_handles();
    for (unsigned i = 0; i < 20; i++)
        cycle();
    unsigned long after = host_handles();
    print_message("handles: %lu before, %lu after 20 cycles\n", before, after);
    assert_true(after < before + 15);
}

/* ---- faults ---- */

static void test_create_fails(void **state)
{
    (void)state;
    char *bundle = host_bundle("web", "emu:exit 0");
    host_faults("[{\"call\":\"HcsCreateComputeSystem\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}]");
    expect_error(begin_create("web", bundle), ERROR_KIND_PERMISSION_DENIED, "HcsCreateComputeSystem");
    assert_false(host_layer_mounted("web"));
    host_faults("[{\"call\":\"HcsCreateComputeSystem\",\"action\":\"hang\"}]");
    expect_error(begin_create("web", bundle), ERROR_KIND_DEADLINE_EXCEEDED, "HcsCreateComputeSystem");
    assert_false(host_layer_mounted("web"));
    host_faults(NULL);
    free(bundle);
}

static void test_create_pending(void **state)
{
    (void)state;
    char *bundle = host_bundle("web", "emu:exit 0");
    host_faults("[{\"call\":\"HcsCreateComputeSystem\",\"action\":\"pending\"}]");
    expect_error(begin_create("web", bundle), ERROR_KIND_DEADLINE_EXCEEDED, "HcsCreateComputeSystem");
    host_faults(NULL);
    assert_false(host_layer_mounted("web"));
    free(bundle);
}

static void test_start_hangs(void **state)
{
    (void)state;
    create("web", "emu:exit 0");
    host_faults("[{\"call\":\"HcsStartComputeSystem\",\"action\":\"hang\"}]");
    expect_error(begin_start("web"), ERROR_KIND_DEADLINE_EXCEEDED, "HcsStartComputeSystem");
    assert_int_equal(expect_exit("web"), TASK_EXIT_NOT_STARTED);
    host_faults(NULL);
    delete ("web");
}

/* A kill overtakes a start that hangs, and the start ends with it. */
static void test_kill_while_starting(void **state)
{
    (void)state;
    create("web", "emu:exit 0");
    host_faults("[{\"call\":\"HcsCreateProcess\",\"action\":\"hang\"}]");
    struct request *start = begin_start("web");
    expect_ok(begin_kill("web", 9), "kill");
    expect_error(start, ERROR_KIND_ABORTED, "killed");
    assert_int_equal(expect_exit("web"), 1);
    host_faults(NULL);
    delete ("web");
    assert_int_equal(event_lines("/tasks/start"), 0);
    assert_int_equal(event_lines("/tasks/exit"), 1);
}

/* A signal that comes while an exec is being started is not lost, and nothing takes a kill back. */
static void test_signal_while_exec_starts(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    expect_ok(begin_exec("web", "signalled", "emu:sleep 3600", ""), "exec");
    expect_ok(begin_exec("web", "killed", "emu:sleep 3600", ""), "exec");
    static const char *const ids[] = {"signalled", "killed"};
    for (unsigned i = 0; i < 2; i++) {
        host_faults("[{\"call\":\"HcsCreateProcess\",\"action\":\"hang\"}]");
        struct request *start = begin_start_exec("web", ids[i]);
        if (i == 1)
            expect_ok(begin_kill_exec("web", ids[i], 9), "kill");
        struct request *signal = begin_kill_exec("web", ids[i], 15);
        assert_int_equal(request_answered(signal), i == 1);
        host_faults(NULL);
        expect_ok(start, "start");
        expect_ok(signal, "signal");
        struct answer exited = finish(begin_wait_exec("web", ids[i]));
        assert_null(exited.error);
        answer_free(&exited);
    }
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    delete ("web");
}

static void test_terminate_fails(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    /* Only the first handle's: the ladder opens a fresh one. */
    host_faults(
        "[{\"call\":\"HcsTerminateComputeSystem\",\"action\":\"fail\",\"hresult\":\"0xC0370105\",\"count\":1}]");
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    assert_true(operator_event("KILL_ESCALATED", "web"));
    delete ("web");
}

/* Nothing helps: the kill answers within its bound, naming the call; delete is refused with the reason; once the fault is
 * gone the next round of the ladder ends it. */
static void test_stuck(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    host_faults("[{\"call\":\"HcsTerminateComputeSystem\",\"action\":\"hang\"},"
                "{\"call\":\"HcsTerminateProcess\",\"action\":\"hang\"}]");
    expect_error(begin_kill("web", 9), ERROR_KIND_DEADLINE_EXCEEDED, "HcsTerminate");
    await_operator_event("TASK_STUCK", "web");
    expect_error(begin_delete("web", false), ERROR_KIND_FAILED_PRECONDITION, "every way to end it was tried");
    assert_int_equal(state_of("web"), TASK_RUNNING);
    run("other", "emu:exit 5"); /* others are not touched */
    assert_int_equal(expect_exit("other"), 5);
    delete ("other");
    host_faults(NULL);
    expect_exit("web");
    await_operator_event("TASK_UNSTUCK", "web");
    delete ("web");
}

static void test_forced(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    static const char *const execs[] = {"runs", "waits"};
    struct request *waits[2];
    for (unsigned i = 0; i < 2; i++) {
        expect_ok(begin_exec("web", execs[i], "emu:sleep 3600", ""), "exec");
        waits[i] = begin_wait_exec("web", execs[i]);
    }
    expect_ok(begin_start_exec("web", "runs"), "start exec");
    host_faults("[{\"call\":\"HcsTerminateComputeSystem\",\"action\":\"pending\"},"
                "{\"call\":\"HcsTerminateProcess\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}]");
    struct answer forced = finish(begin_delete("web", true));
    assert_null(forced.error);
    assert_non_null(forced.stuck);
    answer_free(&forced);
    for (unsigned i = 0; i < 2; i++) { /* nobody waits on for what has gone out of sight */
        struct answer answer = finish(waits[i]);
        assert_null(answer.error);
        assert_int_equal(answer.exit_status, i == 0 ? 0xFFFFFFFFu : 1);
        answer_free(&answer);
    }
    char *text = events();
    const char *exec_exit = strstr(text, "/tasks/exit web/runs"), *exit = strstr(text, "/tasks/exit web ");
    assert_true(exec_exit && exit && exec_exit < exit);
    assert_null(strstr(text, "/tasks/exit web/waits"));
    free(text);
    assert_int_equal(state_of("web"), TASK_UNKNOWN);
    assert_int_equal(event_lines("/tasks/exit web "), 1);
    assert_int_equal(event_lines("/tasks/delete web"), 1);
    assert_true(operator_event("TASK_FORCE_DELETED", "web"));
    char *bundle = host_path("bundle-web");
    expect_error(begin_create("web", bundle), ERROR_KIND_ALREADY_EXISTS, "force");
    free(bundle);
    host_faults(NULL);
    await_operator_event("TASK_UNSTUCK", "web"); /* the ladder has gone on */
    assert_int_equal(event_lines("/tasks/exit web/runs"), 1);
}

/* The process has ended, its system does not: what is known of it is told. */
static void test_forced_after_the_exit(void **state)
{
    (void)state;
    host_faults("[{\"call\":\"HcsShutdownComputeSystem\",\"action\":\"pending\"},"
                "{\"call\":\"HcsTerminateComputeSystem\",\"action\":\"pending\"}]");
    run("web", "emu:exit 7");
    await_operator_event("KILL_ESCALATED", "web"); /* it is at the system, so the code is known */
    struct request *wait = begin_wait("web");
    expect_ok(begin_delete("web", true), "delete by force");
    struct answer answer = finish(wait);
    assert_null(answer.error);
    assert_int_equal(answer.exit_status, 7);
    answer_free(&answer);
    host_faults(NULL);
    await_operator_event("TASK_UNSTUCK", "web");
}

/* A disk that does not take the journal's word for it must not hold up all the timers. */
static void test_forced_not_on_the_timers_thread(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    host_faults("[{\"call\":\"HcsTerminateComputeSystem\",\"action\":\"hang\"},"
                "{\"call\":\"HcsTerminateProcess\",\"action\":\"hang\"}]");
    struct answer at_bound = finish(begin_kill("web", 9)), forced = finish(begin_delete("web", true));
    assert_non_null(at_bound.error);
    assert_int_equal(at_bound.error->kind, ERROR_KIND_DEADLINE_EXCEEDED);
    assert_null(forced.error);
    assert_true(operator_event("TASK_FORCE_DELETED", "web"));
    assert_int_not_equal(at_bound.thread, forced.thread);
    answer_free(&at_bound);
    answer_free(&forced);
    host_faults(NULL);
    await_operator_event("TASK_UNSTUCK", "web");
}

/* ---- restarts ---- */

static void test_restart(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    create("idle", "emu:exit 4");
    run("done", "emu:exit 9");
    assert_int_equal(expect_exit("done"), 9);
    host_restart(false);
    assert_int_equal(state_of("web"), TASK_RUNNING);
    assert_int_equal(state_of("idle"), TASK_CREATED);
    assert_int_equal(state_of("done"), TASK_STOPPED);
    assert_int_equal(expect_exit("done"), 9);
    await_operator_event("TASK_RECOVERED", "web");
    await_operator_event("TASK_RECOVERED", "idle");
    expect_ok(begin_start("idle"), "start after the restart");
    assert_int_equal(expect_exit("idle"), 4);
    expect_ok(begin_kill("web", 9), "kill after the restart");
    expect_exit("web");
    assert_int_equal(event_lines("/tasks/exit web"), 1);
    delete ("web");
    delete ("idle");
    delete ("done");
}

/* Whoever has stopped has released its layers, or has left that to others: it is not who keeps them. */
static void test_who_holds_layers(void **state)
{
    (void)state;
    char **holders = NULL;
    size_t count = 0;
    run("done", "emu:exit 9");
    assert_int_equal(expect_exit("done"), 9);
    run("web", "emu:sleep 3600");
    host_restart(false);
    tasks_holders(host.tasks, &holders, &count);
    assert_int_equal(count, 1);
    assert_string_equal(holders[0], "container web");
    free(holders[0]);
    free(holders);
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    delete ("web");
    delete ("done");
}

static void test_exit_during_restart(void **state)
{
    (void)state;
    run("web", "emu:sleep 1");
    tasks_close(host.tasks, HOST_BOUND_MS);
    /* Ends while nobody holds a handle: seen from outside, through the emulator itself. */
    struct hcs_system *system;
    assert_null(hcs_system_open(host.compute, "web", NULL, &system));
    assert_null(hcs_system_terminate(system, NULL, NULL));
    assert_null(hcs_system_wait_exit(system, NULL, NULL));
    error_free(hcs_system_close(system));
    host.tasks = NULL;
    host_restart(false);
    assert_int_equal(expect_exit("web"), TASK_EXIT_UNKNOWN);
    assert_true(operator_event("TASK_EXIT_UNKNOWN", "web"));
    delete ("web");
}

static void test_survivors_are_terminated_when_asked(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    create("idle", "emu:exit 4");
    host_restart(true);
    expect_exit("web");
    assert_int_equal(expect_exit("idle"), 1);
    delete ("web");
    delete ("idle");
}

static void test_leftovers(void **state)
{
    (void)state;
    struct hcs_system *system;
    assert_null(hcs_system_create(host.compute, "nobodys",
                                  "{\"SystemType\":\"Container\",\"Name\":\"nobodys\",\"Owner\":\"hcsd\",\"Layers\":[],"
                                  "\"HvPartition\":false}",
                                  NULL, &system));
    error_free(hcs_system_close(system));
    host_restart(false);
    await_operator_event("TASK_ORPHAN_ENDED", "nobodys");
}

/* hcsd was killed while HCS was creating it, and HCS is through with that only when the next one has looked. */
static void test_created_late(void **state)
{
    (void)state;
    struct hcs_system *system;
    char *folder = host_state(), **holders = NULL;
    struct journal *journal = NULL;
    struct journal_document document;
    const struct journal_key key = {"default", "late"};
    size_t count = 1;
    create("late", "emu:exit 4");
    tasks_close(host.tasks, HOST_BOUND_MS);
    host.tasks = NULL;
    assert_null(journal_open(folder, "task", 1, &journal));
    assert_null(journal_load(journal, &key, &document));
    json_object_set_new(document.body, "phase", json_string("creating"));
    assert_null(journal_save(journal, &key, document.body));
    journal_document_free(&document);
    journal_free(journal);
    host_restart(false);
    while (count > 0) { /* ctest bounds it */
        tasks_holders(host.tasks, &holders, &count);
        for (size_t i = 0; i < count; i++)
            free(holders[i]);
        free(holders);
        Sleep(20); /* banned-ok: nothing tells of it */
    }
    assert_null(hcs_system_create(host.compute, "late",
                                  "{\"SystemType\":\"Container\",\"Name\":\"late\",\"Owner\":\"hcsd\",\"Layers\":[],"
                                  "\"HvPartition\":false}",
                                  NULL, &system));
    error_free(hcs_system_close(system));
    await_operator_event("TASK_ORPHAN_ENDED", "late");
    free(folder);
}

/* Somebody put an older hcsd back, or the document is damaged: the container is not known, but it is somebody's. */
static void test_what_cannot_be_read_runs_on(void **state)
{
    (void)state;
    struct hcs_system *system;
    char **holders = NULL;
    size_t count = 0;
    run("web", "emu:sleep 3600");
    char *folder = host_state(), *document = path_join(folder, "default~web.json");
    struct buffer content = {0};
    tasks_close(host.tasks, HOST_BOUND_MS);
    assert_null(file_read(document, 1u << 20, &content));
    assert_null(file_replace(document, "{", 1, NULL));
    assert_null(hcs_system_create(host.compute, "nobodys",
                                  "{\"SystemType\":\"Container\",\"Name\":\"nobodys\",\"Owner\":\"hcsd\",\"Layers\":[],"
                                  "\"HvPartition\":false}",
                                  NULL, &system));
    error_free(hcs_system_close(system));
    host.tasks = NULL;
    host_restart(false);
    await_operator_event("TASK_ORPHAN_ENDED", "nobodys");
    assert_false(operator_event("TASK_ORPHAN_ENDED", "web"));
    tasks_holders(host.tasks, &holders, &count);
    assert_int_equal(count, 1);
    assert_string_equal(holders[0], "container web");
    free(holders[0]);
    free(holders);
    assert_int_equal(state_of("web"), TASK_UNKNOWN);
    /* The document is back: so is the container, and it ran all the time. */
    tasks_close(host.tasks, HOST_BOUND_MS);
    assert_null(file_replace(document, content.data, content.size, NULL));
    host.tasks = NULL;
    host_restart(false);
    assert_int_equal(state_of("web"), TASK_RUNNING);
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    delete ("web");
    buffer_free(&content);
    free(document);
    free(folder);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_real_process),
        TEST(test_instant_exit),
        TEST(test_kill),
        TEST(test_term_shuts_down),
        TEST(test_signals_that_mean_nothing),
        TEST(test_kill_created),
        TEST(test_delete_created),
        TEST(test_wrong_states),
        TEST(test_wait_can_be_taken_back),
        TEST(test_pids),
        TEST(test_exec),
        TEST(test_bad_bundles),
        TEST(test_id_in_use),
        TEST(test_scratch_in_use),
        TEST(test_no_such_command),
        TEST(test_draining),
        TEST(test_many),
        TEST(test_handles),
        TEST(test_create_fails),
        TEST(test_create_pending),
        TEST(test_start_hangs),
        TEST(test_kill_while_starting),
        TEST(test_signal_while_exec_starts),
        TEST(test_terminate_fails),
        TEST(test_stuck),
        TEST(test_forced),
        TEST(test_forced_after_the_exit),
        TEST(test_forced_not_on_the_timers_thread),
        TEST(test_restart),
        TEST(test_who_holds_layers),
        TEST(test_exit_during_restart),
        TEST(test_survivors_are_terminated_when_asked),
        TEST(test_leftovers),
        TEST(test_created_late),
        TEST(test_what_cannot_be_read_runs_on),
    };
    if (!host_begin(argc, argv))
        return 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_end();
    return failed;
}
