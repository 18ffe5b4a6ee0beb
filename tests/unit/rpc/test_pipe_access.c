#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

#include "base/win.h"
#include "daemon/rpc/pipe_access.h"

#define FILE_CREATE_PIPE_INSTANCE_RIGHT 0x4u

static void descriptor_says_who_and_what(void **state)
{
    (void)state;
    static const char *const members[] = {"S-1-5-21-1-2-3-1001", "S-1-5-32-545"};
    char *sddl = NULL;
    assert_null(pipe_access_sddl(NULL, 0, &sddl));
    assert_string_equal(sddl, "D:P(A;;GA;;;BA)(A;;GA;;;SY)");
    free(sddl);
    assert_null(pipe_access_sddl(members, 2, &sddl));
    assert_string_equal(sddl,
                        "D:P(A;;GA;;;BA)(A;;GA;;;SY)(A;;0x12019b;;;S-1-5-21-1-2-3-1001)(A;;0x12019b;;;S-1-5-32-545)");
    free(sddl);
}

/* The bytes the system makes of it: nobody but SYSTEM and Administrators may make an instance of our name. */
static void no_foreign_ace_may_create_instances(void **state)
{
    (void)state;
    static const char *const members[] = {"S-1-5-21-1-2-3-1001", "S-1-1-0", "S-1-5-11"};
    char *sddl = NULL;
    wchar_t *wide = NULL;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    PACL acl = NULL;
    BOOL present, defaulted;
    SECURITY_DESCRIPTOR_CONTROL control;
    DWORD revision;
    assert_null(pipe_access_sddl(members, 3, &sddl));
    assert_null(win_wide(sddl, &wide));
    assert_true(ConvertStringSecurityDescriptorToSecurityDescriptorW(wide, SDDL_REVISION_1, &descriptor, NULL));
    assert_true(GetSecurityDescriptorDacl(descriptor, &present, &acl, &defaulted));
    assert_true(present);
    assert_true(GetSecurityDescriptorControl(descriptor, &control, &revision));
    assert_true((control & SE_DACL_PROTECTED) != 0);
    assert_int_equal(acl->AceCount, 5);
    for (unsigned i = 0; i < acl->AceCount; i++) {
        ACCESS_ALLOWED_ACE *ace;
        assert_true(GetAce(acl, i, (void **)&ace));
        assert_int_equal(ace->Header.AceType, ACCESS_ALLOWED_ACE_TYPE);
        PSID sid = &ace->SidStart;
        bool ours = IsWellKnownSid(sid, WinBuiltinAdministratorsSid) || IsWellKnownSid(sid, WinLocalSystemSid);
        GENERIC_MAPPING mapping = {FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE, FILE_ALL_ACCESS};
        DWORD mask = ace->Mask;
        MapGenericMask(&mask, &mapping);
        if (ours) {
            assert_int_equal(mask, FILE_ALL_ACCESS);
        } else {
            assert_int_equal(mask & FILE_CREATE_PIPE_INSTANCE_RIGHT, 0);
            assert_int_equal(mask & (WRITE_DAC | WRITE_OWNER | DELETE), 0);
            assert_int_equal(mask & (FILE_READ_DATA | FILE_WRITE_DATA), FILE_READ_DATA | FILE_WRITE_DATA);
        }
    }
    LocalFree(descriptor);
    free(wide);
    free(sddl);
}

static void members_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"S-1-", "S-1-5-21-1)(A;;GA;;;WD", "no such group anywhere", "", "S-1-5-32-545 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *sddl = NULL;
        struct error *error = pipe_access_sddl(&bad[i], 1, &sddl);
        if (error == NULL)
            fail_msg("'%s' was taken: %s", bad[i], sddl);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        assert_string_equal(error->object, bad[i]);
        error_free(error);
    }
    /* A name that every machine knows, in whatever language: by the name of its SID. */
    wchar_t name[256], domain[256], full[512];
    DWORD name_size = 256, domain_size = 256;
    SID_NAME_USE use;
    PSID sid = NULL;
    assert_true(ConvertStringSidToSidW(L"S-1-5-32-544", &sid));
    assert_true(LookupAccountSidW(NULL, sid, name, &name_size, domain, &domain_size, &use));
    LocalFree(sid);
    swprintf(full, 512, L"%ls\\%ls", domain, name);
    char *member = win_text(full), *sddl = NULL;
    const char *members[] = {member};
    struct error *error = pipe_access_sddl(members, 1, &sddl);
    if (error != NULL) /* Wine knows the name of the SID, but not always the way back */
        print_message("'%s' could not be looked up here: %s\n", member, error->message);
    else
        assert_non_null(strstr(sddl, "(A;;0x12019b;;;S-1-5-32-544)"));
    error_free(error);
    free(sddl);
    free(member);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptor_says_who_and_what),
        cmocka_unit_test(no_foreign_ace_may_create_instances),
        cmocka_unit_test(members_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
