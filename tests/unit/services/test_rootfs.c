#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/services/rootfs.h"

static const struct {
    const char *what, *type, *source, *target, *option;
    int kind; /* 0: taken */
    size_t parents;
} rows[] = {
    {"scratch over two", "windows-layer", "C:\\s", "", "parentLayerPaths=[\"C:\\\\a\",\"C:\\\\b\"]", 0, 2},
    {"no parents", "windows-layer", "C:\\s", "", "rw", 0, 0},
    {"other type", "CimFS", "C:\\s", "", "rw", ERROR_KIND_INVALID_ARGUMENT, 0},
    {"target", "windows-layer", "C:\\s", "x", "rw", ERROR_KIND_FAILED_PRECONDITION, 0},
    {"no source", "windows-layer", "", "", "rw", ERROR_KIND_INVALID_ARGUMENT, 0},
    {"no JSON", "windows-layer", "C:\\s", "", "parentLayerPaths=[", ERROR_KIND_INVALID_ARGUMENT, 0},
    {"no array", "windows-layer", "C:\\s", "", "parentLayerPaths={}", ERROR_KIND_INVALID_ARGUMENT, 0},
    {"no text", "windows-layer", "C:\\s", "", "parentLayerPaths=[\"a\",1]", ERROR_KIND_INVALID_ARGUMENT, 0},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT;
        Containerd__Types__Mount *mounts[] = {&mount};
        char *options[] = {(char *)rows[i].option};
        struct rootfs rootfs;
        mount.type = (char *)rows[i].type;
        mount.source = (char *)rows[i].source;
        mount.target = (char *)rows[i].target;
        mount.options = options;
        mount.n_options = 1;
        struct error *error = rootfs_parse(mounts, 1, &rootfs);
        print_message("%s: %s\n", rows[i].what, error ? error->message : "taken");
        assert_int_equal(error ? (int)error->kind : 0, rows[i].kind);
        if (!error) {
            assert_string_equal(rootfs.source, rows[i].source);
            assert_int_equal(rootfs.parent_count, rows[i].parents);
            rootfs_free(&rootfs);
        }
        error_free(error);
    }
}

static void test_counts(void **state)
{
    (void)state;
    struct rootfs rootfs;
    assert_null(rootfs_parse(NULL, 0, &rootfs));
    assert_null(rootfs.source);
    Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT;
    Containerd__Types__Mount *mounts[] = {&mount, &mount};
    struct error *error = rootfs_parse(mounts, 2, &rootfs);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
