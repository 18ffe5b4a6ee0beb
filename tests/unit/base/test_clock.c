#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static void rfc3339(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.000000001Z"},
        {-1, "1969-12-31T23:59:59.999999999Z"},
        {INT64_C(951782400) * 1000000000, "2000-02-29T00:00:00Z"},
        {INT64_C(1795221279) * 1000000000 + 250000000, "2026-11-21T00:34:39.25Z"},
        {INT64_C(4107542399) * 1000000000 + 100, "2100-02-28T23:59:59.0000001Z"},
        {INT64_C(4107542400) * 1000000000, "2100-03-01T00:00:00Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
        {INT64_MIN, "1677-09-21T00:12:43.145224192Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[40];
        clock_format_rfc3339(rows[i].ns, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void rfc3339_back(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59.999999999Z", -1},
        {"2026-11-21T03:48:13.25Z", INT64_C(1795232893250000000)},
        {"2026-11-21T05:48:13.2500000+02:00", INT64_C(1795232893250000000)},
        {"2026-11-20T22:18:13.2500000009-05:30", INT64_C(1795232893250000000)},
        {"2024-02-29t12:00:00z", INT64_C(1709208000000000000)},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t ns = 7;
        assert_true(clock_parse_rfc3339(good[i].text, &ns));
        assert_true(ns == good[i].ns);
    }
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-21",
                                      "2026-11-21T03:48:13",
                                      "2026-13-21T03:48:13Z",
                                      "2026-11-21T24:48:13Z",
                                      "2026-11-21T03:48:13.Z",
                                      "2026-11-21T03:48:13Zx",
                                      "2026-11-21 03:48:13Z",
                                      "0001-01-01T00:00:00Z",
                                      "2026-11-21T03:48:13+2:00"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t ns = 7;
        assert_false(clock_parse_rfc3339(bad[i], &ns));
        assert_true(ns == 7);
    }
    for (int64_t ns = INT64_C(-9000000000000000000); ns < INT64_C(9000000000000000000);
         ns += INT64_C(97000000000000001)) {
        char text[40];
        int64_t back = 0;
        clock_format_rfc3339(ns, text);
        assert_true(clock_parse_rfc3339(text, &back));
        assert_true(back == ns);
    }
}

static void filetimes(void **state)
{
    (void)state;
    assert_true(clock_from_filetime(UINT64_C(116444736000000000)) == 0);
    assert_true(clock_from_filetime(UINT64_C(116444736000000001)) == 100);
    assert_true(clock_from_filetime(UINT64_C(116444735999999999)) == -100);
    assert_true(clock_from_filetime(0) == INT64_MIN); /* 1601 is before what 64 bits reach */
    assert_true(clock_from_filetime(UINT64_MAX) == INT64_MAX);
    assert_true(clock_from_filetime(INT64_MAX) == INT64_MAX);
    assert_true(clock_to_filetime(0) == UINT64_C(116444736000000000));
    assert_true(clock_to_filetime(-1) == UINT64_C(116444735999999999));
    assert_true(clock_to_filetime(99) == UINT64_C(116444736000000000));
    for (int64_t ns = INT64_MIN / 100 * 100; ns < INT64_MAX - (INT64_MAX >> 4); ns += INT64_MAX / 700 * 100 / 100 * 100)
        assert_true(clock_from_filetime(clock_to_filetime(ns)) / 100 == ns / 100);
    assert_true(clock_to_filetime(INT64_MAX) > clock_to_filetime(INT64_MIN));
}

static void the_clock_does_not_go_back(void **state)
{
    (void)state;
    uint64_t last = clock_ms();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_system.now_ms(clock_system.context);
        assert_true(now >= last);
        last = now;
    }
    assert_true(clock_wall_ns() > INT64_C(1600000000) * 1000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc3339),
        cmocka_unit_test(rfc3339_back),
        cmocka_unit_test(filetimes),
        cmocka_unit_test(the_clock_does_not_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
