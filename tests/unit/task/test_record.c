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
    .instance = "185b2f3a9c8d7e60",
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
    .code_known = true,
    .exit_code = 0xC0000006u,
    .noticed_ns = 1795910000000000000,
};

static const struct exec_record full_exec = {
    .containerd_namespace = "default",
    .id = "web",
    .instance = "185b2f3a9c8d7e60",
    .exec_id = "shell",
    .stdin_path = "\\\\.\\pipe\\in",
    .stdout_path = "\\\\.\\pipe\\out",
    .stderr_path = "",
    .session = "12-1d0#4",
    .phase = PHASE_ENDING,
    .terminal = true,
    .pid = UINT32_MAX,
    .begun_ns = 1795910000000000001,
    .started_ns = 1795910000000000002,
    .code_known = true,
    .exit_code = 0xC0000005u,
    .exited_ns = 1795910000000000003,
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
    assert_string_equal(back.instance, full.instance);
    assert_true(back.code_known);
    assert_int_equal(back.exit_code, full.exit_code);
    assert_int_equal(back.noticed_ns, full.noticed_ns);
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
    return !strcmp(name, "sandbox") || !strcmp(name, "isolated") || !strcmp(name, "linux") ||
           !strcmp(name, "session") || !strcmp(name, "instance") || !strcmp(name, "exit_code") ||
           !strcmp(name, "noticed_ns");
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
            assert_non_null(back.instance);
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

static void test_exec_round(void **state)
{
    (void)state;
    struct exec_record back = {0};
    json_t *body = exec_record_encode(&full_exec);
    assert_null(exec_record_decode(body, "7", &back));
    assert_string_equal(back.containerd_namespace, full_exec.containerd_namespace);
    assert_string_equal(back.id, full_exec.id);
    assert_string_equal(back.instance, full_exec.instance);
    assert_string_equal(back.exec_id, full_exec.exec_id);
    assert_string_equal(back.stdin_path, full_exec.stdin_path);
    assert_string_equal(back.stdout_path, full_exec.stdout_path);
    assert_string_equal(back.stderr_path, full_exec.stderr_path);
    assert_string_equal(back.session, full_exec.session);
    assert_int_equal(back.phase, PHASE_ENDING);
    assert_true(back.terminal && back.code_known);
    assert_null(back.document);
    assert_int_equal(back.pid, full_exec.pid);
    assert_int_equal(back.begun_ns, full_exec.begun_ns);
    assert_int_equal(back.started_ns, full_exec.started_ns);
    assert_int_equal(back.exit_code, full_exec.exit_code);
    assert_int_equal(back.exited_ns, full_exec.exited_ns);
    json_decref(body);

    struct exec_record created = full_exec;
    created.phase = PHASE_CREATED;
    created.code_known = false;
    created.pid = 0;
    created.document = json_pack("{s:s}", "CommandLine", "cmd.exe");
    body = exec_record_encode(&created);
    assert_null(exec_record_decode(body, "7", &back));
    assert_true(json_equal(back.document, created.document));
    assert_false(back.code_known);
    json_decref(created.document);
    json_decref(body);
}

static void refuse_exec(json_t *body, const char *what)
{
    struct exec_record back = {.pid = 77};
    struct error *error = exec_record_decode(body, "7", &back);
    print_message("%s: %s\n", what, error ? error->message : "taken");
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    assert_string_equal(error->object, "7");
    assert_int_equal(back.pid, 77);
    error_free(error);
}

static void test_exec_damage(void **state)
{
    (void)state;
    static const char *const phases[] = {"dreaming", "creating", "paused", "created", "stopped"};
    const char *name;
    json_t *good = exec_record_encode(&full_exec), *value;
    json_object_foreach(good, name, value)
    {
        json_t *bad = json_copy(good);
        json_object_del(bad, name);
        struct exec_record back;
        if (!strcmp(name, "exit_code") || !strcmp(name, "noticed_ns"))
            assert_null(exec_record_decode(bad, "7", &back));
        else
            refuse_exec(bad, name);
        json_object_set_new(bad, name, json_array());
        refuse_exec(bad, name);
        json_decref(bad);
    }
    json_t *bad = json_copy(good);
    json_object_del(bad, "exit_code"); /* what has stopped has one, and what is to be started has a document */
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        json_object_set_new(bad, "phase", json_string(phases[i]));
        refuse_exec(bad, phases[i]);
    }
    json_object_set(bad, "phase", json_object_get(good, "phase"));
    json_object_set_new(bad, "pid", json_integer(0x100000000));
    refuse_exec(bad, "pid");
    json_decref(bad);
    bad = json_copy(good);
    json_object_set_new(bad, "document", json_string("cmd.exe"));
    refuse_exec(bad, "document");
    json_decref(bad);
    bad = json_copy(good);
    struct exec_record back;
    json_object_set_new(bad, "from_the_future", json_true());
    assert_null(exec_record_decode(bad, "7", &back));
    json_decref(bad);
    json_decref(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_exec_round),
        cmocka_unit_test(test_exec_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
