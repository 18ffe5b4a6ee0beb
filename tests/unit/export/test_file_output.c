#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/export.h"
#include "wine_tree.h"

static size_t count_entries(const wchar_t *root)
{
    wchar_t pattern[TREE_PATH];
    WIN32_FIND_DATAW found;
    size_t count = 0;
    tree_path(pattern, root, L"*");
    HANDLE find = FindFirstFileW(pattern, &found);
    assert_true(find != INVALID_HANDLE_VALUE);
    do
        count += wcscmp(found.cFileName, L".") != 0 && wcscmp(found.cFileName, L"..") != 0;
    while (FindNextFileW(find, &found));
    FindClose(find);
    return count;
}

static void check_content(const wchar_t *root, const char *expected)
{
    char data[32] = "";
    DWORD got = 0;
    HANDLE file = tree_open(root, L"out.tar", FILE_SHARE_READ);
    assert_true(ReadFile(file, data, sizeof data - 1, &got, NULL));
    CloseHandle(file);
    assert_string_equal(data, expected);
}

static void it_appears_only_when_complete(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH], wide[TREE_PATH];
    tree_make(root, L"output");
    tree_path(wide, root, L"out.tar");
    char *path = win_text(wide);
    struct export_file *file = NULL;

    assert_null(export_file_open(path, false, &file));
    const struct export_output *output = export_file_output(file);
    assert_null(output->write(output->context, "12", 2));
    assert_null(output->write(output->context, "345", 3));
    assert_false(tree_has(root, L"out.tar"));
    assert_null(export_file_commit(file));
    export_file_free(file);
    check_content(root, "12345");
    assert_int_equal(count_entries(root), 1);

    /* without overwriting it is refused, at once and at the end */
    struct error *error = export_file_open(path, false, &file);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_ALREADY_EXISTS);
    error_free(error);
    DeleteFileW(wide);
    assert_null(export_file_open(path, false, &file));
    tree_file(root, L"out.tar", "other");
    error = export_file_commit(file);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_ALREADY_EXISTS);
    error_free(error);
    export_file_free(file);
    check_content(root, "other");
    assert_int_equal(count_entries(root), 1);

    assert_null(export_file_open(path, true, &file));
    output = export_file_output(file);
    assert_null(output->write(output->context, "new", 3));
    check_content(root, "other");
    assert_null(export_file_commit(file));
    export_file_free(file);
    check_content(root, "new");

    /* given up: nothing of it is left */
    assert_null(export_file_open(path, true, &file));
    output = export_file_output(file);
    assert_null(output->write(output->context, "never", 5));
    assert_int_equal(count_entries(root), 2);
    export_file_free(file);
    export_file_free(NULL);
    check_content(root, "new");
    assert_int_equal(count_entries(root), 1);
    DeleteFileW(wide);
    RemoveDirectoryW(root);
    free(path);
}

static void places_that_cannot_be_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum error_kind kind;
    } rows[] = {{"C:\\windows", ERROR_KIND_FAILED_PRECONDITION},
                {"C:\\hcsd-is-not-there\\out.tar", ERROR_KIND_NOT_FOUND},
                {"relative", ERROR_KIND_INVALID_ARGUMENT}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct export_file *file = NULL;
        struct error *error = export_file_open(rows[i].path, true, &file);
        assert_non_null(error);
        assert_int_equal(error->kind, rows[i].kind);
        assert_non_null(strstr(error->object, rows[i].path));
        error_free(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_appears_only_when_complete),
        cmocka_unit_test(places_that_cannot_be_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
