/* The watchdog's judgement as truth tables: every class of (rung taken, time, progress) has a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "watch/watch.h"

static const struct watch_limits limits = {
    .ms = {[WATCH_STALL] = 100, [WATCH_DESTROY] = 1000, [WATCH_CALL] = 5000, [WATCH_GRACE] = 20, [WATCH_START] = 700}};

static const struct watch_rule rules[] = {
    {"nudged", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_ABANDON}},
    {"limited", WATCH_UNBOUNDED, WATCH_DESTROY, WATCH_JANITOR, {WATCH_KILL, WATCH_ABANDON}},
    {"both", WATCH_STALL, WATCH_DESTROY, WATCH_UNDO, {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_ABANDON}},
    {"silent", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_NONE}},
    {"full",
     WATCH_STALL,
     WATCH_UNBOUNDED,
     WATCH_NONE,
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_ANSWER, WATCH_KILL, WATCH_ABANDON, WATCH_JANITOR}},
};
static const struct watch_kind unbounded = {"test", WATCH_UNBOUNDED, rules, 5};
static const struct watch_kind bounded = {"call", WATCH_CALL, rules, 5};

#define T0 1000000u

/* What happens, in order; then what watch_tick says. */
enum step_kind { AT, PROGRESS, SAME, PHASE, PAUSE, RESUME, END };
struct step {
    enum step_kind kind;
    uint64_t ms; /* after T0 */
    const char *phase;
};
struct row {
    const char *what;
    const struct watch_kind *kind;
    const char *phase;
    struct step steps[12];
    enum watch_action expected[10]; /* one for each AT */
    uint64_t next;                  /* the deadline then, after T0; 0: none */
};

#define ROW_END                                                                                                        \
    {                                                                                                                  \
        END, 0, NULL                                                                                                   \
    }
static const struct row table[] = {
    /* time without progress: below, at, beyond each rung's moment */
    {"nothing before the limit",
     &unbounded,
     "nudged",
     {{AT, 0, 0}, {AT, 99, 0}, ROW_END},
     {WATCH_NONE, WATCH_NONE},
     100},
    {"each rung at its limit, not before",
     &unbounded,
     "nudged",
     {{AT, 100, 0},
      {AT, 199, 0},
      {AT, 200, 0},
      {AT, 299, 0},
      {AT, 300, 0},
      {AT, 399, 0},
      {AT, 400, 0},
      {AT, 100000, 0},
      ROW_END},
     {WATCH_NOTICE, WATCH_NONE, WATCH_GO_AROUND, WATCH_NONE, WATCH_KILL, WATCH_NONE, WATCH_ABANDON, WATCH_NONE},
     0},
    {"late ticks take one rung a stall, not all at once",
     &unbounded,
     "nudged",
     {{AT, 5000, 0}, {AT, 5000, 0}, {AT, 5100, 0}, {AT, 5199, 0}, {AT, 5200, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_NONE, WATCH_GO_AROUND, WATCH_NONE, WATCH_KILL},
     5300},
    /* progress, before and after each rung */
    {"progress before a rung",
     &unbounded,
     "nudged",
     {{PROGRESS, 60, 0}, {AT, 159, 0}, {AT, 160, 0}, ROW_END},
     {WATCH_NONE, WATCH_NOTICE},
     260},
    {"progress after the notice starts anew",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {PROGRESS, 150, 0}, {AT, 249, 0}, {AT, 250, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_NONE, WATCH_NOTICE},
     350},
    {"progress after going around starts anew",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {AT, 200, 0}, {PROGRESS, 210, 0}, {AT, 309, 0}, {AT, 310, 0}, {AT, 410, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_NONE, WATCH_NOTICE, WATCH_GO_AROUND},
     510},
    {"progress after the kill changes nothing",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {AT, 200, 0}, {AT, 300, 0}, {PROGRESS, 350, 0}, {AT, 399, 0}, {AT, 400, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_NONE, WATCH_ABANDON},
     0},
    {"the same counter again is no progress",
     &unbounded,
     "nudged",
     {{PROGRESS, 50, 0}, {SAME, 149, 0}, {AT, 150, 0}, ROW_END},
     {WATCH_NOTICE},
     250},
    /* phases */
    {"a new phase is progress and the ladder's bottom",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {AT, 200, 0}, {PHASE, 250, "both"}, {AT, 349, 0}, {AT, 350, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_NONE, WATCH_NOTICE},
     450},
    {"a new phase after the kill is a new beginning",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {AT, 200, 0}, {AT, 300, 0}, {PHASE, 310, "nudged"}, {AT, 409, 0}, {AT, 410, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_NONE, WATCH_NOTICE},
     510},
    {"a phase of no rule is not watched",
     &unbounded,
     "nudged",
     {{PHASE, 10, "unheard of"}, {AT, 100000, 0}, ROW_END},
     {WATCH_NONE},
     0},
    {"a phase without rungs asks for nothing", &unbounded, "silent", {{AT, 100000, 0}, ROW_END}, {WATCH_NONE}, 0},
    /* a phase's own limit */
    {"the limit passes whatever the progress",
     &unbounded,
     "limited",
     {{PROGRESS, 500, 0}, {PROGRESS, 990, 0}, {AT, 999, 0}, {AT, 1000, 0}, {AT, 1099, 0}, {AT, 1100, 0}, ROW_END},
     {WATCH_NONE, WATCH_KILL, WATCH_NONE, WATCH_ABANDON},
     0},
    {"the limit skips what only nudges",
     &unbounded,
     "both",
     {{PROGRESS, 950, 0}, {AT, 999, 0}, {AT, 1000, 0}, {AT, 1000, 0}, {AT, 1100, 0}, ROW_END},
     {WATCH_NONE, WATCH_KILL, WATCH_NONE, WATCH_ABANDON},
     0},
    {"a limit that passes on the ladder's way",
     &unbounded,
     "both",
     {{PROGRESS, 850, 0}, {AT, 950, 0}, {AT, 1000, 0}, {AT, 1099, 0}, {AT, 1100, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_KILL, WATCH_NONE, WATCH_ABANDON},
     0},
    {"the ladder may be faster than the limit",
     &unbounded,
     "both",
     {{AT, 100, 0}, {AT, 200, 0}, {AT, 300, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL},
     400},
    {"the phase's limit counts from the phase",
     &unbounded,
     "nudged",
     {{PHASE, 90, "limited"}, {AT, 1089, 0}, {AT, 1090, 0}, ROW_END},
     {WATCH_NONE, WATCH_KILL},
     1190},
    /* the operation's limit */
    {"the operation's limit counts from its beginning",
     &bounded,
     "limited",
     {{PHASE, 4500, "limited"}, {AT, 4999, 0}, {AT, 5000, 0}, {AT, 5100, 0}, ROW_END},
     {WATCH_NONE, WATCH_KILL, WATCH_ABANDON},
     0},
    {"it takes the first rung that is more than a nudge",
     &bounded,
     "full",
     {{PROGRESS, 4990, 0}, {AT, 5000, 0}, {AT, 5100, 0}, {AT, 5200, 0}, {AT, 5300, 0}, {AT, 5400, 0}, ROW_END},
     {WATCH_ANSWER, WATCH_KILL, WATCH_ABANDON, WATCH_JANITOR, WATCH_NONE},
     0},
    {"a phase without rungs has nothing to take even then",
     &bounded,
     "silent",
     {{AT, 6000, 0}, ROW_END},
     {WATCH_NONE},
     0},
    {"a phase that begins beyond the limit ends at once",
     &bounded,
     "nudged",
     {{PHASE, 6000, "nudged"}, {AT, 6000, 0}, {AT, 6099, 0}, {AT, 6100, 0}, ROW_END},
     {WATCH_KILL, WATCH_NONE, WATCH_ABANDON},
     0},
    /* pauses */
    {"a pause is no stall", &unbounded, "nudged", {{PAUSE, 50, 0}, {AT, 100000, 0}, ROW_END}, {WATCH_NONE}, 0},
    {"its end counts as progress",
     &unbounded,
     "nudged",
     {{PAUSE, 50, 0}, {RESUME, 5000, 0}, {AT, 5099, 0}, {AT, 5100, 0}, ROW_END},
     {WATCH_NONE, WATCH_NOTICE},
     5200},
    {"a pause ends a stall",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {PAUSE, 150, 0}, {RESUME, 160, 0}, {AT, 259, 0}, {AT, 260, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_NONE, WATCH_NOTICE},
     360},
    {"a pause does not stop a limit",
     &unbounded,
     "both",
     {{PAUSE, 50, 0}, {AT, 999, 0}, {AT, 1000, 0}, ROW_END},
     {WATCH_NONE, WATCH_KILL},
     1100},
    {"a pause does not save what is being killed",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {AT, 200, 0}, {AT, 300, 0}, {PAUSE, 350, 0}, {AT, 400, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_ABANDON},
     0},
    {"nor does its end",
     &unbounded,
     "nudged",
     {{AT, 100, 0}, {AT, 200, 0}, {AT, 300, 0}, {PAUSE, 350, 0}, {RESUME, 390, 0}, {AT, 400, 0}, ROW_END},
     {WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_ABANDON},
     0},
};

static void apply(struct watch *watch, const struct step *step, uint64_t *counter)
{
    uint64_t now = T0 + step->ms;
    switch (step->kind) {
    case PROGRESS:
        watch_progress(watch, ++*counter, now);
        break;
    case SAME:
        assert_false(watch_progress(watch, *counter, now));
        break;
    case PHASE:
        watch_phase(watch, step->phase, now);
        break;
    case PAUSE:
    case RESUME:
        watch_pause(watch, step->kind == PAUSE, now);
        break;
    case AT:
    case END:
        break;
    }
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct row *row = &table[i];
        struct watch watch;
        uint64_t counter = 0;
        size_t asked = 0;
        watch_begin(&watch, row->kind, &limits, row->phase, T0);
        for (const struct step *step = row->steps; step->kind != END; step++) {
            apply(&watch, step, &counter);
            if (step->kind != AT)
                continue;
            enum watch_action action = watch_tick(&watch, T0 + step->ms);
            if (action != row->expected[asked])
                fail_msg("%s: at %llu ms expected \"%s\", found \"%s\"", row->what, (unsigned long long)step->ms,
                         watch_action_name(row->expected[asked]), watch_action_name(action));
            asked++;
        }
        uint64_t next = watch_next_deadline(&watch), expected = row->next == 0 ? WATCH_NEVER : T0 + row->next;
        if (next != expected)
            fail_msg("%s: expected the next deadline at %lld, found %lld", row->what, (long long)(expected - T0),
                     (long long)(next - T0));
    }
}

/* Whoever sleeps until watch_next_deadline misses nothing and wakes for nothing. */
static void test_deadline_is_when_tick_speaks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct watch watch;
        watch_begin(&watch, &bounded, &limits, rules[i].phase, T0);
        for (uint64_t deadline; (deadline = watch_next_deadline(&watch)) != WATCH_NEVER;) {
            assert_int_equal(watch_tick(&watch, deadline - 1), WATCH_NONE);
            assert_int_not_equal(watch_tick(&watch, deadline), WATCH_NONE);
        }
    }
}

static void test_progress_tells_of_a_stall_that_ended(void **state)
{
    (void)state;
    struct watch watch;
    watch_begin(&watch, &unbounded, &limits, "nudged", T0);
    assert_false(watch_progress(&watch, 1, T0 + 10));
    assert_int_equal(watch_tick(&watch, T0 + 110), WATCH_NOTICE);
    assert_int_equal(watch.step, WATCH_NOTICE);
    assert_true(watch_progress(&watch, 2, T0 + 120));
    assert_int_equal(watch.step, WATCH_NONE);
}

static void test_clock_that_goes_back(void **state)
{
    (void)state;
    struct watch watch;
    watch_begin(&watch, &unbounded, &limits, "nudged", T0);
    assert_int_equal(watch_tick(&watch, T0 - 5000), WATCH_NONE);
    assert_int_equal(watch_idle_ms(&watch, T0 - 5000), 0);
    assert_int_equal(watch_age_ms(&watch, T0 - 5000), 0);
    watch_progress(&watch, 1, T0 - 5000);
    assert_int_equal(watch_tick(&watch, T0 + 99), WATCH_NONE);
    assert_int_equal(watch_tick(&watch, T0 + 100), WATCH_NOTICE);
    assert_int_equal(watch_idle_ms(&watch, T0 + 130), 130);
}

static void test_zero_and_ended_ask_for_nothing(void **state)
{
    (void)state;
    struct watch watch = {0};
    assert_int_equal(watch_tick(&watch, UINT64_MAX), WATCH_NONE);
    assert_true(watch_next_deadline(&watch) == WATCH_NEVER);
    assert_false(watch_progress(&watch, 1, 5));
    watch_phase(&watch, "nudged", 5);
    watch_pause(&watch, true, 5);
    watch_begin(&watch, &unbounded, &limits, "nudged", T0);
    watch_end(&watch);
    assert_int_equal(watch_tick(&watch, UINT64_MAX), WATCH_NONE);
}

static void test_no_overflow_at_the_end_of_time(void **state)
{
    (void)state;
    struct watch watch;
    watch_begin(&watch, &bounded, &limits, "both", UINT64_MAX - 10);
    assert_int_equal(watch_tick(&watch, UINT64_MAX - 1), WATCH_NONE);
    assert_true(watch_next_deadline(&watch) == WATCH_NEVER);
}

static void test_pauses_grow(void **state)
{
    (void)state;
    static const struct {
        unsigned tries;
        uint64_t base, expected;
    } rows[] = {
        {0, 2000, 2000}, {1, 2000, 4000}, {4, 2000, 32000},     {11, 2000, 3600000}, {4000000000u, 2000, 3600000},
        {0, 0, 1},       {3, 0, 8},       {0, 7200000, 3600000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(watch_pause_ms(rows[i].tries, rows[i].base), rows[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_deadline_is_when_tick_speaks),
        cmocka_unit_test(test_progress_tells_of_a_stall_that_ended),
        cmocka_unit_test(test_clock_that_goes_back),
        cmocka_unit_test(test_zero_and_ended_ask_for_nothing),
        cmocka_unit_test(test_no_overflow_at_the_end_of_time),
        cmocka_unit_test(test_pauses_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
