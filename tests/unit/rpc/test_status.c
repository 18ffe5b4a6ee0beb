#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "daemon/rpc/status.h"

static struct error *there_and_back(struct error *error, struct status *ret_status)
{
    status_from_error(error, ret_status);
    error_free(error);
    return status_to_error(ret_status->code, ret_status->message, strlen(ret_status->message), ret_status->details,
                           ret_status->details_size, "op", "obj");
}

static void errors_survive_the_wire(void **state)
{
    (void)state;
    static const struct {
        enum error_origin origin;
        uint32_t code;
    } origins[] = {
        {ERROR_ORIGIN_NONE, 0},
        {ERROR_ORIGIN_WIN32, 5},
        {ERROR_ORIGIN_HRESULT, 0xC037010E},
        {ERROR_ORIGIN_NTSTATUS, 0xC0000022},
        {ERROR_ORIGIN_ERRNO, 2},
    };
    for (size_t i = 0; i < sizeof origins / sizeof origins[0]; i++) {
        struct error *error = error_make(ERROR_KIND_ABORTED, "start container", "wéb", "it is \"so\"");
        error->origin = origins[i].origin;
        error->code = origins[i].code;
        struct status status;
        struct error *back = there_and_back(error, &status);
        assert_int_equal(status.code, 10);
        assert_int_equal(back->kind, ERROR_KIND_ABORTED);
        assert_int_equal(back->origin, origins[i].origin);
        assert_int_equal(back->code, origins[i].code);
        assert_string_equal(back->operation, "start container");
        assert_string_equal(back->object, "wéb");
        assert_string_equal(back->message, "it is \"so\"");
        assert_null(back->hcs_events);
        error_free(back);
        status_free(&status);
    }
}

static void events_survive_as_far_as_they_fit(void **state)
{
    (void)state;
    struct buffer json = {0};
    buffer_add_text(&json, "{\"ErrorEvents\":[{\"Message\":\"first\",\"Provider\":\"p\",\"EventId\":7,\"Flags\":1}");
    for (unsigned i = 0; i < 100; i++)
        buffer_add_format(&json, ",{\"Message\":\"%0100u\"}", i);
    buffer_add_text(&json, "]}");
    struct error *error = error_make(ERROR_KIND_INTERNAL, "op", "obj", "why");
    error_add_hcs_result(error, (char *)json.data);
    assert_non_null(error->hcs_events);
    struct status status;
    struct error *back = there_and_back(error, &status);
    assert_true(status.details_size < STATUS_DETAILS_MAX + 100);
    assert_non_null(back->hcs_events);
    assert_non_null(strstr(back->hcs_events, "first"));
    assert_non_null(strstr(back->hcs_events, "\"EventId\":7"));
    error_free(back);
    status_free(&status);
    buffer_free(&json);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    char *text = mem_zero(100001);
    memset(text, 'x', 100000);
    struct status status;
    struct error *back = there_and_back(error_make(ERROR_KIND_INTERNAL, text, text, "%s", text), &status);
    assert_true(strlen(status.message) <= STATUS_TEXT_MAX);
    assert_true(status.details_size < STATUS_DETAILS_MAX + 200);
    assert_true(strlen(back->operation) > 100);
    error_free(back);
    status_free(&status);
    free(text);
}

static void others_statuses_keep_kind_and_message(void **state)
{
    (void)state;
    static const uint8_t garbage[] = {0x0a, 0xff, 0x00, 0x12};
    static const struct {
        int code;
        enum error_kind kind;
    } rows[] = {
        {5, ERROR_KIND_NOT_FOUND}, {14, ERROR_KIND_UNAVAILABLE}, {16, ERROR_KIND_UNKNOWN}, {99, ERROR_KIND_UNKNOWN}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t size = 0; size <= sizeof garbage; size++) {
            struct error *error = status_to_error(rows[i].code, "no such thing!", 13, garbage, size, "call", NULL);
            assert_int_equal(error->kind, rows[i].kind);
            assert_string_equal(error->operation, "call");
            assert_string_equal(error->object, "");
            assert_string_equal(error->message, "no such thing");
            assert_int_equal(error->origin, ERROR_ORIGIN_NONE);
            error_free(error);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_survive_the_wire),
        cmocka_unit_test(events_survive_as_far_as_they_fit),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(others_statuses_keep_kind_and_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
