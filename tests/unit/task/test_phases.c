#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "task/phases.h"

#define OK 0
#define FP ERROR_KIND_FAILED_PRECONDITION
#define NF ERROR_KIND_NOT_FOUND

/* containerd's Task API facts, 3.2 and 3.3. Columns: creating, created, starting, running, pausing, paused, ending, stopped. */
static const int expected[REQUEST_COUNT][PHASE_COUNT] = {
    [REQUEST_START] = {FP, OK, FP, FP, FP, FP, FP, FP},  [REQUEST_KILL] = {FP, OK, OK, OK, OK, OK, OK, NF},
    [REQUEST_SIGNAL] = {FP, OK, OK, OK, FP, FP, OK, NF}, [REQUEST_DELETE] = {FP, OK, FP, FP, FP, FP, OK, OK},
    [REQUEST_EXEC] = {FP, FP, FP, OK, FP, FP, FP, FP},   [REQUEST_PAUSE] = {FP, FP, FP, OK, FP, FP, FP, FP},
    [REQUEST_RESUME] = {FP, FP, FP, FP, FP, OK, FP, FP}, [REQUEST_CONTROL] = {FP, OK, OK, OK, FP, FP, FP, NF},
};

static void test_check(void **state)
{
    (void)state;
    for (enum request request = 0; request < REQUEST_COUNT; request++)
        for (enum phase phase = 0; phase < PHASE_COUNT; phase++) {
            struct error *error = phase_check(phase, request, "web");
            print_message("request %d in %s: %s\n", request, phase_name(phase), error ? error->message : "ok");
            assert_int_equal(error ? (int)error->kind : OK, expected[request][phase]);
            if (error) {
                assert_string_equal(error->object, "web");
                assert_true(*error->message);
            }
            error_free(error);
        }
}

static void test_status(void **state)
{
    (void)state;
    static const enum task_status never_ran[] = {TASK_CREATED, TASK_CREATED, TASK_CREATED, TASK_RUNNING,
                                                 TASK_PAUSING, TASK_PAUSED,  TASK_CREATED, TASK_STOPPED};
    for (enum phase phase = 0; phase < PHASE_COUNT; phase++)
        assert_int_equal(phase_status(phase, false), never_ran[phase]);
    /* A container that ends is RUNNING until its exit is latched. */
    assert_int_equal(phase_status(PHASE_ENDING, true), TASK_RUNNING);
    assert_int_equal(phase_status(PHASE_STOPPED, true), TASK_STOPPED);
}

static void test_names(void **state)
{
    (void)state;
    for (enum phase phase = 0; phase < PHASE_COUNT; phase++) {
        enum phase parsed = PHASE_COUNT;
        assert_true(phase_parse(phase_name(phase), &parsed));
        assert_int_equal(parsed, phase);
    }
    enum phase untouched = PHASE_ENDING;
    assert_false(phase_parse("Running", &untouched));
    assert_int_equal(untouched, PHASE_ENDING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_check), cmocka_unit_test(test_status),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
