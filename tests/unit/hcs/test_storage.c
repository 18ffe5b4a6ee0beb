#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define E(name) HCS_EXPORT_##name

static struct storage *storage;
static unsigned pauses;

static void count_pause(void *context, uint32_t ms)
{
    (void)context;
    assert_int_equal(ms, 100);
    pauses++;
    /* It gets ready when the test says so. */
    if (fake.exists != 0 && pauses == fake.exists)
        fake_rule(E(ActivateLayer))->result = fake_rule(E(PrepareLayer))->result = S_OK;
}

static const struct pause counting = {count_pause, NULL};

static int setup(void **state)
{
    fixture_setup(state);
    pauses = 0;
    fake.guid = (GUID){0x18955d65, 0xd45a, 0x557b, {0xbf, 0x1c, 0x49, 0xd6, 0xdf, 0xef, 0xc5, 0x00}};
    expect_ok(storage_new(&fake.library, NULL, &counting, &storage));
    return 0;
}

static int teardown(void **state)
{
    storage_free(storage);
    return fixture_teardown(state);
}

static void log_is(const char *expected)
{
    assert_string_equal(fake.log, expected);
    fake.log[0] = 0;
}

static struct hcs_layer_list two_parents(void)
{
    static const char *const paths[] = {"C:\\layers\\near", "C:/layers/base\\"};
    struct hcs_layer_list list = {0};
    expect_ok(hcs_layer_list_make(storage, paths, 2, &list));
    return list;
}

#define PARENTS                                                                                                        \
    " C:\\layers\\near=18955d65-d45a-557b-bf1c-49d6dfefc56e C:\\layers\\base=18955d65-d45a-557b-bf1c-49d6dfefc562"

static void parents_have_the_ids_of_their_names(void **state)
{
    (void)state;
    struct hcs_layer_list list = two_parents();
    log_is("NameToGuid near\nNameToGuid base\n");
    expect_ok(storage_prepare(storage, "C:\\s", &list));
    log_is("PrepareLayer C:\\s" PARENTS "\n");
    struct hcs_layer_list again = two_parents(); /* cached */
    log_is("");
    hcs_layer_list_free(&list);
    hcs_layer_list_free(&again);
    assert_null(list.layers);
    hcs_layer_list_free(NULL);
    static const char *const bad[][1] = {{"layers\\x"}, {""}, {"C:\\"}, {"C:\\a\xFF"}};
    for (size_t i = 0; i < 4; i++)
        expect_error(hcs_layer_list_make(storage, bad[i], 1, &list), ERROR_KIND_INVALID_ARGUMENT, "");
    fake_rule(E(NameToGuid))->result = (HRESULT)0x80070057;
    static const char *const one[] = {"C:\\new"};
    expect_error(hcs_layer_list_make(storage, one, 1, &list), ERROR_KIND_INVALID_ARGUMENT, "NameToGuid new");
    GUID guid;
    expect_ok(storage_name_to_guid(storage, "near", &guid)); /* what is cached is not asked for */
    expect_ok(hcs_layer_list_make(storage, NULL, 0, &list));
    hcs_layer_list_free(&list);
}

static void every_call_passes_what_it_is_given(void **state)
{
    (void)state;
    struct hcs_layer_list list = two_parents();
    fake.log[0] = 0;
    expect_ok(storage_activate(storage, "C:/s/"));
    expect_ok(storage_prepare(storage, "C:\\s\\\\", NULL));
    expect_ok(storage_unprepare(storage, "C:\\s"));
    expect_ok(storage_deactivate(storage, "C:\\s"));
    log_is("ActivateLayer C:\\s\nPrepareLayer C:\\s\nUnprepareLayer C:\\s\nDeactivateLayer C:\\s\n");
    expect_ok(storage_export(storage, "C:\\s", "C:\\out\\", &list));
    expect_ok(storage_import(storage, "C:\\s", "C:\\in", &list));
    expect_ok(storage_copy(storage, "C:\\s", "C:\\t", &list));
    expect_ok(storage_create_scratch(storage, "C:\\s", &list));
    log_is("ExportLayer C:\\s C:\\out" PARENTS "\nImportLayer C:\\s C:\\in" PARENTS "\nCopyLayer C:\\s C:\\t" PARENTS
           "\nCreateSandboxLayer C:\\s" PARENTS "\n");
    expect_ok(storage_expand_scratch(storage, "C:\\s", UINT64_C(42949672960)));
    expect_ok(storage_create_layer(storage, "C:\\s", "C:\\p"));
    expect_ok(storage_create_layer(storage, "C:\\s", NULL));
    expect_ok(storage_destroy(storage, "C:\\s\\"));
    expect_ok(storage_process_base_image(storage, "C:\\s"));
    expect_ok(storage_process_utility_image(storage, "C:\\s\\UtilityVM"));
    expect_ok(storage_grant_vm_access(storage, "vm1", "C:\\s\\sandbox.vhdx"));
    log_is("ExpandSandboxSize C:\\s 42949672960\nCreateLayer C:\\s C:\\p\nCreateLayer C:\\s \nDestroyLayer C:\\s\n"
           "ProcessBaseImage C:\\s\nProcessUtilityImage C:\\s\\UtilityVM\nGrantVmAccess vm1 C:\\s\\sandbox.vhdx\n");
    fake.exists = 1;
    bool exists = false;
    expect_ok(storage_exists(storage, "C:\\s", &exists));
    assert_true(exists);
    fake.exists = 0;
    expect_ok(storage_exists(storage, "C:\\s", &exists));
    assert_false(exists);
    char *json = NULL;
    fake.document = L"{\"BaseImages\":[]}";
    expect_ok(storage_base_images(storage, &json));
    assert_string_equal(json, "{\"BaseImages\":[]}");
    free(json);
    hcs_layer_list_free(&list);
}

static void mount_paths_take_two_calls(void **state)
{
    (void)state;
    char *path = NULL;
    expect_ok(storage_mount_path(storage, "C:\\s", &path));
    assert_string_equal(path, "");
    free(path);
    log_is("GetLayerMountPath C:\\s length\n");
    fake.mount_path = L"\\\\?\\Volume{67ae6e44-e0a5-4c0c-a1ae-62b8b6a2c6c5}\\";
    expect_ok(storage_mount_path(storage, "C:\\s", &path));
    assert_string_equal(path, "\\\\?\\Volume{67ae6e44-e0a5-4c0c-a1ae-62b8b6a2c6c5}");
    free(path);
    fake_rule(E(GetLayerMountPath))->result = (HRESULT)0x80070002;
    expect_error(storage_mount_path(storage, "C:\\s", &path), ERROR_KIND_NOT_FOUND, "GetLayerMountPath C:\\s");
}

static void relative_paths_are_refused_here(void **state)
{
    (void)state;
    /* DestroyLayer takes one for success without effect. */
    expect_error(storage_destroy(storage, "s"), ERROR_KIND_INVALID_ARGUMENT, "not absolute");
    expect_error(storage_destroy(storage, ""), ERROR_KIND_INVALID_ARGUMENT, "not absolute");
    expect_error(storage_destroy(storage, "C:s"), ERROR_KIND_INVALID_ARGUMENT, "not absolute");
    expect_error(storage_export(storage, "C:\\s", "out", NULL), ERROR_KIND_INVALID_ARGUMENT, "ExportLayer out");
    log_is("");
}

static void failures_name_call_and_layer(void **state)
{
    (void)state;
    fake_rule(E(DestroyLayer))->result = (HRESULT)0x80070020;
    expect_error(storage_destroy(storage, "C:\\s"), ERROR_KIND_FAILED_PRECONDITION,
                 "DestroyLayer C:\\s: another process has it open (0x80070020)");
    fake.library.DestroyLayer = NULL;
    expect_error(storage_destroy(storage, "C:\\s"), ERROR_KIND_UNIMPLEMENTED, "DestroyLayer");
}

static struct {
    char steps[256];
    int refuse; /* a step that `before` refuses, or -1 */
} heard;

static const char *const step_names[] = {"activate", "prepare", "unprepare", "deactivate"};

static struct error *hear_before(void *context, enum storage_step step)
{
    (void)context;
    strncat(heard.steps, "<", sizeof heard.steps - strlen(heard.steps) - 1); /* banned-ok: a test's short text */
    strncat(heard.steps, step_names[step], sizeof heard.steps - strlen(heard.steps) - 1); /* banned-ok: as above */
    return (int)step == heard.refuse ? error_make(ERROR_KIND_CANCELLED, "wait for turn", NULL, "no turn") : NULL;
}

static void hear_after(void *context, enum storage_step step, const struct error *error)
{
    (void)context;
    (void)step;
    const char *mark = error == NULL ? ">" : "!";
    strncat(heard.steps, mark, sizeof heard.steps - strlen(heard.steps) - 1); /* banned-ok: as above */
}

static const struct storage_hooks hooks = {hear_before, hear_after, NULL};

static void heard_is(const char *expected)
{
    assert_string_equal(heard.steps, expected);
    heard.steps[0] = 0;
}

static void attaching_retries_what_may_pass(void **state)
{
    (void)state;
    heard.steps[0] = 0;
    heard.refuse = -1;
    struct hcs_layer_list list = two_parents();
    expect_ok(storage_attach(storage, "C:\\s", &list, &hooks));
    heard_is("<activate><prepare>");
    expect_ok(storage_detach(storage, "C:\\s", &hooks));
    heard_is("<unprepare><deactivate>");
    /* not ready, for ever */
    fake_rule(E(ActivateLayer))->result = (HRESULT)0x80070015;
    expect_error(storage_attach(storage, "C:\\s", &list, &hooks), ERROR_KIND_UNAVAILABLE, "tried 5 times");
    assert_int_equal(pauses, 4);
    heard_is("<activate!<activate!<activate!<activate!<activate!");
    /* not connected, in Prepare, until the second pause */
    fake_rule(E(ActivateLayer))->result = S_OK;
    fake_rule(E(PrepareLayer))->result = (HRESULT)0x8007048F;
    pauses = 0;
    fake.exists = 2;
    expect_ok(storage_attach(storage, "C:\\s", &list, &hooks));
    assert_int_equal(pauses, 2);
    heard_is("<activate><prepare!<deactivate><activate><prepare!<deactivate><activate><prepare>");
    /* anything else at once */
    pauses = 0;
    fake_rule(E(PrepareLayer))->result = (HRESULT)0x80070005;
    expect_error(storage_attach(storage, "C:\\s", &list, NULL), ERROR_KIND_PERMISSION_DENIED, "PrepareLayer C:\\s");
    assert_int_equal(pauses, 0);
    /* no turn: activated is undone */
    heard.refuse = STORAGE_PREPARE;
    fake_rule(E(PrepareLayer))->result = S_OK;
    expect_error(storage_attach(storage, "C:\\s", &list, &hooks), ERROR_KIND_CANCELLED, "no turn");
    heard_is("<activate><prepare<deactivate>");
    hcs_layer_list_free(&list);
}

static void detaching_goes_on_after_a_failure(void **state)
{
    (void)state;
    fake_rule(E(UnprepareLayer))->result = (HRESULT)0x80070005;
    expect_error(storage_detach(storage, "C:\\s", NULL), ERROR_KIND_PERMISSION_DENIED, "UnprepareLayer");
    fake_rule(E(DeactivateLayer))->result = (HRESULT)0x80070020;
    expect_error(storage_detach(storage, "C:\\s", NULL), ERROR_KIND_PERMISSION_DENIED, "UnprepareLayer");
    fake_rule(E(UnprepareLayer))->result = S_OK;
    expect_error(storage_detach(storage, "C:\\s", NULL), ERROR_KIND_FAILED_PRECONDITION, "DeactivateLayer");
    assert_int_equal(fake_calls(E(DeactivateLayer)), 3);
}

static void guarded_calls_have_a_bound(void **state)
{
    (void)state;
    struct guard *guard = NULL;
    struct storage *guarded = NULL;
    GUID guid;
    expect_ok(guard_new(&(struct guard_options){.call_ms = 20}, &guard));
    expect_ok(storage_new(&fake.library, guard, NULL, &guarded));
    fake_hold(E(NameToGuid));
    expect_error(storage_name_to_guid(guarded, "x", &guid), ERROR_KIND_DEADLINE_EXCEEDED, "NameToGuid x");
    storage_free(guarded); /* the late call has what it needs */
    fake_release(E(NameToGuid));
    await_event("CALL_RETURNED_LATE|NameToGuid for x");
    assert_true(guard_close(guard, 30000));
}

static void impersonating_threads_may_not_call(void **state)
{
    (void)state;
    assert_true(ImpersonateSelf(SecurityImpersonation));
    struct error *error = storage_activate(storage, "C:\\s");
    RevertToSelf();
    expect_error(error, ERROR_KIND_INTERNAL, "impersonates");
    log_is("");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up),
        TEST(parents_have_the_ids_of_their_names),
        TEST(every_call_passes_what_it_is_given),
        TEST(mount_paths_take_two_calls),
        TEST(relative_paths_are_refused_here),
        TEST(failures_name_call_and_layer),
        TEST(attaching_retries_what_may_pass),
        TEST(detaching_goes_on_after_a_failure),
        TEST(guarded_calls_have_a_bound),
        TEST(impersonating_threads_may_not_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
