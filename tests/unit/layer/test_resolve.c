/* Where a scratch disk really is. What the system says of it is the test's; Wine resolves no links that it did not make. */
#include "layer/resolve.h"

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

static char *folder, *file;

/* What the system is asked with, and what it says: name NULL is an error. */
struct answer {
    DWORD flags;
    const wchar_t *name;
    DWORD code;
};
static const struct answer *answers;
static size_t asked, answer_count;
static bool volume_is_there;

static unsigned long answer(void *handle, wchar_t *path, unsigned long count, unsigned long flags)
{
    assert_true(handle != NULL && handle != INVALID_HANDLE_VALUE);
    assert_true(asked < answer_count);
    const struct answer *row = &answers[asked++];
    assert_int_equal(flags, row->flags);
    if (row->name == NULL) {
        SetLastError(row->code);
        return 0;
    }
    assert_true(wcslen(row->name) < count);
    memcpy(path, row->name, (wcslen(row->name) + 1) * sizeof *path);
    return (unsigned long)wcslen(path);
}

static unsigned long attributes(const wchar_t *path)
{
    assert_int_equal(wcsncmp(path, L"\\\\?\\Volume{", 11), 0);
    return volume_is_there ? FILE_ATTRIBUTE_NORMAL : INVALID_FILE_ATTRIBUTES;
}

static int setup(void **state)
{
    wchar_t temporary[MAX_PATH];
    (void)state;
    GetTempPathW(MAX_PATH, temporary);
    char *root = win_text(temporary), *name = str_format("hcsd-resolve-%lu", GetCurrentProcessId());
    folder = path_join(root, name);
    file = path_join(folder, "sandbox.vhdx");
    free(name);
    free(root);
    struct error *error = file_ensure_folder(folder);
    if (error == NULL)
        error = file_replace(file, "disk", 4, NULL);
    assert_null(error);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_null(file_delete(file, NULL));
    assert_null(file_delete_folder(folder));
    free(file);
    free(folder);
    return 0;
}

#define GUID_NAME   (FILE_NAME_NORMALIZED | VOLUME_NAME_GUID)
#define GUID_OPENED (FILE_NAME_OPENED | VOLUME_NAME_GUID)
#define DOS_NAME    (FILE_NAME_NORMALIZED | VOLUME_NAME_DOS)
#define DOS_OPENED  (FILE_NAME_OPENED | VOLUME_NAME_DOS)
#define VOLUME      L"\\\\?\\Volume{0-1}\\layers\\a\\sandbox.vhdx"

static void test_forms(void **state)
{
    static const struct {
        const char *what, *path; /* NULL: an error */
        bool volume_is_there;
        struct answer answers[4];
    } rows[] = {
        {"a volume", "\\\\?\\Volume{0-1}\\layers\\a\\sandbox.vhdx", true, {{GUID_NAME, VOLUME, 0}}},
        {"a share",
         "\\\\server\\share\\sandbox.vhdx",
         true,
         {{GUID_NAME, NULL, ERROR_PATH_NOT_FOUND}, {DOS_NAME, L"\\\\?\\UNC\\server\\share\\sandbox.vhdx", 0}}},
        {"folders above that may not be read",
         "\\\\?\\Volume{0-1}\\layers\\a\\sandbox.vhdx",
         true,
         {{GUID_NAME, NULL, ERROR_ACCESS_DENIED}, {GUID_OPENED, VOLUME, 0}}},
        {"both",
         "X:\\a\\sandbox.vhdx",
         true,
         {{GUID_NAME, NULL, ERROR_ACCESS_DENIED},
          {GUID_OPENED, NULL, ERROR_PATH_NOT_FOUND},
          {DOS_OPENED, L"\\\\?\\X:\\a\\sandbox.vhdx", 0}}},
        {"a volume that cannot be opened by its name",
         "C:\\a\\sandbox.vhdx",
         false,
         {{GUID_NAME, VOLUME, 0}, {DOS_NAME, L"\\\\?\\C:\\a\\sandbox.vhdx", 0}}},
        {"another error", NULL, true, {{GUID_NAME, NULL, ERROR_GEN_FAILURE}}},
        {"the same refusal again",
         NULL,
         true,
         {{GUID_NAME, NULL, ERROR_ACCESS_DENIED}, {GUID_OPENED, NULL, ERROR_ACCESS_DENIED}}},
    };
    struct resolve_calls system = resolve_calls;
    (void)state;
    resolve_calls = (struct resolve_calls){answer, attributes};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *path = NULL;
        answers = rows[i].answers;
        asked = answer_count = 0;
        while (answer_count < 4 && (answers[answer_count].name != NULL || answers[answer_count].code != 0))
            answer_count++;
        volume_is_there = rows[i].volume_is_there;
        struct error *error = resolve_file(file, &path);
        if (asked != answer_count)
            fail_msg("%s: asked %zu times, expected %zu", rows[i].what, asked, answer_count);
        if ((error == NULL) != (rows[i].path != NULL) || (path != NULL && strcmp(path, rows[i].path) != 0))
            fail_msg("%s: found %s", rows[i].what, path != NULL ? path : error->message);
        error_free(error);
        free(path);
    }
    resolve_calls = system;
}

/* Asked of the system itself: a file, a folder, nothing. */
static void test_what_is_there(void **state)
{
    char *path = NULL, *absent = path_join(folder, "absent");
    (void)state;
    struct error *error = resolve_file(file, &path);
    assert_null(error);
    struct file_info info;
    assert_null(file_info(path, &info));
    assert_int_equal(info.size, 4);
    free(path);
    error = resolve_file(folder, &path);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
    error = resolve_file(absent, &path);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
    free(absent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_what_is_there),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
