/* Storage calls that a caller waits for: what they do on disk, what they refuse, and what is left when they fail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "daemon/jobs/layers.h"
#include "fixture.h"

static struct fixture fixture;
static char *base;

static int setup(void **state)
{
    struct jobs_options options = fixture_options();
    (void)state;
    options.stall_seconds = 1;
    fixture_open(&fixture, &options);
    base = fixture_layer(&fixture, "base", 3, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(base);
    fixture_close(&fixture);
    return 0;
}

static void expect(struct error *error, enum error_kind kind, const char *words)
{
    char *text = error != NULL ? error_text(error) : str_copy("success");
    if (error == NULL || error->kind != kind || strstr(text, words) == NULL)
        fail_msg("expected %s with \"%s\", found %s", error_kind_name(kind), words, text);
    free(text);
    error_free(error);
}

static void expect_none(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    fail_msg("%s", text);
}

static char *make_scratch(const char *name)
{
    const char *parents[1] = {base};
    char *layer = path_join(fixture.layers, name), *deviation = NULL;
    expect_none(jobs_create_scratch(fixture.jobs, layer, parents, 1, 0, &deviation));
    free(deviation);
    return layer;
}

static void await_absence(const char *path)
{
    while (fixture_exists(path)) /* ctest bounds it */
        Sleep(20);               /* banned-ok: nothing tells of it */
}

static void test_destroy_removes_the_folder(void **state)
{
    (void)state;
    char *layer = make_scratch("a"), *doomed = str_format("%s-hcsd-removing", layer);
    bool exists = false;
    expect_none(jobs_layer_exists(fixture.jobs, layer, &exists));
    assert_true(exists);
    expect_none(jobs_destroy_layer(fixture.jobs, layer));
    assert_false(fixture_exists(layer));
    assert_false(fixture_exists(doomed));
    expect_none(jobs_layer_exists(fixture.jobs, layer, &exists));
    assert_false(exists);
    expect(jobs_destroy_layer(fixture.jobs, layer), ERROR_KIND_NOT_FOUND, "a");
    free(doomed);
    free(layer);
}

/* Whoever has it, or anything below it, is named, and nothing is touched. */
static void test_destroy_asks_for_dependants(void **state)
{
    (void)state;
    char *layer = make_scratch("a"), *volume = NULL;
    const char *parents[1] = {base};
    expect_none(jobs_mount_layer(fixture.jobs, "container web", layer, parents, 1, &volume));
    expect(jobs_destroy_layer(fixture.jobs, layer), ERROR_KIND_FAILED_PRECONDITION, "container web");
    expect(jobs_destroy_layer(fixture.jobs, base), ERROR_KIND_FAILED_PRECONDITION, "container web");
    expect(jobs_destroy_layer(fixture.jobs, fixture.layers), ERROR_KIND_FAILED_PRECONDITION, "container web");
    assert_true(fixture_exists(layer));
    assert_true(fixture_exists(base));
    expect_none(jobs_release_layer(fixture.jobs, "container web", layer));
    expect(jobs_destroy_layer(fixture.jobs, fixture.layers), ERROR_KIND_FAILED_PRECONDITION,
           "does not look like a layer");
    expect_none(jobs_destroy_layer(fixture.jobs, layer));
    free(volume);
    free(layer);
}

/* The rename is the test for what is open: with it refused nothing is deleted. */
static void test_destroy_renames_first(void **state)
{
    (void)state;
    char *layer = make_scratch("a"), *disk = path_join(layer, "sandbox.vhdx");
    fixture_phase_fault(&fixture, "rename refused");
    expect(jobs_destroy_layer(fixture.jobs, layer), ERROR_KIND_FAILED_PRECONDITION, "in use");
    assert_true(fixture_exists(disk));
    fixture_phase_fault(&fixture, "");
    expect_none(jobs_destroy_layer(fixture.jobs, layer));
    free(disk);
    free(layer);
}

/* What DestroyLayer does not do the remover does; a look says so. */
static void test_destroy_is_verified(void **state)
{
    (void)state;
    char *layer = make_scratch("a"), *doomed = str_format("%s-hcsd-removing", layer);
    fixture_faults(&fixture, "{\"call\":\"DestroyLayer\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}");
    expect_none(jobs_destroy_layer(fixture.jobs, layer));
    assert_false(fixture_exists(layer));
    assert_false(fixture_exists(doomed));
    fixture_faults(&fixture, "");
    free(doomed);
    free(layer);
}

/* 0xC0000420: a mounted child. The process that made the call is gone, the layer is broken, and hcsd goes on removing it. */
static void test_destroy_that_crashes(void **state)
{
    (void)state;
    char *layer = make_scratch("a"), *doomed = str_format("%s-hcsd-removing", layer);
    fixture_faults(&fixture, "{\"call\":\"DestroyLayer\",\"action\":\"crash\"}");
    expect(jobs_destroy_layer(fixture.jobs, layer), ERROR_KIND_DATA_LOSS, "-hcsd-removing");
    assert_true(events_said("LAYER_DAMAGED", "0xC0000420"));
    assert_false(fixture_exists(layer));
    fixture_faults(&fixture, "");
    await_absence(doomed);
    events_wait("QUARANTINE_DESTROYED", 1);
    free(doomed);
    free(layer);
}

/* Half a scratch is none. */
static void test_scratch_that_fails_is_taken_away(void **state)
{
    static const char *const calls[] = {"CreateSandboxLayer", "ExpandSandboxSize"};
    const char *parents[1] = {base};
    char *layer = path_join(fixture.layers, "a"), *deviation = NULL;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char fault[120];
        snprintf(fault, sizeof fault, "{\"call\":\"%s\",\"action\":\"fail\",\"hresult\":\"0x80070005\"}", calls[i]);
        fixture_faults(&fixture, fault);
        expect(jobs_create_scratch(fixture.jobs, layer, parents, 1, 1u << 30, &deviation), ERROR_KIND_PERMISSION_DENIED,
               calls[i]);
        assert_false(fixture_exists(layer));
    }
    fixture_faults(&fixture, "");
    free(layer);
    layer = make_scratch("a");
    expect(jobs_create_scratch(fixture.jobs, layer, parents, 1, 0, &deviation), ERROR_KIND_ALREADY_EXISTS, "exists");
    expect_none(jobs_expand_scratch(fixture.jobs, layer, UINT64_C(40) << 30, &deviation));
    free(deviation);
    expect_none(jobs_destroy_layer(fixture.jobs, layer));
    free(layer);
}

static void test_mount_path_and_image(void **state)
{
    const char *parents[1] = {base};
    char *layer = make_scratch("a"), *volume = NULL, *same = NULL;
    bool utility_vm = true;
    (void)state;
    expect_none(jobs_mount_layer(fixture.jobs, "container web", layer, parents, 1, &volume));
    expect_none(jobs_layer_mount_path(fixture.jobs, layer, &same));
    assert_string_equal(volume, same);
    expect_none(jobs_release_layer(fixture.jobs, "container web", layer));
    expect(jobs_process_image(fixture.jobs, layer, &utility_vm), ERROR_KIND_FAILED_PRECONDITION, "Files");
    expect_none(jobs_process_image(fixture.jobs, base, &utility_vm));
    assert_false(utility_vm);
    expect_none(jobs_destroy_layer(fixture.jobs, layer));
    free(same);
    free(volume);
    free(layer);
}

int main(void)
{
    fixture_main("layers");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_destroy_removes_the_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_asks_for_dependants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_renames_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_is_verified, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_that_crashes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scratch_that_fails_is_taken_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mount_path_and_image, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
