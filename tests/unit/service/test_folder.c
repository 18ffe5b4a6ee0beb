/* Folders of hcsd's own: made, found, refused. Wine keeps of a security descriptor what Unix modes can hold, which is
 * enough to tell "others may write" from "nobody else". */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <aclapi.h>
#include <cmocka.h>
#include <sddl.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/folder.h"

static char *base;

static int make_base(void **state)
{
    (void)state;
    wchar_t temp[MAX_PATH];
    GetTempPathW(MAX_PATH, temp);
    char *folder = win_text(temp), *name = str_format("folder-test-%lu", (unsigned long)GetCurrentProcessId());
    base = path_join(folder, name);
    free(name);
    free(folder);
    error_free(file_ensure_folder(base));
    return 0;
}

static int remove_base(void **state)
{
    (void)state;
    static const char *const names[] = {"new\\below", "new",    "open",     "readable",
                                        "file",       "config", "programs", "open-programs"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = path_join(base, names[i]);
        error_free(file_delete(path, NULL));
        error_free(file_delete_folder(path));
        free(path);
    }
    error_free(file_delete_folder(base));
    free(base);
    return 0;
}

static void make_with(const char *path, const wchar_t *sddl)
{
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t *wide = NULL;
    assert_null(win_path(path, &wide));
    assert_true(ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &descriptor, NULL));
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = descriptor};
    assert_true(CreateDirectoryW(wide, &attributes));
    /* Wine makes it through the umask; setting the DACL does not. */
    assert_true(SetFileSecurityW(wide, DACL_SECURITY_INFORMATION, descriptor));
    LocalFree(descriptor);
    free(wide);
}

static void assert_good(const char *path, enum folder_access access)
{
    struct error *error = folder_secure(path, access);
    if (error != NULL)
        fail_msg("%s: expected to be good, found: %s", path, error->message);
}

static void assert_refused(const char *path, enum folder_access access, const char *word)
{
    struct error *error = folder_secure(path, access);
    if (error == NULL)
        fail_msg("%s: expected to be refused", path);
    assert_int_equal(error->kind, ERROR_KIND_PERMISSION_DENIED);
    assert_string_equal(error->object, path);
    if (strstr(error->message, word) == NULL)
        fail_msg("%s: expected \"%s\", found: %s", path, word, error->message);
    error_free(error);
}

static void test_new_and_again(void **state)
{
    (void)state;
    char *path = path_join(base, "new\\below");
    assert_good(path, FOLDER_PRIVATE);
    assert_good(path, FOLDER_PRIVATE);
    struct file_info info;
    assert_null(file_info(path, &info));
    assert_true(info.directory);
    free(path);
}

static void test_others_may_write(void **state)
{
    (void)state;
    char *path = path_join(base, "open");
    make_with(path, L"D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)(A;OICI;GA;;;WD)");
    assert_refused(path, FOLDER_PRIVATE, "S-1-1-0");
    assert_refused(path, FOLDER_OTHERS_READ, "icacls");
    free(path);
}

static void test_others_may_read(void **state)
{
    (void)state;
    char *path = path_join(base, "readable");
    make_with(path, L"D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)(A;OICI;GRGX;;;WD)");
    assert_good(path, FOLDER_OTHERS_READ);
    assert_good(path, FOLDER_PRIVATE);
    assert_good(path, FOLDER_PRIVATE);
    free(path);
}

static void test_programs(void **state)
{
    (void)state;
    char *path = path_join(base, "programs");
    make_with(path, L"D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)(A;OICI;GRGX;;;WD)");
    assert_null(folder_check_programs(path));
    free(path);
    path = path_join(base, "open-programs");
    make_with(path, L"D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)(A;OICI;GA;;;WD)");
    struct error *error = folder_check_programs(path);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_PERMISSION_DENIED);
    assert_non_null(strstr(error->message, "S-1-1-0"));
    assert_non_null(strstr(error->message, "RX"));
    error_free(error);
    free(path);
    path = path_join(base, "absent");
    assert_null(folder_check_programs(path));
    free(path);
}

static void test_file_in_the_way(void **state)
{
    (void)state;
    char *path = path_join(base, "file");
    assert_null(file_replace(path, "x", 1, NULL));
    assert_refused(path, FOLDER_PRIVATE, "file");
    free(path);
}

static void test_program_data(void **state)
{
    (void)state;
    char *path = NULL;
    struct file_info info;
    assert_null(folder_program_data(&path));
    assert_true(path_is_absolute(path));
    assert_null(file_info(path, &info));
    assert_true(info.directory);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_and_again),   cmocka_unit_test(test_others_may_write),
        cmocka_unit_test(test_others_may_read), cmocka_unit_test(test_file_in_the_way),
        cmocka_unit_test(test_program_data),    cmocka_unit_test(test_programs),
    };
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
