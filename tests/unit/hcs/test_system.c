/* Compute systems that come into being: at once, late, or not at all. */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

#define E(name) HCS_EXPORT_##name
#define SHORT   (&(struct guard_wait){.ms = 20})

static struct guard *guard;
static struct compute *compute;

static int setup(void **state)
{
    fixture_setup(state);
    expect_ok(guard_new(&(struct guard_options){0}, &guard));
    expect_ok(compute_new(&fake.library, guard, NULL, NULL, &compute));
    return 0;
}

static int teardown(void **state)
{
    compute_free(compute);
    assert_true(guard_close(guard, 30000));
    return fixture_teardown(state);
}

static void create_hands_the_document_over(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    expect_ok(hcs_system_create(compute,
                                "w\xC3\xA4"
                                "b",
                                "{\"Owner\":\"hcsd\"}", NULL, &system));
    assert_string_equal(hcs_system_id(system), "w\xC3\xA4"
                                               "b");
    assert_string_equal(fake.log, "HcsCreateComputeSystem w\xC3\xA4"
                                  "b {\"Owner\":\"hcsd\"}\nHcsRegisterComputeSystemCallback\n");
    expect_ok(hcs_system_close(system));
    assert_non_null(strstr(fake.log, "HcsUnregisterComputeSystemCallback\nHcsCloseComputeSystem\n"));
    expect_ok(hcs_system_close(NULL));
}

static void create_waits_for_completion(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_rule(E(HcsCreateComputeSystem))->result = HCS_E_OPERATION_PENDING;
    /* Delivered from within the registration: completion came before anybody could listen. */
    fake_rule(E(HcsRegisterComputeSystemCallback))->notify = HCS_NOTIFICATION_SYSTEM_CREATE_COMPLETED;
    expect_ok(hcs_system_create(compute, "a", "{}", NULL, &system));
    expect_ok(hcs_system_close(system));
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 0);
}

static void a_failed_completion_is_the_error(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_rule(E(HcsCreateComputeSystem))->result = HCS_E_OPERATION_PENDING;
    fake_rule(E(HcsRegisterComputeSystemCallback))->notify = HCS_NOTIFICATION_SYSTEM_CREATE_COMPLETED;
    fake_rule(E(HcsRegisterComputeSystemCallback))->notify_status = (INT32)0xC0370101;
    expect_error(hcs_system_create(compute, "a", "{}", NULL, &system), ERROR_KIND_FAILED_PRECONDITION,
                 "Windows version");
    assert_null(system);
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
}

static void create_without_completion_is_bounded_and_undone(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_rule(E(HcsCreateComputeSystem))->result = HCS_E_OPERATION_PENDING;
    expect_error(hcs_system_create(compute, "a", "{}", SHORT, &system), ERROR_KIND_DEADLINE_EXCEEDED,
                 "HcsCreateComputeSystem a: HCS has not told of the completion within 0.02 seconds");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
    assert_int_equal(fake_calls(E(HcsCloseComputeSystem)), 1);
}

static void an_exit_ends_the_wait_for_creation(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_rule(E(HcsCreateComputeSystem))->result = HCS_E_OPERATION_PENDING;
    fake_rule(E(HcsRegisterComputeSystemCallback))->notify = HCS_NOTIFICATION_SYSTEM_EXITED;
    expect_error(hcs_system_create(compute, "a", "{}", NULL, &system), ERROR_KIND_ABORTED, "ended unexpectedly");
}

static void a_refused_document_brings_hcs_events(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake.result_text = L"{\"Error\":-1,\"ErrorMessage\":\"x\",\"ErrorEvents\":[{\"Message\":\"no such layer\"}]}";
    fake_rule(E(HcsCreateComputeSystem))->result = (HRESULT)0x80070002;
    struct error *error = hcs_system_create(compute, "a", "{}", NULL, &system);
    assert_non_null(error);
    assert_string_equal(error->hcs_events, "[{\"Message\":\"no such layer\"}]");
    assert_string_equal(error->operation, "HcsCreateComputeSystem");
    assert_string_equal(error->object, "a");
    expect_error(error, ERROR_KIND_NOT_FOUND, "0x80070002");
    fake_rule(E(HcsCreateComputeSystem))->result = HCS_E_SYSTEM_ALREADY_EXISTS;
    fake.result_text = L"no json";
    expect_error(hcs_system_create(compute, "a", "{}", NULL, &system), ERROR_KIND_ALREADY_EXISTS, "0xC037010F");
    expect_error(hcs_system_create(compute, "\xFF", "{}", NULL, &system), ERROR_KIND_INVALID_ARGUMENT, "UTF-8");
    assert_int_equal(fake_calls(E(HcsRegisterComputeSystemCallback)), 0);
}

static void what_cannot_be_watched_is_undone(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_rule(E(HcsRegisterComputeSystemCallback))->result = (HRESULT)0x80070006;
    expect_error(hcs_system_create(compute, "a", "{}", NULL, &system), ERROR_KIND_INTERNAL, "0x80070006");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
    assert_int_equal(fake_calls(E(HcsCloseComputeSystem)), 1);
    expect_error(hcs_system_open(compute, "a", NULL, &system), ERROR_KIND_INTERNAL, "0x80070006");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
    fake.library.HcsRegisterComputeSystemCallback = NULL;
    expect_error(hcs_system_create(compute, "a", "{}", NULL, &system), ERROR_KIND_UNIMPLEMENTED,
                 "HcsRegisterComputeSystemCallback");
    assert_int_equal(fake.systems, 0);
}

static void a_late_creation_is_terminated_and_closed(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_hold(E(HcsCreateComputeSystem));
    expect_error(hcs_system_create(compute, "a", "{}", SHORT, &system), ERROR_KIND_DEADLINE_EXCEEDED,
                 "HcsCreateComputeSystem a");
    fake_release(E(HcsCreateComputeSystem));
    await_event("the container was terminated and its handle closed");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
    assert_int_equal(fake.systems, 0);
    assert_int_equal(fake.registrations, 0);
}

static void a_late_open_is_closed_only(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_hold(E(HcsOpenComputeSystem));
    expect_error(hcs_system_open(compute, "a", SHORT, &system), ERROR_KIND_DEADLINE_EXCEEDED, "HcsOpenComputeSystem a");
    fake_release(E(HcsOpenComputeSystem));
    await_event("its handle was closed");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 0);
}

static void a_late_failure_needs_nothing(void **state)
{
    (void)state;
    struct hcs_system *system = NULL;
    fake_hold(E(HcsOpenComputeSystem));
    fake_rule(E(HcsOpenComputeSystem))->result = HCS_E_SYSTEM_NOT_FOUND;
    fake.result_text = L"{}";
    expect_error(hcs_system_open(compute, "a", SHORT, &system), ERROR_KIND_DEADLINE_EXCEEDED, "HcsOpenComputeSystem a");
    fake_release(E(HcsOpenComputeSystem));
    await_event("it had failed");
    fake_rule(E(HcsOpenComputeSystem))->hold = NULL;
    expect_error(hcs_system_open(compute, "a", NULL, &system), ERROR_KIND_NOT_FOUND, "0xC037010E");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up),
        TEST(create_hands_the_document_over),
        TEST(create_waits_for_completion),
        TEST(a_failed_completion_is_the_error),
        TEST(create_without_completion_is_bounded_and_undone),
        TEST(an_exit_ends_the_wait_for_creation),
        TEST(a_refused_document_brings_hcs_events),
        TEST(what_cannot_be_watched_is_undone),
        TEST(a_late_creation_is_terminated_and_closed),
        TEST(a_late_open_is_closed_only),
        TEST(a_late_failure_needs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
