#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/error_table.h"

static void assert_text(struct error *error, const char *expected)
{
    char *text = error_text(error);
    assert_string_equal(text, expected);
    free(text);
    error_free(error);
}

static void text_tells_context_operation_object_and_code(void **state)
{
    (void)state;
    assert_text(error_make(ERROR_KIND_NOT_FOUND, "find job", "j1", "no such job"), "find job j1: no such job");
    assert_text(error_make(ERROR_KIND_NOT_FOUND, "find job", NULL, "no job %d", 7), "find job: no job 7");
    assert_text(error_make(ERROR_KIND_NOT_FOUND, "find job", "j1", "job j1 is gone"), "find job: job j1 is gone");
    assert_text(error_hresult(0xC037010E, "HcsStartComputeSystem", "web", NULL),
                "HcsStartComputeSystem web: HCS knows no container of that id (0xC037010E)");
    assert_text(
        error_wrap(error_hresult(0xC037010E, "HcsStartComputeSystem", "web", NULL), "start container %s", "web"),
        "start container web: HcsStartComputeSystem: HCS knows no container of that id (0xC037010E)");
    assert_text(error_wrap(error_wrap(error_win32(5, "open file", "C:\\x", NULL), "read spec"), "create a"),
                "create a: read spec: open file C:\\x: access is denied (error 5)");
    assert_text(error_win32(5, "open file", "a", "the bundle belongs to %s", "somebody"),
                "open file a: the bundle belongs to somebody: access is denied (error 5)");
}

static void texts_are_one_clean_line(void **state)
{
    (void)state;
    struct error *error = error_make(ERROR_KIND_INTERNAL, "a\nb", "C:\\\xED\xA0\x80", "two\r\nlines \xFF");
    assert_string_equal(error->operation, "a\\x0Ab");
    assert_string_equal(error->object, "C:\\\\uD800");
    assert_string_equal(error->message, "two\\x0D\\x0Alines \\xFF");
    error_free(error);
}

static const struct {
    enum error_origin origin;
    uint32_t code;
    enum error_kind kind;
} kinds[] = {
    {ERROR_ORIGIN_WIN32, 2, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_WIN32, 5, ERROR_KIND_PERMISSION_DENIED},
    {ERROR_ORIGIN_WIN32, 32, ERROR_KIND_FAILED_PRECONDITION},
    {ERROR_ORIGIN_WIN32, 112, ERROR_KIND_RESOURCE_EXHAUSTED},
    {ERROR_ORIGIN_WIN32, 39, ERROR_KIND_RESOURCE_EXHAUSTED},
    {ERROR_ORIGIN_WIN32, 126, ERROR_KIND_UNAVAILABLE},
    {ERROR_ORIGIN_WIN32, 127, ERROR_KIND_UNIMPLEMENTED},
    {ERROR_ORIGIN_WIN32, 183, ERROR_KIND_ALREADY_EXISTS},
    {ERROR_ORIGIN_WIN32, 1168, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_WIN32, 99999, ERROR_KIND_UNKNOWN},
    {ERROR_ORIGIN_HRESULT, 0x80070005, ERROR_KIND_PERMISSION_DENIED},
    {ERROR_ORIGIN_HRESULT, 0x80070490, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_HRESULT, 0x8007048F, ERROR_KIND_UNAVAILABLE},
    {ERROR_ORIGIN_HRESULT, 0x8007007F, ERROR_KIND_UNIMPLEMENTED},
    {ERROR_ORIGIN_HRESULT, 0x80004005, ERROR_KIND_UNKNOWN},
    {ERROR_ORIGIN_HRESULT, 0xC0370105, ERROR_KIND_FAILED_PRECONDITION},
    {ERROR_ORIGIN_HRESULT, 0x80370105, ERROR_KIND_FAILED_PRECONDITION},
    {ERROR_ORIGIN_HRESULT, 0xC0370106, ERROR_KIND_ABORTED},
    {ERROR_ORIGIN_HRESULT, 0xC037010B, ERROR_KIND_UNIMPLEMENTED},
    {ERROR_ORIGIN_HRESULT, 0xC037010D, ERROR_KIND_INVALID_ARGUMENT},
    {ERROR_ORIGIN_HRESULT, 0xC037010E, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_HRESULT, 0x8037010E, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_HRESULT, 0xC037010F, ERROR_KIND_ALREADY_EXISTS},
    {ERROR_ORIGIN_HRESULT, 0xC0370110, ERROR_KIND_FAILED_PRECONDITION},
    {ERROR_ORIGIN_HRESULT, 0x8037011F, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_HRESULT, 0x8037011E, ERROR_KIND_UNAVAILABLE},
    {ERROR_ORIGIN_HRESULT, 0xD0000022, ERROR_KIND_PERMISSION_DENIED}, /* HRESULT_FROM_NT */
    {ERROR_ORIGIN_HRESULT, 0x8ABC0001, ERROR_KIND_UNKNOWN},
    {ERROR_ORIGIN_NTSTATUS, 0xC0000034, ERROR_KIND_NOT_FOUND},
    {ERROR_ORIGIN_NTSTATUS, 0xC0000121, ERROR_KIND_FAILED_PRECONDITION},
    {ERROR_ORIGIN_NTSTATUS, 0xC000007F, ERROR_KIND_RESOURCE_EXHAUSTED},
    {ERROR_ORIGIN_NTSTATUS, 0xC037010E, ERROR_KIND_NOT_FOUND},
};

static void codes_have_their_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct error *(*make)(uint32_t, const char *, const char *, const char *, ...) =
            kinds[i].origin == ERROR_ORIGIN_WIN32     ? error_win32
            : kinds[i].origin == ERROR_ORIGIN_HRESULT ? error_hresult
                                                      : error_ntstatus;
        struct error *error = make(kinds[i].code, "x", "y", NULL);
        if (error->kind != kinds[i].kind)
            fail_msg("code 0x%08X: %s instead of %s", (unsigned)kinds[i].code, error_kind_name(error->kind),
                     error_kind_name(kinds[i].kind));
        assert_int_equal(error->code, kinds[i].code);
        assert_int_equal(error->origin, kinds[i].origin);
        assert_true(error->message[0] != 0);
        error_free(error);
    }
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (enum error_origin origin = ERROR_ORIGIN_WIN32; origin <= ERROR_ORIGIN_ERRNO; origin++) {
        size_t count;
        const struct error_row *rows = error_table_rows(origin, &count);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            const char *sentence = rows[i].sentence;
            assert_true(rows[i].kind >= ERROR_KIND_CANCELLED && rows[i].kind <= ERROR_KIND_DATA_LOSS);
            assert_true(sentence[0] != 0 && sentence[strlen(sentence) - 1] != '.');
            for (size_t j = 0; j < i; j++)
                if (rows[j].code == rows[i].code)
                    fail_msg("origin %d has code %u twice", origin, (unsigned)rows[i].code);
            assert_ptr_equal(error_table_find(origin, rows[i].code), &rows[i]);
        }
    }
}

static void hcs_result_documents(void **state)
{
    (void)state;
    struct error *error = error_hresult(0x80070002, "HcsCreateComputeSystem", "a", NULL);
    error_add_hcs_result(error, NULL);
    error_add_hcs_result(error, "");
    error_add_hcs_result(error, "not json");
    error_add_hcs_result(error, "[]");
    error_add_hcs_result(error, "{\"Error\":1}");
    error_add_hcs_result(error, "{\"ErrorEvents\":[]}");
    assert_null(error->hcs_events);
    error_add_hcs_result(error,
                         "{\"Error\":-1,\"ErrorMessage\":\"x\",\"ErrorEvents\":[{\"Message\":\"why\",\"EventId\":7}]}");
    assert_string_equal(error->hcs_events, "[{\"Message\":\"why\",\"EventId\":7}]");
    struct error *copy = error_copy(error);
    assert_ptr_not_equal(copy->hcs_events, error->hcs_events);
    char *json = error_json(copy);
    assert_string_equal(
        json, "{\"code\":\"NOT_FOUND\",\"operation\":\"HcsCreateComputeSystem\",\"object\":\"a\",\"message\":\"the "
              "file does not exist\",\"hresult\":\"0x80070002\",\"events\":[{\"Message\":\"why\",\"EventId\":7}]}");
    free(json);
    error_free(copy);
    error_free(error);
}

static void kinds_have_names_and_back(void **state)
{
    (void)state;
    for (enum error_kind kind = ERROR_KIND_CANCELLED; kind <= ERROR_KIND_DATA_LOSS; kind++)
        assert_int_equal(error_kind_parse(error_kind_name(kind)), kind);
    assert_int_equal(error_kind_parse("OK"), 0);
    assert_int_equal(error_kind_parse(""), 0);
    assert_string_equal(error_kind_name(99), "UNKNOWN");
}

static void null_is_success_everywhere(void **state)
{
    (void)state;
    assert_null(error_wrap(NULL, "x"));
    assert_null(error_set_kind(NULL, ERROR_KIND_INTERNAL));
    assert_null(error_copy(NULL));
    error_free(NULL);
    error_add_hcs_result(NULL, "{}");
    struct error *first = NULL;
    error_keep_first(&first, NULL);
    assert_null(first);
    error_keep_first(&first, error_make(ERROR_KIND_ABORTED, "a", NULL, "b"));
    error_keep_first(&first, error_make(ERROR_KIND_INTERNAL, "c", NULL, "d"));
    assert_int_equal(first->kind, ERROR_KIND_ABORTED);
    first = error_set_kind(first, ERROR_KIND_NOT_FOUND);
    assert_int_equal(first->kind, ERROR_KIND_NOT_FOUND);
    error_free(first);
}

static void codes_as_hresults(void **state)
{
    (void)state;
    struct error *error = error_win32(5, "a", NULL, NULL);
    assert_int_equal(error_as_hresult(error), 0x80070005u);
    error_free(error);
    error = error_hresult(0xC0370110, "a", NULL, NULL);
    assert_int_equal(error_as_hresult(error), 0xC0370110u);
    error_free(error);
    assert_int_equal(error_win32_of_hresult(0x80070490), 0x490);
    assert_int_equal(error_win32_of_hresult(0xC0370110), 0);
    assert_int_equal(error_win32_of_hresult(0x00070005), 0); /* success */
}

static void a_callers_mistake_is_no_news(void **state)
{
    (void)state;
    for (int kind = ERROR_KIND_CANCELLED; kind <= ERROR_KIND_DATA_LOSS; kind++) {
        struct error *error = error_make(kind, "a", NULL, "b");
        bool callers = kind == ERROR_KIND_CANCELLED || kind == ERROR_KIND_INVALID_ARGUMENT ||
                       kind == ERROR_KIND_NOT_FOUND || kind == ERROR_KIND_ALREADY_EXISTS ||
                       kind == ERROR_KIND_FAILED_PRECONDITION;
        assert_int_equal(error_is_callers(error), callers);
        error_free(error);
    }
    assert_false(error_is_callers(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_tells_context_operation_object_and_code),
        cmocka_unit_test(texts_are_one_clean_line),
        cmocka_unit_test(codes_have_their_kinds),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(hcs_result_documents),
        cmocka_unit_test(kinds_have_names_and_back),
        cmocka_unit_test(null_is_success_everywhere),
        cmocka_unit_test(codes_as_hresults),
        cmocka_unit_test(a_callers_mistake_is_no_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
