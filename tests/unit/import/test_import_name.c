#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "import/import_name.h"

static void names_that_are_taken(void **state)
{
    (void)state;
    static const struct {
        const char *from, *path, *stream;
        bool binary, whiteout, top;
        enum import_area area;
    } rows[] = {
        {"Files", "Files", NULL, false, false, true, IMPORT_FILES},
        {"Files/a", "Files/a", NULL, false, false, false, IMPORT_FILES},
        {"Files/a:zone", "Files/a", "zone", false, false, false, IMPORT_FILES},
        {"Files/a:\x05Summary", "Files/a", "\x05Summary", false, false, false, IMPORT_FILES},
        {"Files:on a folder", "Files", "on a folder", false, false, true, IMPORT_FILES},
        {"Files/.wh.gone", "Files/gone", NULL, false, true, false, IMPORT_FILES},
        {"Files/.hidden", "Files/.hidden", NULL, false, false, false, IMPORT_FILES},
        {"Files/.wh", "Files/.wh", NULL, false, false, false, IMPORT_FILES},
        {"Files/...x", "Files/...x", NULL, false, false, false, IMPORT_FILES},
        {"Files/console", "Files/console", NULL, false, false, false, IMPORT_FILES},
        {"Files/com", "Files/com", NULL, false, false, false, IMPORT_FILES},
        {"Files/com10", "Files/com10", NULL, false, false, false, IMPORT_FILES},
        {"Files/tombstones.txt", "Files/tombstones.txt", NULL, false, false, false, IMPORT_FILES},
        {"Files/$wcidirs$", "Files/$wcidirs$", NULL, false, false, false, IMPORT_FILES},
        {"Hives/System_Delta", "Hives/System_Delta", NULL, false, false, false, IMPORT_HIVES},
        {"UtilityVM/Files", "UtilityVM/Files", NULL, false, false, false, IMPORT_UTILITY_VM},
        {"bcd.bak", "bcd.bak", NULL, false, false, false, IMPORT_OTHER},
        {"FilesX/a", "FilesX/a", NULL, false, false, false, IMPORT_OTHER},
        {"Files/\xc3\xa9", "Files/\xc3\xa9", NULL, false, false, false, IMPORT_FILES},
        {"Files/\xed\xb2\x80", "Files/\xed\xb2\x80", NULL, true, false, false, IMPORT_FILES},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct import_name name = {0};
        struct error *error = import_name_parse(rows[i].from, rows[i].binary, &name);
        if (error)
            fail_msg("%s: %s", rows[i].from, error->message);
        assert_string_equal(name.path, rows[i].path);
        assert_int_equal(name.stream != NULL, rows[i].stream != NULL);
        if (name.stream)
            assert_string_equal(name.stream, rows[i].stream);
        assert_int_equal(name.whiteout, rows[i].whiteout);
        assert_int_equal(name.top, rows[i].top);
        assert_int_equal(name.area, rows[i].area);
        import_name_free(&name);
    }
}

static void names_that_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "/Files",
        "\\Files",
        "Files/",
        "Files//x",
        "./Files",
        "Files/..",
        "Files/../../x",
        "..",
        "Files\\x",
        "C:",
        "C:/x",
        "C:x/y",
        "Files/a:b:c",
        "Files/a:",
        "Files/a:b\\c",
        "Files/a:b/c",
        "//server/share/x",
        "Files/x.",
        "Files/x ",
        "Files/x./y",
        "Files/ ",
        "Files/con",
        "Files/CON.txt",
        "Files/Aux .h",
        "Files/lpt0",
        "Files/COM\xc2\xb2",
        "Files/conin$",
        "Files/nul/x",
        "Files/a*",
        "Files/a<b",
        "Files/a\"b",
        "Files/a|b",
        "Files/a\x1f",
        "Files/a\tb",
        "Files/\xff",
        "Files/\xed\xb2\x80",
        "Files/\xc0\xaf",
        "Files/x.$wcidirs$",
        "Files/X.$WCIDIRS$/y",
        "tombstones.txt",
        "Tombstones.TXT",
        "files/x",
        "FILES",
        "hives",
        "utilityVM",
        "Files/.wh.",
        "Files/.wh..",
        "Files/.wh...",
        "Files/.wh..wh.x",
        "Files/.wh.x:s",
        "Files/.wh.con",
        ".wh.",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct import_name name = {0};
        struct error *error = import_name_parse(rows[i], false, &name);
        if (!error)
            fail_msg("%s was taken as %s", rows[i], name.path);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
    }
    struct import_name name = {0};
    struct error *error =
        import_name_parse("Files/\xed\xa0\x80\xed\xb0\x80", true, &name); /* a pair in two forms is no WTF-8 */
    assert_non_null(error);
    error_free(error);
}

static void lengths(void **state)
{
    (void)state;
    static char path[200000] = "Files/";
    memset(path + 6, 'n', 255);
    struct import_name name = {0};
    assert_null(import_name_parse(path, false, &name));
    import_name_free(&name);
    path[6 + 255] = 'n';
    struct error *error = import_name_parse(path, false, &name);
    assert_non_null(error);
    error_free(error);
    for (size_t i = 0; i < 250; i++) /* 250 * 128 + 5 */
        memcpy(path + 5 + 128 * i,
               "/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
               "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
               128);
    path[5 + 128 * 250] = '\0';
    error = import_name_parse(path, false, &name);
    assert_non_null(error);
    assert_non_null(strstr(error->message, "32,000"));
    error_free(error);
    path[32000] = '\0';
    assert_null(import_name_parse(path, false, &name));
    import_name_free(&name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_are_taken),
        cmocka_unit_test(names_that_are_refused),
        cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
