/* What tests of lib/hcs look with: allocations that are counted (linked with --wrap), bounded waits, and the events that came. */
#ifndef HCSD_TEST_HCS_HARNESS_H
#define HCSD_TEST_HCS_HARNESS_H

#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

/* Waits, within a generous bound, until `condition(context)`. */
void await_condition(bool (*condition)(void *context), void *context, const char *what);
#define await_long(variable, expected) await_long_(&(variable), (expected), #variable)
void await_long_(volatile LONG *variable, LONG expected, const char *what);

/* Adds `line` and a line end, as far as there is room. */
void add_line(char *lines, size_t room, const char *line);

/* Events seen so far, "NAME|text\n" each. */
void events_reset(void);
bool events_have(const char *part);
void await_event(const char *part);

/* Our allocations that are not freed. */
LONG allocations(void);
/* Waits until as many are left. */
void await_allocations(LONG expected);

/* The first test of each program: cmocka's thread-local variables are allocated at its first test and stay. */
void warm_up(void **state);
void expect_ok(struct error *error);
void expect_error(struct error *error, enum error_kind kind, const char *part);

#endif
