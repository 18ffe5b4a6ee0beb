#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/stream.h"

static void header_and_content_come_back(void **state)
{
    (void)state;
    struct buffer raw = {0};
    struct stream_header header = {.id = STREAM_ALTERNATE, .attributes = STREAM_ATTRIBUTE_SPARSE, .size = 3};
    memcpy(header.name, u":a:$DATA", 16);
    header.name_units = 8;
    stream_add_header(&raw, &header);
    buffer_add(&raw, "xyz", 3);
    header = (struct stream_header){.id = STREAM_SPARSE_BLOCK, .size = 2, .offset = 4096};
    stream_add_header(&raw, &header);
    buffer_add(&raw, "pq", 2);

    struct stream_source *source = stream_source_memory(raw.data, 0, raw.size, true);
    struct stream_reader reader;
    bool end = true;
    char data[8];
    size_t got = 0;
    for (int pass = 0; pass < 2; pass++) {
        stream_reader_init(&reader, source, "f");
        assert_null(stream_next(&reader, &header, &end));
        assert_false(end);
        assert_int_equal(header.id, STREAM_ALTERNATE);
        assert_int_equal(header.attributes, STREAM_ATTRIBUTE_SPARSE);
        assert_int_equal(header.name_units, 8);
        assert_memory_equal(header.name, u":a:$DATA", 16);
        if (pass == 0) { /* the second time it is passed over */
            assert_null(stream_read(&reader, data, sizeof data, &got));
            assert_int_equal(got, 3);
            assert_memory_equal(data, "xyz", 3);
        }
        assert_null(stream_next(&reader, &header, &end));
        assert_int_equal(header.id, STREAM_SPARSE_BLOCK);
        assert_int_equal(header.offset, 4096);
        assert_int_equal(header.size, 2);
        assert_null(stream_next(&reader, &header, &end));
        assert_true(end);
        assert_null(source->rewind(source));
    }
    stream_source_free(source);
    buffer_free(&raw);
}

/* Every proper beginning of a stream is an error, but for the empty one. */
static void a_cut_stream_is_data_loss(void **state)
{
    (void)state;
    struct buffer raw = {0};
    const struct stream_header header = {
        .id = STREAM_SPARSE_BLOCK, .size = 2, .offset = 1, .name_units = 1, .name = {'n'}};
    stream_add_header(&raw, &header);
    buffer_add(&raw, "pq", 2);
    for (size_t size = 0; size <= raw.size; size++) {
        struct stream_source *source = stream_source_memory(raw.data, 0, size, true);
        struct stream_reader reader;
        struct stream_header found;
        struct error *error = NULL;
        bool end = false;
        stream_reader_init(&reader, source, "f");
        while (!error && !end)
            error = stream_next(&reader, &found, &end);
        if (size == 0 || size == raw.size) {
            assert_null(error);
        } else {
            assert_non_null(error);
            assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
            assert_string_equal(error->object, "f");
        }
        error_free(error);
        stream_source_free(source);
    }
    buffer_free(&raw);
}

static void sizes_that_cannot_be_are_data_loss(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        uint64_t size;
        uint32_t name;
    } rows[] = {
        {STREAM_DATA, UINT64_MAX, 0}, {STREAM_DATA, 0, 3}, {STREAM_ALTERNATE, 0, 1026}, {STREAM_SPARSE_BLOCK, 7, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t raw[64] = {0};
        memcpy(raw, &rows[i].id, 4);
        memcpy(raw + 8, &rows[i].size, 8);
        memcpy(raw + 16, &rows[i].name, 4);
        struct stream_source *source = stream_source_memory(raw, 0, sizeof raw, true);
        struct stream_reader reader;
        struct stream_header header;
        bool end;
        stream_reader_init(&reader, source, "f");
        struct error *error = stream_next(&reader, &header, &end);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
        error_free(error);
        stream_source_free(source);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_and_content_come_back),
        cmocka_unit_test(a_cut_stream_is_data_loss),
        cmocka_unit_test(sizes_that_cannot_be_are_data_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
