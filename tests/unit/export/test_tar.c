#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/tar.h"

#define EPOCH UINT64_C(116444736000000000) /* 1970 as FILETIME */

static void times_are_written_to_the_last_digit(void **state)
{
    (void)state;
    static const struct {
        uint64_t filetime;
        const char *text;
    } rows[] = {
        {EPOCH, "0"},
        {EPOCH + 1, "0.0000001"},
        {EPOCH + 10000000, "1"},
        {EPOCH + 12500000, "1.25"},
        {EPOCH - 1, "-0.0000001"},
        {EPOCH - 10000000, "-1"},
        {EPOCH - 12500000, "-1.25"},
        {EPOCH + UINT64_C(16000000001234567), "1600000000.1234567"},
        {0, "-11644473600"},
        {INT64_MAX, "910692730085.4775807"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[32];
        tar_format_time(rows[i].filetime, text);
        assert_string_equal(text, rows[i].text);
    }
}

/* The records of the extended header in front, or "". */
static const char *records(const struct buffer *buffer)
{
    return buffer->data[156] == 'x' ? (const char *)buffer->data + TAR_BLOCK : "";
}

static void check_sums(const struct buffer *buffer)
{
    size_t at = buffer->data[156] == 'x' ? buffer->size - TAR_BLOCK : 0;
    for (;;) {
        unsigned sum = 0;
        for (size_t i = 0; i < TAR_BLOCK; i++)
            sum += i >= 148 && i < 156 ? ' ' : buffer->data[at + i];
        assert_int_equal(strtoul((const char *)buffer->data + at + 148, NULL, 8), sum);
        assert_memory_equal(buffer->data + at + 257,
                            "ustar\0"
                            "00",
                            8);
        if (at == 0)
            break;
        at = 0;
    }
}

static void plain_entries_need_no_records(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    const struct tar_entry entry = {
        .path = "Files/a", .type = TAR_FILE, .mode = 0100000, .size = 511, .modified = EPOCH + 10000000 * UINT64_C(8)};
    tar_add_header(&buffer, &entry);
    assert_int_equal(buffer.size, TAR_BLOCK);
    assert_string_equal((const char *)buffer.data, "Files/a");
    assert_string_equal((const char *)buffer.data + 100, "0100000");
    assert_string_equal((const char *)buffer.data + 124, "00000000777");
    assert_string_equal((const char *)buffer.data + 136, "00000000010");
    assert_int_equal(buffer.data[156], '0');
    check_sums(&buffer);
    buffer_free(&buffer);
}

static void records_are_sorted_and_complete(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    struct tar_record xattr[3] = {0};
    assert_true(tar_xattr_record("B", 1, (const uint8_t *)"12", 2, &xattr[0]));
    assert_true(tar_xattr_record("A", 1, (const uint8_t *)"", 0, &xattr[1]));
    assert_true(tar_xattr_record("B", 1, (const uint8_t *)"123", 3, &xattr[2]));
    const struct tar_entry entry = {
        .path = "Files/\xc3\xa9",
        .type = TAR_SYMBOLIC_LINK,
        .link = "C:\\x",
        .modified = EPOCH + 5,
        .created = EPOCH - 5,
        .has_attributes = true,
        .attributes = 4294967295u,
        .mount_point = true,
        .security = (const uint8_t *)"\1\2\3\4",
        .security_size = 4,
        .records = xattr,
        .record_count = 3,
    };
    tar_add_header(&buffer, &entry);
    assert_int_equal(buffer.size, 3 * TAR_BLOCK);
    assert_string_equal(records(&buffer), "38 LIBARCHIVE.creationtime=-0.0000005\n"
                                          "33 MSWINDOWS.fileattr=4294967295\n"
                                          "26 MSWINDOWS.mountpoint=1\n"
                                          "28 MSWINDOWS.rawsd=AQIDBA==\n"
                                          "22 MSWINDOWS.xattr.A=\n"
                                          "26 MSWINDOWS.xattr.B=MTIz\n" /* the last one counts */
                                          "19 mtime=0.0000005\n"
                                          "17 path=Files/\xc3\xa9\n");
    assert_string_equal((const char *)buffer.data, "Files/PaxHeaders.0"); /* what is left in ASCII */
    check_sums(&buffer);
    for (size_t i = 0; i < 3; i++)
        tar_record_free(&xattr[i]);
    buffer_free(&buffer);
}

/* The length of a record counts its own digits: around the places where they become one more. */
static void record_lengths_count_themselves(void **state)
{
    (void)state;
    for (size_t size = 101; size < 1100; size++) {
        char *path = malloc(size + 1);
        struct buffer buffer = {0};
        memset(path, 'p', size);
        path[size] = '\0';
        const struct tar_entry entry = {.path = path, .type = TAR_FILE};
        tar_add_header(&buffer, &entry);
        size_t length = strtoul(records(&buffer), NULL, 10);
        assert_int_equal(records(&buffer)[length - 1], '\n');
        assert_int_equal(strtoul((const char *)buffer.data + 124, NULL, 8), length);
        buffer_free(&buffer);
        free(path);
    }
}

static void names_that_are_no_utf8_say_so(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    const struct tar_entry entry = {.path = "Files/\xed\xa0\x80", .type = TAR_FILE};
    tar_add_header(&buffer, &entry);
    assert_string_equal(records(&buffer), "21 hdrcharset=BINARY\n18 path=Files/\xed\xa0\x80\n");
    buffer_free(&buffer);
}

static void large_and_long_have_records(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    char link[102];
    memset(link, 'l', 101);
    link[101] = '\0';
    struct tar_entry entry = {.path = "f", .type = TAR_FILE, .size = UINT64_C(1) << 33, .link = link};
    tar_add_header(&buffer, &entry);
    assert_non_null(strstr(records(&buffer), " linkpath=lll"));
    assert_non_null(strstr(records(&buffer), "19 size=8589934592\n"));
    buffer_clear(&buffer);
    entry = (struct tar_entry){.path = "f", .type = TAR_FILE, .size = (UINT64_C(1) << 33) - 1};
    tar_add_header(&buffer, &entry);
    assert_string_equal(records(&buffer), "");
    assert_string_equal((const char *)buffer.data + 124, "77777777777");
    buffer_free(&buffer);
}

static void odd_attribute_names_are_refused(void **state)
{
    (void)state;
    struct tar_record record;
    assert_false(tar_xattr_record("a=b", 3, NULL, 0, &record));
    assert_false(tar_xattr_record("a\0b", 3, NULL, 0, &record));
    assert_false(tar_xattr_record("", 0, NULL, 0, &record));
    assert_false(tar_xattr_record("\xff", 1, NULL, 0, &record));
}

static void padding_fills_blocks(void **state)
{
    (void)state;
    assert_int_equal(tar_padding(0), 0);
    assert_int_equal(tar_padding(1), 511);
    assert_int_equal(tar_padding(512), 0);
    assert_int_equal(tar_padding(UINT64_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_to_the_last_digit), cmocka_unit_test(plain_entries_need_no_records),
        cmocka_unit_test(records_are_sorted_and_complete),     cmocka_unit_test(record_lengths_count_themselves),
        cmocka_unit_test(names_that_are_no_utf8_say_so),       cmocka_unit_test(large_and_long_have_records),
        cmocka_unit_test(odd_attribute_names_are_refused),     cmocka_unit_test(padding_fills_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
