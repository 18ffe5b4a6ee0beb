#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/win.h"
#include "hcs/notification.h"

#define E(name) HCS_EXPORT_##name
#define SHORT   (&(struct guard_wait){.ms = 20})

static struct guard *guard;
static struct compute *compute;
static volatile LONG disconnections;

static void note_disconnection(void *context)
{
    InterlockedIncrement((volatile LONG *)context);
}

static int setup(void **state)
{
    fixture_setup(state);
    disconnections = 0;
    expect_ok(guard_new(&(struct guard_options){0}, &guard));
    expect_ok(compute_new(&fake.library, guard, note_disconnection, (void *)&disconnections, &compute));
    return 0;
}

static int teardown(void **state)
{
    compute_free(compute);
    assert_true(guard_close(guard, 30000));
    return fixture_teardown(state);
}

static struct hcs_system *make_system(const char *id)
{
    struct hcs_system *system = NULL;
    expect_ok(hcs_system_create(compute, id, "{}", NULL, &system));
    return system;
}

/* ---- start, pause, resume ---- */

static const struct {
    enum hcs_export export;
    struct error *(*call)(struct hcs_system *system, const struct guard_wait *wait);
    int completion;
} waiting[] = {
    {E(HcsStartComputeSystem), hcs_system_start, HCS_NOTIFICATION_SYSTEM_START_COMPLETED},
    {E(HcsPauseComputeSystem), hcs_system_pause, HCS_NOTIFICATION_SYSTEM_PAUSE_COMPLETED},
    {E(HcsResumeComputeSystem), hcs_system_resume, HCS_NOTIFICATION_SYSTEM_RESUME_COMPLETED},
};

static void pending_calls_wait_for_their_completion(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++) {
        struct hcs_system *system = make_system("a");
        struct fake_rule *rule = fake_rule(waiting[i].export);
        expect_ok(waiting[i].call(system, NULL)); /* done at once */
        rule->result = HCS_E_OPERATION_PENDING;
        expect_error(waiting[i].call(system, SHORT), ERROR_KIND_DEADLINE_EXCEEDED, "completion");
        /* The earlier one's completion comes now, too late: it does not count for the next. */
        fake_notify((ULONG)waiting[i].completion, 0);
        fake_notify((ULONG)waiting[i].completion, 0); /* twice */
        expect_error(waiting[i].call(system, SHORT), ERROR_KIND_DEADLINE_EXCEEDED, "completion");
        rule->notify = waiting[i].completion;
        expect_ok(waiting[i].call(system, NULL));
        expect_ok(waiting[i].call(system, NULL));
        rule->notify_status = (INT32)0x80070005;
        expect_error(waiting[i].call(system, NULL), ERROR_KIND_PERMISSION_DENIED, "0x80070005");
        rule->result = HCS_E_INVALID_STATE;
        expect_error(waiting[i].call(system, NULL), ERROR_KIND_FAILED_PRECONDITION, "0xC0370105");
        rule->result = HCS_E_OPERATION_PENDING;
        rule->notify = HCS_NOTIFICATION_SYSTEM_EXITED;
        expect_error(waiting[i].call(system, NULL), ERROR_KIND_ABORTED, "0xC0370106");
        expect_ok(hcs_system_close(system));
    }
}

/* ---- ending ---- */

static void ending_knows_what_is_gone(void **state)
{
    (void)state;
    static const struct {
        HRESULT result;
        bool ok, gone;
    } rows[] = {
        {S_OK, true, false},
        {HCS_E_OPERATION_PENDING, true, false},
        {HCS_E_SYSTEM_ALREADY_STOPPED, true, true},
        {(HRESULT)0x80370110, true, true},
        {HCS_E_SYSTEM_NOT_FOUND, true, true},
        {(HRESULT)0x8037010E, true, true},
        {HCS_E_INVALID_STATE, false, false},
        {(HRESULT)0x80070005, false, false},
    };
    struct hcs_system *system = make_system("a");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int terminate = 0; terminate < 2; terminate++) {
            enum hcs_export export = terminate ? E(HcsTerminateComputeSystem) : E(HcsShutdownComputeSystem);
            fake_rule(export)->result = rows[i].result;
            bool gone = !rows[i].gone;
            struct error *error =
                terminate ? hcs_system_terminate(system, NULL, &gone) : hcs_system_shutdown(system, NULL, &gone);
            if ((error == NULL) != rows[i].ok)
                fail_msg("0x%08lX: %s", (unsigned long)rows[i].result,
                         error == NULL ? "taken for success" : error->message);
            if (error == NULL)
                assert_int_equal(gone, rows[i].gone);
            error_free(error);
        }
    expect_ok(hcs_system_close(system));
}

/* ---- exits ---- */

struct listener {
    HANDLE told;
    volatile LONG count;
    struct hcs_exit exit;
    struct hcs_system *close; /* closed by the listener */
};

static void listen_to(void *context, const struct hcs_exit *exit)
{
    struct listener *listener = context;
    listener->exit = *exit;
    if (listener->close != NULL)
        error_free(hcs_system_close(listener->close));
    InterlockedIncrement(&listener->count);
    SetEvent(listener->told);
}

static struct listener new_listener(void)
{
    return (struct listener){.told = CreateEventW(NULL, TRUE, FALSE, NULL)};
}

static void await_told(struct listener *listener)
{
    assert_int_equal(WaitForSingleObject(listener->told, 30000), WAIT_OBJECT_0);
}

static void an_exit_is_told_once(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    struct listener listener = new_listener();
    expect_ok(hcs_system_on_exit(system, listen_to, &listener));
    expect_error(hcs_system_on_exit(system, listen_to, &listener), ERROR_KIND_FAILED_PRECONDITION, "watched already");
    assert_false(hcs_system_has_exited(system, NULL));
    expect_error(hcs_system_wait_exit(system, SHORT, NULL), ERROR_KIND_DEADLINE_EXCEEDED, "exit");
    fake_notify(HCS_NOTIFICATION_SYSTEM_CRASH_REPORT, 0); /* of no interest */
    fake_notify(99, 0);
    fake_notify(HCS_NOTIFICATION_SYSTEM_EXITED, (INT32)HCS_E_UNEXPECTED_EXIT);
    fake_notify(HCS_NOTIFICATION_SYSTEM_EXITED, 0);
    await_told(&listener);
    assert_int_equal(listener.exit.reason, HCS_EXIT_EXITED);
    assert_int_equal(listener.exit.status, (uint32_t)HCS_E_UNEXPECTED_EXIT);
    assert_true(listener.exit.wall_ns > 0);
    struct hcs_exit exit = {0};
    expect_ok(hcs_system_wait_exit(system, NULL, &exit));
    assert_int_equal(exit.status, (uint32_t)HCS_E_UNEXPECTED_EXIT);
    assert_true(hcs_system_has_exited(system, &exit));
    fake_notify(HCS_NOTIFICATION_SERVICE_DISCONNECT, 0);
    expect_ok(hcs_system_close(system));
    await_long(disconnections, 1);
    assert_int_equal(listener.count, 1);
    win_close(listener.told);
}

static void an_exit_before_registration_is_not_missed(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_rule(E(HcsRegisterComputeSystemCallback))->notify = HCS_NOTIFICATION_SYSTEM_EXITED;
    expect_ok(hcs_system_open(compute, "a", NULL, &system));
    struct listener listener = new_listener();
    listener.close = system;
    expect_ok(hcs_system_on_exit(system, listen_to, &listener)); /* closes it from the listener */
    await_told(&listener);
    assert_int_equal(listener.exit.reason, HCS_EXIT_EXITED);
    await_long(listener.count, 1);
    win_close(listener.told);
}

static void closing_tells_the_listener(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    struct listener listener = new_listener();
    expect_ok(hcs_system_on_exit(system, listen_to, &listener));
    expect_ok(hcs_system_close(system));
    await_told(&listener);
    assert_int_equal(listener.exit.reason, HCS_EXIT_CLOSED);
    assert_int_equal(listener.count, 1);
    win_close(listener.told);
}

static void notifications_after_the_end_find_nothing(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    expect_ok(hcs_system_close(system));
    fake_notify_one(0, HCS_NOTIFICATION_SYSTEM_EXITED, 0);
    fake_notify_one(0, HCS_NOTIFICATION_SERVICE_DISCONNECT, 0);
    watch_notified(HCS_NOTIFICATION_SYSTEM_EXITED, NULL, 0, L"");
    assert_int_equal(disconnections, 0);
}

struct waiter {
    struct hcs_system *system;
    struct error *(*call)(struct hcs_system *system, const struct guard_wait *wait);
    struct guard_wait wait;
    struct error *error;
};

static struct error *wait_for_exit(struct hcs_system *system, const struct guard_wait *wait)
{
    return hcs_system_wait_exit(system, wait, NULL);
}

static struct error *enumerate_all(struct hcs_system *system, const struct guard_wait *wait)
{
    (void)system;
    char *json = NULL;
    struct error *error = hcs_enumerate(compute, "{}", wait, &json);
    free(json);
    return error;
}

static DWORD WINAPI run_waiter(void *context)
{
    struct waiter *waiter = context;
    waiter->error = waiter->call(waiter->system, &waiter->wait);
    return 0;
}

static HANDLE start(struct waiter *waiter)
{
    HANDLE thread = CreateThread(NULL, 0, run_waiter, waiter, 0, NULL);
    assert_non_null(thread);
    return thread;
}

static void join(HANDLE thread)
{
    assert_int_equal(WaitForSingleObject(thread, 30000), WAIT_OBJECT_0);
    CloseHandle(thread);
}

static void many_wait_for_one_exit(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    HANDLE cancel = CreateEventW(NULL, TRUE, FALSE, NULL), threads[4];
    struct waiter waiters[4];
    for (int i = 0; i < 4; i++) {
        waiters[i] =
            (struct waiter){.system = system, .call = wait_for_exit, .wait = {.cancel = i == 0 ? cancel : NULL}};
        threads[i] = start(&waiters[i]);
    }
    SetEvent(cancel);
    join(threads[0]);
    expect_error(waiters[0].error, ERROR_KIND_CANCELLED, "cut short");
    fake_notify(HCS_NOTIFICATION_SYSTEM_EXITED, 0);
    for (int i = 1; i < 4; i++) {
        join(threads[i]);
        expect_ok(waiters[i].error);
    }
    win_close(cancel);
    expect_ok(hcs_system_close(system));
}

static void closing_ends_the_waits(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    fake_rule(E(HcsStartComputeSystem))->result = HCS_E_OPERATION_PENDING;
    struct waiter waiter = {.system = system, .call = hcs_system_start};
    HANDLE thread = start(&waiter);
    /* Whether it is in the call already or in the wait: its share keeps the object. */
    while (fake_calls(E(HcsStartComputeSystem)) == 0)
        SwitchToThread();
    expect_ok(hcs_system_close(system));
    join(thread);
    expect_error(waiter.error, ERROR_KIND_CANCELLED, "closed meanwhile");
    assert_int_equal(fake_calls(E(HcsCloseComputeSystem)), 1);
}

/* ---- disconnection ---- */

static void a_lost_connection_ends_everything_in_flight(void **state)
{
    (void)state;
    struct hcs_system *a = make_system("a"), *b = make_system("b");
    struct listener listener = new_listener();
    expect_ok(hcs_system_on_exit(a, listen_to, &listener));
    fake_hold(E(HcsModifyComputeSystem));
    fake_hold(E(HcsEnumerateComputeSystems));
    fake_hold(E(HcsStartComputeSystem));
    struct waiter waiting_exit = {.system = a, .call = wait_for_exit},
                  starting = {.system = b, .call = hcs_system_start}, listing = {.system = NULL, .call = enumerate_all};
    HANDLE threads[] = {start(&waiting_exit), start(&starting), start(&listing)};
    fake_await_entered(E(HcsStartComputeSystem));
    fake_await_entered(E(HcsEnumerateComputeSystems));
    fake_notify(HCS_NOTIFICATION_SERVICE_DISCONNECT, 0); /* both objects */
    for (int i = 0; i < 3; i++)
        join(threads[i]);
    expect_error(waiting_exit.error, ERROR_KIND_UNAVAILABLE, "lost communication");
    expect_error(starting.error, ERROR_KIND_UNAVAILABLE, "lost communication");
    expect_error(listing.error, ERROR_KIND_UNAVAILABLE, "lost communication");
    await_told(&listener);
    assert_int_equal(listener.exit.reason, HCS_EXIT_DISCONNECTED);
    await_long(disconnections, 1);
    await_event("HCS_DISCONNECTED|");
    fake_release(E(HcsStartComputeSystem));
    fake_release(E(HcsEnumerateComputeSystems));
    /* A new connection; what the old objects still report does not touch it. */
    struct hcs_system *c = NULL;
    expect_ok(hcs_system_open(compute, "a", NULL, &c));
    fake_notify_one(0, HCS_NOTIFICATION_SERVICE_DISCONNECT, 0);
    fake_notify_one(1, HCS_NOTIFICATION_SERVICE_DISCONNECT, 0);
    expect_ok(hcs_system_close(a));
    expect_ok(hcs_system_close(b));
    fake_notify_one(2, HCS_NOTIFICATION_SERVICE_DISCONNECT, 0);
    await_long(disconnections, 2);
    expect_ok(hcs_system_close(c));
    win_close(listener.told);
}

static void a_pending_start_ends_with_the_connection(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    fake_rule(E(HcsStartComputeSystem))->result = HCS_E_OPERATION_PENDING;
    fake_rule(E(HcsStartComputeSystem))->notify = HCS_NOTIFICATION_SERVICE_DISCONNECT;
    struct error *error = hcs_system_start(system, NULL);
    expect_error(error, ERROR_KIND_UNAVAILABLE, "lost communication");
    expect_error(hcs_system_wait_exit(system, NULL, NULL), ERROR_KIND_UNAVAILABLE, "0x8037011E");
    await_long(disconnections, 1);
    expect_ok(hcs_system_close(system));
}

/* ---- handles and stuck calls ---- */

static void a_stuck_call_keeps_its_handle(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    fake_hold(E(HcsShutdownComputeSystem));
    expect_error(hcs_system_shutdown(system, SHORT, NULL), ERROR_KIND_DEADLINE_EXCEEDED, "HcsShutdownComputeSystem a");
    expect_ok(hcs_system_close(system));
    assert_int_equal(fake_calls(E(HcsCloseComputeSystem)), 0);
    assert_int_equal(fake.systems, 1);
    fake_release(E(HcsShutdownComputeSystem));
    await_long(fake.systems, 0);
    await_long(fake.registrations, 0);
    assert_int_equal(fake_calls(E(HcsCloseComputeSystem)), 1);
}

static void a_stuck_close_does_not_keep_its_caller(void **state)
{
    (void)state;
    struct guard *impatient = NULL;
    struct compute *other = NULL;
    struct hcs_system *system = NULL;
    expect_ok(guard_new(&(struct guard_options){.call_ms = 20}, &impatient));
    expect_ok(compute_new(&fake.library, impatient, NULL, NULL, &other));
    expect_ok(hcs_system_create(other, "a", "{}", &(struct guard_wait){.ms = 30000}, &system));
    fake_hold(E(HcsUnregisterComputeSystemCallback));
    expect_error(hcs_system_close(system), ERROR_KIND_DEADLINE_EXCEEDED, "HcsUnregisterComputeSystemCallback a");
    compute_free(other);
    fake_release(E(HcsUnregisterComputeSystemCallback));
    await_long(fake.systems, 0);
    assert_true(guard_close(impatient, 30000));
}

static void a_failed_close_is_an_error(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    fake_rule(E(HcsCloseComputeSystem))->result = (HRESULT)0x80070006;
    expect_error(hcs_system_close(system), ERROR_KIND_INTERNAL, "HcsCloseComputeSystem a");
}

/* ---- documents ---- */

static void documents_come_back(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    char *json = NULL;
    fake.document = L"{\"Id\":\"\x00E4\"}";
    expect_ok(hcs_system_properties(system, "{\"PropertyTypes\":[\"Statistics\"]}", NULL, &json));
    assert_string_equal(json, "{\"Id\":\"\xC3\xA4\"}");
    free(json);
    json = NULL;
    expect_ok(hcs_enumerate(compute, "{\"Owners\":[\"hcsd\"]}", NULL, &json));
    assert_non_null(strstr(fake.log, "HcsEnumerateComputeSystems {\"Owners\":[\"hcsd\"]}\n"));
    free(json);
    json = NULL;
    fake.document = L"";
    expect_error(hcs_system_properties(system, "{}", NULL, &json), ERROR_KIND_INTERNAL, "empty document");
    fake.document = NULL;
    expect_error(hcs_enumerate(compute, "{}", NULL, &json), ERROR_KIND_INTERNAL, "empty document");
    assert_null(json);
    /* Text that comes with a failure is freed all the same. */
    fake.document = L"{}";
    fake.result_text = L"{}";
    fake_rule(E(HcsGetComputeSystemProperties))->result = (HRESULT)0x80070006;
    expect_error(hcs_system_properties(system, "{}", NULL, &json), ERROR_KIND_INTERNAL, "0x80070006");
    fake_rule(E(HcsGetComputeSystemProperties))->result = S_OK;
    fake_hold(E(HcsGetComputeSystemProperties));
    expect_error(hcs_system_properties(system, "{}", SHORT, &json), ERROR_KIND_DEADLINE_EXCEEDED, "Properties");
    fake_release(E(HcsGetComputeSystemProperties));
    await_event("its answer was dropped");
    expect_ok(hcs_system_modify(system, "{\"ResourcePath\":\"x\"}", NULL));
    fake_rule(E(HcsModifyComputeSystem))->result = HCS_E_UNKNOWN_MESSAGE;
    expect_error(hcs_system_modify(system, "{}", NULL), ERROR_KIND_UNIMPLEMENTED, "0xC037010B");
    expect_ok(hcs_system_close(system));
}

static void a_missing_export_fails_its_call_only(void **state)
{
    (void)state;
    struct hcs_system *system = make_system("a");
    fake.library.HcsModifyComputeSystem = NULL;
    expect_error(hcs_system_modify(system, "{}", NULL), ERROR_KIND_UNIMPLEMENTED, "HcsModifyComputeSystem");
    expect_ok(hcs_system_start(system, NULL));
    expect_ok(hcs_system_close(system));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up),
        TEST(pending_calls_wait_for_their_completion),
        TEST(ending_knows_what_is_gone),
        TEST(an_exit_is_told_once),
        TEST(an_exit_before_registration_is_not_missed),
        TEST(closing_tells_the_listener),
        TEST(notifications_after_the_end_find_nothing),
        TEST(many_wait_for_one_exit),
        TEST(closing_ends_the_waits),
        TEST(a_lost_connection_ends_everything_in_flight),
        TEST(a_pending_start_ends_with_the_connection),
        TEST(a_stuck_call_keeps_its_handle),
        TEST(a_stuck_close_does_not_keep_its_caller),
        TEST(a_failed_close_is_an_error),
        TEST(documents_come_back),
        TEST(a_missing_export_fails_its_call_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
