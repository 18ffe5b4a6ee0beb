#include "daemon/rpc/pipe_access.h"

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/win.h"

static struct error *not_known(const char *member, const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "pipe_access", member, "%s", why);
}

/* A member as the SID's canonical text: nothing of what was configured goes into the SDDL as it stands. */
static struct error *member_sid(const char *member, char **ret_text)
{
    struct error *error;
    PSID parsed = NULL;
    wchar_t *text = NULL;
    unsigned char looked_up[SECURITY_MAX_SID_SIZE];
    PSID sid = looked_up;
    wchar_t *wide = NULL;
    error = win_wide(member, &wide);
    if (error != NULL)
        return error_wrap(error, "pipe_access");
    if (strncmp(member, "S-", 2) == 0 || strncmp(member, "s-", 2) == 0) {
        if (ConvertStringSidToSidW(wide, &parsed))
            sid = parsed;
        else
            error = not_known(member, "is no SID; write it as S-1-5-21-… or give the name of a user or group");
    } else {
        wchar_t domain[256];
        DWORD size = sizeof looked_up, domain_size = ARRAYSIZE(domain);
        SID_NAME_USE use;
        if (!LookupAccountNameW(NULL, wide, sid, &size, domain, &domain_size, &use) ||
            (use != SidTypeUser && use != SidTypeGroup && use != SidTypeAlias && use != SidTypeWellKnownGroup))
            error = not_known(member, "is neither a SID nor the name of a user or group that this machine knows");
    }
    if (error == NULL && !ConvertSidToStringSidW(sid, &text))
        error = error_win32(GetLastError(), "ConvertSidToStringSid", member, NULL);
    if (error == NULL)
        *ret_text = win_text(text);
    LocalFree(text);
    LocalFree(parsed);
    free(wide);
    return error;
}

struct error *pipe_access_sddl(const char *const *members, size_t count, char **ret_sddl)
{
    struct buffer sddl = {0};
    buffer_add_text(&sddl, "D:P(A;;GA;;;BA)(A;;GA;;;SY)");
    for (size_t i = 0; i < count; i++) {
        char *sid;
        struct error *error = member_sid(members[i], &sid);
        if (error != NULL) {
            buffer_free(&sddl);
            return error;
        }
        buffer_add_format(&sddl, "(A;;0x%x;;;%s)", PIPE_ACCESS_CLIENT, sid);
        free(sid);
    }
    *ret_sddl = (char *)sddl.data;
    return NULL;
}

static struct error *parse(const char *sddl, void **ret_descriptor)
{
    wchar_t *wide = NULL;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    struct error *error = win_wide(sddl, &wide);
    if (error == NULL &&
        !ConvertStringSecurityDescriptorToSecurityDescriptorW(wide, SDDL_REVISION_1, &descriptor, NULL))
        error = error_win32(GetLastError(), "ConvertStringSecurityDescriptorToSecurityDescriptor", sddl, NULL);
    free(wide);
    if (error == NULL)
        *ret_descriptor = descriptor;
    return error;
}

struct error *pipe_access_parse(const char *sddl, struct pipe_access *ret_access)
{
    struct pipe_access access = {0};
    char *owned = str_format("O:SYG:SY%s", sddl);
    struct error *error = parse(sddl, &access.descriptor);
    if (error == NULL)
        error = parse(owned, &access.owned);
    free(owned);
    if (error == NULL)
        *ret_access = access;
    else
        pipe_access_free(&access);
    return error;
}

void pipe_access_free(struct pipe_access *access)
{
    LocalFree(access->descriptor);
    LocalFree(access->owned);
    *access = (struct pipe_access){0};
}

bool pipe_access_allows(const struct pipe_access *access, void *token)
{
    GENERIC_MAPPING mapping = {FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE, FILE_ALL_ACCESS};
    PRIVILEGE_SET privileges = {0};
    DWORD size = sizeof privileges, granted = 0;
    BOOL allowed = FALSE;
    return AccessCheck(access->owned, token, FILE_READ_DATA | FILE_WRITE_DATA, &mapping, &privileges, &size, &granted,
                       &allowed) &&
           allowed;
}

struct error *pipe_access_apply(const struct pipe_access *access, void *pipe)
{
    PACL acl = NULL;
    BOOL present, defaulted;
    DWORD code = ERROR_INVALID_SECURITY_DESCR;
    if (GetSecurityDescriptorDacl(access->descriptor, &present, &acl, &defaulted) && present)
        code = SetSecurityInfo(pipe, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                               NULL, NULL, acl, NULL);
    return code == ERROR_SUCCESS ? NULL : error_win32(code, "SetSecurityInfo", "pipe", NULL);
}
