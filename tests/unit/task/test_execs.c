/* Execs over a restart, also one that comes at the worst moment: between any two steps of a start or of an end. What a crash leaves on
 * disk is made by changing the documents while nobody uses them. */
#include "host.h"

#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "journal/journal.h"

#define UNKNOWN 0xFFFFFFFFu

static void run(const char *id, const char *command)
{
    char *bundle = host_bundle(id, command);
    expect_ok(begin_create(id, bundle), "create");
    expect_ok(begin_start(id), "start");
    free(bundle);
}

static uint32_t run_exec(const char *id, const char *exec_id, const char *command)
{
    expect_ok(begin_exec(id, exec_id, command, ""), "exec");
    struct answer answer = finish(begin_start_exec(id, exec_id));
    assert_null(answer.error);
    uint32_t pid = answer.pid;
    assert_int_not_equal(pid, 0);
    answer_free(&answer);
    return pid;
}

static uint32_t exec_exit(const char *id, const char *exec_id)
{
    struct answer answer = finish(begin_wait_exec(id, exec_id));
    assert_null(answer.error);
    assert_int_equal(answer.status, TASK_STOPPED);
    assert_true(answer.exited_ns > 0);
    uint32_t code = answer.exit_status;
    answer_free(&answer);
    return code;
}

static void end(const char *id)
{
    expect_ok(begin_kill(id, 9), "kill");
    expect_exit(id);
    expect_ok(begin_delete(id, false), "delete");
}

static void expect_exec(const char *id, const char *exec_id, enum task_status status, uint32_t pid)
{
    struct task_view view;
    struct error *error = task_state(host.tasks, "default", id, exec_id, &view);
    assert_null(error);
    print_message("%s/%s: status %d, pid %u\n", id, exec_id, view.status, view.pid);
    assert_int_equal(view.status, status);
    assert_int_equal(view.pid, pid);
    task_view_free(&view);
}

/* ---- the documents of execs ---- */

static struct journal *open_journal(int version)
{
    struct journal *journal;
    char *state = host_state(), *folder = path_join(state, "execs");
    assert_null(journal_open(folder, "exec", version, &journal));
    free(folder);
    free(state);
    return journal;
}

static size_t documents(void)
{
    struct journal *journal = open_journal(1);
    struct journal_list list;
    assert_null(journal_list(journal, &list));
    size_t count = list.count + list.refused_count;
    journal_list_free(&list);
    journal_free(journal);
    return count;
}

/* What a crash has left of the exec's document; `version`: of the hcsd that has written it. */
static void change(const char *exec_id, int version, void (*how)(json_t *body))
{
    struct journal *journal = open_journal(version);
    struct journal_list list;
    unsigned changed = 0;
    assert_null(journal_list(journal, &list));
    for (size_t i = 0; i < list.count; i++) {
        struct journal_document *document = &list.documents[i];
        const struct journal_key key = {document->space, document->id};
        if (strcmp(json_string_value(json_object_get(document->body, "exec")), exec_id) != 0)
            continue;
        how(document->body);
        assert_null(journal_save(journal, &key, document->body));
        changed++;
    }
    assert_int_equal(changed, 1);
    journal_list_free(&list);
    journal_free(journal);
}

static void close_tasks(void)
{
    tasks_close(host.tasks, HOST_BOUND_MS);
    relays_close(host.relays);
}

static void restart_with(const char *exec_id, void (*how)(json_t *body))
{
    close_tasks();
    change(exec_id, 1, how);
    host_open(false);
}

/* What is asked of its lane comes after that. */
static void taken_up(const char *id)
{
    struct request *request = request_new();
    await_operator_event("TASK_RECOVERED", id);
    task_close_stdin(host.tasks, "default", id, "", request_done, request);
    expect_ok(request, "close stdin");
}

/* ---- what is found again ---- */

static void test_running(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "x", "emu:sleep 3600");
    host_restart(false);
    taken_up("web");
    expect_exec("web", "x", TASK_RUNNING, pid);
    expect_error(begin_exec("web", "x", "emu:exit 0", ""), ERROR_KIND_ALREADY_EXISTS, "x");
    expect_error(begin_start_exec("web", "x"), ERROR_KIND_FAILED_PRECONDITION, "running already");
    expect_error(begin_delete_exec("web", "x"), ERROR_KIND_FAILED_PRECONDITION, "running");
    struct request *wait = begin_wait_exec("web", "x");
    host_restart(false); /* and again: the wait is answered, the exec runs on */
    expect_error(wait, ERROR_KIND_UNAVAILABLE, NULL);
    taken_up("web");
    wait = begin_wait_exec("web", "x");
    expect_ok(begin_kill_exec("web", "x", 9), "kill the exec");
    struct answer answer = finish(wait);
    assert_null(answer.error);
    assert_int_not_equal(answer.exit_status, UNKNOWN);
    answer_free(&answer);
    assert_int_equal(event_lines("/tasks/exit web/x"), 1);
    host_restart(false); /* once more: its end is known, and not told again */
    assert_int_equal(exec_exit("web", "x"), answer.exit_status);
    expect_error(begin_kill_exec("web", "x", 9), ERROR_KIND_NOT_FOUND, "ended");
    expect_ok(begin_delete_exec("web", "x"), "delete the exec");
    assert_int_equal(documents(), 0);
    assert_int_equal(event_lines("/tasks/exit web/x"), 1);
    assert_int_equal(event_lines("/tasks/exec-started web/x"), 1);
    end("web");
    assert_false(operator_event("EXEC_EXIT_UNKNOWN", "x"));
}

/* It ends by itself after the restart, with its own code. */
static void test_own_code(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    run_exec("web", "x", "emu:sleep 1;exit 9");
    host_restart(false);
    assert_int_equal(exec_exit("web", "x"), 9);
    assert_int_equal(event_lines("/tasks/exit web/x 3 9"), 1);
    end("web");
    assert_int_equal(documents(), 0);
}

static void test_ended_meanwhile(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "x", "emu:sleep 3600");
    close_tasks();
    struct hcs_system *system;
    struct hcs_process *process;
    assert_null(hcs_system_open(host.compute, "web", NULL, &system));
    assert_null(hcs_process_open(system, pid, NULL, &process));
    assert_null(hcs_process_terminate(process, NULL, NULL));
    assert_null(hcs_process_wait_exit(process, NULL, NULL));
    assert_null(hcs_process_close(process));
    assert_null(hcs_system_close(system));
    host_open(false);
    assert_int_equal(exec_exit("web", "x"), UNKNOWN);
    assert_true(operator_event("EXEC_EXIT_UNKNOWN", "x"));
    assert_int_equal(event_lines("/tasks/exit web/x 3 4294967295"), 1);
    end("web");
}

/* One that was only created stays so, is started with what it was given, and goes with its container. */
static void test_created(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    expect_ok(begin_exec("web", "x", "emu:exit 6", ""), "exec");
    expect_ok(begin_exec("web", "killed", "emu:exit 6", ""), "exec");
    expect_ok(begin_exec("web", "left", "emu:exit 6", ""), "exec");
    expect_ok(begin_kill_exec("web", "killed", 15), "kill before the start");
    host_restart(false);
    taken_up("web");
    expect_exec("web", "x", TASK_CREATED, 0);
    assert_int_equal(exec_exit("web", "killed"), 1);
    expect_ok(begin_start_exec("web", "x"), "start");
    assert_int_equal(exec_exit("web", "x"), 6);
    assert_int_equal(event_lines("/tasks/exec-added web/x"), 1);
    host_restart(false);
    taken_up("web");
    expect_error(begin_start_exec("web", "x"), ERROR_KIND_FAILED_PRECONDITION, "only once");
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    assert_int_equal(exec_exit("web", "left"), 1);
    host_restart(false);
    assert_int_equal(exec_exit("web", "left"), 1);
    assert_int_equal(exec_exit("web", "x"), 6);
    assert_int_equal(event_lines("/tasks/exit web/left"), 0);
    expect_ok(begin_delete("web", false), "delete");
    assert_int_equal(documents(), 0);
}

/* hcsd comes back to a container that has ended: its execs are told before it. */
static void test_container_ended_meanwhile(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    run_exec("web", "x", "emu:sleep 3600");
    close_tasks();
    struct hcs_system *system;
    assert_null(hcs_system_open(host.compute, "web", NULL, &system));
    assert_null(hcs_system_terminate(system, NULL, NULL));
    assert_null(hcs_system_wait_exit(system, NULL, NULL));
    assert_null(hcs_system_close(system));
    host_open(false);
    assert_int_equal(expect_exit("web"), UNKNOWN);
    assert_int_equal(exec_exit("web", "x"), UNKNOWN);
    char *text = events();
    const char *exec = strstr(text, "/tasks/exit web/x 3 4294967295"), *init = strstr(text, "/tasks/exit web 3");
    assert_true(exec && init && exec < init);
    free(text);
    expect_ok(begin_delete("web", false), "delete");
    assert_int_equal(documents(), 0);
}

static void test_survivors_are_ended(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    run_exec("web", "x", "emu:sleep 3600");
    host_restart(true);
    expect_exit("web");
    exec_exit("web", "x");
    assert_int_equal(event_lines("/tasks/exit web/x"), 1);
    expect_ok(begin_delete("web", false), "delete");
}

/* A paused VM tells nothing of its processes: they are taken up when it is resumed. */
static void test_paused(void **state)
{
    (void)state;
    char *bundle = host_bundle_with("vm", "emu:sleep 3600", ",\"hyperv\":{}", "");
    expect_ok(begin_create("vm", bundle), "create");
    free(bundle);
    expect_ok(begin_start("vm"), "start");
    uint32_t pid = run_exec("vm", "x", "emu:sleep 3600");
    struct request *request = request_new();
    task_pause(host.tasks, "default", "vm", request_done, request);
    expect_ok(request, "pause");
    host_restart(false);
    taken_up("vm");
    expect_exec("vm", "x", TASK_RUNNING, pid);
    request = request_new();
    task_resume(host.tasks, "default", "vm", request_done, request);
    expect_ok(request, "resume");
    expect_ok(begin_kill_exec("vm", "x", 9), "kill the exec");
    assert_int_not_equal(exec_exit("vm", "x"), UNKNOWN);
    end("vm");
}

/* ---- a crash between any two steps ---- */

static void as_starting(json_t *body)
{
    json_object_set_new(body, "phase", json_string("starting"));
}

static void as_about_to_start(json_t *body)
{
    as_starting(body);
    json_object_set_new(body, "pid", json_integer(0));
}

static void as_draining(json_t *body)
{
    json_object_set_new(body, "phase", json_string("ending"));
    json_object_set_new(body, "exit_code", json_integer(11));
    json_object_set_new(body, "noticed_ns", json_integer(1795910000000000000));
}

static void as_older_process(json_t *body)
{
    json_int_t begun = json_integer_value(json_object_get(body, "begun_ns"));
    json_object_set_new(body, "begun_ns", json_integer(begun - 60000000000));
    json_object_set_new(body, "started_ns", json_integer(begun - 59000000000));
}

static void as_of_another_container(json_t *body)
{
    json_object_set_new(body, "instance", json_string("1"));
}

static void unchanged(json_t *body)
{
    (void)body;
}

/* Before HcsCreateProcess, or in it: nobody can know whether it ran, and it is not run again. */
static void test_crash_before_pid(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    run_exec("web", "x", "emu:sleep 3600");
    restart_with("x", as_about_to_start);
    taken_up("web");
    assert_int_equal(exec_exit("web", "x"), UNKNOWN);
    expect_error(begin_start_exec("web", "x"), ERROR_KIND_FAILED_PRECONDITION, "only once");
    host_restart(false);
    assert_int_equal(exec_exit("web", "x"), UNKNOWN);
    assert_int_equal(event_lines("/tasks/exit web/x"), 0); /* its start was never told */
    expect_ok(begin_delete_exec("web", "x"), "delete the exec");
    end("web");
}

/* The pid is written, the start is not told yet. */
static void test_crash_after_pid(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "x", "emu:sleep 3600");
    restart_with("x", as_starting);
    taken_up("web");
    expect_exec("web", "x", TASK_RUNNING, pid);
    expect_ok(begin_kill_exec("web", "x", 9), "kill the exec");
    assert_int_not_equal(exec_exit("web", "x"), UNKNOWN);
    end("web");
}

/* Its output was still being passed on: the code is told all the same. */
static void test_crash_before_exit_is_told(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    run_exec("web", "x", "emu:sleep 3600");
    restart_with("x", as_draining);
    assert_int_equal(exec_exit("web", "x"), 11);
    assert_int_equal(event_lines("/tasks/exit web/x 3 11"), 1);
    end("web");
}

/* Another process has its pid: it is neither taken for the exec nor ended. */
static void test_pid_taken(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "x", "emu:sleep 3600");
    restart_with("x", as_older_process);
    assert_int_equal(exec_exit("web", "x"), UNKNOWN);
    struct hcs_system *system;
    struct hcs_process *process;
    assert_null(hcs_system_open(host.compute, "web", NULL, &system));
    assert_null(hcs_process_open(system, pid, NULL, &process));
    assert_null(hcs_process_close(process));
    assert_null(hcs_system_close(system));
    end("web");
}

/* The container was deleted, and made anew with the same id. */
static void test_leftover_document(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    run_exec("web", "x", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "y", "emu:sleep 3600");
    restart_with("x", as_of_another_container);
    taken_up("web");
    expect_error(begin_start_exec("web", "x"), ERROR_KIND_NOT_FOUND, "x");
    expect_exec("web", "y", TASK_RUNNING, pid);
    assert_int_equal(documents(), 1);
    end("web");
    assert_int_equal(documents(), 0);
}

/* The init's code is not lost while the rest of its end is under way. */
static void as_ended_init(void)
{
    struct journal *journal;
    struct journal_document document;
    const struct journal_key key = {"default", "web"};
    char *state = host_state();
    assert_null(journal_open(state, "task", 1, &journal));
    assert_null(journal_load(journal, &key, &document));
    as_draining(document.body);
    assert_null(journal_save(journal, &key, document.body));
    journal_document_free(&document);
    journal_free(journal);
    free(state);
}

static void test_crash_in_end_of_container(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    close_tasks();
    as_ended_init();
    host_open(false);
    struct answer answer = finish(begin_wait("web"));
    assert_null(answer.error);
    assert_int_equal(answer.exit_status, 11);
    assert_int_equal(answer.exited_ns, 1795910000000000000);
    answer_free(&answer);
    assert_int_equal(event_lines("/tasks/exit web 3 11"), 1);
    assert_false(operator_event("TASK_EXIT_UNKNOWN", "web"));
    expect_ok(begin_delete("web", false), "delete");
}

/* A newer hcsd has written it: it is left as it is, and so is what it tells of. */
static void test_newer_document(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "x", "emu:sleep 3600");
    close_tasks();
    change("x", 2, unchanged);
    host_open(false);
    taken_up("web");
    await_operator_event("STATE_REFUSED", "newer");
    expect_error(begin_start_exec("web", "x"), ERROR_KIND_NOT_FOUND, "x");
    expect_ok(begin_exec("web", "x", "emu:exit 0", ""), "an exec of the same id");
    expect_ok(begin_delete_exec("web", "x"), "delete it");
    struct journal *journal = open_journal(2);
    struct journal_list list;
    assert_null(journal_list(journal, &list));
    assert_int_equal(list.count, 1);
    assert_int_equal(list.documents[0].version, 2);
    assert_int_equal(json_integer_value(json_object_get(list.documents[0].body, "pid")), pid);
    journal_list_free(&list);
    journal_free(journal);
    end("web");
    assert_int_equal(documents(), 1);
}

/* ---- HCS that does not answer ---- */

static void test_open_fails(void **state)
{
    (void)state;
    run("web", "emu:sleep 3600");
    uint32_t pid = run_exec("web", "x", "emu:sleep 3600");
    close_tasks();
    host_faults("[{\"call\":\"HcsGetComputeSystemProperties\",\"match\":\"web\",\"action\":\"fail\","
                "\"hresult\":\"0x800706BA\",\"count\":1}]"); /* the service is away */
    host_open(false);
    expect_exec("web", "x", TASK_RUNNING, pid);
    taken_up("web");
    host_faults(NULL);
    expect_exec("web", "x", TASK_RUNNING, pid);
    expect_ok(begin_kill_exec("web", "x", 9), "kill the exec");
    assert_int_not_equal(exec_exit("web", "x"), UNKNOWN);
    end("web");
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_running),
        TEST(test_own_code),
        TEST(test_ended_meanwhile),
        TEST(test_created),
        TEST(test_container_ended_meanwhile),
        TEST(test_survivors_are_ended),
        TEST(test_paused),
        TEST(test_crash_before_pid),
        TEST(test_crash_after_pid),
        TEST(test_crash_before_exit_is_told),
        TEST(test_pid_taken),
        TEST(test_leftover_document),
        TEST(test_crash_in_end_of_container),
        TEST(test_newer_document),
        TEST(test_open_fails),
    };
    if (!host_begin(argc, argv))
        return 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_end();
    return failed;
}
