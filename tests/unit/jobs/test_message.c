/* Errors, requests, results and deviations survive the way through the pipe; what is none of them is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "daemon/worker/message.h"

static void test_error(void **state)
{
    (void)state;
    struct error *error = error_hresult(0xC037010E, "HcsOpenComputeSystem", "web", "there is none");
    error = error_wrap(error, "start container web");
    error->hcs_events = str_copy("[{\"EventId\":7}]");
    json_t *packed = message_pack_error(error);
    struct error *found = message_unpack_error(packed);
    assert_int_equal(found->kind, error->kind);
    assert_int_equal(found->origin, error->origin);
    assert_int_equal(found->code, error->code);
    assert_int_equal(found->context_size, error->context_size);
    assert_string_equal(found->operation, error->operation);
    assert_string_equal(found->object, error->object);
    assert_string_equal(found->message, error->message);
    assert_string_equal(found->hcs_events, error->hcs_events);
    char *text = error_text(error), *found_text = error_text(found);
    assert_string_equal(text, found_text);
    free(text);
    free(found_text);
    json_decref(packed);
    error_free(error);
    error_free(found);

    packed = message_pack_error(NULL);
    assert_true(json_is_null(packed));
    assert_null(message_unpack_error(packed));
    assert_null(message_unpack_error(NULL));
    json_decref(packed);
    packed = json_pack("{s:i, s:i, s:i}", "kind", 99, "origin", 77, "context_size", 1000);
    found = message_unpack_error(packed);
    assert_int_equal(found->kind, ERROR_KIND_UNKNOWN);
    assert_int_equal(found->origin, ERROR_ORIGIN_NONE);
    assert_int_equal(found->context_size, 0);
    error_free(found);
    json_decref(packed);
}

static void test_request(void **state)
{
    (void)state;
    char *parents[2] = {(char *)"C:\\layers\\a", (char *)"C:\\layers\\b"};
    struct export_request request = {
        (char *)"C:\\layers\\Ünï", parents, 2, (char *)"C:\\out\\x.tar", true, EXPORT_ZSTD, 7};
    json_t *packed = message_pack_request(&request);
    struct export_request *found = NULL, *copy;
    assert_null(message_unpack_request(packed, &found));
    copy = message_copy_request(found);
    const struct export_request *both[2] = {found, copy};
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(both[i]->layer, request.layer);
        assert_int_equal(both[i]->parent_count, 2);
        assert_string_equal(both[i]->parents[1], parents[1]);
        assert_string_equal(both[i]->output, request.output);
        assert_true(both[i]->overwrite);
        assert_int_equal(both[i]->compression, EXPORT_ZSTD);
        assert_int_equal(both[i]->level, 7);
    }
    message_free_request(found);
    message_free_request(copy);
    message_free_request(NULL);
    json_decref(packed);
    packed = json_pack("{s:s}", "layer", "C:\\x");
    struct error *error = message_unpack_request(packed, &found);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    error_free(error);
    json_decref(packed);
}

static void test_result_and_deviations(void **state)
{
    (void)state;
    struct export_deviation rows[2] = {{(char *)"not_utf16", (char *)"a/b", (char *)"why"},
                                       {(char *)"recycle_bin", (char *)"c", (char *)"\xff is no text"}};
    struct export_result result = {.digest = "sha256:aa",
                                   .diff_id = "sha256:bb",
                                   .size = UINT64_C(5000000000),
                                   .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
                                   .entries = 12,
                                   .staging_seconds = 1.5,
                                   .archive_seconds = 2.25,
                                   .deviations = rows,
                                   .deviation_count = 2,
                                   .deviation_total = 2000};
    json_t *packed = message_pack_result(&result);
    struct export_result *found = NULL;
    assert_null(message_unpack_result(packed, &found));
    assert_string_equal(found->digest, result.digest);
    assert_string_equal(found->diff_id, result.diff_id);
    assert_true(found->size == result.size);
    assert_string_equal(found->media_type, result.media_type);
    assert_int_equal(found->entries, 12);
    assert_true(found->staging_seconds == 1.5 && found->archive_seconds == 2.25);
    assert_int_equal(found->deviation_count, 2);
    assert_int_equal(found->deviation_total, 2000);
    assert_string_equal(found->deviations[0].path, "a/b");
    assert_string_equal(found->deviations[1].detail, "\\xFF is no text");
    struct export_deviation *copy = message_copy_deviations(found->deviations, 2);
    assert_string_equal(copy[1].kind, "recycle_bin");
    message_free_deviations(copy, 2);
    message_free_deviations(found->deviations, found->deviation_count);
    free(found);
    json_object_set_new(packed, "media_type", json_string("text/plain"));
    struct error *error = message_unpack_result(packed, &found);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    error_free(error);
    json_decref(packed);

    packed = message_pack_deviations(rows, 2, 1);
    assert_int_equal(json_array_size(packed), 1);
    json_decref(packed);
    packed = json_pack("[i, n, {s:i}]", 7, "kind", 3);
    size_t count = 9;
    message_unpack_deviations(packed, &copy, &count);
    assert_int_equal(count, 1);
    assert_string_equal(copy[0].kind, "");
    message_free_deviations(copy, count);
    json_decref(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_error), cmocka_unit_test(test_request),
                                       cmocka_unit_test(test_result_and_deviations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
