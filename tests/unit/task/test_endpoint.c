#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "task/endpoint.h"

static const struct {
    const char *text, *stream;
    enum endpoint_kind kind; /* ENDPOINT_NONE with a text: refused */
    const char *path;
} rows[] = {
    {"", "stdin", ENDPOINT_NONE, NULL},
    {"\\\\.\\pipe\\ctr-web-stdin", "stdin", ENDPOINT_PIPE, "\\\\.\\pipe\\ctr-web-stdin"},
    {"\\\\.\\PIPE\\x", "stdout", ENDPOINT_PIPE, "\\\\.\\PIPE\\x"},
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
    {"binary:///C:/logger.exe?x=y", "stdout", ENDPOINT_NONE, NULL},
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
        enum endpoint_kind kind = ENDPOINT_NONE;
        char *path = NULL;
        struct error *error = endpoint_parse(rows[i].text, rows[i].stream, &kind, &path);
        print_message("%s %s: %s\n", rows[i].stream, rows[i].text, error ? error->message : path ? path : "none");
        bool refused = rows[i].kind == ENDPOINT_NONE && *rows[i].text;
        assert_int_equal(error != NULL, refused);
        if (error) {
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
            assert_string_equal(error->operation, rows[i].stream);
        } else {
            assert_int_equal(kind, rows[i].kind);
            if (rows[i].path)
                assert_string_equal(path, rows[i].path);
            else
                assert_null(path);
        }
        error_free(error);
        free(path);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    char text[2000];
    enum endpoint_kind kind;
    char *path;
    memset(text, 'x', sizeof text);
    memcpy(text, "\\\\.\\pipe\\", 9);
    text[sizeof text - 1] = 0;
    struct error *error = endpoint_parse(text, "stdout", &kind, &path);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_too_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
