/* Who has misbehaved too often, and that it is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/rpc/offences.h"

static void so_many_at_once_are_no_more(void **state)
{
    (void)state;
    struct offences offences = {0};
    assert_false(offences_are_too_many(&offences, 7, 1000));
    for (unsigned i = 0; i < OFFENCES_MOST; i++)
        offences_add(&offences, 7, 1, 1000);
    assert_false(offences_are_too_many(&offences, 7, 1000));
    offences_add(&offences, 7, 1, 1000);
    assert_true(offences_are_too_many(&offences, 7, 1000));
    assert_false(offences_are_too_many(&offences, 8, 1000));
    /* One is forgotten, and one more is one too many again. */
    assert_true(offences_are_too_many(&offences, 7, 1000 + OFFENCES_EVERY_MS - 1));
    assert_false(offences_are_too_many(&offences, 7, 1000 + OFFENCES_EVERY_MS));
    offences_add(&offences, 7, 1, 1000 + OFFENCES_EVERY_MS);
    assert_true(offences_are_too_many(&offences, 7, 1000 + OFFENCES_EVERY_MS));
}

static void nothing_is_kept_for_ever(void **state)
{
    (void)state;
    struct offences offences = {0};
    for (unsigned i = 0; i < 3; i++)
        offences_add(&offences, 7, UINT32_MAX, 1000);
    assert_true(offences_are_too_many(&offences, 7, 1000));
    assert_false(offences_are_too_many(&offences, 7, 1000 + OFFENCES_LAST_MS));
    /* And after a long time it begins with nothing. */
    uint64_t later = UINT64_C(1) << 60;
    offences_add(&offences, 7, OFFENCES_MOST, later);
    assert_false(offences_are_too_many(&offences, 7, later));
}

static void the_worst_are_remembered(void **state)
{
    (void)state;
    struct offences offences = {0};
    offences_add(&offences, 7, OFFENCES_MOST + 1, 1000);
    for (uint32_t pid = 100; pid < 100 + 10 * OFFENCES_KEPT; pid++)
        offences_add(&offences, pid, 1, 1000);
    assert_true(offences_are_too_many(&offences, 7, 1000));
    /* Whoever takes the place of another does not take its offences. */
    for (uint32_t pid = 5000; pid < 5000 + 10 * OFFENCES_KEPT; pid++) {
        offences_add(&offences, pid, 1, 1000);
        assert_false(offences_are_too_many(&offences, pid, 1000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(so_many_at_once_are_no_more),
                                       cmocka_unit_test(nothing_is_kept_for_ever),
                                       cmocka_unit_test(the_worst_are_remembered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
