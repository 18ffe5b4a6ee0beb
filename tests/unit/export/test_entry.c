#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "export/entry.h"
#include "export/tar.h"

/* One entry's way from a backup stream to tar blocks. The records themselves are test_tar.c's. */
struct fixture {
    struct buffer stream, tar;
    struct export_control control;
    struct deviations deviations;
    struct packer *packer;
    struct export_output output;
};

static struct error *keep(void *context, const void *data, size_t size)
{
    buffer_add(context, data, size);
    return NULL;
}

static void begin(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    fixture->output = (struct export_output){keep, &fixture->tar};
    assert_null(packer_open(EXPORT_NONE, 0, &fixture->output, &fixture->control, &fixture->packer));
}

static void end(struct fixture *fixture)
{
    packer_free(fixture->packer);
    buffer_free(&fixture->stream);
    buffer_free(&fixture->tar);
    deviations_free(&fixture->deviations);
}

static void add(struct fixture *fixture, uint32_t id, uint32_t attributes, const char16_t *name, const void *data,
                size_t size)
{
    struct stream_header header = {.id = id, .attributes = attributes, .size = size};
    for (; name && name[header.name_units]; header.name_units++)
        header.name[header.name_units] = name[header.name_units];
    stream_add_header(&fixture->stream, &header);
    buffer_add(&fixture->stream, data, size);
}

static void add_block(struct fixture *fixture, uint64_t offset, const void *data, size_t size)
{
    const struct stream_header header = {.id = STREAM_SPARSE_BLOCK, .offset = offset, .size = size};
    stream_add_header(&fixture->stream, &header);
    buffer_add(&fixture->stream, data, size);
}

static struct error *write_entry(struct fixture *fixture, bool folder)
{
    const struct entry entry = {.path = "Files/e", .folder = folder, .attributes = 32};
    struct stream_source *source = stream_source_memory(fixture->stream.data, 0, fixture->stream.size, true);
    struct error *error = entry_write(&entry, source, fixture->packer, &fixture->control, &fixture->deviations);
    stream_source_free(source);
    struct export_result result = {0};
    if (!error)
        error = packer_finish(fixture->packer, &result);
    return error;
}

/* The content of the tar entry number `which`, and its name. */
static const uint8_t *content(const struct fixture *fixture, unsigned which, size_t *ret_size, const char **ret_name)
{
    for (size_t at = 0; at < fixture->tar.size;) {
        const char *header = (const char *)fixture->tar.data + at;
        size_t size = strtoul(header + 124, NULL, 8);
        if (header[156] != 'x' && which-- == 0) {
            *ret_size = size;
            *ret_name = header;
            return fixture->tar.data + at + TAR_BLOCK;
        }
        at += TAR_BLOCK + size + tar_padding(size);
    }
    fail_msg("there is no such entry");
    return NULL;
}

static void check_content(const struct fixture *fixture, unsigned which, const char *name, const void *data,
                          size_t size)
{
    size_t found = 0;
    const char *found_name = NULL;
    const uint8_t *bytes = content(fixture, which, &found, &found_name);
    assert_string_equal(found_name, name);
    assert_int_equal(found, size);
    assert_memory_equal(bytes, data, size);
}

static void alternates_come_behind_wherever_they_stood(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    add(&fixture, STREAM_ALTERNATE, 0, u":first:$DATA", "1", 1);
    add(&fixture, STREAM_DATA, 0, NULL, "main", 4);
    add(&fixture, STREAM_ALTERNATE, 0, u":second", "22", 2);
    assert_null(write_entry(&fixture, false));
    check_content(&fixture, 0, "Files/e", "main", 4);
    check_content(&fixture, 1, "Files/e:first", "1", 1);
    check_content(&fixture, 2, "Files/e:second", "22", 2);
    assert_int_equal(fixture.control.entries, 3);
    assert_int_equal(fixture.deviations.total, 0);
    end(&fixture);
}

static void sparse_shapes_have_right_contents(void **state)
{
    (void)state;
    uint8_t expected[3000] = {0};
    struct fixture fixture;

    begin(&fixture); /* nothing at all */
    assert_null(write_entry(&fixture, false));
    check_content(&fixture, 0, "Files/e", "", 0);
    end(&fixture);

    begin(&fixture); /* an empty data stream */
    add(&fixture, STREAM_DATA, STREAM_ATTRIBUTE_SPARSE, NULL, "", 0);
    assert_null(write_entry(&fixture, false));
    check_content(&fixture, 0, "Files/e", "", 0);
    end(&fixture);

    begin(&fixture); /* all of it */
    add(&fixture, STREAM_DATA, STREAM_ATTRIBUTE_SPARSE, NULL, expected, 700);
    assert_null(write_entry(&fixture, false));
    check_content(&fixture, 0, "Files/e", expected, 700);
    end(&fixture);

    begin(&fixture); /* blocks and an end mark, in both streams */
    memset(expected + 600, 'x', 5);
    memset(expected + 2000, 'y', 700);
    add(&fixture, STREAM_DATA, STREAM_ATTRIBUTE_SPARSE, NULL, "", 0);
    add_block(&fixture, 600, expected + 600, 5);
    add_block(&fixture, 2000, expected + 2000, 700);
    add_block(&fixture, 3000, "", 0);
    add(&fixture, STREAM_ALTERNATE, STREAM_ATTRIBUTE_SPARSE, u":s:$DATA", "", 0);
    add_block(&fixture, 600, expected + 600, 5);
    add_block(&fixture, 1000, "", 0);
    assert_null(write_entry(&fixture, false));
    check_content(&fixture, 0, "Files/e", expected, 3000);
    check_content(&fixture, 1, "Files/e:s", expected, 1000);
    end(&fixture);
}

static void damaged_streams_are_data_loss(void **state)
{
    (void)state;
    for (int row = 0; row < 8; row++) {
        struct fixture fixture;
        begin(&fixture);
        switch (row) {
        case 0: /* no end mark */
            add(&fixture, STREAM_DATA, STREAM_ATTRIBUTE_SPARSE, NULL, "", 0);
            add_block(&fixture, 5, "x", 1);
            break;
        case 1: /* overlapping */
            add(&fixture, STREAM_DATA, STREAM_ATTRIBUTE_SPARSE, NULL, "", 0);
            add_block(&fixture, 5, "xy", 2);
            add_block(&fixture, 6, "x", 1);
            break;
        case 2: /* a block of nothing */
            add_block(&fixture, 5, "x", 1);
            break;
        case 3:
            add(&fixture, STREAM_DATA, 0, NULL, "1", 1);
            add(&fixture, STREAM_DATA, 0, NULL, "2", 1);
            break;
        case 4:
            add(&fixture, 12, 0, NULL, "", 0);
            break;
        case 5: /* of the containers' filter */
            add(&fixture, STREAM_REPARSE, 0, NULL, "\x18\0\0\x80\0\0\0\0", 8);
            break;
        case 6:
            add(&fixture, STREAM_EA, 0, NULL, "\0\0\0\0\0\5\0\0", 8);
            break;
        default: /* a block behind the end mark */
            add(&fixture, STREAM_DATA, STREAM_ATTRIBUTE_SPARSE, NULL, "", 0);
            add_block(&fixture, 5, "", 0);
            add_block(&fixture, 6, "", 0);
        }
        struct error *error = write_entry(&fixture, false);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
        assert_string_equal(error->object, "Files/e");
        error_free(error);
        end(&fixture);
    }
}

static void what_has_no_place_is_reported(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    add(&fixture, STREAM_DATA, 0, NULL, "main", 4);
    add(&fixture, STREAM_OBJECT_ID, 0, NULL, "id", 2);
    add(&fixture, STREAM_LINK, 0, NULL, "link", 4);
    add(&fixture, STREAM_REPARSE, 0, NULL, "\x17\0\0\x80\0\0\0\0", 8);
    add(&fixture, STREAM_EA, 0, NULL, "\0\0\0\0\0\3\1\0a=b\0v", 13);
    assert_null(write_entry(&fixture, false));
    check_content(&fixture, 0, "Files/e", "main", 4);
    assert_int_equal(fixture.deviations.total, 3);
    assert_string_equal(fixture.deviations.rows[0].kind, "unknown_reparse");
    assert_non_null(strstr(fixture.deviations.rows[0].detail, "0x80000017"));
    assert_string_equal(fixture.deviations.rows[1].kind, "attribute_left_out");
    assert_string_equal(fixture.deviations.rows[2].kind, "stream_left_out");
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(fixture.deviations.rows[i].path, "Files/e");
    end(&fixture);
}

static void deviations_are_counted_beyond_the_limit(void **state)
{
    (void)state;
    struct deviations deviations = {0};
    for (int i = 0; i < EXPORT_DEVIATIONS_MAX + 5; i++)
        deviations_add(&deviations, "kind", "a\xed\xa0\x80", "number %d", i);
    assert_int_equal(deviations.count, EXPORT_DEVIATIONS_MAX);
    assert_int_equal(deviations.total, EXPORT_DEVIATIONS_MAX + 5);
    assert_string_equal(deviations.rows[999].detail, "number 999");
    assert_string_equal(deviations.rows[0].path, "a\\uD800");

    struct export_result result = {.deviations = deviations.rows, .deviation_count = 2, .entries = 7};
    struct export_result *copy = export_result_copy(&result);
    assert_int_equal(copy->entries, 7);
    assert_string_equal(copy->deviations[1].detail, "number 1");
    export_result_free(copy);
    export_result_free(NULL);
    deviations_free(&deviations);
}

static void the_path_in_hand_is_printable(void **state)
{
    (void)state;
    struct export_control control = {0};
    export_control_init(&control);
    char *path = export_control_path(&control);
    assert_string_equal(path, "");
    free(path);
    export_control_set_path(&control, "Files/\xed\xa0\x80\n");
    path = export_control_path(&control);
    assert_string_equal(path, "Files/\\uD800\\x0A");
    free(path);
    export_control_free(&control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alternates_come_behind_wherever_they_stood),
        cmocka_unit_test(sparse_shapes_have_right_contents),
        cmocka_unit_test(damaged_streams_are_data_loss),
        cmocka_unit_test(what_has_no_place_is_reported),
        cmocka_unit_test(deviations_are_counted_beyond_the_limit),
        cmocka_unit_test(the_path_in_hand_is_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
