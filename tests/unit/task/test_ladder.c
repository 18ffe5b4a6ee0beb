#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "task/ladder.h"

#define WAIT 1000u

/* One line of a story: what happens at what time, and the rung whose step is then to be taken. */
struct beat {
    enum { RAISE, ACCEPTED, FAILED, LOST, FREED, TICK, END } what;
    enum rung rung;
    uint64_t at;
    enum rung expected;
};

static void play(const struct beat *beats)
{
    struct ladder ladder = {.wait_ms = WAIT};
    for (unsigned i = 0; beats[i].what != END; i++) {
        enum rung next = RUNG_NONE;
        const struct beat *beat = &beats[i];
        switch (beat->what) {
        case RAISE:
            next = ladder_raise(&ladder, beat->rung, beat->at);
            break;
        case ACCEPTED:
        case FAILED:
            next = ladder_returned(&ladder, beat->rung, beat->what == ACCEPTED, beat->at);
            break;
        case LOST:
            next = ladder_lost(&ladder, beat->rung, beat->at);
            break;
        case FREED:
            ladder_freed(&ladder, beat->rung);
            break;
        default:
            next = ladder_tick(&ladder, beat->at);
        }
        print_message("beat %u: expected %d, found %d\n", i, beat->expected, next);
        assert_int_equal(next, beat->expected);
    }
}

static void test_all_accepted_but_nothing_helps(void **state)
{
    (void)state;
    static const struct beat story[] = {
        {RAISE, RUNG_SHUTDOWN, 0, RUNG_SHUTDOWN},
        {ACCEPTED, RUNG_SHUTDOWN, 10, RUNG_NONE},
        {TICK, 0, 1009, RUNG_NONE},
        {TICK, 0, 1010, RUNG_TERMINATE},
        {ACCEPTED, RUNG_TERMINATE, 1020, RUNG_NONE},
        {TICK, 0, 2020, RUNG_FRESH},
        {ACCEPTED, RUNG_FRESH, 2030, RUNG_NONE},
        {TICK, 0, 3030, RUNG_PROCESSES},
        {ACCEPTED, RUNG_PROCESSES, 3040, RUNG_NONE},
        {TICK, 0, 4040, RUNG_STUCK},
        {TICK, 0, 5039, RUNG_NONE},
        {TICK, 0, 5040, RUNG_TERMINATE}, /* a new round */
        {END, 0, 0, 0},
    };
    play(story);
}

static void test_failures_do_not_wait(void **state)
{
    (void)state;
    static const struct beat story[] = {
        {RAISE, RUNG_SHUTDOWN, 0, RUNG_SHUTDOWN}, {FAILED, RUNG_SHUTDOWN, 1, RUNG_TERMINATE},
        {FAILED, RUNG_TERMINATE, 2, RUNG_FRESH},  {FAILED, RUNG_FRESH, 3, RUNG_PROCESSES},
        {FAILED, RUNG_PROCESSES, 4, RUNG_STUCK},  {END, 0, 0, 0},
    };
    play(story);
}

static void test_kill_cuts_the_shutdown_short(void **state)
{
    (void)state;
    static const struct beat story[] = {
        {RAISE, RUNG_SHUTDOWN, 0, RUNG_SHUTDOWN},
        {RAISE, RUNG_TERMINATE, 5, RUNG_TERMINATE}, /* the shutdown's call is still out */
        {RAISE, RUNG_TERMINATE, 6, RUNG_NONE},      /* an equal kill joins */
        {FAILED, RUNG_SHUTDOWN, 7, RUNG_NONE},      /* late: changes nothing */
        {ACCEPTED, RUNG_TERMINATE, 8, RUNG_NONE},
        {RAISE, RUNG_SHUTDOWN, 9, RUNG_NONE}, /* never down again */
        {TICK, 0, 1008, RUNG_FRESH},
        {END, 0, 0, 0},
    };
    play(story);
}

static void test_a_call_that_is_out_is_not_made_again(void **state)
{
    (void)state;
    static const struct beat story[] = {
        {RAISE, RUNG_TERMINATE, 0, RUNG_TERMINATE},
        {LOST, RUNG_TERMINATE, 1000, RUNG_FRESH},
        {LOST, RUNG_FRESH, 2000, RUNG_PROCESSES},
        {FAILED, RUNG_PROCESSES, 2001, RUNG_STUCK},
        {TICK, 0, 3001, RUNG_NONE}, /* terminate: out */
        {TICK, 0, 4001, RUNG_NONE}, /* fresh: out */
        {TICK, 0, 5001, RUNG_PROCESSES},
        {FAILED, RUNG_PROCESSES, 5002, RUNG_STUCK},
        {FREED, RUNG_TERMINATE, 5003, RUNG_NONE},
        {TICK, 0, 7001, RUNG_NONE}, /* the second pause is twice as long */
        {TICK, 0, 7002, RUNG_TERMINATE},
        {END, 0, 0, 0},
    };
    play(story);
}

static void test_a_kill_ends_the_pause(void **state)
{
    (void)state;
    static const struct beat story[] = {
        {RAISE, RUNG_TERMINATE, 0, RUNG_TERMINATE}, {FAILED, RUNG_TERMINATE, 1, RUNG_FRESH},
        {FAILED, RUNG_FRESH, 2, RUNG_PROCESSES},    {FAILED, RUNG_PROCESSES, 3, RUNG_STUCK},
        {RAISE, RUNG_TERMINATE, 4, RUNG_TERMINATE}, {END, 0, 0, 0},
    };
    play(story);
}

static void test_pauses_grow_to_an_hour(void **state)
{
    (void)state;
    struct ladder ladder = {.wait_ms = WAIT};
    uint64_t now = 0, pause = WAIT;
    assert_int_equal(ladder_raise(&ladder, RUNG_TERMINATE, now), RUNG_TERMINATE);
    for (unsigned round = 0; round < 40; round++) {
        ladder_returned(&ladder, RUNG_TERMINATE, false, now);
        ladder_returned(&ladder, RUNG_FRESH, false, now);
        assert_int_equal(ladder_returned(&ladder, RUNG_PROCESSES, false, now), RUNG_STUCK);
        assert_int_equal(ladder.due_ms - now, pause);
        now = ladder.due_ms;
        assert_int_equal(ladder_tick(&ladder, now), RUNG_TERMINATE);
        pause = pause * 2 < LADDER_PAUSE_MAX_MS ? pause * 2 : LADDER_PAUSE_MAX_MS;
    }
}

static void test_names(void **state)
{
    (void)state;
    for (enum rung rung = RUNG_SHUTDOWN; rung < RUNG_COUNT; rung++) {
        assert_true(*rung_name(rung));
        assert_true(*rung_call(rung));
    }
    assert_string_equal(rung_name(RUNG_NONE), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_accepted_but_nothing_helps),
        cmocka_unit_test(test_failures_do_not_wait),
        cmocka_unit_test(test_kill_cuts_the_shutdown_short),
        cmocka_unit_test(test_a_call_that_is_out_is_not_made_again),
        cmocka_unit_test(test_a_kill_ends_the_pause),
        cmocka_unit_test(test_pauses_grow_to_an_hour),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
