#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/regex.h"

static bool matches(const char *expression, const char *text)
{
    struct regex *regex = NULL;
    struct error *error = regex_compile(expression, &regex);
    if (error != NULL)
        fail_msg("%s: %s", expression, error->message);
    bool found = regex_matches(regex, text);
    regex_free(regex);
    return found;
}

static void matching(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *text;
        bool matches;
    } rows[] = {
        {"", "", true},
        {"", "x", true},
        {"^/tasks/", "/tasks/exit", true},
        {"^/tasks/", "/images/tasks/", false},
        {"exit$", "/tasks/exit", true},
        {"exit$", "/tasks/exits", false},
        {"^(/tasks/exit|/tasks/delete)$", "/tasks/delete", true},
        {"^(/tasks/exit|/tasks/delete)$", "/tasks/deleted", false},
        {"a|b|", "c", true},
        {"^[a-c]+$", "abcab", true},
        {"^[a-c]+$", "abd", false},
        {"^[^a-c]+$", "xyz", true},
        {"^[]a]$", "]", true},
        {"^[a-]$", "-", true},
        {"^[\\]x]$", "]", true},
        {"^\\d{3}-\\d{2,}$", "123-45678", true},
        {"^\\d{3}-\\d{2,}$", "123-4", false},
        {"^x{2,3}$", "xxxx", false},
        {"^x{2,3}$", "xxx", true},
        {"^x{0,1}y$", "y", true},
        {"a{,2}", "a{,2}", true},
        {"{", "{", true},
        {"^(ab)*c$", "ababc", true},
        {"^(ab)*c$", "abac", false},
        {"^a+?b$", "aaab", true},
        {"^.$", "ä", true},
        {"^.$", "\n", false},
        {"(?s)^.$", "\n", true},
        {"(?i)^WEB$", "wEb", true},
        {"(?i:W)eb", "WEB", false},
        {"(?i:w)EB", "WEB", true},
        {"(?i)[a-c]", "B", true},
        {"(?i)[^a-c]", "B", false},
        {"(?m)^b$", "a\nb\nc", true},
        {"^b$", "a\nb\nc", false},
        {"\\Ab", "a\nb", false},
        {"a\\z", "a", true},
        {"\\bexit\\b", "/tasks/exit", true},
        {"\\bexit\\b", "exits", false},
        {"\\Bx", "ax", true},
        {"\\W", "abc", false},
        {"\\S", " \t", false},
        {"^[\\W\\d]+$", "-1", true},
        {"^[\\W\\d]+$", "a", false},
        {"^[[:alpha:][:digit:]]+$", "a1", true},
        {"^[[:^alpha:]]$", "a", false},
        {"\\x41\\x{e4}", "Aä", true},
        {"\\Q.*\\E", "a.*b", true},
        {"\\Q.*\\E", "abc", false},
        {"\\Q.*", "x.*", true},
        {"(?P<name>a)(?<other>b)", "ab", true},
        {"^[ä-ü]$", "ö", true},
        {"\\.", "x", false},
        {"\\t", "\t", true},
        {"€", "5 €", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool found = matches(rows[i].expression, rows[i].text);
        if (found != rows[i].matches)
            fail_msg("%s on \"%s\": expected %d, found %d", rows[i].expression, rows[i].text, rows[i].matches, found);
    }
}

static void refusing(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "(",         ")",
        "a)",        "[a",
        "[z-a]",     "*",
        "a**",       "+",
        "a\\",       "\\p{L}",
        "\\8",       "\\xg",
        "\\x{}",     "\\x{110000}",
        "x{1001}",   "x{3,2}",
        "(?z)",      "(?P<>a)",
        "[[:foo:]]", "(?",
        "(?i",       "(x{500}){500}",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct regex *regex = (struct regex *)(uintptr_t)1;
        struct error *error = regex_compile(rows[i], &regex);
        if (error == NULL)
            fail_msg("%s: expected an error", rows[i]);
        print_message("%s: %s\n", rows[i], error->message);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        assert_ptr_equal(regex, (struct regex *)(uintptr_t)1);
        error_free(error);
    }
    char *deep = mem_zero(600), *large = mem_zero(REGEX_SIZE_MAX + 2);
    struct regex *regex;
    memset(deep, '(', 300);
    memset(deep + 300, ')', 299);
    struct error *error = regex_compile(deep, &regex);
    assert_non_null(error);
    error_free(error);
    memset(large, 'a', REGEX_SIZE_MAX + 1);
    error = regex_compile(large, &regex);
    assert_non_null(error);
    error_free(error);
    free(deep);
    free(large);
}

/* What takes a backtracking matcher for ever is over at once. */
static void no_backtracking(void **state)
{
    (void)state;
    char *text = mem_zero(5001);
    memset(text, 'a', 5000);
    assert_false(matches("^(a+)+$b", text));
    assert_false(matches("^(a|a)*b$", text));
    assert_true(matches("^(a|aa)+$", text));
    free(text);
}

/* Repetitions of nothing become no steps, so nothing but their number would bound the work. */
static void repetitions_of_nothing_cost_nothing(void **state)
{
    (void)state;
    static const char *const expressions[] = {
        "((((((((a|){1000}){1000}|){0,1}){1000}){1000}|b){1000}){1000}|)",
        "(((((((){1000}){1000}){1000}){1000}){1000}){1000}){1000}",
        "((((((((){1000}(?i)){1000}){1000,}){1000}){1000}){1000}){1000}){1000}x",
    };
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        struct regex *regex = NULL;
        struct error *error = regex_compile(expressions[i], &regex);
        if (error == NULL)
            assert_true(regex_matches(regex, "x"));
        error_free(error);
        regex_free(regex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matching), cmocka_unit_test(refusing),
                                       cmocka_unit_test(no_backtracking),
                                       cmocka_unit_test(repetitions_of_nothing_cost_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
