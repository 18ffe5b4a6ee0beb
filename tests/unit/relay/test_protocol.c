#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "relay/protocol.h"

static struct relay_message full(enum relay_type type)
{
    return (struct relay_message){
        .type = type,
        .tag = 0x1122334455667788u,
        .session = 77,
        .protocol = 3,
        .version = "0.1.0",
        .containerd_namespace = "k8s.io",
        .id = "web/shell",
        .paths = {"\\\\.\\pipe\\i", "\\\\.\\pipe\\ä", ""},
        .hold_ms = 10000,
        .handles = {4, 0, 0xFFFFFFFFFFFFFFF0u},
        .quiet_ms = 1000,
        .milliseconds = 0xFFFFFFFFu,
        .state = 5,
        .passed = 1ull << 40,
        .lost = 12,
        .taken = 1ull << 41,
        .sessions = 65536,
        .kind = ERROR_KIND_NOT_FOUND,
        .origin = ERROR_ORIGIN_WIN32,
        .code = 2,
        .operation = "open pipe",
        .object = "\\\\.\\pipe\\o",
        .message = "nobody serves it",
    };
}

static const enum relay_type types[] = {
    RELAY_HELLO,       RELAY_OPEN,    RELAY_ATTACH,  RELAY_CLOSE_STDIN, RELAY_DRAIN,  RELAY_CLOSE,  RELAY_RELEASE,
    RELAY_LIST,        RELAY_END,     RELAY_WELCOME, RELAY_DONE,        RELAY_FAILED, RELAY_OPENED, RELAY_SESSION,
    RELAY_STDIN_ENDED, RELAY_DRAINED, RELAY_LOSING,  RELAY_COUNT,       RELAY_COUNTS};

/* What is decoded and encoded again is the same bytes, for every type. */
static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct buffer first = {0}, second = {0};
        struct relay_message message = full(types[i]), decoded;
        size_t size;
        assert_null(relay_encode(&message, &first));
        assert_null(relay_frame(first.data, first.size, &size));
        assert_int_equal(size, first.size);
        assert_null(relay_decode(first.data, first.size, &decoded));
        assert_int_equal(decoded.type, types[i]);
        assert_true(decoded.tag == message.tag);
        assert_null(relay_encode(&decoded, &second));
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        buffer_free(&first);
        buffer_free(&second);
    }
}

/* The bytes of protocol 1: a relay of today must be understood by an hcsd of tomorrow. */
static void test_bytes(void **state)
{
    (void)state;
    static const uint8_t expected[] = {16, 0, 0, 0, 5, 0, 0, 0, 9,   0, 0, 0, 0,  0,  0, 0,
                                       1,  2, 0, 0, 0, 0, 0, 0, 232, 3, 0, 0, 16, 39, 0, 0};
    struct relay_message message = {
        .type = RELAY_DRAIN, .tag = 9, .session = 0x201, .quiet_ms = 1000, .milliseconds = 10000};
    struct buffer buffer = {0};
    assert_null(relay_encode(&message, &buffer));
    assert_int_equal(buffer.size, sizeof expected);
    assert_memory_equal(buffer.data, expected, sizeof expected);
    buffer_clear(&buffer);
    static const uint8_t hello[] = {12, 0, 0, 0, 1, 0, 0, 0, 1,   0,   0,   0,   0,   0,
                                    0,  0, 1, 0, 0, 0, 5, 0, '0', '.', '1', '.', '0', 0};
    message = (struct relay_message){.type = RELAY_HELLO, .tag = 1, .protocol = 1, .version = "0.1.0"};
    assert_null(relay_encode(&message, &buffer));
    assert_int_equal(buffer.size, sizeof hello);
    assert_memory_equal(buffer.data, hello, sizeof hello);
    buffer_free(&buffer);
}

/* Every prefix of a frame is incomplete, and cut payloads are refused. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct buffer buffer = {0};
        struct relay_message message = full(types[i]), decoded;
        size_t size;
        assert_null(relay_encode(&message, &buffer));
        for (size_t cut = 0; cut < buffer.size; cut++) {
            assert_null(relay_frame(buffer.data, cut, &size));
            assert_int_equal(size, 0);
            struct error *error = relay_decode(buffer.data, cut, &decoded);
            assert_non_null(error);
            assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
            error_free(error);
        }
        for (size_t payload = 0; payload + RELAY_HEADER_SIZE < buffer.size; payload++) {
            buffer.data[0] = (uint8_t)payload;
            buffer.data[1] = (uint8_t)(payload >> 8);
            struct error *error = relay_decode(buffer.data, RELAY_HEADER_SIZE + payload, &decoded);
            assert_non_null(error);
            error_free(error);
        }
        buffer_free(&buffer);
    }
}

/* A newer peer adds fields at the end. */
static void test_more_fields(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    struct relay_message message = full(RELAY_OPENED), decoded;
    assert_null(relay_encode(&message, &buffer));
    buffer_add(&buffer, "more", 4);
    buffer.data[0] += 4;
    assert_null(relay_decode(buffer.data, buffer.size, &decoded));
    assert_true(decoded.session == 77);
    buffer_free(&buffer);
}

static void expect_refused(struct buffer *buffer)
{
    struct relay_message decoded;
    struct error *error = relay_decode(buffer->data, buffer->size, &decoded);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    error_free(error);
}

static void test_bad(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    struct relay_message message = full(RELAY_HELLO);
    size_t size;
    assert_null(relay_encode(&message, &buffer));
    buffer.data[4] = 0; /* no such type */
    expect_refused(&buffer);
    buffer.data[4] = RELAY_HELLO;
    buffer.data[buffer.size - 1] = 'x'; /* a text without its end */
    expect_refused(&buffer);
    buffer.data[buffer.size - 1] = 0;
    buffer.data[buffer.size - 3] = 0; /* an end inside */
    expect_refused(&buffer);
    buffer.data[buffer.size - 3] = 0xFF; /* no UTF-8 */
    expect_refused(&buffer);
    uint8_t large[] = {0x01, 0x40, 0, 0};
    struct error *error = relay_frame(large, sizeof large, &size);
    assert_non_null(error);
    error_free(error);
    buffer_free(&buffer);
    char *text = mem_zero(RELAY_PAYLOAD_MAX + 1);
    memset(text, 'x', RELAY_PAYLOAD_MAX);
    message = (struct relay_message){.type = RELAY_HELLO, .version = text};
    error = relay_encode(&message, &buffer);
    assert_non_null(error);
    assert_int_equal(buffer.size, 0);
    error_free(error);
    free(text);
    buffer_free(&buffer);
}

static void test_error(void **state)
{
    (void)state;
    struct error *error = error_win32(2, "open pipe", "\\\\.\\pipe\\x", "the client must serve the pipe");
    struct relay_message message = {.tag = 4}, decoded;
    struct buffer buffer = {0};
    relay_pack_error(error, &message);
    assert_null(relay_encode(&message, &buffer));
    assert_null(relay_decode(buffer.data, buffer.size, &decoded));
    struct error *copy = relay_unpack_error(&decoded);
    assert_int_equal(copy->kind, ERROR_KIND_NOT_FOUND);
    assert_int_equal(copy->origin, ERROR_ORIGIN_WIN32);
    assert_int_equal(copy->code, 2);
    assert_string_equal(copy->operation, error->operation);
    assert_string_equal(copy->object, error->object);
    assert_string_equal(copy->message, error->message);
    error_free(copy);
    decoded.kind = 99;
    decoded.origin = 99;
    copy = relay_unpack_error(&decoded);
    assert_int_equal(copy->kind, ERROR_KIND_UNKNOWN);
    assert_int_equal(copy->origin, ERROR_ORIGIN_NONE);
    error_free(copy);
    error_free(error);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_bytes), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_more_fields), cmocka_unit_test(test_bad),   cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
