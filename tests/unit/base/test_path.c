#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/path.h"

static void verbatim(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"C:\\a\\b", "\\\\?\\C:\\a\\b"},
        {"C:/a/b/", "\\\\?\\C:\\a\\b"},
        {"c:\\", "\\\\?\\c:\\"},
        {"C:\\a\\..", "\\\\?\\C:\\"},
        {"C:\\a\\.\\b\\..\\\\c", "\\\\?\\C:\\a\\c"},
        {"C:\\a. \\b.", "\\\\?\\C:\\a. \\b."},
        {"C:\\...", "\\\\?\\C:\\..."},
        {"C:\\f:stream", "\\\\?\\C:\\f:stream"},
        {"C:\\\xED\xA0\x80", "\\\\?\\C:\\\xED\xA0\x80"},
        {"\\\\server\\share", "\\\\?\\UNC\\server\\share\\"},
        {"\\\\server\\share\\x\\..\\y", "\\\\?\\UNC\\server\\share\\y"},
        {"//server/share/y", "\\\\?\\UNC\\server\\share\\y"},
        {"\\\\?\\C:\\a\\..\\b.", "\\\\?\\C:\\a\\..\\b."},
        {"\\\\.\\pipe\\hcsd", "\\\\.\\pipe\\hcsd"},
        {"\\\\?\\Volume{x}\\", "\\\\?\\Volume{x}\\"},
        {"", NULL},
        {"a", NULL},
        {"C:", NULL},
        {"C:a", NULL},
        {"\\a", NULL},
        {"/a", NULL},
        {"..\\a", NULL},
        {"C:\\..", NULL},
        {"C:\\a\\..\\..", NULL},
        {"\\\\server", NULL},
        {"\\\\server\\share\\..", NULL},
        {"\\\\", NULL},
        {"C:\\a\nb", NULL},
        {"C:\\a*", NULL},
        {"C:\\a?b", NULL},
        {"C:\\a:b:c", NULL},
        {"C:\\a:b\\c", NULL},
        {"C:\\:b", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *path = NULL;
        struct error *error = path_verbatim(rows[i][0], &path);
        if (rows[i][1] == NULL) {
            if (error == NULL)
                fail_msg("%s was taken as %s", rows[i][0], path);
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
            assert_null(path);
            error_free(error);
        } else {
            if (error != NULL)
                fail_msg("%s was refused: %s", rows[i][0], error->message);
            assert_string_equal(path, rows[i][1]);
            free(path);
        }
    }
}

static void parts(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"C:\\a\\b", "C:\\a", "b"},
        {"C:\\a\\b\\", "C:\\a", "b"},
        {"C:\\a", "C:\\", "a"},
        {"C:\\", "C:\\", ""},
        {"C:/a/b", "C:/a", "b"},
        {"a", "", "a"},
        {"", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *folder = path_folder(rows[i][0]), *last = path_last_part(rows[i][0]);
        assert_string_equal(folder, rows[i][1]);
        assert_string_equal(last, rows[i][2]);
        free(folder);
        free(last);
    }
    char *joined = path_join("C:\\a", "b");
    assert_string_equal(joined, "C:\\a\\b");
    free(joined);
    joined = path_join("C:\\", "b");
    assert_string_equal(joined, "C:\\b");
    free(joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbatim),
        cmocka_unit_test(parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
