#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "service/machine.h"

static void test_check(void **state)
{
    (void)state;
    /* Not known, x64, x86; ARM64. */
    assert_null(machine_check(0));
    assert_null(machine_check(0x8664));
    assert_null(machine_check(0x014C));
    struct error *error = machine_check(0xAA64);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    assert_string_equal(error->object, "ARM64");
    assert_non_null(strstr(error->message, "x64"));
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_check)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
