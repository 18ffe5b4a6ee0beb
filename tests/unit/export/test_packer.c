#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libdeflate.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "export/packer.h"
#include "export/sha256.h"

#define DATA_SIZE (5u * 1000 * 1000 + 7)

struct sink {
    struct buffer buffer;
    uint64_t fail_at;
    struct export_control *cancel;
};

static struct error *sink_write(void *context, const void *data, size_t size)
{
    struct sink *sink = context;
    if (sink->fail_at && sink->buffer.size + size > sink->fail_at)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "write output", "o", "the disk is full");
    if (sink->cancel)
        sink->cancel->cancelled = true;
    buffer_add(&sink->buffer, data, size);
    return NULL;
}

/* Some of it compresses and some does not. */
static uint8_t *make_data(void)
{
    uint8_t *data = mem_zero(DATA_SIZE);
    uint32_t state = 1;
    for (size_t i = 0; i < DATA_SIZE; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = i / 10000 % 3 ? (uint8_t)(state >> 24) & 15 : (uint8_t)(state >> 24);
    }
    return data;
}

static void digest_of(const void *data, size_t size, char text[72])
{
    struct sha256 sha;
    uint8_t digest[32];
    sha256_init(&sha);
    sha256_add(&sha, data, size);
    sha256_end(&sha, digest);
    sha256_text(digest, text);
}

static struct error *pack(enum export_compression compression, int level, const uint8_t *data, size_t size,
                          struct sink *sink, struct export_control *control, struct export_result *result)
{
    const struct export_output output = {sink_write, sink};
    struct packer *packer = NULL;
    struct error *error = packer_open(compression, level, &output, control, &packer);
    for (size_t at = 0; at < size && !error; at += 77777)
        error = packer_write(packer, data + at, size - at < 77777 ? size - at : 77777);
    if (!error)
        error = packer_finish(packer, result);
    packer_free(packer);
    return error;
}

/* The members or frames one after the other. */
static size_t unpack(enum export_compression compression, const struct buffer *packed, uint8_t *out, size_t room)
{
    if (compression == EXPORT_NONE) {
        memcpy(out, packed->data, packed->size);
        return packed->size;
    }
    if (compression == EXPORT_ZSTD) {
        size_t size = ZSTD_decompress(out, room, packed->data, packed->size);
        assert_false(ZSTD_isError(size));
        return size;
    }
    struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
    size_t at = 0, size = 0;
    while (at < packed->size) {
        size_t in, got;
        assert_int_equal(libdeflate_gzip_decompress_ex(decompressor, packed->data + at, packed->size - at, out + size,
                                                       room - size, &in, &got),
                         LIBDEFLATE_SUCCESS);
        at += in;
        size += got;
    }
    libdeflate_free_decompressor(decompressor);
    return size;
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    uint8_t *data = make_data();
    uint8_t *back = mem_zero(DATA_SIZE);
    for (int compression = EXPORT_GZIP; compression <= EXPORT_NONE; compression++) {
        char first[72] = "";
        for (int run = 0; run < 2; run++) {
            struct sink sink = {0};
            struct export_control control = {0};
            struct export_result result = {0};
            char expected[72];
            assert_null(pack(compression, 0, data, DATA_SIZE, &sink, &control, &result));
            assert_int_equal(unpack(compression, &sink.buffer, back, DATA_SIZE), DATA_SIZE);
            assert_memory_equal(back, data, DATA_SIZE);
            digest_of(data, DATA_SIZE, expected);
            assert_string_equal(result.diff_id, expected);
            digest_of(sink.buffer.data, sink.buffer.size, expected);
            assert_string_equal(result.digest, expected);
            assert_int_equal(result.size, sink.buffer.size);
            assert_int_equal(control.bytes, DATA_SIZE);
            assert_int_equal(control.output_bytes, sink.buffer.size);
            if (run == 1)
                assert_string_equal(result.digest, first); /* the same on every run */
            memcpy(first, result.digest, sizeof first);
            buffer_free(&sink.buffer);
        }
    }
    free(back);
    free(data);
}

static void an_output_that_fails_ends_it(void **state)
{
    (void)state;
    uint8_t *data = make_data();
    for (int compression = EXPORT_GZIP; compression <= EXPORT_NONE; compression++) {
        struct sink sink = {.fail_at = 1000000};
        struct export_control control = {0};
        struct export_result result = {0};
        struct error *error = pack(compression, 0, data, DATA_SIZE, &sink, &control, &result);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
        error_free(error);
        buffer_free(&sink.buffer);
    }
    free(data);
}

static void cancelling_ends_it(void **state)
{
    (void)state;
    uint8_t *data = make_data();
    for (int compression = EXPORT_GZIP; compression <= EXPORT_NONE; compression++) {
        struct export_control control = {0};
        struct sink sink = {.cancel = &control};
        struct export_result result = {0};
        struct error *error = pack(compression, 0, data, DATA_SIZE, &sink, &control, &result);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_CANCELLED);
        error_free(error);
        buffer_free(&sink.buffer);
    }
    free(data);
}

static void levels_are_checked(void **state)
{
    (void)state;
    static const struct {
        int compression, level;
        bool valid;
    } rows[] = {{EXPORT_GZIP, 12, true},
                {EXPORT_GZIP, 13, false},
                {EXPORT_ZSTD, 19, true},
                {EXPORT_ZSTD, 20, false},
                {EXPORT_NONE, 1, false},
                {EXPORT_GZIP, -1, false},
                {3, 0, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sink sink = {0};
        struct export_control control = {0};
        struct export_result result = {0};
        struct error *error = pack((enum export_compression)rows[i].compression, rows[i].level, (const uint8_t *)"x", 1,
                                   &sink, &control, &result);
        assert_int_equal(error == NULL, rows[i].valid);
        if (error)
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
        buffer_free(&sink.buffer);
    }
}

static void giving_up_waits_for_nothing(void **state)
{
    (void)state;
    struct sink sink = {0};
    struct export_control control = {0};
    const struct export_output output = {sink_write, &sink};
    struct packer *packer = NULL;
    assert_null(packer_open(EXPORT_GZIP, 0, &output, &control, &packer));
    assert_null(packer_write_zeros(packer, 3000000));
    packer_free(packer);
    packer_free(NULL);
    buffer_free(&sink.buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),      cmocka_unit_test(an_output_that_fails_ends_it),
        cmocka_unit_test(cancelling_ends_it),          cmocka_unit_test(levels_are_checked),
        cmocka_unit_test(giving_up_waits_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
