#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/endpoint.h"

static const struct {
    const char *text, *stream;
    enum endpoint_kind kind; /* ENDPOINT_NONE with a text: refused */
    const char *path;
} rows[] = {
    {"", "stdin", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\ctr-web-stdin", "stdin", ENDPOINT_PIPE, "\\\\.\\pipe\\ctr-web-stdin"},
    {"\\\\.\\PIPE\\x", "stdout", ENDPOINT_PIPE, "\\\\.\\pipe\\x"},
    {"\\\\.\\pipe\\ProtectedPrefix\\LocalService\\x", "stdout", ENDPOINT_PIPE,
     "\\\\.\\pipe\\ProtectedPrefix\\LocalService\\x"},
    {"\\\\.\\pipe\\", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\a\\..\\..\\PhysicalDrive0", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\..\\x", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\.", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\a/b", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\a\\\\b", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\server\\pipe\\x", "stdout", ENDPOINT_NONE, NULL},
    {"\\\\?\\pipe\\x", "stdout", ENDPOINT_NONE, NULL},
    {"C:\\log.txt", "stdout", ENDPOINT_NONE, NULL},
    {"npipe:////./pipe/x", "stdin", ENDPOINT_PIPE, "\\\\.\\pipe\\x"},
    {"npipe:////./pipe/a/../b", "stdin", ENDPOINT_NONE, NULL},
    {"npipe:////server/pipe/x", "stdin", ENDPOINT_NONE, NULL},
    {"binary:///C:/logger.exe?x=y", "stdout", ENDPOINT_LOGGER, "C:\\logger.exe"},
    {"binary:///C:/logger.exe", "stdin", ENDPOINT_NONE, NULL},
    {"binary:////server/share/logger.exe", "stdout", ENDPOINT_NONE, NULL},
    {"binary:///C:/a/../logger.exe", "stdout", ENDPOINT_NONE, NULL},
    {"binary:///logger.exe", "stdout", ENDPOINT_NONE, NULL},
    {"binary://C:/logger.exe", "stdout", ENDPOINT_NONE, NULL},
    {"binary-v3:///C:/logger.exe", "stdout", ENDPOINT_NONE, NULL},
    {"binary:///C:/logger.exe?a=%0a", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/logs/web%20server.log", "stdout", ENDPOINT_FILE, "C:\\logs\\web server.log"},
    {"FILE:///c:/x", "stderr", ENDPOINT_FILE, "c:\\x"},
    {"file:///C:/logs/web.log", "stdin", ENDPOINT_NONE, NULL},
    {"file:///C:/logs/../x", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/logs/%2e%2e/x", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/x:stream", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/a%00b", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/a%ffb", "stdout", ENDPOINT_NONE, NULL},
    {"file:////server/share/x", "stdout", ENDPOINT_NONE, NULL},
    {"file://C:/x", "stdout", ENDPOINT_NONE, NULL},
    {"file:///C:/a%2", "stdout", ENDPOINT_FILE, "C:\\a%2"},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct endpoint endpoint = {0};
        struct error *error = endpoint_parse(rows[i].text, rows[i].stream, &endpoint);
        const char *path = endpoint.path;
        print_message("%s %s: %s\n", rows[i].stream, rows[i].text, error ? error->message : path ? path : "none");
        bool refused = rows[i].kind == ENDPOINT_NONE && *rows[i].text;
        assert_int_equal(error != NULL, refused);
        if (error) {
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
            assert_string_equal(error->operation, rows[i].stream);
        } else {
            assert_int_equal(endpoint.kind, rows[i].kind);
            if (rows[i].path)
                assert_string_equal(path, rows[i].path);
            else
                assert_null(path);
        }
        error_free(error);
        endpoint_clear(&endpoint);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    char text[2000];
    struct endpoint endpoint;
    memset(text, 'x', sizeof text);
    memcpy(text, "\\\\.\\pipe\\", 9);
    text[sizeof text - 1] = 0;
    struct error *error = endpoint_parse(text, "stdout", &endpoint);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
}

static void test_logger(void **state)
{
    (void)state;
    struct endpoint endpoint;
    assert_null(endpoint_parse("binary-v2:///C:/my%20logs/l.exe?to=D:/x%26y&v&deep=&last=1", "stdout", &endpoint));
    assert_string_equal(endpoint.path, "C:\\my logs\\l.exe");
    assert_true(endpoint.must_answer);
    static const char *const expected[] = {"to", "D:/x&y", "v", "deep", "", "last", "1"};
    assert_int_equal(endpoint.argument_count, 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(endpoint.arguments[i], expected[i]);
    endpoint_clear(&endpoint);
    char text[600];
    size_t size = (size_t)snprintf(text, sizeof text, "binary:///C:/l.exe?k=v");
    for (unsigned i = 0; i < 20; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "&k=v");
    struct error *error = endpoint_parse(text, "stdout", &endpoint);
    assert_non_null(error);
    error_free(error);
}

/* Which three go together. */
static void test_all(void **state)
{
    (void)state;
    static const struct {
        const char *texts[3];
        bool good;
    } sets[] = {
        {{"", "", ""}, true},
        {{NULL, NULL, NULL}, true},
        {{"\\\\.\\pipe\\i", "\\\\.\\pipe\\o", "\\\\.\\pipe\\e"}, true},
        {{"", "binary:///C:/l.exe?a=b", "binary:///C:/l.exe?a=b"}, true},
        {{"", "binary:///C:/l.exe?a=b", ""}, true},
        {{"", "binary:///C:/l.exe?a=b", "binary:///C:/l.exe?a=c"}, false},
        {{"", "binary:///C:/l.exe", "\\\\.\\pipe\\e"}, false},
        {{"", "", "binary:///C:/l.exe"}, false},
        {{"", "file:///C:/l.log", "file:///C:/l.log"}, true},
        {{"", "x", ""}, false},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct endpoint endpoints[3] = {{0}};
        struct error *error = endpoint_parse_all(sets[i].texts, endpoints);
        print_message("%zu: %s\n", i, error ? error->message : "good");
        assert_int_equal(error == NULL, sets[i].good);
        error_free(error);
        for (unsigned n = 0; n < 3; n++)
            endpoint_clear(&endpoints[n]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_too_long),
                                       cmocka_unit_test(test_logger), cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
