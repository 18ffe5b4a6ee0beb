#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/memory.h"

static void bytes_go_in_and_out(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_drop(&buffer, 5);
    buffer_clear(&buffer);
    buffer_add(&buffer, NULL, 0);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.data[0], 0);
    for (unsigned i = 0; i < 1000; i++)
        buffer_add_format(&buffer, "%u,", i);
    assert_int_equal(buffer.size, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen((char *)buffer.data), buffer.size);
    buffer_drop(&buffer, 4);
    assert_memory_equal(buffer.data, "2,3,", 4);
    uint8_t *end = buffer_reserve(&buffer, 3);
    memcpy(end, "end", 3);
    buffer.size += 3;
    buffer_add(&buffer, "", 0);
    assert_string_equal((char *)buffer.data + buffer.size - 6, "99,end");
    buffer_drop(&buffer, 1u << 30);
    assert_int_equal(buffer.size, 0);
    buffer_add_text(&buffer, "again");
    assert_string_equal((char *)buffer.data, "again");
    buffer_clear(&buffer);
    assert_string_equal((char *)buffer.data, "");
    buffer_free(&buffer);
    assert_null(buffer.data);
    buffer_free(NULL);
}

static void copies_and_formats(void **state)
{
    (void)state;
    assert_null(str_copy(NULL));
    char *text = str_copy_n("abcdef", 3);
    assert_string_equal(text, "abc");
    free(text);
    text = str_format("%zu %lld %s", (size_t)7, 1ll << 40, "x");
    assert_string_equal(text, "7 1099511627776 x");
    free(text);
    int *numbers = mem_new_array(3, int);
    assert_int_equal(numbers[2], 0);
    numbers[2] = 5;
    numbers = mem_resize_array(numbers, 100, sizeof *numbers);
    assert_int_equal(numbers[2], 5);
    free(numbers);
    free(mem_zero(0));
    free(mem_copy(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_in_and_out),
        cmocka_unit_test(copies_and_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
