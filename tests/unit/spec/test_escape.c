#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "spec/spec.h"

static void the_table_of_lifecycle_3_1(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "\"\""},
        {"a", "a"},
        {"a b", "\"a b\""},
        {"a\tb", "\"a\tb\""},
        {"a\"b", "a\\\"b"},
        {"a\\\"b", "a\\\\\\\"b"},
        {"C:\\x y\\", "\"C:\\x y\\\\\""},
        {"C:\\x\\", "C:\\x\\"},
        {"\\", "\\"},
        {"\"", "\\\""},
        {"\\\\\"", "\\\\\\\\\\\""},
        {" ", "\" \""},
        {" \\", "\" \\\\\""},
        {"a\nb", "a\nb"},
        {"a&b%c^d", "a&b%c^d"},
        {"\\\\server\\s", "\\\\server\\s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *line = spec_escape_args(&rows[i][0], 1);
        assert_string_equal(line, rows[i][1]);
        free(line);
    }
    static const char *const several[] = {"a b", "", "c"};
    char *line = spec_escape_args(several, 3);
    assert_string_equal(line, "\"a b\" \"\" c");
    free(line);
    line = spec_escape_args(NULL, 0);
    assert_string_equal(line, "");
    free(line);
}

/* What CommandLineToArgvW does with one argument that is not the program's name, by its documented rules; returns what is
 * left of the line. */
static const char *take_argument(const char *line, char *out)
{
    bool quoted = false;
    while (*line == ' ' || *line == '\t')
        line++;
    while (*line != 0 && (quoted || (*line != ' ' && *line != '\t'))) {
        size_t slashes = strspn(line, "\\");
        if (line[slashes] == '"') {
            for (size_t i = 0; i < slashes / 2; i++)
                *out++ = '\\';
            line += slashes + 1;
            if (slashes % 2 == 1)
                *out++ = '"';
            else
                quoted = !quoted;
        } else {
            for (size_t i = 0; i < slashes; i++)
                *out++ = '\\';
            line += slashes;
            if (slashes == 0)
                *out++ = *line++;
        }
    }
    *out = 0;
    return line;
}

/* All arguments of up to six characters of those that matter come back as they were. */
static void all_short_arguments_come_back(void **state)
{
    (void)state;
    static const char letters[] = "\\\" a\t";
    for (size_t length = 0; length <= 6; length++) {
        size_t all = 1;
        for (size_t i = 0; i < length; i++)
            all *= 5;
        for (size_t number = 0; number < all; number++) {
            char argument[8] = "", first[8], second[8];
            size_t rest = number;
            for (size_t i = 0; i < length; i++, rest /= 5)
                argument[i] = letters[rest % 5];
            const char *const args[] = {argument, "z"};
            char *line = spec_escape_args(args, 2);
            const char *left = take_argument(line, first);
            left = take_argument(left, second);
            if (strcmp(first, argument) != 0 || strcmp(second, "z") != 0 || *left != 0)
                fail_msg("<%s> became <%s>, read as <%s> <%s>", argument, line, first, second);
            free(line);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_lifecycle_3_1),
        cmocka_unit_test(all_short_arguments_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
