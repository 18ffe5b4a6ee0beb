/* Bytes are cut behind whole frames, however they come in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/rpc/frames.h"

#define PREFACE 24u
#define HEADER  9u

/* The preface, then frames with so many bytes of payload each; all bytes but the lengths are noise. Returns its size. */
static size_t stream(uint8_t *out, const unsigned *payloads, size_t count)
{
    size_t at = PREFACE;
    memset(out, 0xff, PREFACE);
    for (size_t i = 0; i < count; i++) {
        memset(out + at, 0xff, HEADER + payloads[i]);
        out[at] = (uint8_t)(payloads[i] >> 16);
        out[at + 1] = (uint8_t)(payloads[i] >> 8);
        out[at + 2] = (uint8_t)payloads[i];
        at += HEADER + payloads[i];
    }
    return at;
}

static const unsigned payloads[] = {0, 5, 0, 300, 1, 70000, 0, 0, 9, 24};
#define COUNT (sizeof payloads / sizeof payloads[0])
static uint8_t bytes[PREFACE + COUNT * HEADER + 80000];

static void a_turn_ends_with_its_last_frame(void **state)
{
    (void)state;
    size_t size = stream(bytes, payloads, COUNT), at = 0, expected = PREFACE;
    struct frames frames;
    frames_init(&frames, PREFACE);
    for (size_t i = 0; i < COUNT; i++) {
        unsigned budget = 1;
        at += frames_take(&frames, bytes + at, size - at, &budget);
        expected += HEADER + payloads[i];
        assert_int_equal(at, expected);
        assert_int_equal(budget, 0);
    }
    unsigned budget = 1;
    assert_int_equal(frames_take(&frames, bytes + at, size - at, &budget), 0);
    assert_int_equal(budget, 1);
}

/* In pieces of every size, with a budget that lasts for some frames. */
static void pieces_make_no_difference(void **state)
{
    (void)state;
    size_t size = stream(bytes, payloads, COUNT);
    for (size_t piece = 1; piece < 40; piece++) {
        struct frames frames;
        unsigned budget = 6;
        size_t at = 0;
        frames_init(&frames, PREFACE);
        while (budget > 0) {
            size_t given = size - at < piece ? size - at : piece;
            uint8_t *copy = malloc(given); /* so that the sanitizer sees a byte too many */
            memcpy(copy, bytes + at, given);
            size_t taken = frames_take(&frames, copy, given, &budget);
            free(copy);
            assert_true(taken == given || budget == 0);
            at += taken;
        }
        size_t expected = PREFACE;
        for (size_t i = 0; i < 6; i++)
            expected += HEADER + payloads[i];
        assert_int_equal(at, expected);
    }
}

static void nothing_goes_on_without_a_budget(void **state)
{
    (void)state;
    struct frames frames;
    unsigned budget = 0;
    frames_init(&frames, PREFACE);
    assert_int_equal(frames_take(&frames, bytes, sizeof bytes, &budget), 0);
    /* And the preface is no frame. */
    budget = 1;
    assert_int_equal(frames_take(&frames, bytes, PREFACE, &budget), PREFACE);
    assert_int_equal(budget, 1);
}

/* A length that a peer may only claim: it goes on until it has come. */
static void the_largest_frame_is_one(void **state)
{
    (void)state;
    struct frames frames;
    unsigned budget = 1;
    uint8_t header[HEADER] = {0xff, 0xff, 0xff};
    frames_init(&frames, 0);
    assert_int_equal(frames_take(&frames, header, sizeof header, &budget), sizeof header);
    for (uint32_t left = 0xffffff; left > 0;) {
        assert_int_equal(budget, 1);
        size_t taken = frames_take(&frames, bytes, sizeof bytes, &budget);
        assert_int_equal(taken, left < sizeof bytes ? left : sizeof bytes);
        left -= (uint32_t)taken;
    }
    assert_int_equal(budget, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_ends_with_its_last_frame),
        cmocka_unit_test(pieces_make_no_difference),
        cmocka_unit_test(nothing_goes_on_without_a_budget),
        cmocka_unit_test(the_largest_frame_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
