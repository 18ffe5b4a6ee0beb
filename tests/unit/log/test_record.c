/* Runs in its own folder. HCSD_UPDATE_EXPECTED=1 writes docs/events.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "daemon/log/record.h"

static char *repeat(const char *text, size_t count)
{
    struct buffer buffer = {0};
    buffer_add_text(&buffer, "");
    for (size_t i = 0; i < count; i++)
        buffer_add_text(&buffer, text);
    return (char *)buffer.data;
}

static size_t units_of(const char *text)
{
    size_t count;
    char16_t *units = text_to_utf16(text, &count);
    assert_non_null(units);
    assert_true(text_is_utf16(units, count));
    free(units);
    return count;
}

static void test_event_string(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"100%", "100%"},
        {"%1 stays: only two percent signs are expanded", "%1 stays: only two percent signs are expanded"},
        {"%%1", "% %1"},
        {"%%%1", "%% %1"},
        {"%%x", "%%x"},
        {"a%%9%%10", "a% %9% %10"},
        {"line\nend", "line\\x0Aend"},
        {"gr\xC3\xBCn \xF0\x9F\x98\x80", "gr\xC3\xBCn \xF0\x9F\x98\x80"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *found = log_event_string(rows[i].text);
        assert_string_equal(found, rows[i].expected);
        free(found);
    }
}

static void test_event_string_is_cut(void **state)
{
    (void)state;
    static const struct {
        const char *piece;
        size_t count;
        bool cut;
    } rows[] = {
        {"a", LOG_EVENT_STRING_MAX, false},
        {"a", LOG_EVENT_STRING_MAX + 1, true},
        {"\xF0\x9F\x98\x80", LOG_EVENT_STRING_MAX / 2, false},
        {"\xF0\x9F\x98\x80", LOG_EVENT_STRING_MAX, true},
        {"%%1", LOG_EVENT_STRING_MAX, true},
        {"\xE4\xB8\xAD", 20000, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = repeat(rows[i].piece, rows[i].count), *found = log_event_string(text);
        assert_true(text_is_utf8(found, strlen(found)));
        assert_true(units_of(found) <= LOG_EVENT_STRING_MAX);
        bool marked = strlen(found) >= 3 && strcmp(found + strlen(found) - 3, "…") == 0;
        if (marked != rows[i].cut)
            fail_msg("row %zu: expected %s, found %zu units", i, rows[i].cut ? "cut" : "whole", units_of(found));
        free(found);
        free(text);
    }
}

static void test_event_ids(void **state)
{
    (void)state;
    assert_int_equal(log_event_id(event_find(EVENT_SERVICE_STARTED)), 0x40000001u);
    assert_int_equal(log_event_id(event_find(EVENT_CLIENT_REFUSED)), 0x80000008u);
    assert_int_equal(log_event_id(event_find(EVENT_TASK_STUCK)), 0xC0000136u);
}

static void test_json(void **state)
{
    (void)state;
    struct buffer line = {0};
    const char *arguments[] = {"a\"b", "C:\\x\xFF"};
    struct log_record *record = log_record_new(event_find(EVENT_CLIENT_REFUSED), arguments, 1795221279250000000);
    log_record_json(record, 0, &line);
    assert_string_equal(
        (char *)line.data,
        "{\"time\":\"2026-11-21T00:34:39.25Z\",\"level\":\"warning\",\"event\":8,\"name\":\"CLIENT_REFUSED\","
        "\"category\":\"Service\",\"text\":\"A client of the pipe was refused: a\\\"b. Client: C:\\\\x\\\\xFF.\","
        "\"arguments\":[\"a\\\"b\",\"C:\\\\x\\\\xFF\"]}\n");
    buffer_clear(&line);
    log_record_text(record, 3, &line);
    assert_string_equal(
        (char *)line.data,
        "2026-11-21T00:34:39.25Z 3 lines were dropped\n"
        "2026-11-21T00:34:39.25Z warning 8: A client of the pipe was refused: a\"b. Client: C:\\x\\xFF. If the "
        "client is to use hcsd, add its user or group to pipe_access in the configuration.\n");
    log_record_free(record);

    buffer_clear(&line);
    record = log_record_new(NULL, &(const char *){"two\nlines"}, 0);
    log_record_json(record, 2, &line);
    assert_string_equal(
        (char *)line.data,
        "{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"debug\",\"text\":\"two\\\\x0Alines\",\"lost\":2}\n");
    log_record_free(record);
    buffer_free(&line);
}

/* Every event makes a line of JSON with its number and all its arguments, whatever these hold. */
static void test_json_of_every_event(void **state)
{
    (void)state;
    const char *arguments[LOG_ARGUMENTS_MAX] = {"1", NULL, "\xED\xA0\x80", "%2", "", "\t", "7", "8", "9"};
    for (size_t i = 0; i < event_catalogue_size; i++) {
        struct buffer line = {0};
        struct log_record *record = log_record_new(&event_catalogue[i], arguments, 0);
        log_record_json(record, 0, &line);
        json_t *object = json_loadb((char *)line.data, line.size, 0, NULL);
        assert_non_null(object);
        assert_int_equal(json_integer_value(json_object_get(object, "event")), event_catalogue[i].id);
        assert_int_equal(json_array_size(json_object_get(object, "arguments")), event_catalogue[i].arguments);
        json_decref(object);
        log_record_free(record);
        buffer_free(&line);
    }
}

static void test_document(void **state)
{
    (void)state;
    static const char path[] = "../../../docs/events.md";
    struct buffer markdown = {0}, expected = {0};
    char piece[4096];
    log_events_document(&markdown);
    if (getenv("HCSD_UPDATE_EXPECTED") != NULL) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fwrite(markdown.data, 1, markdown.size, file);
        fclose(file);
    }
    buffer_add_text(&expected, "");
    FILE *file = fopen(path, "rb");
    for (size_t size; file != NULL && (size = fread(piece, 1, sizeof piece, file)) > 0;)
        buffer_add(&expected, piece, size);
    if (file != NULL)
        fclose(file);
    if (strcmp((char *)expected.data, (char *)markdown.data) != 0)
        fail_msg("docs/events.md is not what the catalogue says; HCSD_UPDATE_EXPECTED=1 writes it");
    buffer_free(&expected);
    buffer_free(&markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_string),        cmocka_unit_test(test_event_string_is_cut),
        cmocka_unit_test(test_event_ids),           cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_every_event), cmocka_unit_test(test_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
