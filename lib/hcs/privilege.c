#include <windows.h>

#include "hcs/privilege.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/win.h"

const char *const privilege_storage[] = {
    "SeBackupPrivilege",        "SeRestorePrivilege",      "SeSecurityPrivilege",
    "SeTakeOwnershipPrivilege", "SeManageVolumePrivilege", "SeLoadDriverPrivilege",
};
const size_t privilege_storage_count = sizeof privilege_storage / sizeof privilege_storage[0];

/* 0, or a Win32 code. */
static DWORD enable(HANDLE token, const char *name)
{
    wchar_t *wide = NULL;
    struct error *error = win_wide(name, &wide);
    if (error != NULL) {
        error_free(error);
        return ERROR_NO_SUCH_PRIVILEGE;
    }
    TOKEN_PRIVILEGES wanted = {.PrivilegeCount = 1, .Privileges = {{.Attributes = SE_PRIVILEGE_ENABLED}}};
    DWORD code = 0;
    if (!LookupPrivilegeValueW(NULL, wide, &wanted.Privileges[0].Luid)) {
        code = GetLastError();
    } else {
        /* Returns TRUE also when it assigned nothing; only the last error tells (1300). */
        SetLastError(0);
        AdjustTokenPrivileges(token, FALSE, &wanted, 0, NULL, NULL);
        code = GetLastError();
    }
    if (code == 0) { /* verify: the token is what counts, not the answer */
        PRIVILEGE_SET set = {.PrivilegeCount = 1,
                             .Control = PRIVILEGE_SET_ALL_NECESSARY,
                             .Privilege = {{.Luid = wanted.Privileges[0].Luid}}};
        HANDLE check = NULL;
        BOOL held = FALSE;
        if (!DuplicateToken(token, SecurityIdentification, &check) || !PrivilegeCheck(check, &set, &held))
            code = GetLastError();
        else if (!held)
            code = ERROR_NOT_ALL_ASSIGNED;
        win_close(check);
    }
    free(wide);
    return code;
}

struct error *privilege_enable(const char *const *names, size_t count)
{
    HANDLE token = NULL;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY | TOKEN_DUPLICATE, &token))
        return error_win32(GetLastError(), "open process token", NULL, NULL);
    struct buffer missing = {0};
    DWORD first_code = 0;
    for (size_t i = 0; i < count; i++) {
        DWORD code = enable(token, names[i]);
        if (code == 0)
            continue;
        buffer_add_format(&missing, "%s%s", missing.size == 0 ? "" : ", ", names[i]);
        if (first_code == 0)
            first_code = code;
    }
    win_close(token);
    struct error *error = NULL;
    if (missing.size != 0)
        error = error_set_kind(
            error_win32(first_code, "enable privileges", (char *)missing.data, "missing: %s", missing.data),
            ERROR_KIND_PERMISSION_DENIED);
    buffer_free(&missing);
    return error;
}
