#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/win.h"

static void text_crosses_to_windows_and_back(void **state)
{
    (void)state;
    wchar_t *wide = NULL;
    assert_null(win_wide("a\xED\xA0\x80\xF0\x9F\x92\xA9", &wide));
    assert_int_equal(wcslen(wide), 4);
    assert_int_equal(wide[1], 0xD800);
    char *text = win_text(wide);
    assert_string_equal(text, "a\xED\xA0\x80\xF0\x9F\x92\xA9");
    free(text);
    free(wide);
    wide = NULL;
    struct error *error = win_wide("\xFF", &wide);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    assert_null(wide);
    error_free(error);
    assert_null(win_text(NULL));
}

static void handles_are_closed_once(void **state)
{
    (void)state;
    HANDLE handle = CreateEventW(NULL, TRUE, FALSE, NULL);
    win_close(handle);
    assert_null(handle);
    win_close(handle);
    handle = INVALID_HANDLE_VALUE;
    win_close(handle);
    assert_null(handle);
}

static void the_system_has_texts_the_table_lacks(void **state)
{
    (void)state;
    struct error *error = error_win32(1061, "x", NULL, NULL); /* ERROR_SERVICE_CANNOT_ACCEPT_CTRL */
    assert_true(strlen(error->message) > 10);
    assert_null(strpbrk(error->message, "\r\n"));
    assert_int_not_equal(error->message[strlen(error->message) - 1], '.');
    error_free(error);
    error = error_hresult(0x8ABC1234, "x", NULL, NULL);
    assert_true(error->message[0] != 0);
    error_free(error);
    error = error_ntstatus(0xC0000161, "x", NULL, NULL);
    assert_true(error->message[0] != 0);
    error_free(error);
}

static void this_windows(void **state)
{
    (void)state;
    assert_true(win_build() >= 7600);
    assert_non_null((void *)win_function(L"kernel32.dll", "CreateFileW"));
    assert_null((void *)win_function(L"kernel32.dll", "NoSuchFunction"));
    assert_null((void *)win_function(L"no-such.dll", "CreateFileW"));
    uint64_t before = clock_ms();
    assert_true(clock_ms() >= before);
    assert_true(clock_wall_ns() > INT64_C(1600000000) * 1000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_crosses_to_windows_and_back),
        cmocka_unit_test(handles_are_closed_once),
        cmocka_unit_test(the_system_has_texts_the_table_lacks),
        cmocka_unit_test(this_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
