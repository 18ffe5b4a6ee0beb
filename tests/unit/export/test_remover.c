#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/export.h"
#include "wine_tree.h"

struct run {
    wchar_t root[TREE_PATH];
    struct export_control control;
    struct remover_report report;
};

static void remove_tree(struct run *run)
{
    char *path = win_text(run->root);
    export_control_init(&run->control);
    assert_null(remover_run(path, &run->control, &run->report));
    export_control_free(&run->control);
    free(path);
}

static void everything_goes(void **state)
{
    (void)state;
    struct run run = {0};
    wchar_t path[TREE_PATH], name[200] = L"deep";
    tree_make(run.root, L"all");
    tree_folder(run.root, L"deep");
    for (int i = 0; i < 40; i++) {
        wcsncat(name, L"\\d", 3); /* banned-ok: a test's fixed array */
        tree_folder(run.root, name);
    }
    for (int i = 0; i < 300; i++) {
        swprintf(name, 200, L"file %d", i);
        tree_file(run.root, name, "x");
    }
    tree_path(path, run.root, L"file 7");
    SetFileAttributesW(path, FILE_ATTRIBUTE_READONLY);
    tree_folder(run.root, L"trailing. ");
    tree_file(run.root, L"trailing. \\dot.", "x");
    remove_tree(&run);
    assert_int_equal(run.report.left_total, 0);
    assert_int_equal(run.report.removed, 300 + 41 + 2 + 1);
    assert_int_equal(run.control.removed, run.report.removed);
    assert_int_equal(GetFileAttributesW(run.root), INVALID_FILE_ATTRIBUTES);
    remover_report_free(&run.report);
}

/* What is held without delete sharing stays, with the folders above it, and is reported once; all else goes. */
static void what_resists_is_reported_and_passed_by(void **state)
{
    (void)state;
    struct run run = {0};
    tree_make(run.root, L"resists");
    tree_folder(run.root, L"a");
    tree_folder(run.root, L"a\\b");
    tree_folder(run.root, L"a\\b\\c");
    tree_file(run.root, L"a\\b\\c\\goes", "x");
    tree_file(run.root, L"a\\goes", "x");
    tree_file(run.root, L"z", "x");
    HANDLE held = tree_open(run.root, L"a\\b\\c\\held", FILE_SHARE_READ | FILE_SHARE_WRITE);
    remove_tree(&run);
    assert_int_equal(run.report.left_total, 1);
    assert_string_equal(run.report.left[0].kind, "not_removed");
    assert_string_equal(run.report.left[0].path, "a/b/c/held");
    assert_non_null(strstr(run.report.left[0].detail, "0xC0000043")); /* STATUS_SHARING_VIOLATION */
    assert_int_equal(run.report.removed, 3);
    assert_true(tree_has(run.root, L"a\\b\\c\\held"));
    assert_false(tree_has(run.root, L"z"));
    remover_report_free(&run.report);

    CloseHandle(held);
    remove_tree(&run);
    assert_int_equal(run.report.left_total, 0);
    assert_int_equal(GetFileAttributesW(run.root), INVALID_FILE_ATTRIBUTES);
    remover_report_free(&run.report);
}

static void a_foreign_handle_with_delete_sharing_delays_at_most(void **state)
{
    (void)state;
    struct run run = {0};
    tree_make(run.root, L"pending");
    tree_folder(run.root, L"a");
    HANDLE held = tree_open(run.root, L"a\\held", FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE);
    run.control.go_around = true; /* so that nothing is waited for */
    remove_tree(&run);
    /* With POSIX semantics all is gone; with the classic one the folders are told. */
    if (run.report.left_total > 0)
        assert_string_equal(run.report.left[0].path, "a");
    remover_report_free(&run.report);
    CloseHandle(held);
    run.control = (struct export_control){0};
    if (GetFileAttributesW(run.root) != INVALID_FILE_ATTRIBUTES) {
        remove_tree(&run);
        assert_int_equal(run.report.left_total, 0);
        remover_report_free(&run.report);
    }
}

struct adder {
    wchar_t root[TREE_PATH];
    HANDLE stop;
};

static DWORD WINAPI add_files(void *context)
{
    struct adder *adder = context;
    wchar_t path[TREE_PATH];
    for (unsigned i = 0; WaitForSingleObject(adder->stop, 0) == WAIT_TIMEOUT; i++) {
        swprintf(path, TREE_PATH, L"%ls\\busy\\new %u", adder->root, i);
        HANDLE file = CreateFileW(path, GENERIC_WRITE, 7, NULL, CREATE_ALWAYS, 0, NULL);
        if (file != INVALID_HANDLE_VALUE)
            CloseHandle(file);
    }
    return 0;
}

/* Somebody adds files all the while: it ends, whatever is left then. */
static void a_tree_that_grows_ends_it(void **state)
{
    (void)state;
    struct run run = {0};
    struct adder adder = {.stop = CreateEventW(NULL, TRUE, FALSE, NULL)};
    tree_make(run.root, L"grows");
    tree_folder(run.root, L"busy");
    memcpy(adder.root, run.root, sizeof adder.root);
    HANDLE thread = CreateThread(NULL, 0, add_files, &adder, 0, NULL);
    remove_tree(&run);
    SetEvent(adder.stop);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    CloseHandle(adder.stop);
    remover_report_free(&run.report);
    if (GetFileAttributesW(run.root) != INVALID_FILE_ATTRIBUTES) {
        remove_tree(&run);
        assert_int_equal(run.report.left_total, 0);
        remover_report_free(&run.report);
    }
}

static void an_absent_folder_is_not_found(void **state)
{
    (void)state;
    struct run run = {0};
    export_control_init(&run.control);
    struct error *error = remover_run("C:\\hcsd-is-not-there", &run.control, &run.report);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
    export_control_free(&run.control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_goes),
        cmocka_unit_test(what_resists_is_reported_and_passed_by),
        cmocka_unit_test(a_foreign_handle_with_delete_sharing_delays_at_most),
        cmocka_unit_test(a_tree_that_grows_ends_it),
        cmocka_unit_test(an_absent_folder_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
