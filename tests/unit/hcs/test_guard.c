#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/win.h"

/* A call that tells that it is in and waits to be let go. */
struct held_call {
    struct guard_call base;
    HANDLE entered, release; /* borrowed */
    volatile LONG *late;     /* counted up by the late function */
    volatile LONG *freed;
    DWORD thread;
};

static void run_held(struct guard_call *base)
{
    struct held_call *call = (struct held_call *)base;
    call->thread = GetCurrentThreadId();
    if (call->entered != NULL)
        SetEvent(call->entered);
    if (call->release != NULL)
        WaitForSingleObject(call->release, 60000);
}

static const char *late_held(struct guard_call *base)
{
    struct held_call *call = (struct held_call *)base;
    guard_step(base, "Undo");
    InterlockedIncrement(call->late);
    return "it was undone";
}

static void free_held(struct guard_call *base)
{
    InterlockedIncrement(((struct held_call *)base)->freed);
}

static HANDLE entered, release_all;
static volatile LONG late, freed, exhausted;

static struct held_call *new_held(bool hold, uint64_t tag)
{
    struct held_call *call = mem_new(struct held_call);
    call->base = (struct guard_call){.name = "SlowCall",
                                     .object = str_copy("web"),
                                     .tag = tag,
                                     .run = run_held,
                                     .late = late_held,
                                     .free = free_held};
    if (hold) {
        call->entered = entered;
        call->release = release_all;
    }
    call->late = &late;
    call->freed = &freed;
    return call;
}

static void note_exhausted(void *context, uint32_t lost)
{
    assert_ptr_equal(context, &exhausted);
    assert_int_equal(lost, 2);
    InterlockedIncrement(&exhausted);
}

static int setup(void **state)
{
    fixture_setup(state);
    entered = CreateEventW(NULL, FALSE, FALSE, NULL);
    release_all = CreateEventW(NULL, TRUE, FALSE, NULL);
    late = freed = exhausted = 0;
    return 0;
}

static int teardown(void **state)
{
    win_close(entered);
    win_close(release_all);
    return fixture_teardown(state);
}

static struct guard *make_guard(const struct guard_options *options)
{
    struct guard *guard = NULL;
    expect_ok(guard_new(options, &guard));
    return guard;
}

/* Runs one call and gives the record back. */
static struct error *run_once(struct guard *guard, struct held_call *call, const struct guard_wait *wait)
{
    struct error *error = guard_run(guard, &call->base, wait);
    guard_release(&call->base);
    return error;
}

static void calls_return_and_threads_are_reused(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){0});
    DWORD first = 0;
    for (int i = 0; i < 100; i++) {
        struct held_call *call = new_held(false, 0);
        expect_ok(guard_run(guard, &call->base, NULL));
        assert_int_not_equal(call->thread, 0);
        assert_int_not_equal(call->thread, GetCurrentThreadId());
        if (first == 0)
            first = call->thread;
        guard_release(&call->base);
    }
    await_long(freed, 100);
    struct guard_counts counts = guard_count(guard);
    assert_int_equal(counts.running, 0);
    assert_true(counts.idle <= 2); /* one caller at a time: a second thread only while the first finds its way back */
    assert_int_equal(late, 0);
    assert_true(guard_close(guard, 30000));
}

static void a_deadline_names_the_call(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){.call_ms = 20});
    struct held_call *call = new_held(true, 0);
    expect_error(run_once(guard, call, NULL), ERROR_KIND_DEADLINE_EXCEEDED,
                 "SlowCall web: the call has not returned within 0.02 seconds");
    assert_true(
        events_have("CALL_LOST|SlowCall for web has not returned within 0 seconds; its thread is lost (1 lost now)."));
    struct guard_list list;
    guard_list_stuck(guard, &list);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.records[0].name, "SlowCall");
    assert_string_equal(list.records[0].object, "web");
    assert_int_not_equal(list.records[0].thread_id, 0);
    assert_true(list.records[0].abandoned && list.records[0].lost);
    guard_list_free(&list);
    assert_int_equal(guard_count(guard).lost, 1);
    assert_int_equal(freed, 0);
    SetEvent(release_all);
    await_long(freed, 1);
    assert_int_equal(late, 1);
    await_event("CALL_RETURNED_LATE|SlowCall for web returned after 0 seconds (it was undone)");
    guard_list_stuck(guard, &list);
    assert_int_equal(list.count, 0);
    guard_list_free(&list);
    struct guard_counts counts = guard_count(guard);
    assert_int_equal(counts.lost, 0);
    assert_int_equal(counts.stuck, 0);
    assert_int_equal(counts.returned_late, 1);
    assert_true(guard_close(guard, 30000));
}

static void who_leaves_early_loses_no_thread_yet(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){.call_ms = 600000});
    struct held_call *call = new_held(true, 0);
    expect_error(run_once(guard, call, &(struct guard_wait){.ms = 1}), ERROR_KIND_DEADLINE_EXCEEDED, "SlowCall");
    struct guard_counts counts = guard_count(guard);
    assert_int_equal(counts.stuck, 1);
    assert_int_equal(counts.lost, 0);
    assert_false(events_have("CALL_LOST"));
    SetEvent(release_all);
    await_long(freed, 1);
    assert_int_equal(late, 1);
    assert_false(events_have("CALL_RETURNED_LATE"));
    assert_true(guard_close(guard, 30000));
}

static void a_call_nobody_waits_for_is_lost_in_time(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){.call_ms = 200});
    struct held_call *call = new_held(true, 0);
    HANDLE cancel = CreateEventW(NULL, TRUE, TRUE, NULL);
    expect_error(run_once(guard, call, &(struct guard_wait){.cancel = cancel}), ERROR_KIND_CANCELLED, "cut short");
    win_close(cancel);
    await_event("CALL_LOST|SlowCall for web");
    assert_int_equal(guard_count(guard).lost, 1);
    SetEvent(release_all);
    await_event("CALL_RETURNED_LATE");
    assert_true(guard_close(guard, 30000));
}

struct second {
    struct guard *guard;
    struct held_call *call;
    struct guard_wait wait;
    struct error *error;
};

static DWORD WINAPI run_second(void *context)
{
    struct second *second = context;
    second->error = run_once(second->guard, second->call, &second->wait);
    return 0;
}

static HANDLE start_second(struct second *second)
{
    HANDLE thread = CreateThread(NULL, 0, run_second, second, 0, NULL);
    assert_non_null(thread);
    return thread;
}

static void join(HANDLE thread)
{
    assert_int_equal(WaitForSingleObject(thread, 30000), WAIT_OBJECT_0);
    CloseHandle(thread);
}

static void waits_are_cut_short(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){0});
    HANDLE cancel = CreateEventW(NULL, TRUE, FALSE, NULL);
    struct second second = {.guard = guard, .call = new_held(true, 0), .wait = {.cancel = cancel}};
    HANDLE thread = start_second(&second);
    assert_int_equal(WaitForSingleObject(entered, 30000), WAIT_OBJECT_0);
    SetEvent(cancel);
    join(thread);
    expect_error(second.error, ERROR_KIND_CANCELLED, "SlowCall web");
    win_close(cancel);
    SetEvent(release_all);
    await_long(late, 1);
    assert_true(guard_close(guard, 30000));
}

static void a_lost_connection_fails_what_has_the_tag(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){0});
    struct second one = {.guard = guard, .call = new_held(true, 7)},
                  other = {.guard = guard, .call = new_held(true, 8)};
    HANDLE first = start_second(&one);
    assert_int_equal(WaitForSingleObject(entered, 30000), WAIT_OBJECT_0);
    HANDLE second = start_second(&other);
    assert_int_equal(WaitForSingleObject(entered, 30000), WAIT_OBJECT_0);
    assert_int_equal(guard_fail(guard, 9), 0);
    assert_int_equal(guard_fail(guard, 7), 1);
    assert_int_equal(guard_fail(guard, 7), 0);
    join(first);
    expect_error(one.error, ERROR_KIND_UNAVAILABLE, "lost communication");
    SetEvent(release_all);
    join(second);
    expect_ok(other.error);
    await_long(late, 1);
    assert_true(guard_close(guard, 30000));
}

static void too_many_lost_calls_end_it(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){
        .call_ms = 10, .max_lost_calls = 2, .exhausted = note_exhausted, .context = (void *)&exhausted});
    expect_error(run_once(guard, new_held(true, 0), NULL), ERROR_KIND_DEADLINE_EXCEEDED, "SlowCall");
    assert_false(guard_is_exhausted(guard));
    assert_int_equal(exhausted, 0);
    expect_error(run_once(guard, new_held(true, 0), NULL), ERROR_KIND_DEADLINE_EXCEEDED, "SlowCall");
    assert_true(guard_is_exhausted(guard));
    assert_int_equal(exhausted, 1);
    assert_true(events_have("CALLS_EXHAUSTED|2 calls"));
    expect_error(run_once(guard, new_held(false, 0), NULL), ERROR_KIND_UNAVAILABLE,
                 "2 calls into the Host Compute Service");
    assert_false(guard_close(guard, 0)); /* two threads are in their calls */
    SetEvent(release_all);
    await_long(freed, 3);
    assert_int_equal(late, 2);
    assert_int_equal(exhausted, 1);
}

static void threads_have_a_limit(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){.max_threads = 1});
    struct second second = {.guard = guard, .call = new_held(true, 0)};
    HANDLE thread = start_second(&second);
    assert_int_equal(WaitForSingleObject(entered, 30000), WAIT_OBJECT_0);
    expect_error(run_once(guard, new_held(false, 0), NULL), ERROR_KIND_RESOURCE_EXHAUSTED, "1 calls");
    SetEvent(release_all);
    join(thread);
    expect_ok(second.error);
    assert_true(guard_close(guard, 30000));
}

static bool has_one_idle(void *guard)
{
    return guard_count(guard).idle == 1;
}

static void idle_threads_end_down_to_one(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){.idle_ms = 1});
    struct second seconds[4];
    HANDLE threads[4];
    for (int i = 0; i < 4; i++) {
        seconds[i] = (struct second){.guard = guard, .call = new_held(true, 0)};
        threads[i] = start_second(&seconds[i]);
        assert_int_equal(WaitForSingleObject(entered, 30000), WAIT_OBJECT_0);
    }
    assert_int_equal(guard_count(guard).running, 4);
    struct guard_list list;
    guard_list_running(guard, &list);
    assert_int_equal(list.count, 4);
    assert_false(list.records[0].abandoned);
    guard_list_free(&list);
    guard_list_stuck(guard, &list);
    assert_int_equal(list.count, 0);
    guard_list_free(&list);
    SetEvent(release_all);
    for (int i = 0; i < 4; i++) {
        join(threads[i]);
        expect_ok(seconds[i].error);
    }
    await_condition(has_one_idle, guard, "one idle thread");
    expect_ok(run_once(guard, new_held(false, 0), NULL));
    assert_true(guard_close(guard, 30000));
}

static void a_thread_that_impersonates_may_not_call(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){0});
    assert_true(ImpersonateSelf(SecurityImpersonation));
    struct error *error = run_once(guard, new_held(false, 0), NULL);
    RevertToSelf();
    expect_error(error, ERROR_KIND_INTERNAL, "impersonates");
    expect_ok(run_once(guard, new_held(false, 0), NULL));
    assert_true(guard_close(guard, 30000));
}

static void a_closed_guard_takes_no_calls(void **state)
{
    (void)state;
    struct guard *guard = make_guard(&(struct guard_options){.call_ms = 10});
    struct second second = {.guard = guard, .call = new_held(true, 0), .wait = {.ms = 600000}};
    HANDLE thread = start_second(&second);
    assert_int_equal(WaitForSingleObject(entered, 30000), WAIT_OBJECT_0);
    assert_false(guard_close(guard, 0));
    /* The waiting caller's share keeps the guard until it returns. */
    expect_error(run_once(guard, new_held(false, 0), NULL), ERROR_KIND_UNAVAILABLE, "stopping");
    SetEvent(release_all);
    join(thread);
    expect_ok(second.error);
    await_long(freed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up),
        cmocka_unit_test_setup_teardown(calls_return_and_threads_are_reused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_names_the_call, setup, teardown),
        cmocka_unit_test_setup_teardown(who_leaves_early_loses_no_thread_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_nobody_waits_for_is_lost_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_are_cut_short, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_connection_fails_what_has_the_tag, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_lost_calls_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_have_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(idle_threads_end_down_to_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_thread_that_impersonates_may_not_call, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_guard_takes_no_calls, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
