#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "containerd/task/v3/shim.pb-c.h"
#include "daemon/rpc/arena.h"
#include "daemon/rpc/message.h"
#include "daemon/rpc/wire.h"

/* CreateTaskRequest: 1 id, 2 bundle, 3 repeated Mount { 1 type … 4 repeated options }, 4 bool terminal. */
static const struct row {
    const char *name;
    const char *bytes;
    size_t size;
    const char *wrong; /* in the message; NULL: good */
} rows[] = {
#define ROW(name, bytes, wrong)                                                                                        \
    {                                                                                                                  \
        name, bytes, sizeof bytes - 1, wrong                                                                           \
    }
    ROW("nothing", "", NULL),
    ROW("an id", "\x0a\x03web", NULL),
    ROW("text in three bytes", "\x0a\x03\xe2\x82\xac", NULL),
    ROW("an unknown field", "\xc2\x3e\x02\xff\xff\x0a\x01x", NULL),
    ROW("a mount", "\x1a\x05\x0a\x03wcow", "CreateTaskRequest"),
    ROW("a whole mount", "\x1a\x06\x0a\x04wcow", NULL),
    ROW("id not UTF-8", "\x0a\x02\xc3\x28", "id is not UTF-8"),
    ROW("id with a surrogate", "\x0a\x03\xed\xa0\x80", "id is not UTF-8"),
    ROW("id with NUL",
        "\x0a\x03"
        "a\0b",
        "id has a NUL"),
    ROW("mount's option not UTF-8", "\x1a\x03\x22\x01\xff", "options is not UTF-8"),
    ROW("id cut off", "\x0a\x05web", "id is no protobuf"),
    ROW("length of ten bytes", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "id is no protobuf"),
    ROW("endless length", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "id is no protobuf"),
    ROW("tag cut off", "\x8a", "is no protobuf"),
    ROW("field number 0", "\x02\x01x", "is no protobuf"),
    ROW("a group", "\x0b\x0c", "id is no protobuf"),
    ROW("an id that is a number", "\x08\x07", "does not fit"),
    ROW("garbage", "GET / HTTP/1.1\r\n", "is no protobuf"),
};

static void wire_is_checked_before_memory_is_spent(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        /* On the heap and of the very size, so that the sanitizer sees a step too far. */
        uint8_t *data = malloc(rows[i].size + (rows[i].size == 0));
        memcpy(data, rows[i].bytes, rows[i].size);
        struct arena arena;
        arena_init(&arena);
        ProtobufCMessage *message = NULL;
        struct error *error = message_unpack(&containerd__task__v3__create_task_request__descriptor, data, rows[i].size,
                                             &arena.allocator, &message);
        char *text = error != NULL ? error_text(error) : NULL;
        if (rows[i].wrong == NULL ? error != NULL : error == NULL || strstr(text, rows[i].wrong) == NULL)
            fail_msg("%s: expected '%s', found '%s'", rows[i].name, rows[i].wrong != NULL ? rows[i].wrong : "success",
                     error != NULL ? text : "success");
        if (error != NULL) {
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
            assert_null(message);
        } else {
            assert_non_null(message);
        }
        error_free(error);
        free(text);
        arena_reset(&arena);
        free(data);
    }
}

static void number_of_fields_is_bounded(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    for (unsigned i = 0; i < MESSAGE_FIELDS_MAX; i++)
        wire_add(&buffer, 3, "", 0);
    assert_null(message_check(&containerd__task__v3__create_task_request__descriptor, buffer.data, buffer.size));
    wire_add(&buffer, 3, "", 0);
    struct error *error =
        message_check(&containerd__task__v3__create_task_request__descriptor, buffer.data, buffer.size);
    assert_non_null(error);
    assert_non_null(strstr(error->message, "too many fields"));
    error_free(error);
    buffer_free(&buffer);
}

static void arena_gives_until_its_limit(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    for (size_t size = 1; size < 100000; size = size * 3 + 1) {
        unsigned char *piece = arena.allocator.alloc(arena.allocator.allocator_data, size);
        assert_non_null(piece);
        assert_int_equal((uintptr_t)piece % 16, 0);
        memset(piece, 0xa5, size);
    }
    assert_null(arena.allocator.alloc(arena.allocator.allocator_data, ARENA_MAX));
    assert_true(arena.exhausted);
    arena_reset(&arena);
    assert_false(arena.exhausted);
    assert_non_null(arena.allocator.alloc(arena.allocator.allocator_data, 10));
    arena_reset(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_is_checked_before_memory_is_spent),
        cmocka_unit_test(number_of_fields_is_bounded),
        cmocka_unit_test(arena_gives_until_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
