#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/result.h"

static struct export_result result_of(struct deviations *deviations)
{
    return (struct export_result){
        .deviations = deviations->rows, .deviation_count = deviations->count, .deviation_total = deviations->total};
}

static void the_fallback_is_not_about_the_content(void **state)
{
    (void)state;
    struct deviations deviations = {0};
    struct export_result result = result_of(&deviations);
    assert_int_equal(export_result_content_deviations(&result), 0);
    deviations_add(&deviations, EXPORT_DEVIATION_FALLBACK, "", "This system has none.");
    result = result_of(&deviations);
    assert_int_equal(export_result_content_deviations(&result), 0);
    for (unsigned i = 0; i < EXPORT_DEVIATIONS_MAX + 5; i++)
        deviations_add(&deviations, "not_utf16", "Files/x", "Number %u.", i);
    result = result_of(&deviations);
    assert_int_equal(result.deviation_count, EXPORT_DEVIATIONS_MAX);
    assert_int_equal(result.deviation_total, EXPORT_DEVIATIONS_MAX + 6);
    assert_int_equal(export_result_content_deviations(&result), EXPORT_DEVIATIONS_MAX + 5);
    deviations_free(&deviations);
}

static void rows_are_printable(void **state)
{
    (void)state;
    struct deviations deviations = {0};
    deviations_add(&deviations, "kind", "Files/\xed\xb2\x80\n", "A line\nand another");
    assert_string_equal(deviations.rows[0].path, "Files/\\uDC80\\x0A");
    assert_null(strchr(deviations.rows[0].detail, '\n'));
    struct export_result result = result_of(&deviations);
    struct export_result *copy = export_result_copy(&result);
    assert_string_equal(copy->deviations[0].path, deviations.rows[0].path);
    assert_ptr_not_equal(copy->deviations[0].path, deviations.rows[0].path);
    export_result_free(copy);
    deviations_free(&deviations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fallback_is_not_about_the_content),
        cmocka_unit_test(rows_are_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
