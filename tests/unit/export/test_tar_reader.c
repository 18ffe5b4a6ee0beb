#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "export/tar_reader.h"

#define EPOCH UINT64_C(116444736000000000) /* 1970 as FILETIME */

/* An archive in memory, given in pieces of 100 bytes at most. */
struct bytes {
    struct buffer tar;
    size_t at;
};

static struct error *read_bytes(void *context, void *data, size_t size, size_t *ret_got)
{
    struct bytes *bytes = context;
    size_t left = bytes->tar.size - bytes->at;
    *ret_got = size < left ? size : left;
    memcpy(data, bytes->tar.data + bytes->at, *ret_got);
    bytes->at += *ret_got;
    return NULL;
}

static void add_header(struct buffer *tar, char type, const char *name, const char *size, const char *mtime)
{
    uint8_t header[TAR_BLOCK] = {0};
    unsigned sum = 0;
    memcpy(header, name, strnlen(name, 100));
    memcpy(header + 100, "0100644", 7);
    memcpy(header + 124, size, strlen(size) > 12 ? 12 : strlen(size));
    memcpy(header + 136, mtime, strlen(mtime));
    memset(header + 148, ' ', 8);
    header[156] = (uint8_t)type;
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < sizeof header; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    buffer_add(tar, header, sizeof header);
}

static void add_content(struct buffer *tar, const char *content)
{
    static const uint8_t zeros[TAR_BLOCK];
    size_t size = strlen(content);
    buffer_add(tar, content, size);
    buffer_add(tar, zeros, tar_padding(size));
}

static void add_extended(struct buffer *tar, char type, const char *content)
{
    char size[16];
    snprintf(size, sizeof size, "%o", (unsigned)strlen(content));
    add_header(tar, type, "x", size, "0");
    add_content(tar, content);
}

/* Records from lines of KEY=VALUE, each with its length in front. */
static void add_records(struct buffer *tar, char type, const char *lines)
{
    struct buffer text = {0};
    while (*lines) {
        size_t size = strcspn(lines, "\n");
        size_t length = size + 3; /* with one digit, blank and line end */
        if (length > 9)
            length++;
        buffer_add_format(&text, "%zu %.*s\n", length, (int)size, lines);
        lines += size + 1;
    }
    add_extended(tar, type, (const char *)text.data);
    buffer_free(&text);
}

static void add_end(struct buffer *tar)
{
    static const uint8_t zeros[2 * TAR_BLOCK];
    buffer_add(tar, zeros, sizeof zeros);
}

static struct tar_reader begin(struct bytes *bytes)
{
    struct tar_reader reader;
    const struct tar_source source = {read_bytes, bytes};
    tar_reader_init(&reader, &source);
    return reader;
}

static const struct tar_member *next(struct tar_reader *reader)
{
    const struct tar_member *member = NULL;
    struct error *error = tar_reader_next(reader, &member);
    if (error)
        fail_msg("%s", error->message);
    return member;
}

/* The message of the first error that the archive gives. */
static char *first_error(struct bytes *bytes)
{
    struct tar_reader reader = begin(bytes);
    const struct tar_member *member = NULL;
    struct error *error = NULL;
    do
        error = tar_reader_next(&reader, &member);
    while (!error && member);
    char *message = error ? str_copy(error->message) : str_copy("");
    if (error)
        assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    error_free(error);
    tar_reader_free(&reader);
    buffer_free(&bytes->tar);
    return message;
}

static void entries_with_and_without_records(void **state)
{
    (void)state;
    struct bytes bytes = {0};
    add_header(&bytes.tar, '5', "Files/", "0", "0");
    add_records(&bytes.tar, 'x',
                "path=Files/\xc3\xbc longer\nmtime=1.12345678\nLIBARCHIVE.creationtime=1600000000.5\n"
                "MSWINDOWS.fileattr=3\nMSWINDOWS.fileattr=32\natime=notread\n");
    add_header(&bytes.tar, '0', "short", "3", "7");
    add_content(&bytes.tar, "abc");
    add_header(&bytes.tar, '1', "hard", "0", "14");
    add_end(&bytes.tar);

    struct tar_reader reader = begin(&bytes);
    const struct tar_member *member = next(&reader);
    assert_string_equal(member->path, "Files");
    assert_int_equal(member->type, TAR_FOLDER);
    assert_int_equal(member->modified, EPOCH);
    member = next(&reader);
    assert_string_equal(member->path, "Files/\xc3\xbc longer");
    assert_int_equal(member->mode, 0100644);
    assert_int_equal(member->modified, EPOCH + 11234567);
    assert_int_equal(member->created, EPOCH + UINT64_C(16000000005000000));
    assert_int_equal(member->record_count, 1);
    assert_string_equal(tar_member_record(member, "MSWINDOWS.fileattr")->value, "32");
    char content[10];
    size_t got = 0;
    assert_null(tar_reader_read(&reader, content, 2, &got));
    assert_int_equal(got, 2);
    assert_memory_equal(content, "ab", 2);
    member = next(&reader); /* passes over the rest */
    assert_string_equal(member->path, "hard");
    assert_int_equal(member->modified, EPOCH + 120000000);
    assert_null(next(&reader));
    tar_reader_free(&reader);
    buffer_free(&bytes.tar);
}

static void gnu_names_and_numbers(void **state)
{
    (void)state;
    struct bytes bytes = {0};
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    add_extended(&bytes.tar, 'L', name);
    add_extended(&bytes.tar, 'K', "target");
    add_header(&bytes.tar, '2', "cut", "0", "0");
    add_header(&bytes.tar, '0', "large", "\x80\0\0\0\0\0\0\0\0\0\0", "0");
    bytes.tar.data[bytes.tar.size - TAR_BLOCK + 124 + 11] = 5;
    uint8_t *header = bytes.tar.data + bytes.tar.size - TAR_BLOCK;
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    header[124] = 0x80;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    add_content(&bytes.tar, "12345");
    add_end(&bytes.tar);
    struct tar_reader reader = begin(&bytes);
    const struct tar_member *member = next(&reader);
    assert_string_equal(member->path, name);
    assert_string_equal(member->link, "target");
    member = next(&reader);
    assert_string_equal(member->path, "large");
    assert_int_equal(member->size, 5);
    assert_null(next(&reader));
    tar_reader_free(&reader);
    buffer_free(&bytes.tar);
}

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *records; /* of an 'x' header, with their lengths in the first eight rows; NULL: none */
        char type;
        const char *size;
        const char *part; /* of the message */
    } rows[] = {
        {NULL, '5', "1", "has a size and is no file"},
        {NULL, '2', "1", "has a size and is no file"},
        {NULL, '0', "8", "number"},
        {"11 path=abc\n", '0', "0", "damaged"}, /* too short a length */
        {"14 path=abc\n", '0', "0", "damaged"}, /* longer than the header */
        {"12 path=abc", '0', "0", "damaged"},   /* no line end */
        {"9 =value\n", '0', "0", "damaged"},    /* no key */
        {"x path=abc\n", '0', "0", "damaged"},
        {"size=none\n", '0', "0", "size is no number"},
        {"size=99999999999999999999\n", '0', "0", "size is no number"},
        {"mtime=soon\n", '0', "0", "time"},
        {"mtime=-99999999999999\n", '0', "0", "time"},
        {"GNU.sparse.major=1\n", '0', "0", "GNU tar"},
        {"hdrcharset=KOI8-R\n", '0', "0", "character set"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes bytes = {0};
        if (rows[i].records)
            (i < 8 ? add_extended : add_records)(&bytes.tar, 'x', rows[i].records);
        add_header(&bytes.tar, rows[i].type, "name", rows[i].size, "0");
        add_end(&bytes.tar);
        add_end(&bytes.tar);
        char *message = first_error(&bytes);
        if (!strstr(message, rows[i].part))
            fail_msg("row %zu: expected %s, found %s", i, rows[i].part, message);
        free(message);
    }

    struct bytes twice = {0};
    add_extended(&twice.tar, 'x', "12 path=abc\n");
    add_extended(&twice.tar, 'x', "12 path=def\n");
    char *message = first_error(&twice);
    assert_non_null(strstr(message, "two extended headers"));
    free(message);

    struct bytes global = {0};
    add_extended(&global.tar, 'g', "17 comment=0123ab\n");
    add_end(&global.tar);
    global.tar.data[2] = 'x'; /* and a checksum that is wrong now */
    message = first_error(&global);
    assert_non_null(strstr(message, "checksum"));
    free(message);

    struct bytes sets = {0};
    add_extended(&sets.tar, 'g', "12 path=abc\n");
    message = first_error(&sets);
    assert_non_null(strstr(message, "global"));
    free(message);
}

static void an_archive_that_is_cut_off(void **state)
{
    (void)state;
    struct bytes whole = {0};
    add_extended(&whole.tar, 'x', "12 path=abc\n");
    add_header(&whole.tar, '0', "x", "3", "0");
    add_content(&whole.tar, "abc");
    size_t sizes[] = {0, 1, 511, 512, 600, 1024, 1500, 1536, 1537, 2047, 2048, 2100};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct bytes bytes = {0};
        buffer_add(&bytes.tar, whole.tar.data, sizes[i] < whole.tar.size ? sizes[i] : whole.tar.size);
        char *message = first_error(&bytes);
        if (!strstr(message, "cut off"))
            fail_msg("%zu bytes: %s", sizes[i], message);
        free(message);
    }
    buffer_free(&whole.tar);
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t time;
    } rows[] = {
        {"0", true, EPOCH},
        {"1.5", true, EPOCH + 15000000},
        {"1.", true, EPOCH + 10000000},
        {"-0.0000001", true, EPOCH - 1},
        {"-0.00000001", true, EPOCH - 1}, /* towards the past */
        {"0.00000009", true, EPOCH},
        {"-11644473600", true, 0},
        {"-11644473600.0000001", false, 0},
        {"910692730085.4775807", true, INT64_MAX},
        {"910692730085.4775808", false, 0},
        {"910692730084.9999999", true, UINT64_C(9223372036849999999)},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {".5", false, 0},
        {"1e3", false, 0},
        {" 1", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t time = 0;
        bool good = tar_parse_time(rows[i].text, strlen(rows[i].text), &time);
        if (good != rows[i].good || (good && time != rows[i].time))
            fail_msg("%s: %d %llu", rows[i].text, good, (unsigned long long)time);
    }
}

static void base64(void **state)
{
    (void)state;
    static const struct {
        const char *text, *data; /* NULL: none */
    } rows[] = {{"", ""},     {"YQ==", "a"},  {"YWI=", "ab"}, {"YWJj", "abc"},    {"YWJjZA==", "abcd"}, {"YQ=", NULL},
                {"YQ", NULL}, {"Y===", NULL}, {"====", NULL}, {"YQ==YQ==", NULL}, {"Y?==", NULL},       {"YW=j", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *data = NULL;
        size_t size = 0;
        bool good = tar_decode_base64(rows[i].text, strlen(rows[i].text), &data, &size);
        if (good != (rows[i].data != NULL))
            fail_msg("%s: %d", rows[i].text, good);
        if (good) {
            assert_int_equal(size, strlen(rows[i].data));
            assert_memory_equal(data, rows[i].data, size);
        }
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_with_and_without_records),
        cmocka_unit_test(gnu_names_and_numbers),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(an_archive_that_is_cut_off),
        cmocka_unit_test(times),
        cmocka_unit_test(base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
