#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "task/signals.h"

/* The table of containerd's Task API facts, 3.5, plus the design's TERM for an init. */
static const struct {
    uint32_t number;
    enum signal_action init, exec, old_init, old_exec;
    const char *exec_console;
} rows[] = {
    {0, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlC"},
    {1, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlBreak"},
    {2, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlClose"},
    {3, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, NULL},
    {4, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, NULL},
    {5, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlLogOff"},
    {6, SIGNAL_SHUTDOWN, SIGNAL_CONSOLE, SIGNAL_SHUTDOWN, SIGNAL_TERMINATE, "CtrlShutdown"},
    {7, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, NULL},
    {9, SIGNAL_TERMINATE, SIGNAL_TERMINATE, SIGNAL_TERMINATE, SIGNAL_TERMINATE, NULL},
    {15, SIGNAL_SHUTDOWN, SIGNAL_CONSOLE, SIGNAL_SHUTDOWN, SIGNAL_TERMINATE, "CtrlShutdown"},
    {16, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, NULL},
    {UINT32_MAX, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, SIGNAL_REFUSED, NULL},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("signal %u\n", rows[i].number);
        assert_int_equal(signal_plan(rows[i].number, true, 20348).action, rows[i].init);
        assert_int_equal(signal_plan(rows[i].number, false, 20348).action, rows[i].exec);
        assert_int_equal(signal_plan(rows[i].number, false, 17763).action, rows[i].exec);
        assert_int_equal(signal_plan(rows[i].number, true, 17762).action, rows[i].old_init);
        assert_int_equal(signal_plan(rows[i].number, false, 17762).action, rows[i].old_exec);
        const char *console = signal_plan(rows[i].number, false, 20348).console;
        if (rows[i].exec_console)
            assert_string_equal(console, rows[i].exec_console);
        else
            assert_null(console);
    }
}

/* A console event's name goes only with a console action. */
static void test_console_only(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < 64; number++)
        for (int init = 0; init < 2; init++) {
            struct signal_plan plan = signal_plan(number, init, 20348);
            assert_int_equal(plan.console != NULL, plan.action == SIGNAL_CONSOLE);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_console_only)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
