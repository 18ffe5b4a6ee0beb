#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <containerd/runhcs/v1/runhcs.pb-c.h>

#include "base/memory.h"
#include "daemon/services/runtime_options.h"

static struct error *parse(const Containerd__Runhcs__V1__Options *message, const char *type,
                           struct runtime_options *ret_options)
{
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    any.type_url = (char *)type;
    any.value.len = containerd__runhcs__v1__options__get_packed_size(message);
    any.value.data = mem_zero(any.value.len + 1);
    containerd__runhcs__v1__options__pack(message, any.value.data);
    struct error *error = runtime_options_parse(&any, ret_options);
    free(any.value.data); /* what was read does not need it */
    return error;
}

static void test_all(void **state)
{
    (void)state;
    static const char *const types[] = {"containerd.runhcs.v1.Options",
                                        "type.googleapis.com/containerd.runhcs.v1.Options"};
    Containerd__Runhcs__V1__Options message = CONTAINERD__RUNHCS__V1__OPTIONS__INIT;
    Containerd__Runhcs__V1__Options__DefaultContainerAnnotationsEntry entry =
        CONTAINERD__RUNHCS__V1__OPTIONS__DEFAULT_CONTAINER_ANNOTATIONS_ENTRY__INIT;
    Containerd__Runhcs__V1__Options__DefaultContainerAnnotationsEntry *entries[] = {&entry};
    entry.key = (char *)"a";
    entry.value = (char *)"b";
    message.sandbox_platform = (char *)"windows/amd64";
    message.sandbox_isolation = CONTAINERD__RUNHCS__V1__OPTIONS__SANDBOX_ISOLATION__HYPERVISOR;
    message.vm_processor_count = 4;
    message.vm_memory_size_in_mb = 2048;
    message.default_container_annotations = entries;
    message.n_default_container_annotations = 1;
    for (unsigned i = 0; i < 2; i++) {
        struct runtime_options options;
        assert_null(parse(&message, types[i], &options));
        assert_true(options.runtime.given && options.runtime.hypervisor);
        assert_string_equal(options.runtime.platform, "windows/amd64");
        assert_int_equal(options.runtime.vm_processors, 4);
        assert_int_equal(options.runtime.vm_memory_mb, 2048);
        assert_int_equal(options.runtime.annotation_count, 1);
        assert_string_equal(options.runtime.annotations[0], "a");
        assert_string_equal(options.runtime.annotations[1], "b");
        runtime_options_free(&options);
    }
}

static void test_none(void **state)
{
    (void)state;
    struct runtime_options options;
    Containerd__Runhcs__V1__Options message = CONTAINERD__RUNHCS__V1__OPTIONS__INIT;
    assert_null(runtime_options_parse(NULL, &options));
    assert_false(options.runtime.given);
    runtime_options_free(&options);
    assert_null(parse(&message, "containerd.runhcs.v1.Options", &options));
    assert_false(options.runtime.given);
    runtime_options_free(&options);
    message.sandbox_isolation = CONTAINERD__RUNHCS__V1__OPTIONS__SANDBOX_ISOLATION__HYPERVISOR;
    assert_null(parse(&message, "runtimeoptions.v1.Options", &options));
    assert_false(options.runtime.given || options.runtime.hypervisor);
    runtime_options_free(&options);
}

static void refuse(const Containerd__Runhcs__V1__Options *message)
{
    struct runtime_options options;
    struct error *error = parse(message, "containerd.runhcs.v1.Options", &options);
    print_message("%s\n", error ? error->message : "taken");
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
}

static void test_refused(void **state)
{
    (void)state;
    Containerd__Runhcs__V1__Options message = CONTAINERD__RUNHCS__V1__OPTIONS__INIT;
    message.vm_processor_count = -1;
    refuse(&message);
    message.vm_processor_count = 0;
    message.vm_memory_size_in_mb = 1 << 25;
    refuse(&message);
    message.vm_memory_size_in_mb = 0;
    message.sandbox_isolation = (Containerd__Runhcs__V1__Options__SandboxIsolation)7;
    refuse(&message);

    struct runtime_options options;
    uint8_t rubbish[] = {0xFF, 0xFF, 0xFF};
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    any.type_url = (char *)"containerd.runhcs.v1.Options";
    any.value.data = rubbish;
    any.value.len = sizeof rubbish;
    struct error *error = runtime_options_parse(&any, &options);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
