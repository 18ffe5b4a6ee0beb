#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/walk.h"
#include "wine_tree.h"

#define STAGED "\1\0\0\0" /* attributes, and no backup stream */

static void tree_staged(const wchar_t *root, const wchar_t *name)
{
    wchar_t path[TREE_PATH];
    DWORD written;
    tree_path(path, root, name);
    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    assert_true(file != INVALID_HANDLE_VALUE);
    assert_true(WriteFile(file, STAGED, 4, &written, NULL));
    CloseHandle(file);
}

/* A folder in transport format. */
static void tree_stage(wchar_t *root)
{
    tree_make(root, L"walk");
    tree_folder(root, L"Files");
    tree_folder(root, L"Files\\held");
    tree_staged(root, L"Files\\held.$wcidirs$");
    tree_staged(root, L"Files\\held\\goes");
    tree_staged(root, L"Files\\looked at");
    tree_staged(root, L"Files\\plain");
    tree_folder(root, L"Hives");
    tree_staged(root, L"Hives\\System_Delta");
}

static HANDLE look_at(const wchar_t *root, const wchar_t *name)
{
    wchar_t path[TREE_PATH];
    tree_path(path, root, name);
    HANDLE handle = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                                FILE_FLAG_BACKUP_SEMANTICS, NULL);
    assert_true(handle != INVALID_HANDLE_VALUE);
    return handle;
}

/* Takes all items; their paths, each with a blank behind it. */
static void walk_all(const wchar_t *root, char *paths, size_t size)
{
    struct export_control control = {0};
    struct walk *walk = NULL;
    struct walk_item *item = NULL;
    export_control_init(&control);
    char *folder = win_text(root);
    const struct walk_options options = {.folder = folder, .remove = true, .control = &control};
    assert_null(walk_start(&options, &walk));
    for (;;) {
        assert_null(walk_next(walk, &item));
        if (!item)
            break;
        assert_true(strlen(paths) + strlen(item->path) + 2 <= size);
        snprintf(paths + strlen(paths), size - strlen(paths), "%s ", item->path);
        walk_done(walk, item);
    }
    walk_free(walk);
    export_control_free(&control);
    free(folder);
}

/* Who does not share deletion (a scanner) keeps nothing from being read; only what it holds is left to the remover. */
static void what_somebody_looks_at_is_read_and_left(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH];
    char paths[400] = "";
    tree_stage(root);
    HANDLE held = look_at(root, L"Files\\held"), looked_at = look_at(root, L"Files\\looked at");
    walk_all(root, paths, sizeof paths);
    assert_string_equal(paths,
                        "Files Files/held Files/held/goes Files/looked at Files/plain Hives Hives/System_Delta ");
    assert_true(tree_has(root, L"Files\\held"));
    assert_true(tree_has(root, L"Files\\looked at"));
    assert_false(tree_has(root, L"Files\\held\\goes"));
    assert_false(tree_has(root, L"Files\\plain"));
    CloseHandle(held);
    CloseHandle(looked_at);

    struct export_control control = {0};
    struct remover_report report = {0};
    export_control_init(&control);
    char *folder = win_text(root);
    assert_null(remover_run(folder, &control, &report));
    assert_int_equal(report.left_total, 0);
    remover_report_free(&report);
    export_control_free(&control);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_somebody_looks_at_is_read_and_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
