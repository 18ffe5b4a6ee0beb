#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/rpc/descriptors.h"
#include "hcsd_descriptor_set.h"

static struct descriptors *descriptors;

static int open_set(void **state)
{
    (void)state;
    return descriptors_open(hcsd_descriptor_set, hcsd_descriptor_set_size, &descriptors) != NULL;
}

static int close_set(void **state)
{
    (void)state;
    descriptors_close(descriptors);
    return 0;
}

static void every_kind_of_symbol_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *symbol, *file;
        bool is_message;
    } rows[] = {
        {"containerd.task.v3.Task", "containerd/task/v3/shim.proto", false},
        {".containerd.task.v3.Task", "containerd/task/v3/shim.proto", false},
        {"containerd.task.v3.Task.State", "containerd/task/v3/shim.proto", false},
        {"containerd.task.v3.StateRequest", "containerd/task/v3/shim.proto", true},
        {"containerd.task.v3.StateRequest.exec_id", "containerd/task/v3/shim.proto", false},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto", false},
        {"grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health.proto", false},
        {"grpc.health.v1.HealthListResponse.StatusesEntry", "grpc/health/v1/health.proto", true},
        {"grpc.reflection.v1.ServerReflectionRequest.message_request", "grpc/reflection/v1/reflection.proto", false},
        {"google.protobuf.Timestamp", "google/protobuf/timestamp.proto", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct descriptor_file *file = descriptors_symbol(descriptors, rows[i].symbol);
        if (file == NULL)
            fail_msg("%s is not found", rows[i].symbol);
        assert_string_equal(file->name, rows[i].file);
        assert_ptr_equal(file, descriptors_file(descriptors, rows[i].file));
        assert_int_equal(descriptors_is_message(descriptors, rows[i].symbol), rows[i].is_message);
    }
    assert_null(descriptors_symbol(descriptors, "containerd.task.v3"));
    assert_null(descriptors_symbol(descriptors, ""));
    assert_null(descriptors_symbol(descriptors, "grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING"));
    assert_null(descriptors_file(descriptors, "shim.proto"));
}

static size_t index_of(const struct descriptor_file **files, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i]->name, name) == 0)
            return i;
    return SIZE_MAX;
}

static void closure_has_all_that_is_needed(void **state)
{
    (void)state;
    const struct descriptor_file **files;
    size_t count =
        descriptors_closure(descriptors, descriptors_file(descriptors, "containerd/task/v3/shim.proto"), &files);
    assert_int_equal(index_of(files, count, "containerd/task/v3/shim.proto"), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(index_of(files, count, files[i]->name), i);
        for (size_t j = 0; j < files[i]->dependency_count; j++)
            assert_true(index_of(files, count, files[i]->dependencies[j]) < count);
    }
    free(files);
}

static bool holds(const struct descriptor_file *file, const char *text)
{
    for (size_t i = 0; i + strlen(text) <= file->size; i++)
        if (memcmp(file->data + i, text, strlen(text)) == 0)
            return true;
    return false;
}

static void aliases_are_files_of_their_own(void **state)
{
    (void)state;
    assert_true(descriptors_add_alias(descriptors, "containerd.task.v3.Task", "containerd.task.v2.Task"));
    assert_true(descriptors_add_alias(descriptors, "grpc.reflection.v1.ServerReflection",
                                      "grpc.reflection.v1alpha.ServerReflection"));
    assert_false(descriptors_add_alias(descriptors, "grpc.reflection.v1.ServerReflection",
                                       "grpc.reflection.v1alpha.ServerReflection"));
    assert_false(descriptors_add_alias(descriptors, "a.B", "a.C"));
    const struct descriptor_file *file =
        descriptors_symbol(descriptors, "grpc.reflection.v1alpha.ExtensionRequest.containing_type");
    assert_non_null(file);
    assert_string_equal(file->name, "grpc/reflection/v1alpha/reflection.proto");
    assert_true(holds(file, ".grpc.reflection.v1alpha.ServerReflectionRequest"));
    assert_false(holds(file, "grpc.reflection.v1.") || holds(file, "reflection/v1/"));
    file = descriptors_symbol(descriptors, "containerd.task.v2.Task.Create");
    assert_non_null(file);
    assert_string_equal(file->name, "containerd/task/v2/shim.proto");
    /* What lies in other packages keeps its name. */
    assert_true(holds(file, ".google.protobuf.Any"));
    assert_true(holds(file, ".containerd.task.v2.CreateTaskRequest"));
    assert_false(holds(file, "containerd.task.v3"));
    assert_string_equal(descriptors_symbol(descriptors, "containerd.task.v3.Task")->name,
                        "containerd/task/v3/shim.proto");
}

static void what_is_no_set_is_refused(void **state)
{
    (void)state;
    struct descriptors *none = NULL;
    for (size_t size = 1; size < hcsd_descriptor_set_size; size += 97) {
        uint8_t *part = malloc(size);
        memcpy(part, hcsd_descriptor_set, size);
        struct error *error = descriptors_open(part, size, &none);
        if (error == NULL)
            descriptors_close(none); /* cut between two files */
        error_free(error);
        free(part);
    }
    struct error *error = descriptors_open((const uint8_t *)"\x0a\x03\x22\x09x", 5, &none);
    assert_non_null(error);
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_symbol_is_found),
        cmocka_unit_test(closure_has_all_that_is_needed),
        cmocka_unit_test(aliases_are_files_of_their_own),
        cmocka_unit_test(what_is_no_set_is_refused),
    };
    return cmocka_run_group_tests(tests, open_set, close_set);
}
