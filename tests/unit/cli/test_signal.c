#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/signal.h"

static void names_and_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t number;
    } rows[] = {{"9", 9},     {"KILL", 9},       {"SIGKILL", 9},     {"sigkill", 9},   {"kill", 9},
                {"15", 15},   {"TERM", 15},      {"HUP", 1},         {"INT", 2},       {"QUIT", 3},
                {"ABRT", 6},  {"CtrlC", 0},      {"ctrlbreak", 1},   {"CtrlClose", 2}, {"0", 0},
                {"255", 255}, {"CtrlLogOff", 5}, {"CtrlShutdown", 6}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t number = 77;
        struct error *error = signal_parse(rows[i].text, &number);
        if (error != NULL)
            fail_msg("%s: %s", rows[i].text, error->message);
        assert_int_equal(number, rows[i].number);
    }
    static const char *const bad[] = {"", "256", "-1", "9x", "SIG", "KILLED", " 9", "USR1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t number = 77;
        struct error *error = signal_parse(bad[i], &number);
        if (error == NULL)
            fail_msg("%s: expected an error", bad[i]);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        assert_int_equal(number, 77);
        error_free(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
