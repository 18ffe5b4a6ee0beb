#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "task/record.h"

static const struct record full = {
    .bundle = "C:\\bundles\\web",
    .stdin_path = "",
    .stdout_path = "\\\\.\\pipe\\out",
    .stderr_path = "\\\\.\\pipe\\err",
    .scratch = "C:\\layers\\scratch",
    .sandbox = "pod",
    .session = "12-1d0#3",
    .phase = PHASE_STOPPED,
    .terminal = true,
    .ran = true,
    .isolated = true,
    .linux_container = true,
    .asked = true,
    .hidden = true,
    .pid = UINT32_MAX,
    .exit_status = 0xC0000005u,
    .exited_ns = 1795910000000000001,
};

static void test_round(void **state)
{
    (void)state;
    struct record back = {0};
    json_t *body = record_encode(&full);
    assert_non_null(body);
    assert_null(record_decode(body, "web", &back));
    assert_string_equal(back.bundle, full.bundle);
    assert_string_equal(back.stdin_path, full.stdin_path);
    assert_string_equal(back.stdout_path, full.stdout_path);
    assert_string_equal(back.stderr_path, full.stderr_path);
    assert_string_equal(back.scratch, full.scratch);
    assert_string_equal(back.sandbox, full.sandbox);
    assert_string_equal(back.session, full.session);
    assert_true(back.isolated && back.linux_container);
    assert_int_equal(back.phase, full.phase);
    assert_true(back.terminal && back.ran && back.asked && back.hidden);
    assert_int_equal(back.pid, full.pid);
    assert_int_equal(back.exit_status, full.exit_status);
    assert_int_equal(back.exited_ns, full.exited_ns);
    json_decref(body);
}

static void refuse(json_t *body, const char *what)
{
    struct record back = {.pid = 77};
    struct error *error = record_decode(body, "web", &back);
    print_message("%s: %s\n", what, error ? error->message : "taken");
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    assert_string_equal(error->object, "web");
    assert_int_equal(back.pid, 77);
    error_free(error);
}

/* What the first documents did not have. */
static bool is_younger(const char *name)
{
    return !strcmp(name, "sandbox") || !strcmp(name, "isolated") || !strcmp(name, "linux") || !strcmp(name, "session");
}

static void test_damage(void **state)
{
    (void)state;
    const char *name;
    json_t *good = record_encode(&full), *value;
    json_object_foreach(good, name, value)
    {
        json_t *bad = json_copy(good);
        json_object_del(bad, name);
        if (is_younger(name)) {
            struct record back = {0};
            assert_null(record_decode(bad, "web", &back));
            assert_non_null(back.sandbox);
            assert_non_null(back.session);
        } else
            refuse(bad, name);
        json_object_set_new(bad, name, json_array());
        refuse(bad, name);
        json_decref(bad);
    }
    json_t *bad = json_copy(good);
    json_object_set_new(bad, "phase", json_string("dreaming"));
    refuse(bad, "phase");
    json_object_set(bad, "phase", json_object_get(good, "phase"));
    json_object_set_new(bad, "pid", json_integer(-1));
    refuse(bad, "pid");
    json_object_set_new(bad, "pid", json_integer(1));
    json_object_set_new(bad, "exit_status", json_integer(0x100000000));
    refuse(bad, "exit_status");
    json_decref(bad);
    bad = json_copy(good);
    json_object_set_new(bad, "from_the_future", json_true());
    struct record back;
    assert_null(record_decode(bad, "web", &back));
    json_decref(bad);
    json_decref(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
