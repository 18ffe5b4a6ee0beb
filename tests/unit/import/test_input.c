#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libdeflate.h>
#include <zstd.h>

#include "base/memory.h"
#include "export/sha256.h"
#include "import/input.h"

#define PLAIN_SIZE 700001

struct bytes {
    struct buffer data;
    size_t at;
    size_t fail_at; /* 0: never */
};

static struct error *read_bytes(void *context, void *data, size_t size, size_t *ret_got)
{
    struct bytes *bytes = context;
    if (bytes->fail_at && bytes->at >= bytes->fail_at)
        return error_make(ERROR_KIND_UNAVAILABLE, "read", "pipe", "the client went away");
    size_t left = bytes->data.size - bytes->at;
    *ret_got = size < left ? size : left;
    if (*ret_got > 0)
        memcpy(data, bytes->data.data + bytes->at, *ret_got);
    bytes->at += *ret_got;
    return NULL;
}

static uint8_t plain[PLAIN_SIZE];

static void make_plain(void)
{
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof plain; i++) {
        random = random * 1103515245 + 12345;
        plain[i] = (uint8_t)(i % 7 ? 'a' : random >> 16);
    }
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

/* Reads all there is, in pieces, and checks it and the result. */
static void check(struct bytes *bytes, const char *media_type)
{
    struct export_control control = {0};
    const struct import_input from = {read_bytes, bytes};
    struct input *input = NULL;
    struct import_result result = {0};
    uint8_t *found = mem_zero(PLAIN_SIZE + 1);
    size_t at = 0, got = 1;
    assert_null(input_open(&from, &control, &input));
    const struct tar_source *source = input_source(input);
    while (got > 0 && at < PLAIN_SIZE) {
        size_t want = PLAIN_SIZE - at < 1000 ? PLAIN_SIZE - at : 1000;
        assert_null(source->read(source->context, found + at, want, &got));
        at += got;
    }
    assert_int_equal(at, PLAIN_SIZE);
    assert_memory_equal(found, plain, PLAIN_SIZE);
    assert_null(input_finish(input, &result));
    char text[72];
    digest_of(plain, PLAIN_SIZE, text);
    assert_string_equal(result.diff_id, text);
    digest_of(bytes->data.data, bytes->data.size, text);
    assert_string_equal(result.digest, text);
    assert_int_equal(result.size, bytes->data.size);
    assert_int_equal(result.plain_size, PLAIN_SIZE);
    assert_string_equal(result.media_type, media_type);
    input_free(input);
    free(found);
    buffer_free(&bytes->data);
}

static void add_gzip(struct buffer *buffer, const uint8_t *data, size_t size)
{
    struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(6);
    size_t bound = libdeflate_gzip_compress_bound(deflate, size);
    uint8_t *room = buffer_reserve(buffer, bound);
    buffer->size += libdeflate_gzip_compress(deflate, data, size, room, bound);
    libdeflate_free_compressor(deflate);
}

static void add_zstd(struct buffer *buffer, const uint8_t *data, size_t size)
{
    size_t bound = ZSTD_compressBound(size);
    uint8_t *room = buffer_reserve(buffer, bound);
    buffer->size += ZSTD_compress(room, bound, data, size, 3);
}

static void each_form_is_found_out(void **state)
{
    (void)state;
    struct bytes bytes = {0};
    buffer_add(&bytes.data, plain, PLAIN_SIZE);
    check(&bytes, "application/vnd.oci.image.layer.v1.tar");
    bytes = (struct bytes){0};
    for (size_t at = 0; at < PLAIN_SIZE; at += 100000) /* as the exporter makes them: members and frames */
        add_gzip(&bytes.data, plain + at, PLAIN_SIZE - at < 100000 ? PLAIN_SIZE - at : 100000);
    check(&bytes, "application/vnd.oci.image.layer.v1.tar+gzip");
    bytes = (struct bytes){0};
    for (size_t at = 0; at < PLAIN_SIZE; at += 100000)
        add_zstd(&bytes.data, plain + at, PLAIN_SIZE - at < 100000 ? PLAIN_SIZE - at : 100000);
    check(&bytes, "application/vnd.oci.image.layer.v1.tar+zstd");
}

/* The first error that comes while all is read. */
static struct error *first_error(struct bytes *bytes, bool cancelled)
{
    struct export_control control = {.cancelled = cancelled};
    const struct import_input from = {read_bytes, bytes};
    struct input *input = NULL;
    struct import_result result = {0};
    struct error *error = input_open(&from, &control, &input);
    if (!error)
        error = input_finish(input, &result);
    input_free(input);
    buffer_free(&bytes->data);
    return error;
}

static void errors_come_through(void **state)
{
    (void)state;
    static const struct {
        bool zstd, cancelled;
        size_t cut, fail_at;
        enum error_kind kind;
    } rows[] = {
        {false, false, 1000, 0, ERROR_KIND_DATA_LOSS}, {true, false, 1000, 0, ERROR_KIND_DATA_LOSS},
        {false, false, 0, 1, ERROR_KIND_UNAVAILABLE},  {true, false, 0, 1, ERROR_KIND_UNAVAILABLE},
        {false, true, 0, 0, ERROR_KIND_CANCELLED},     {true, true, 0, 0, ERROR_KIND_CANCELLED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes bytes = {.fail_at = rows[i].fail_at};
        (rows[i].zstd ? add_zstd : add_gzip)(&bytes.data, plain, PLAIN_SIZE);
        bytes.data.size -= rows[i].cut;
        struct error *error = first_error(&bytes, rows[i].cancelled);
        assert_non_null(error);
        if (error->kind != rows[i].kind)
            fail_msg("row %zu: %s", i, error->message);
        error_free(error);
    }
}

int main(void)
{
    make_plain();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_found_out),
        cmocka_unit_test(errors_come_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
