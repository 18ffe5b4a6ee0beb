#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "hcs/privilege.h"

#define E(name) HCS_EXPORT_##name

static void an_absent_dll_names_the_feature(void **state)
{
    (void)state;
    struct hcs_library *library = NULL;
    expect_ok(hcs_library_new(NULL, &library));
    /* Wine 8 has no vmcompute.dll. */
    for (int i = 0; i < 2; i++) /* tried again at each call */
        expect_error(hcs_library_require(library, E(HcsCreateComputeSystem)), ERROR_KIND_UNAVAILABLE, "\"Containers\"");
    assert_false(hcs_library_has(library, E(HcsCreateComputeSystem)));
    hcs_library_free(library);
    expect_ok(hcs_library_new("C:\\no such folder\\vmcompute.dll", &library));
    expect_error(hcs_library_require(library, E(ExportLayer)), ERROR_KIND_UNAVAILABLE, "hcs.library");
    hcs_library_free(library);
    expect_error(hcs_library_new("vmcompute.dll", &library), ERROR_KIND_INVALID_ARGUMENT, "absolute");
    hcs_library_free(NULL);
}

static void a_dll_without_the_exports_lacks_them(void **state)
{
    (void)state;
    struct hcs_library *library = NULL;
    expect_ok(hcs_library_new("C:/windows/system32/version.dll", &library));
    expect_error(hcs_library_require(library, E(HcsCreateComputeSystem)), ERROR_KIND_UNIMPLEMENTED,
                 "HcsCreateComputeSystem");
    expect_error(hcs_library_require(library, E(NameToGuid)), ERROR_KIND_UNIMPLEMENTED, "NameToGuid");
    hcs_library_free(library);
}

static void exports_have_names(void **state)
{
    (void)state;
    assert_string_equal(hcs_export_name(E(ActivateLayer)), "ActivateLayer");
    assert_string_equal(hcs_export_name(E(GrantVmAccess)), "GrantVmAccess");
    assert_string_equal(hcs_export_name(E(HcsModifyServiceSettings)), "HcsModifyServiceSettings");
    for (unsigned i = 0; i < HCS_EXPORT_COUNT; i++)
        assert_true(
            hcs_library_has(&fake.library, i) ==
            (i != E(HcsSaveComputeSystem) && i != E(HcsGetServiceProperties) && i != E(HcsModifyServiceSettings)));
}

static void the_abi_is_that_of_x64(void **state)
{
    (void)state;
    assert_int_equal(sizeof(HCS_DRIVER_INFO), 16);
    assert_int_equal(offsetof(HCS_DRIVER_INFO, HomeDir), 8);
    assert_int_equal(sizeof(HCS_LAYER_DESCRIPTOR), 32);
    assert_int_equal(offsetof(HCS_LAYER_DESCRIPTOR, Flags), 16);
    assert_int_equal(offsetof(HCS_LAYER_DESCRIPTOR, Path), 24);
    assert_int_equal(sizeof(HCS_PROCESS_INFORMATION), 32);
    assert_int_equal(offsetof(HCS_PROCESS_INFORMATION, StdInput), 8);
    assert_int_equal(offsetof(HCS_PROCESS_INFORMATION, StdError), 24);
}

static void privileges_are_named_when_missing(void **state)
{
    (void)state;
    static const char *const good[] = {"SeChangeNotifyPrivilege"};
    expect_ok(privilege_enable(good, 1));
    static const char *const mixed[] = {"SeChangeNotifyPrivilege", "SeNoSuchPrivilege", "SeNeitherThisPrivilege"};
    expect_error(privilege_enable(mixed, 3), ERROR_KIND_PERMISSION_DENIED, "SeNoSuchPrivilege, SeNeitherThisPrivilege");
    expect_ok(privilege_enable(NULL, 0));
    assert_true(privilege_storage_count >= 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up), TEST(an_absent_dll_names_the_feature), TEST(a_dll_without_the_exports_lacks_them),
        TEST(exports_have_names),  TEST(the_abi_is_that_of_x64),          TEST(privileges_are_named_when_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
