#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/win.h"

#define E(name) HCS_EXPORT_##name
#define SHORT   (&(struct guard_wait){.ms = 20})

static struct guard *guard;
static struct compute *compute;
static struct hcs_system *container;

static int setup(void **state)
{
    fixture_setup(state);
    expect_ok(guard_new(&(struct guard_options){0}, &guard));
    expect_ok(compute_new(&fake.library, guard, NULL, NULL, &compute));
    expect_ok(hcs_system_create(compute, "web", "{}", NULL, &container));
    return 0;
}

static int teardown(void **state)
{
    expect_ok(hcs_system_close(container));
    compute_free(compute);
    assert_true(guard_close(guard, 30000));
    return fixture_teardown(state);
}

static void make_pipes(void)
{
    for (int i = 0; i < 3; i++)
        fake.pipes[i] = CreateEventW(NULL, TRUE, FALSE, NULL); /* any handle will do */
}

static bool is_open(HANDLE handle)
{
    DWORD flags;
    return GetHandleInformation(handle, &flags);
}

static struct hcs_process *make_process(void)
{
    struct hcs_process *process = NULL;
    struct hcs_pipes pipes;
    expect_ok(hcs_process_create(container, "{}", NULL, &process, &pipes));
    hcs_pipes_close(&pipes);
    return process;
}

static void creation_hands_out_the_pipes(void **state)
{
    (void)state;
    struct hcs_process *process = NULL;
    struct hcs_pipes pipes = {0};
    make_pipes();
    expect_ok(hcs_process_create(container, "{\"CommandLine\":\"a\"}", NULL, &process, &pipes));
    assert_non_null(strstr(fake.log, "HcsCreateProcess {\"CommandLine\":\"a\"}\nHcsRegisterProcessCallback\n"));
    assert_int_equal(hcs_process_pid(process), 4321);
    assert_ptr_equal(pipes.in, fake.pipes[0]);
    assert_ptr_equal(pipes.error, fake.pipes[2]);
    expect_ok(hcs_process_close(process));
    for (int i = 0; i < 3; i++)
        assert_true(is_open(fake.pipes[i])); /* they are the caller's */
    hcs_pipes_close(&pipes);
    assert_false(is_open(fake.pipes[0]));
    hcs_pipes_close(NULL);
    expect_ok(hcs_process_close(NULL));
}

static void a_late_process_is_undone(void **state)
{
    (void)state;
    struct hcs_process *process = NULL;
    struct hcs_pipes pipes = {0};
    make_pipes();
    fake_hold(E(HcsCreateProcess));
    expect_error(hcs_process_create(container, "{}", SHORT, &process, &pipes), ERROR_KIND_DEADLINE_EXCEEDED,
                 "HcsCreateProcess web");
    fake_release(E(HcsCreateProcess));
    await_event("the process was terminated, its handle and pipes were closed");
    for (int i = 0; i < 3; i++)
        assert_false(is_open(fake.pipes[i]));
    assert_int_equal(fake_calls(E(HcsTerminateProcess)), 1);
    assert_int_equal(fake.processes, 0);
    assert_null(pipes.in);
}

static void what_cannot_be_watched_is_undone(void **state)
{
    (void)state;
    struct hcs_process *process = NULL;
    struct hcs_pipes pipes = {0};
    make_pipes();
    fake_rule(E(HcsRegisterProcessCallback))->result = (HRESULT)0x80070006;
    expect_error(hcs_process_create(container, "{}", NULL, &process, &pipes), ERROR_KIND_INTERNAL, "0x80070006");
    for (int i = 0; i < 3; i++)
        assert_false(is_open(fake.pipes[i]));
    assert_int_equal(fake_calls(E(HcsTerminateProcess)), 1);
    fake_rule(E(HcsCreateProcess))->result = (HRESULT)0x80070002;
    fake.result_text = L"{\"ErrorEvents\":[{\"Message\":\"not found\"}]}";
    expect_error(hcs_process_create(container, "{}", NULL, &process, &pipes), ERROR_KIND_NOT_FOUND,
                 "HcsCreateProcess web");
    expect_error(hcs_process_create(container, "\xC0", NULL, &process, &pipes), ERROR_KIND_INVALID_ARGUMENT, "UTF-8");
    assert_null(process);
}

static void processes_are_opened_by_pid(void **state)
{
    (void)state;
    struct hcs_process *process = NULL;
    expect_ok(hcs_process_open(container, 77, NULL, &process));
    assert_non_null(strstr(fake.log, "HcsOpenProcess 77\n"));
    assert_int_equal(hcs_process_pid(process), 77);
    struct hcs_pipes pipes = {0};
    make_pipes();
    expect_ok(hcs_process_pipes(process, NULL, &pipes));
    assert_ptr_equal(pipes.out, fake.pipes[1]);
    hcs_pipes_close(&pipes);
    make_pipes();
    fake_hold(E(HcsGetProcessInfo));
    expect_error(hcs_process_pipes(process, SHORT, &pipes), ERROR_KIND_DEADLINE_EXCEEDED, "HcsGetProcessInfo web/77");
    fake_release(E(HcsGetProcessInfo));
    await_event("the pipes were closed");
    assert_false(is_open(fake.pipes[0]));
    expect_ok(hcs_process_close(process));
    fake_rule(E(HcsOpenProcess))->result = HCS_E_PROCESS_ALREADY_STOPPED;
    expect_error(hcs_process_open(container, 78, NULL, &process), ERROR_KIND_NOT_FOUND, "0x8037011F");
    fake_rule(E(HcsOpenProcess))->result = (HRESULT)0x80070490;
    expect_error(hcs_process_open(container, 78, NULL, &process), ERROR_KIND_NOT_FOUND, "HcsOpenProcess web/78");
    fake_rule(E(HcsOpenProcess))->result = S_OK;
    fake_hold(E(HcsOpenProcess));
    expect_error(hcs_process_open(container, 79, SHORT, &process), ERROR_KIND_DEADLINE_EXCEEDED,
                 "HcsOpenProcess web/79");
    fake_release(E(HcsOpenProcess));
    await_event("its handle was closed");
    assert_int_equal(fake_calls(E(HcsTerminateProcess)), 0);
}

static void ending_knows_the_dead(void **state)
{
    (void)state;
    static const struct {
        HRESULT result;
        bool ok, gone;
    } rows[] = {
        {S_OK, true, false},
        {HCS_E_OPERATION_PENDING, true, false},
        {(HRESULT)0x80070005, true, true},
        {(HRESULT)0x80070490, true, true},
        {HCS_E_SYSTEM_ALREADY_STOPPED, true, true},
        {(HRESULT)0x80370110, true, true},
        {HCS_E_PROCESS_ALREADY_STOPPED, true, true},
        {HCS_E_INVALID_STATE, false, false},
        {HCS_E_SYSTEM_NOT_FOUND, false, false},
    };
    struct hcs_process *process = make_process();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int signal = 0; signal < 2; signal++) {
            fake_rule(signal ? E(HcsSignalProcess) : E(HcsTerminateProcess))->result = rows[i].result;
            bool gone = !rows[i].gone;
            struct error *error = signal ? hcs_process_signal(process, "{\"Signal\":\"CtrlShutdown\"}", NULL, &gone)
                                         : hcs_process_terminate(process, NULL, &gone);
            if ((error == NULL) != rows[i].ok)
                fail_msg("0x%08lX: %s", (unsigned long)rows[i].result,
                         error == NULL ? "taken for success" : error->message);
            if (error == NULL)
                assert_int_equal(gone, rows[i].gone);
            error_free(error);
        }
    assert_non_null(strstr(fake.log, "HcsSignalProcess {\"Signal\":\"CtrlShutdown\"}\n"));
    expect_ok(hcs_process_close(process));
}

static void stdin_and_console(void **state)
{
    (void)state;
    static const struct {
        HRESULT result;
        bool ok;
    } rows[] = {
        {S_OK, true},
        {HCS_E_INVALID_STATE, true},
        {HCS_E_SYSTEM_NOT_FOUND, true},
        {(HRESULT)0x80070490, true},
        {HCS_E_SYSTEM_ALREADY_STOPPED, true},
        {HCS_E_PROCESS_ALREADY_STOPPED, true},
        {(HRESULT)0x80070005, false},
    };
    struct hcs_process *process = make_process();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_rule(E(HcsModifyProcess))->result = rows[i].result;
        struct error *error = hcs_process_close_stdin(process, NULL);
        assert_int_equal(error == NULL, rows[i].ok);
        error_free(error);
    }
    assert_non_null(
        strstr(fake.log, "HcsModifyProcess {\"Operation\":\"CloseHandle\",\"CloseHandle\":{\"Handle\":\"StdIn\"}}\n"));
    fake_rule(E(HcsModifyProcess))->result = S_OK;
    expect_ok(hcs_process_resize(process, 65535, 25, NULL));
    assert_non_null(
        strstr(fake.log,
               "HcsModifyProcess {\"Operation\":\"ConsoleSize\",\"ConsoleSize\":{\"Height\":25,\"Width\":65535}}\n"));
    fake_rule(E(HcsModifyProcess))->result = HCS_E_INVALID_STATE;
    expect_error(hcs_process_resize(process, 1, 1, NULL), ERROR_KIND_FAILED_PRECONDITION, "HcsModifyProcess web/4321");
    expect_ok(hcs_process_close(process));
}

static void exit_codes(void **state)
{
    (void)state;
    static const struct {
        const wchar_t *json;
        bool ok, exited, known;
        uint32_t code;
    } rows[] = {
        {L"{\"ProcessId\":5,\"Exited\":true,\"ExitCode\":7,\"LastWaitResult\":0}", true, true, true, 7},
        {L"{\"ProcessId\":5,\"Exited\":true,\"ExitCode\":0}", true, true, true, 0},
        {L"{\"ProcessId\":5,\"Exited\":true}", true, true, true, 0},
        {L"{\"ProcessId\":5,\"Exited\":true,\"ExitCode\":3221225786}", true, true, true, 0xC000013A},
        {L"{\"ProcessId\":5,\"Exited\":true,\"ExitCode\":-1073741510}", true, true, true, 0xC000013A},
        {L"{\"ProcessId\":5,\"Exited\":true,\"ExitCode\":7,\"LastWaitResult\":-1}", true, true, false, UINT32_MAX},
        {L"{\"ProcessId\":5,\"Exited\":false,\"ExitCode\":259}", true, false, false, UINT32_MAX},
        {L"{\"ProcessId\":5}", true, false, false, UINT32_MAX},
        {L"{\"ProcessId\":\"5\"}", false, false, false, 0},
        {L"{\"Exited\":1}", false, false, false, 0},
        {L"{\"ExitCode\":1.5}", false, false, false, 0},
        {L"{\"Exited\":true,\"ExitCode\":4294967296}", false, false, false, 0},
        {L"[]", false, false, false, 0},
        {L"x", false, false, false, 0},
        {L"", false, false, false, 0},
    };
    struct hcs_process *process = make_process();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake.document = rows[i].json;
        struct hcs_process_properties properties = {0};
        struct error *error = hcs_process_properties(process, NULL, &properties);
        if ((error == NULL) != rows[i].ok)
            fail_msg("%ls: %s", rows[i].json, error == NULL ? "accepted" : error->message);
        if (error == NULL) {
            assert_int_equal(properties.pid, 5);
            assert_int_equal(properties.exited, rows[i].exited);
            assert_int_equal(properties.exit_code_known, rows[i].known);
            assert_int_equal(properties.exit_code, rows[i].code);
        }
        error_free(error);
    }
    expect_ok(hcs_process_close(process));
}

static HANDLE told;

static void tell(void *context, const struct hcs_exit *exit)
{
    *(struct hcs_exit *)context = *exit;
    SetEvent(told);
}

static void exits_are_told(void **state)
{
    (void)state;
    told = CreateEventW(NULL, FALSE, FALSE, NULL);
    struct hcs_exit exit = {0};
    struct hcs_process *process = make_process();
    expect_ok(hcs_process_on_exit(process, tell, &exit));
    /* The container's own exit is not the process's. */
    fake_notify_one(1, HCS_NOTIFICATION_SYSTEM_EXITED, 0);
    assert_false(hcs_process_has_exited(process, NULL));
    fake_notify_one(1, HCS_NOTIFICATION_PROCESS_EXITED, 0);
    assert_int_equal(WaitForSingleObject(told, 30000), WAIT_OBJECT_0);
    assert_int_equal(exit.reason, HCS_EXIT_EXITED);
    expect_ok(hcs_process_wait_exit(process, NULL, &exit));
    expect_ok(hcs_process_close(process));
    /* Exited before anybody could register. */
    fake_rule(E(HcsRegisterProcessCallback))->notify = HCS_NOTIFICATION_PROCESS_EXITED;
    process = make_process();
    assert_true(hcs_process_has_exited(process, &exit));
    expect_ok(hcs_process_on_exit(process, tell, &exit));
    assert_int_equal(WaitForSingleObject(told, 30000), WAIT_OBJECT_0);
    expect_ok(hcs_process_close(process));
    win_close(told);
}

static void a_process_outlives_its_systems_object(void **state)
{
    (void)state;
    struct hcs_system *other = NULL;
    struct hcs_process *process = NULL;
    expect_ok(hcs_system_open(compute, "other", NULL, &other));
    expect_ok(hcs_process_open(other, 5, NULL, &process));
    expect_ok(hcs_system_close(other));
    expect_ok(hcs_process_terminate(process, NULL, NULL));
    expect_ok(hcs_process_close(process));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up),
        TEST(creation_hands_out_the_pipes),
        TEST(a_late_process_is_undone),
        TEST(what_cannot_be_watched_is_undone),
        TEST(processes_are_opened_by_pid),
        TEST(ending_knows_the_dead),
        TEST(stdin_and_console),
        TEST(exit_codes),
        TEST(exits_are_told),
        TEST(a_process_outlives_its_systems_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
