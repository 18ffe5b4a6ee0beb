/* The first bytes of a client, one at a time and with each byte changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "daemon/rpc/opening.h"

static const char opening[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0";
#define SIZE    (sizeof opening - 1)
#define PREFACE 24u

/* Checks a copy without a byte behind it: the sanitizer sees what reads on. */
static enum opening check(const char *data, size_t size)
{
    uint8_t *copy = mem_copy(data, size);
    enum opening result = opening_check(copy, size);
    free(copy);
    return result;
}

static void every_beginning_is_good(void **state)
{
    (void)state;
    assert_int_equal(SIZE, PREFACE + 9);
    for (size_t size = 0; size < SIZE; size++)
        assert_int_equal(check(opening, size), OPENING_MORE);
    assert_int_equal(check(opening, SIZE), OPENING_WHOLE);
    char more[SIZE + 3] = {0};
    memcpy(more, opening, SIZE);
    assert_int_equal(check(more, sizeof more), OPENING_WHOLE);
}

static void every_other_byte_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE; i++) {
        char other[SIZE];
        memcpy(other, opening, SIZE);
        other[i] ^= 1;
        bool length = i >= PREFACE && i < PREFACE + 3; /* of the settings: any */
        enum opening expected = i < PREFACE ? OPENING_NO_HTTP2 : length ? OPENING_WHOLE : OPENING_NO_SETTINGS;
        assert_int_equal(check(other, SIZE), expected);
        if (i < PREFACE)
            assert_int_equal(check(other, i + 1), OPENING_NO_HTTP2);
    }
    assert_int_equal(check("GET / HTTP/1.1\r\n", 3), OPENING_NO_HTTP2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_beginning_is_good),
                                       cmocka_unit_test(every_other_byte_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
