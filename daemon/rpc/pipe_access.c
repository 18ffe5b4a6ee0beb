#include "daemon/rpc/pipe_access.h"

#include <windows.h>

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
