/* The service's loop and its control handler, called as the service manager calls them; the controls that Wine never sends
 * too. What it reports is written down by a function in SetServiceStatus's place. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/entry.h"

#define LONG_MS      30000
#define STATUSES_MAX 32

static struct {
    struct entry *entry;
    SERVICE_STATUS statuses[STATUSES_MAX];
    unsigned count;
    HANDLE running, reloaded; /* auto-reset */
    unsigned start_steps, stop_steps, reloads, ends;
    bool fail_start, clean;
    unsigned preshutdown, stopped;
    enum service_stop why;
    unsigned milliseconds;
    bool result;
} test;

static BOOL WINAPI set_status(SERVICE_STATUS_HANDLE handle, SERVICE_STATUS *status)
{
    assert_ptr_equal(handle, (SERVICE_STATUS_HANDLE)(uintptr_t)77);
    test.statuses[test.count++] = *status;
    if (status->dwCurrentState == SERVICE_RUNNING)
        SetEvent(test.running);
    return TRUE;
}

static unsigned preshutdown_ms(void *context)
{
    (void)context;
    return test.preshutdown;
}

static struct error *start(void *context, const struct daemon_progress *progress)
{
    (void)context;
    for (unsigned i = 0; i < test.start_steps; i++)
        progress->step(progress->context);
    return test.fail_start ? error_win32(ERROR_ACCESS_DENIED, "start", "test", NULL) : NULL;
}

static void reload(void *context)
{
    (void)context;
    test.reloads++;
    SetEvent(test.reloaded);
}

static bool stop(void *context, enum service_stop why, unsigned milliseconds, const struct daemon_progress *progress)
{
    (void)context;
    for (unsigned i = 0; i < test.stop_steps; i++)
        progress->step(progress->context);
    test.stopped++;
    test.why = why;
    test.milliseconds = milliseconds;
    return test.clean;
}

static void end(void *context)
{
    (void)context;
    test.ends++;
    /* Whatever must be written is written before the service manager hears of the end. */
    assert_int_not_equal(test.statuses[test.count - 1].dwCurrentState, SERVICE_STOPPED);
}

static DWORD WINAPI loop(void *context)
{
    (void)context;
    test.result = entry_loop(test.entry, (SERVICE_STATUS_HANDLE)(uintptr_t)77);
    return 0;
}

static void open_service(void)
{
    const struct entry_work work = {.start = start, .reload = reload, .stop = stop, .end = end};
    const struct entry_calls calls = {.set_status = set_status, .preshutdown_ms = preshutdown_ms};
    memset(&test, 0, sizeof test);
    test.clean = true;
    test.running = CreateEventW(NULL, FALSE, FALSE, NULL);
    test.reloaded = CreateEventW(NULL, FALSE, FALSE, NULL);
    assert_null(entry_new(&work, &calls, &test.entry));
}

static HANDLE run_service(void)
{
    HANDLE thread = CreateThread(NULL, 0, loop, NULL, 0, NULL);
    assert_non_null(thread);
    assert_int_equal(WaitForSingleObject(test.running, LONG_MS), WAIT_OBJECT_0);
    return thread;
}

static void join(HANDLE thread)
{
    assert_int_equal(WaitForSingleObject(thread, LONG_MS), WAIT_OBJECT_0);
    CloseHandle(thread);
}

static void close_service(void)
{
    entry_free(test.entry);
    CloseHandle(test.running);
    CloseHandle(test.reloaded);
}

static DWORD control(DWORD code)
{
    return entry_control(code, 0, NULL, test.entry);
}

static void assert_status(unsigned index, DWORD state, DWORD checkpoint, bool accepts)
{
    const SERVICE_STATUS *status = &test.statuses[index];
    DWORD accepted =
        SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE;
    assert_int_equal(status->dwServiceType, SERVICE_WIN32_OWN_PROCESS);
    assert_int_equal(status->dwCurrentState, state);
    assert_int_equal(status->dwCheckPoint, checkpoint);
    assert_int_equal(status->dwControlsAccepted, accepts ? accepted : 0);
    assert_int_equal(status->dwWaitHint, checkpoint == 0 ? 0 : SERVICE_WAIT_HINT_MS);
}

static void test_start_and_stop(void **state)
{
    (void)state;
    open_service();
    test.start_steps = 2;
    test.stop_steps = 2;
    HANDLE thread = run_service();
    assert_int_equal(control(SERVICE_CONTROL_STOP), NO_ERROR);
    join(thread);
    assert_int_equal(test.count, 8);
    assert_status(0, SERVICE_START_PENDING, 1, false);
    assert_status(1, SERVICE_START_PENDING, 2, false);
    assert_status(2, SERVICE_START_PENDING, 3, false);
    assert_status(3, SERVICE_RUNNING, 0, true);
    assert_status(4, SERVICE_STOP_PENDING, 1, false);
    assert_status(5, SERVICE_STOP_PENDING, 2, false);
    assert_status(6, SERVICE_STOP_PENDING, 3, false);
    assert_status(7, SERVICE_STOPPED, 0, false);
    assert_int_equal(test.statuses[7].dwWin32ExitCode, NO_ERROR);
    assert_int_equal(test.why, SERVICE_STOP_ASKED);
    assert_int_equal(test.milliseconds, SERVICE_STOP_MS);
    assert_int_equal(test.ends, 1);
    assert_true(test.result);
    close_service();
}

static void test_start_that_fails(void **state)
{
    (void)state;
    open_service();
    test.fail_start = true;
    assert_true(entry_loop(test.entry, (SERVICE_STATUS_HANDLE)(uintptr_t)77));
    assert_int_equal(test.count, 2);
    assert_status(0, SERVICE_START_PENDING, 1, false);
    assert_status(1, SERVICE_STOPPED, 0, false);
    assert_int_equal(test.statuses[1].dwWin32ExitCode, ERROR_SERVICE_SPECIFIC_ERROR);
    assert_int_equal(test.statuses[1].dwServiceSpecificExitCode, 0x80070005);
    assert_int_equal(test.stopped, 0);
    assert_int_equal(test.ends, 1);
    close_service();
}

/* Each control that ends the service: why, and how long it may take. */
static void test_ending_controls(void **state)
{
    (void)state;
    static const struct {
        DWORD control;
        unsigned preshutdown; /* the system's time */
        enum service_stop why;
        unsigned milliseconds;
    } rows[] = {
        {SERVICE_CONTROL_STOP, 1000, SERVICE_STOP_ASKED, SERVICE_STOP_MS},
        {SERVICE_CONTROL_SHUTDOWN, 0, SERVICE_STOP_SHUTDOWN, SERVICE_SHUTDOWN_MS},
        {SERVICE_CONTROL_PRESHUTDOWN, 0, SERVICE_STOP_PRESHUTDOWN, SERVICE_STOP_MS},
        {SERVICE_CONTROL_PRESHUTDOWN, 25000, SERVICE_STOP_PRESHUTDOWN, 20000},
        {SERVICE_CONTROL_PRESHUTDOWN, 180000, SERVICE_STOP_PRESHUTDOWN, SERVICE_STOP_MS},
        {SERVICE_CONTROL_PRESHUTDOWN, 12000, SERVICE_STOP_PRESHUTDOWN, 7000},
        {SERVICE_CONTROL_PRESHUTDOWN, 4000, SERVICE_STOP_PRESHUTDOWN, 2000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_service();
        test.preshutdown = rows[i].preshutdown;
        HANDLE thread = run_service();
        assert_int_equal(control(rows[i].control), NO_ERROR);
        join(thread);
        assert_int_equal(test.why, rows[i].why);
        assert_int_equal(test.milliseconds, rows[i].milliseconds);
        assert_int_equal(test.statuses[test.count - 1].dwCurrentState, SERVICE_STOPPED);
        assert_int_equal(test.statuses[test.count - 1].dwWin32ExitCode, NO_ERROR);
        close_service();
    }
}

static void test_reload_and_others(void **state)
{
    (void)state;
    open_service();
    HANDLE thread = run_service();
    unsigned told = test.count;
    assert_int_equal(control(SERVICE_CONTROL_PARAMCHANGE), NO_ERROR);
    assert_int_equal(WaitForSingleObject(test.reloaded, LONG_MS), WAIT_OBJECT_0);
    assert_int_equal(control(SERVICE_CONTROL_INTERROGATE), NO_ERROR);
    assert_int_equal(control(SERVICE_CONTROL_PAUSE), ERROR_CALL_NOT_IMPLEMENTED);
    assert_int_equal(control(SERVICE_CONTROL_NETBINDADD), ERROR_CALL_NOT_IMPLEMENTED);
    assert_int_equal(control(200), ERROR_CALL_NOT_IMPLEMENTED);
    assert_int_equal(test.count, told);
    assert_int_equal(control(SERVICE_CONTROL_PARAMCHANGE), NO_ERROR);
    assert_int_equal(WaitForSingleObject(test.reloaded, LONG_MS), WAIT_OBJECT_0);
    assert_int_equal(control(SERVICE_CONTROL_STOP), NO_ERROR);
    join(thread);
    assert_int_equal(test.reloads, 2);
    close_service();
}

/* Too many lost calls: the service manager must see a failure, or its recovery actions do not run. */
static void test_failures_are_reported(void **state)
{
    (void)state;
    open_service();
    HANDLE thread = run_service();
    entry_fail(test.entry);
    join(thread);
    assert_int_equal(test.why, SERVICE_STOP_FAILED);
    assert_int_equal(test.statuses[test.count - 1].dwWin32ExitCode, ERROR_SERVICE_SPECIFIC_ERROR);
    close_service();

    open_service();
    test.clean = false;
    thread = run_service();
    control(SERVICE_CONTROL_STOP);
    join(thread);
    assert_false(test.result);
    assert_int_equal(test.statuses[test.count - 1].dwWin32ExitCode, ERROR_SERVICE_SPECIFIC_ERROR);
    assert_int_not_equal(test.statuses[test.count - 1].dwServiceSpecificExitCode, 0);
    close_service();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_and_stop),        cmocka_unit_test(test_start_that_fails),
        cmocka_unit_test(test_ending_controls),       cmocka_unit_test(test_reload_and_others),
        cmocka_unit_test(test_failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
