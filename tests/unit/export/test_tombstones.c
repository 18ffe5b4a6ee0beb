#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/tombstones.h"

#define VERSION "\xef\xbb\xbfVersion 1.0"

static struct error *parse(const char *text, struct tombstones *ret_tombstones)
{
    return tombstones_parse(text, strlen(text), "tombstones.txt", ret_tombstones);
}

static void paths_are_sorted_by_folder_and_found(void **state)
{
    (void)state;
    struct tombstones tombstones = {0};
    size_t first = 99;
    assert_null(parse(VERSION "\r\n\\b\\y\n\\a\n\r\n\\b\\x\r\n\\b c\\z\n\\a\n\\b\\x\\deep", &tombstones));
    assert_int_equal(tombstones.count, 5);
    assert_int_equal(tombstones_in(&tombstones, "Files", &first), 1);
    assert_string_equal(tombstones.rows[first].path, "Files/a");
    assert_int_equal(tombstones_in(&tombstones, "Files/b", &first), 2);
    assert_string_equal(tombstones.rows[first].path, "Files/b/x");
    assert_string_equal(tombstones.rows[first + 1].path, "Files/b/y");
    assert_int_equal(tombstones_in(&tombstones, "Files/b/x", &first), 1);
    assert_int_equal(tombstones_in(&tombstones, "Files/b c", &first), 1);
    assert_int_equal(tombstones_in(&tombstones, "Files/c", &first), 0);
    tombstones_free(&tombstones);
}

static void none_is_fine(void **state)
{
    (void)state;
    struct tombstones tombstones = {0};
    assert_null(parse(VERSION, &tombstones));
    assert_int_equal(tombstones.count, 0);
    assert_null(parse(VERSION "\n\n", &tombstones));
    assert_int_equal(tombstones.count, 0);
    tombstones_free(&tombstones);
}

static void anything_else_is_data_loss(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "Version 1.0\n",
                                        VERSION "1\n",
                                        VERSION "\nno backslash",
                                        VERSION "\n\\",
                                        VERSION "\n\\a\\",
                                        VERSION "\n\\\\a",
                                        VERSION "\n\\..\\a",
                                        VERSION "\n\\a\\.\\b",
                                        VERSION "\n\\ok\n\\a\\..",
                                        VERSION "\n\\a/../b"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct tombstones tombstones = {0};
        struct error *error = parse(texts[i], &tombstones);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
        error_free(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_sorted_by_folder_and_found),
        cmocka_unit_test(none_is_fine),
        cmocka_unit_test(anything_else_is_data_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
