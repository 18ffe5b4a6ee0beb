#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/events/envelope.h"

#include <containerd/events/task.pb-c.h>

static const char *ask(struct envelope *envelope, const char *a, const char *b, const char *c)
{
    const char *path[] = {a, b, c};
    return envelope_field(envelope, path, c != NULL ? 3 : b != NULL ? 2 : 1);
}

static void fields(void **state)
{
    (void)state;
    Containerd__Events__TaskCreate create = CONTAINERD__EVENTS__TASK_CREATE__INIT;
    Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;
    create.container_id = (char *)(uintptr_t) "web";
    create.pid = 7;
    create.io = &io;
    io.stdout = (char *)(uintptr_t) "\\\\.\\pipe\\out";
    uint8_t packed[200];
    size_t size = protobuf_c_message_pack(&create.base, packed);
    for (int i = 0; i < 2; i++) {
        struct envelope *envelope =
            envelope_new(INT64_C(1795232893250000001), "k8s.io", "/tasks/create",
                         i == 0 ? "containerd.events.TaskCreate" : "x/containerd.events.TaskCreate", packed, size);
        const Containerd__Types__Envelope *message = envelope_message(envelope);
        assert_int_equal(message->timestamp->seconds, 1795232893);
        assert_int_equal(message->timestamp->nanos, 250000001);
        assert_int_equal(message->event->value.len, size);
        assert_memory_equal(message->event->value.data, packed, size);
        assert_string_equal(ask(envelope, "namespace", NULL, NULL), "k8s.io");
        assert_string_equal(ask(envelope, "topic", NULL, NULL), "/tasks/create");
        assert_string_equal(ask(envelope, "event", "container_id", NULL), "web");
        assert_string_equal(ask(envelope, "event", "io", "stdout"), "\\\\.\\pipe\\out");
        assert_null(ask(envelope, "event", "pid", NULL)); /* no text */
        assert_null(ask(envelope, "event", "rootfs", NULL));
        assert_null(ask(envelope, "event", "io", NULL));
        assert_null(ask(envelope, "event", "container_id", "x"));
        assert_null(ask(envelope, "event", NULL, NULL));
        assert_null(ask(envelope, "timestamp", NULL, NULL));
        envelope_unref(envelope_ref(envelope));
        envelope_unref(envelope);
    }
}

/* What cannot be decoded has no fields, and does no harm. */
static void strange_payloads(void **state)
{
    (void)state;
    struct envelope *envelope = envelope_new(-1, "n", "/t", "somebody.Else", "\xFF\xFF", 2);
    assert_int_equal(envelope_message(envelope)->timestamp->seconds, -1);
    assert_int_equal(envelope_message(envelope)->timestamp->nanos, 999999999);
    assert_null(ask(envelope, "event", "container_id", NULL));
    envelope_unref(envelope);
    envelope = envelope_new(0, "n", "/t", "containerd.events.TaskExit", "\xFF\xFF", 2);
    assert_null(ask(envelope, "event", "container_id", NULL));
    envelope_unref(envelope);
}

static void checks(void **state)
{
    (void)state;
    Google__Protobuf__Any event = GOOGLE__PROTOBUF__ANY__INIT;
    static const char *const topics[] = {"", "/", "x", "x/y", "/x/", "//x", "/x y", "/x..y", "/-x"};
    event.type_url = (char *)(uintptr_t) "a.B";
    assert_null(envelope_check("default", "/images/create", &event));
    assert_null(envelope_check("k8s.io", "/x", &event));
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        struct error *error = envelope_check("default", topics[i], &event);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
    }
    struct error *error = envelope_check("", "/x", &event);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
    error = envelope_check("default", "/x", NULL);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
    event.value.len = ENVELOPE_EVENT_MAX + 1;
    error = envelope_check("default", "/x", &event);
    assert_int_equal(error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields), cmocka_unit_test(strange_payloads),
                                       cmocka_unit_test(checks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
