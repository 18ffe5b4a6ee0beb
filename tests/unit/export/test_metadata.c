#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/text.h"
#include "export/metadata.h"

static void put16(struct buffer *buffer, size_t value)
{
    const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    buffer_add(buffer, bytes, 2);
}

static void put_text(struct buffer *buffer, const char *text)
{
    for (; *text; text++)
        put16(buffer, (uint8_t)*text);
}

static void make_reparse(struct buffer *buffer, uint32_t tag, const char *substitute, const char *print)
{
    size_t names = 2 * (strlen(substitute) + strlen(print));
    bool link = tag == 0xa000000cu;
    put16(buffer, tag & 0xffff);
    put16(buffer, tag >> 16);
    put16(buffer, 8 + (link ? 4 : 0) + names);
    put16(buffer, 0);
    put16(buffer, 0);
    put16(buffer, 2 * strlen(substitute));
    put16(buffer, 2 * strlen(substitute));
    put16(buffer, 2 * strlen(print));
    if (link) {
        put16(buffer, 0);
        put16(buffer, 0);
    }
    put_text(buffer, substitute);
    put_text(buffer, print);
}

static void targets_are_decoded(void **state)
{
    (void)state;
    static const struct {
        uint32_t tag;
        const char *substitute, *print;
        enum reparse_kind kind;
        const char *target;
    } rows[] = {
        {0xa000000cu, "\\??\\C:\\a", "C:\\a", REPARSE_SYMBOLIC_LINK, "C:\\a"},
        {0xa000000cu, "..\\x", "..\\x", REPARSE_SYMBOLIC_LINK, "..\\x"},
        {0xa000000cu, "\\??\\C:\\only", "", REPARSE_SYMBOLIC_LINK, "C:\\only"},
        {0xa0000003u, "\\??\\C:\\m", "C:\\m", REPARSE_MOUNT_POINT, "C:\\m"},
        {0xa0000003u, "\\??\\Volume{1}\\", "", REPARSE_MOUNT_POINT, "Volume{1}\\"},
        {0x90001018u, "", "", REPARSE_CONTAINER, NULL},
        {0xa000001fu, "", "", REPARSE_CONTAINER, NULL},
        {0x80000017u, "", "", REPARSE_UNKNOWN, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer raw = {0};
        struct reparse reparse = {0};
        make_reparse(&raw, rows[i].tag, rows[i].substitute, rows[i].print);
        assert_null(reparse_decode(raw.data, raw.size, "f", &reparse));
        assert_int_equal(reparse.kind, rows[i].kind);
        assert_int_equal(reparse.tag, rows[i].tag);
        if (rows[i].target)
            assert_string_equal(reparse.target, rows[i].target);
        else
            assert_null(reparse.target);
        free(reparse.target);
        buffer_free(&raw);
    }
}

static void a_cut_reparse_point_is_data_loss(void **state)
{
    (void)state;
    struct buffer raw = {0};
    make_reparse(&raw, 0xa000000cu, "\\??\\C:\\a", "C:\\a");
    for (size_t size = 0; size < raw.size; size++) {
        uint8_t *exact = malloc(size + 1);
        memcpy(exact, raw.data, size);
        struct reparse reparse;
        struct error *error = reparse_decode(exact, size, "f", &reparse);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
        error_free(error);
        free(exact);
    }
    raw.data[12] = 0xf0; /* the print name's offset leads outside */
    struct reparse reparse;
    struct error *error = reparse_decode(raw.data, raw.size, "f", &reparse);
    assert_non_null(error);
    error_free(error);
    buffer_free(&raw);
}

static void collect(void *context, uint8_t flags, const char *name, size_t name_size, const uint8_t *value,
                    size_t value_size)
{
    buffer_add_format(context, "%u %.*s=%.*s;", flags, (int)name_size, name, (int)value_size, (const char *)value);
}

static void attributes_are_decoded(void **state)
{
    (void)state;
    static const uint8_t raw[] = "\x10\0\0\0\x80\x01\x02\0"
                                 "A\0vw\0\0\0\0"
                                 "\0\0\0\0\0\x02\0\0"
                                 "BC";
    struct buffer found = {0};
    assert_null(ea_decode(raw, sizeof raw, "f", collect, &found));
    assert_string_equal((const char *)found.data, "128 A=vw;0 BC=;");
    buffer_clear(&found);
    assert_null(ea_decode(raw, 0, "f", collect, &found));
    assert_int_equal(found.size, 0);
    for (size_t size = 1; size < sizeof raw; size++) {
        if (size == 16)
            continue; /* the second one is missing, but so is the sign that it should be there: see below */
        uint8_t *exact = malloc(size);
        memcpy(exact, raw, size);
        struct error *error = ea_decode(exact, size, "f", collect, &found);
        assert_non_null(error);
        error_free(error);
        free(exact);
    }
    buffer_free(&found);
}

static void targets_are_encoded_to_what_decodes_to_them(void **state)
{
    (void)state;
    static const struct {
        const char *target, *substitute;
        bool relative;
    } rows[] = {
        {"C:\\Windows", "\\??\\C:\\Windows", false},
        {"c:", "\\??\\c:", false},
        {"\\\\server\\share", "\\??\\UNC\\server\\share", false},
        {"\\\\?\\Volume{1}\\", "\\??\\Volume{1}\\", false},
        {"..\\\xc3\xbc", "..\\\xc3\xbc", true},
        {"\\rooted", "\\rooted", true},
        {"lone \xed\xb2\x80", "lone \xed\xb2\x80", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int mount_point = 0; mount_point < 2; mount_point++) {
            struct buffer raw = {0};
            struct reparse reparse = {0};
            assert_null(reparse_encode(rows[i].target, mount_point, "f", &raw));
            assert_null(reparse_decode(raw.data, raw.size, "f", &reparse));
            assert_string_equal(reparse.target, rows[i].target);
            assert_int_equal(reparse.kind, mount_point ? REPARSE_MOUNT_POINT : REPARSE_SYMBOLIC_LINK);
            size_t names = mount_point ? 16 : 20;
            size_t units = 0;
            char16_t *wanted = text_to_utf16(rows[i].substitute, &units);
            assert_int_equal(raw.data[10] | raw.data[11] << 8, 2 * units);
            assert_memory_equal(raw.data + names, wanted, 2 * units);
            if (!mount_point)
                assert_int_equal(raw.data[16], rows[i].relative);
            free(wanted);
            free(reparse.target);
            buffer_free(&raw);
        }
    char long_target[9001];
    memset(long_target, 'x', 9000);
    long_target[9000] = '\0';
    const char *const refused[] = {"", "\\??\\C:\\x", long_target, "\xff"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct buffer raw = {0};
        struct error *error = reparse_encode(refused[i], false, "f", &raw);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        assert_int_equal(raw.size, 0);
        error_free(error);
    }
}

static void attributes_are_encoded(void **state)
{
    (void)state;
    struct buffer list = {0}, found = {0};
    size_t last = 0;
    static const uint8_t big[65536];
    assert_true(ea_encode(&list, &last, "A", 1, (const uint8_t *)"vw", 2));
    assert_true(ea_encode(&list, &last, "LONGER", 6, NULL, 0));
    assert_true(ea_encode(&list, &last, "C", 1, (const uint8_t *)"x", 1));
    assert_int_equal(last % 4, 0);
    assert_null(ea_decode(list.data, list.size, "f", collect, &found));
    assert_string_equal((const char *)found.data, "0 A=vw;0 LONGER=;0 C=x;");
    size_t size = list.size;
    assert_false(ea_encode(&list, &last, "", 0, NULL, 0));
    assert_false(ea_encode(&list, &last, (const char *)big, 256, NULL, 0));
    assert_false(ea_encode(&list, &last, "A", 1, big, 65536));
    assert_int_equal(list.size, size);
    buffer_free(&list);
    buffer_free(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_decoded),    cmocka_unit_test(a_cut_reparse_point_is_data_loss),
        cmocka_unit_test(attributes_are_decoded), cmocka_unit_test(targets_are_encoded_to_what_decodes_to_them),
        cmocka_unit_test(attributes_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
