#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

struct units {
    char16_t units[8];
    size_t count;
    const char *text;
    bool utf8; /* and the units are UTF-16 */
};

static const struct units both_ways[] = {
    {{0}, 0, "", true},
    {{'a', 'Z', '~'}, 3, "aZ~", true},
    {{0x7F, 0x80, 0x7FF, 0x800}, 4, "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80", true},
    {{0xFFFF, 0xFFFD, 0xE000}, 3, "\xEF\xBF\xBF\xEF\xBF\xBD\xEE\x80\x80", true},
    {{0xD7FF}, 1, "\xED\x9F\xBF", true},
    {{0xD800, 0xDC00}, 2, "\xF0\x90\x80\x80", true},
    {{0xDBFF, 0xDFFF}, 2, "\xF4\x8F\xBF\xBF", true},
    {{0xD83D, 0xDCA9, 'x'}, 3, "\xF0\x9F\x92\xA9x", true},
    /* lone surrogates */
    {{0xD800}, 1, "\xED\xA0\x80", false},
    {{0xDBFF}, 1, "\xED\xAF\xBF", false},
    {{0xDC00}, 1, "\xED\xB0\x80", false},
    {{0xDFFF}, 1, "\xED\xBF\xBF", false},
    {{'a', 0xD800, 'b'},
     3,
     "a\xED\xA0\x80"
     "b",
     false},
    {{0xDC00, 0xD800}, 2, "\xED\xB0\x80\xED\xA0\x80", false}, /* the wrong way round: no pair */
    {{0xD800, 0xD800, 0xDC00}, 3, "\xED\xA0\x80\xF0\x90\x80\x80", false},
    {{0xD800, 0xDC00, 0xDC00}, 3, "\xF0\x90\x80\x80\xED\xB0\x80", false},
    {{0xD800, 'x', 0xDC00}, 3, "\xED\xA0\x80x\xED\xB0\x80", false},
};

static void units_and_wtf8_map_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof both_ways / sizeof both_ways[0]; i++) {
        const struct units *row = &both_ways[i];
        char *text = text_from_utf16(row->units, row->count);
        assert_string_equal(text, row->text);
        size_t count = 99;
        char16_t *units = text_to_utf16(row->text, &count);
        assert_non_null(units);
        assert_int_equal(count, row->count);
        assert_memory_equal(units, row->units, count * sizeof *units);
        assert_int_equal(units[count], 0);
        assert_int_equal(text_is_utf8(row->text, strlen(row->text)), row->utf8);
        assert_int_equal(text_is_utf16(row->units, row->count), row->utf8);
        free(units);
        free(text);
    }
}

/* Every unit alone, and every surrogate in all four neighbourhoods, survives the way there and back. */
static void every_unit_survives(void **state)
{
    (void)state;
    for (unsigned unit = 1; unit <= 0xFFFF; unit++) {
        const char16_t units[] = {(char16_t)unit, 'x', (char16_t)unit, 0xD800, (char16_t)unit, 0xDC00};
        for (size_t size = 1; size <= 6; size++) {
            char *text = text_from_utf16(units, size);
            size_t count = 0;
            char16_t *back = text_to_utf16(text, &count);
            assert_non_null(back);
            assert_int_equal(count, size);
            assert_memory_equal(back, units, size * sizeof *back);
            free(back);
            free(text);
        }
    }
}

static const char *const refused[] = {
    "\x80",
    "\xBF",
    "a\x80",
    "\xC0\x80",
    "\xC1\xBF",
    "\xC2",
    "\xC2\x41",
    "\xE0\x80\x80",
    "\xE0\x9F\xBF",
    "\xE0\xA0",
    "\xE1\x80\xC0",
    "\xF0\x80\x80\x80",
    "\xF0\x8F\xBF\xBF",
    "\xF0\x90\x80",
    "\xF4\x90\x80\x80",
    "\xF5\x80\x80\x80",
    "\xF8\x88\x80\x80\x80",
    "\xFE",
    "\xFF",
    "\xED\xA0\x80\xED\xB0\x80", /* a pair as two three-byte forms */
    "x\xED\xAF\xBF\xED\xBF\xBFy",
};

static void bytes_that_are_no_wtf8_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        size_t count = 42;
        assert_null(text_to_utf16(refused[i], &count));
        assert_int_equal(count, 42); /* untouched */
        assert_false(text_is_utf8(refused[i], strlen(refused[i])));
    }
}

static void counted_text_may_hold_nul(void **state)
{
    (void)state;
    size_t count = 0;
    char16_t *units = text_to_utf16_n("a\0b", 3, &count);
    assert_int_equal(count, 3);
    assert_int_equal(units[1], 0);
    free(units);
    assert_null(text_from_utf16z(NULL));
    char *text = text_from_utf16z((const char16_t[]){'h', 'i', 0});
    assert_string_equal(text, "hi");
    free(text);
}

static void printable_is_one_clean_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t limit;
        const char *expected;
    } rows[] = {
        {"", 0, ""},
        {"C:\\a\\b \xC3\xA4", 0, "C:\\a\\b \xC3\xA4"},
        {"a\nb\r\tc\x7F", 0, "a\\x0Ab\\x0D\\x09c\\x7F"},
        {"x\xED\xA0\x80y", 0, "x\\uD800y"},
        {"x\xFFy\xC3", 0, "x\\xFFy\\xC3"},
        {"\xC2\x85\xE2\x80\xA8", 0, "\\x85\\u2028"},
        {"abcdef", 6, "abcdef"},
        {"abcdefg", 6, "abc\xE2\x80\xA6"},
        {"ab\xC3\xA4"
         "defg",
         6, "ab\xE2\x80\xA6"},
        {"abcdef", 3, "\xE2\x80\xA6"},
        {"abcdef", 2, ""},
        {"\n\n\n", 8, "\\x0A\xE2\x80\xA6"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = text_printable(rows[i].text, strlen(rows[i].text), rows[i].limit);
        assert_string_equal(text, rows[i].expected);
        assert_true(text_is_utf8(text, strlen(text)));
        assert_true(rows[i].limit == 0 || strlen(text) <= rows[i].limit);
        free(text);
    }
}

static void identifiers_follow_containerds_rule(void **state)
{
    (void)state;
    char long_one[78];
    memset(long_one, 'a', 77);
    long_one[77] = 0;
    static const char *const good[] = {"a", "A9", "web", "a.b", "a-b_c.d", "0", "65bf96e5760a09edf1790cb229e2dfb2"};
    static const char *const bad[] = {"",    ".",   "a.",   ".a",       "a..b", "a-_b",
                                      "a b", "a/b", "a\\b", "\xC3\xA4", "a\n",  "a:"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(text_is_identifier(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_is_identifier(bad[i]));
    assert_false(text_is_identifier(long_one));
    assert_true(text_is_identifier(long_one + 1));
}

static void ascii_comparison_ignores_case_of_ascii_only(void **state)
{
    (void)state;
    assert_true(text_equal_ascii_nocase("rO", "Ro"));
    assert_true(text_equal_ascii_nocase("", ""));
    assert_false(text_equal_ascii_nocase("ro", "rox"));
    assert_false(text_equal_ascii_nocase("rox", "ro"));
    assert_false(text_equal_ascii_nocase("[", "{"));
    assert_false(text_equal_ascii_nocase("\xC3\xA4", "\xC3\x84"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_and_wtf8_map_both_ways),
        cmocka_unit_test(every_unit_survives),
        cmocka_unit_test(bytes_that_are_no_wtf8_are_refused),
        cmocka_unit_test(counted_text_may_hold_nul),
        cmocka_unit_test(printable_is_one_clean_line),
        cmocka_unit_test(identifiers_follow_containerds_rule),
        cmocka_unit_test(ascii_comparison_ignores_case_of_ascii_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
