#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"

static char *root;
static unsigned pauses;
static HANDLE held; /* closed by the pause, as a scanner would */

static void count_pause(void *context, uint32_t ms)
{
    assert_true(ms > 0 && ms <= 1024);
    pauses++;
    if (context != NULL && pauses == 3)
        win_close(held);
}

static const struct pause counting = {count_pause, NULL};

static int make_root(void **state)
{
    (void)state;
    wchar_t temp[MAX_PATH];
    GetTempPathW(MAX_PATH, temp);
    char *base = win_text(temp);
    root = str_format("%shcsd-file-test-%lu", base, GetCurrentProcessId());
    free(base);
    struct error *error = file_ensure_folder(root);
    assert_null(error);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    struct error *error = file_delete_folder(root); /* empty again: every test cleans up */
    if (error != NULL)
        fail_msg("%s", error->message);
    free(root);
    return 0;
}

static void expect(struct error *error, enum error_kind kind)
{
    assert_non_null(error);
    if (error->kind != kind)
        fail_msg("%s (%s) instead of %s", error_kind_name(error->kind), error->message, error_kind_name(kind));
    error_free(error);
}

static void ok(struct error *error)
{
    if (error != NULL)
        fail_msg("%s: %s", error->operation, error->message);
}

static void writes_replaces_and_reads(void **state)
{
    (void)state;
    char *path = path_join(root, "a.json");
    struct buffer content = {0};
    expect(file_read(path, 100, &content), ERROR_KIND_NOT_FOUND);
    ok(file_replace(path, "one", 3, NULL));
    ok(file_replace(path, "second", 6, NULL));
    ok(file_read(path, 6, &content));
    assert_string_equal((char *)content.data, "second");
    assert_int_equal(content.size, 6);
    buffer_free(&content);
    expect(file_read(path, 5, &content), ERROR_KIND_RESOURCE_EXHAUSTED);
    assert_null(content.data);
    expect(file_read(root, 100, &content), ERROR_KIND_FAILED_PRECONDITION);
    struct file_info info;
    ok(file_info(path, &info));
    assert_false(info.directory);
    assert_int_equal(info.size, 6);
    ok(file_info(root, &info));
    assert_true(info.directory);
    ok(file_delete(path, NULL));
    ok(file_delete(path, NULL)); /* absent: no error */
    expect(file_info(path, &info), ERROR_KIND_NOT_FOUND);
    char *large = mem_zero(300000);
    memset(large, 'x', 300000);
    ok(file_replace(path, large, 300000, NULL));
    ok(file_read(path, 300000, &content));
    assert_int_equal(content.size, 300000);
    assert_memory_equal(content.data, large, 300000);
    buffer_free(&content);
    ok(file_replace(path, "", 0, NULL));
    ok(file_read(path, 0, &content));
    assert_int_equal(content.size, 0);
    buffer_free(&content);
    ok(file_delete(path, NULL));
    free(large);
    free(path);
}

/* Reading one would wait for whoever serves it, and let him act as the reader. */
static void a_pipe_is_no_file(void **state)
{
    (void)state;
    char *path = str_format("\\\\.\\pipe\\hcsd-file-test-%lu", GetCurrentProcessId());
    wchar_t *wide = NULL;
    ok(win_wide(path, &wide));
    HANDLE pipe = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, NULL);
    assert_true(pipe != INVALID_HANDLE_VALUE);
    struct buffer content = {0};
    expect(file_read(path, 100, &content), ERROR_KIND_FAILED_PRECONDITION);
    CloseHandle(pipe);
    free(wide);
    free(path);
}

static void held_files_are_retried_with_a_bound(void **state)
{
    (void)state;
    char *path = path_join(root, "held");
    ok(file_replace(path, "old", 3, NULL));
    wchar_t *wide = NULL;
    ok(win_path(path, &wide));
    held = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(held != INVALID_HANDLE_VALUE);
    pauses = 0;
    expect(file_delete(path, &counting), ERROR_KIND_FAILED_PRECONDITION);
    assert_int_equal(pauses, 9);
    /* Let go at the third pause. */
    struct pause letting_go = {count_pause, path};
    pauses = 0;
    ok(file_replace(path, "new", 3, &letting_go));
    struct buffer content = {0};
    ok(file_read(path, 10, &content));
    assert_string_equal((char *)content.data, "new");
    buffer_free(&content);
    win_close(held);
    struct file_list list = {0};
    ok(file_list(root, 10, &list));
    assert_int_equal(list.count, 1); /* no temporary file stays */
    file_list_free(&list);
    ok(file_delete(path, NULL));
    free(wide);
    free(path);
}

static void folders_are_made_listed_and_deleted(void **state)
{
    (void)state;
    char *deep = str_format("%s\\x\\y z\\w", root);
    ok(file_ensure_folder(deep));
    ok(file_ensure_folder(deep));
    char *file = path_join(deep, "f\xC3\xA4.");
    ok(file_replace(file, "1", 1, NULL)); /* a trailing dot is part of the name */
    struct file_list list = {0};
    ok(file_list(deep, 1, &list));
    assert_int_equal(list.count, 1);
    assert_string_equal(list.entries[0].name, "f\xC3\xA4.");
    assert_false(list.entries[0].directory);
    file_list_free(&list);
    expect(file_list(deep, 0, &list), ERROR_KIND_RESOURCE_EXHAUSTED);
    expect(file_list(file, 10, &list), ERROR_KIND_INVALID_ARGUMENT);
    char *below = path_join(file, "no");
    struct error *error = file_ensure_folder(below);
    assert_non_null(error);
    error_free(error);
    expect(file_ensure_folder(file), ERROR_KIND_ALREADY_EXISTS);
    expect(file_delete_folder(deep), ERROR_KIND_FAILED_PRECONDITION);
    ok(file_delete(file, NULL));
    ok(file_delete_folder(deep));
    ok(file_delete_folder(deep));
    expect(file_list(deep, 10, &list), ERROR_KIND_NOT_FOUND);
    char *up = path_folder(deep), *upper = path_folder(up);
    ok(file_delete_folder(up));
    ok(file_delete_folder(upper));
    expect(file_ensure_folder("Q:\\nowhere\\a"), ERROR_KIND_NOT_FOUND);
    expect(file_ensure_folder("relative"), ERROR_KIND_INVALID_ARGUMENT);
    free(upper);
    free(up);
    free(below);
    free(file);
    free(deep);
}

static void temporary_names_are_recognised(void **state)
{
    (void)state;
    assert_true(file_is_temporary("a.json.tmp-12-3"));
    assert_true(file_is_temporary(".tmp-x.tmp-1-2"));
    static const char *const others[] = {"a.json",   "a.tmp",      "a.tmp-",   "a.tmp-1",
                                         "a.tmp-1-", "a.tmp-1-2x", "a.tmp--2", "a.tmp-x-2"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(file_is_temporary(others[i]));
}

static void paths_become_absolute(void **state)
{
    (void)state;
    char *path = NULL;
    ok(file_absolute("sub\\..\\x", &path));
    assert_true(path_is_absolute(path));
    char *last = path_last_part(path);
    assert_string_equal(last, "x");
    free(last);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_replaces_and_reads),           cmocka_unit_test(a_pipe_is_no_file),
        cmocka_unit_test(held_files_are_retried_with_a_bound), cmocka_unit_test(folders_are_made_listed_and_deleted),
        cmocka_unit_test(temporary_names_are_recognised),      cmocka_unit_test(paths_become_absolute),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
