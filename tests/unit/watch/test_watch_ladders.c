/* The program's own ladders: what must hold for every kind and phase, and the ladders that the design promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "watch/watch.h"

#define T0 5000000u

static void test_limits(void **state)
{
    (void)state;
    struct watch_limits limits = watch_limits_from(30, 120, 240);
    assert_int_equal(limits.ms[WATCH_STALL], 30000);
    assert_int_equal(limits.ms[WATCH_DESTROY], 120000);
    assert_int_equal(limits.ms[WATCH_CALL], 240000);
    assert_in_range(limits.ms[WATCH_GRACE], 1000, 2000);
    assert_true(watch_limits_from(3600, 3600, 3600).ms[WATCH_STALL] == 3600000);
}

/* All rungs of a phase, with the seconds at which they come when nothing moves. */
static void climb(const char *kind, const char *phase, char *text, size_t size)
{
    struct watch_limits limits = watch_limits_from(2, 7, 11);
    const struct watch_kind *found = watch_kind_find(kind);
    struct watch watch;
    assert_non_null(found);
    const struct watch_rule *rule = watch_rule_find(found, phase);
    if (rule == NULL)
        fail_msg("%s has no phase %s", kind, phase);
    text[0] = '\0';
    watch_begin(&watch, found, &limits, phase, T0);
    for (uint64_t deadline; (deadline = watch_next_deadline(&watch)) != WATCH_NEVER;) {
        enum watch_action action = watch_tick(&watch, deadline);
        snprintf(text + strlen(text), size - strlen(text), "%.1f %s, ", (double)(deadline - T0) / 1000,
                 watch_action_name(action));
    }
    snprintf(text + strlen(text), size - strlen(text), "then %s", watch_action_name(rule->after));
}

/* stall_seconds 2, destroy_seconds 7, call_seconds 11 */
static void test_ladders(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *phase, *ladder;
    } rows[] = {
        {"export", "queued", "then "},
        {"export", "begin", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "activate", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "turn", "then undo"},
        {"export", "prepare", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "unprepare", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "stage", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "archive", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "cancel", "1.5 kill, 3.5 abandon, then undo"},
        {"export", "deactivate", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then undo"},
        {"export", "cleanup", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then quarantine"},
        {"mount", "queued", "11.0 answer, then "},
        {"mount", "begin", "11.0 kill, 13.0 abandon, then undo"},
        {"mount", "activate", "11.0 kill, 13.0 abandon, then undo"},
        {"mount", "turn", "11.0 kill, 13.0 abandon, then undo"},
        {"mount", "prepare", "11.0 kill, 13.0 abandon, then undo"},
        {"mount", "path", "11.0 kill, 13.0 abandon, then undo"},
        {"release", "queued", "11.0 answer, then "},
        {"release", "unprepare", "11.0 kill, 13.0 abandon, then undo"},
        {"release", "deactivate", "11.0 kill, 13.0 abandon, then undo"},
        {"release", "target", "11.0 kill, 13.0 abandon, then undo"},
        {"clean", "target", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then janitor"},
        {"clean", "deactivate", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then janitor"},
        {"clean", "cleanup", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then quarantine"},
        {"destroy", "target", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then janitor"},
        {"destroy", "destroy", "7.0 kill, 9.0 abandon, then janitor"},
        {"destroy", "cleanup", "2.0 notice, 4.0 go_around, 6.0 kill, 8.0 abandon, then janitor"},
        {"worker", "start", "60.0 kill, 62.0 abandon, then "},
        {"worker", "end", "1.5 kill, 3.5 abandon, then "},
        {"worker", "killed", "2.0 abandon, then "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char found[256];
        climb(rows[i].kind, rows[i].phase, found, sizeof found);
        if (strcmp(found, rows[i].ladder) != 0)
            fail_msg("%s, %s: expected \"%s\", found \"%s\"", rows[i].kind, rows[i].phase, rows[i].ladder, found);
    }
}

/* Nothing hangs for ever: in every phase in which a worker has something in hand there is a limit, and its end is a kill that
 * is followed by letting go. Waiting in a queue and for a turn is bounded by what is waited for. */
static void test_every_phase_ends(void **state)
{
    (void)state;
    struct watch_limits limits = watch_limits_from(1, 1, 1);
    for (size_t i = 0; i < watch_kinds_count; i++) {
        const struct watch_kind *kind = &watch_kinds[i];
        assert_ptr_equal(watch_kind_find(kind->name), kind);
        for (size_t j = 0; j < kind->rule_count; j++) {
            const char *phase = kind->rules[j].phase;
            bool waiting =
                strcmp(phase, "queued") == 0 || (strcmp(phase, "turn") == 0 && kind->total == WATCH_UNBOUNDED);
            enum watch_action last = WATCH_NONE;
            struct watch watch;
            watch_begin(&watch, kind, &limits, phase, T0);
            for (uint64_t deadline; (deadline = watch_next_deadline(&watch)) != WATCH_NEVER;)
                last = watch_tick(&watch, deadline);
            if (!waiting && last != WATCH_ABANDON)
                fail_msg("%s, %s: the last rung is \"%s\"", kind->name, phase, watch_action_name(last));
        }
    }
    assert_null(watch_kind_find("unheard of"));
}

/* The whole way of an export whose cleanup freezes and whose folder resists DestroyLayer too (design.md, the ladder). */
static void test_export_cleanup_to_its_end(void **state)
{
    (void)state;
    struct watch_limits limits = watch_limits_from(30, 120, 240);
    struct watch export, destroy;
    watch_begin(&export, watch_kind_find("export"), &limits, "begin", T0);
    watch_phase(&export, "archive", T0 + 1000);
    watch_progress(&export, 500, T0 + 20000);
    watch_phase(&export, "deactivate", T0 + 21000);
    watch_phase(&export, "cleanup", T0 + 22000);
    assert_int_equal(watch_tick(&export, T0 + 51999), WATCH_NONE);
    assert_int_equal(watch_tick(&export, T0 + 52000), WATCH_NOTICE);
    assert_int_equal(watch_tick(&export, T0 + 82000), WATCH_GO_AROUND);
    assert_int_equal(watch_tick(&export, T0 + 112000), WATCH_KILL);
    assert_int_equal(export.rule->after, WATCH_QUARANTINE);
    watch_begin(&destroy, watch_kind_find("destroy"), &limits, "begin", T0 + 113000);
    watch_phase(&destroy, "destroy", T0 + 114000);
    assert_int_equal(watch_tick(&destroy, T0 + 233999), WATCH_NONE);
    assert_int_equal(watch_tick(&destroy, T0 + 234000), WATCH_KILL);
    assert_int_equal(destroy.rule->after, WATCH_JANITOR);
    assert_int_equal(watch_pause_ms(0, 30000), 30000);
    assert_int_equal(watch_pause_ms(20, 30000), 3600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_ladders),
        cmocka_unit_test(test_every_phase_ends),
        cmocka_unit_test(test_export_cleanup_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
