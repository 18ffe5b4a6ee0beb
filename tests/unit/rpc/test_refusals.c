/* What the operator is told of many refusals: a burst, then one now and then, and how many were not told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/rpc/refusals.h"

static void a_burst_then_one_now_and_then(void **state)
{
    (void)state;
    struct refusals refusals;
    unsigned silent = 99;
    refusals_init(&refusals, 1000);
    for (unsigned i = 0; i < REFUSALS_BURST; i++) {
        assert_true(refusals_add(&refusals, 1000, &silent));
        assert_int_equal(silent, 0);
    }
    for (unsigned i = 0; i < 7; i++)
        assert_false(refusals_add(&refusals, 1000 + REFUSALS_EVERY_MS - 1, &silent));
    assert_true(refusals_add(&refusals, 1000 + REFUSALS_EVERY_MS, &silent));
    assert_int_equal(silent, 7);
    assert_false(refusals_add(&refusals, 1000 + 2 * REFUSALS_EVERY_MS - 1, &silent));
    assert_true(refusals_add(&refusals, 1000 + 2 * REFUSALS_EVERY_MS, &silent));
    assert_int_equal(silent, 1);
    assert_int_equal(refusals.count, REFUSALS_BURST + 10);
}

static void quiet_earns_no_more_than_a_burst(void **state)
{
    (void)state;
    struct refusals refusals;
    unsigned silent = 0, told = 0;
    refusals_init(&refusals, 0);
    assert_true(refusals_add(&refusals, 0, &silent));
    uint64_t later = UINT64_C(1) << 60; /* sleep costs nothing, neither do years */
    for (unsigned i = 0; i < 20; i++)
        told += refusals_add(&refusals, later, &silent);
    assert_int_equal(told, REFUSALS_BURST);
    assert_true(refusals_add(&refusals, later + REFUSALS_EVERY_MS, &silent));
    assert_int_equal(silent, 20 - REFUSALS_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_burst_then_one_now_and_then),
                                       cmocka_unit_test(quiet_earns_no_more_than_a_burst)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
