#include "daemon/rpc/pipe_identity.h"

#include <windows.h>

#include <sddl.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"

#define NAMES_KEPT 64u
#define FAILED_MS  60000u

/* What LookupAccountSid said, the oldest replaced first. A renamed account keeps its old name here until then. That there was no
 * answer is kept for a minute: with its domain controller gone, asking again would hold up every connection of a user. */
static struct {
    SRWLOCK lock;
    struct {
        char *sid, *user;
        uint64_t until; /* clock_ms */
    } entries[NAMES_KEPT];
    unsigned next;
} names = {.lock = SRWLOCK_INIT};

static struct error *token_read(HANDLE token, struct pipe_identity *identity)
{
    SECURITY_IMPERSONATION_LEVEL level;
    DWORD size;
    if (!GetTokenInformation(token, TokenImpersonationLevel, &level, sizeof level, &size))
        return error_win32(GetLastError(), "GetTokenInformation", "impersonation level", NULL);
    if (level < SecurityIdentification)
        return error_make(
            ERROR_KIND_PERMISSION_DENIED, "identify client", NULL,
            "the client connected anonymously; it must open the pipe with SECURITY_IDENTIFICATION or more");
    union {
        TOKEN_USER user;
        unsigned char room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } user;
    if (!GetTokenInformation(token, TokenUser, &user, sizeof user, &size))
        return error_win32(GetLastError(), "GetTokenInformation", "user", NULL);
    wchar_t *text;
    if (!ConvertSidToStringSidW(user.user.User.Sid, &text))
        return error_win32(GetLastError(), "ConvertSidToStringSid", NULL, NULL);
    identity->sid = text_from_utf16z(text);
    identity->user = str_copy(identity->sid);
    LocalFree(text);
    return NULL;
}

struct error *pipe_identity_take(void *handle, struct pipe_identity *ret_identity)
{
    struct pipe_identity identity = {0};
    ULONG pid = 0;
    if (GetNamedPipeClientProcessId(handle, &pid))
        identity.pid = pid;
    if (!ImpersonateNamedPipeClient(handle))
        return error_win32(GetLastError(), "ImpersonateNamedPipeClient", NULL, NULL);
    HANDLE token = NULL;
    /* As ourselves (TRUE): a client at Identification level could not open its own token. */
    BOOL opened = OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, &token);
    DWORD code = opened ? ERROR_SUCCESS : GetLastError();
    if (!RevertToSelf()) {
        fprintf(stderr, "hcsd: RevertToSelf failed with %lu: ending rather than going on as a client\n",
                GetLastError());
        TerminateProcess(GetCurrentProcess(), ERROR_BAD_IMPERSONATION_LEVEL);
    }
    if (code == ERROR_CANT_OPEN_ANONYMOUS)
        return error_make(
            ERROR_KIND_PERMISSION_DENIED, "identify client", NULL,
            "the client connected anonymously; it must open the pipe with SECURITY_IDENTIFICATION or more");
    if (!opened)
        return error_win32(code, "OpenThreadToken", NULL, NULL);
    struct error *error = token_read(token, &identity);
    identity.token = token;
    if (error == NULL)
        *ret_identity = identity;
    else
        pipe_identity_free(&identity);
    return error;
}

/* The name of a SID, or NULL. The caller frees it. */
static char *account_name(const char *sid_text)
{
    char *result = NULL;
    wchar_t *wide = NULL;
    PSID sid = NULL;
    struct error *error = win_wide(sid_text, &wide);
    error_free(error);
    if (wide != NULL && ConvertStringSidToSidW(wide, &sid)) {
        wchar_t name[256], domain[256];
        DWORD name_size = ARRAYSIZE(name), domain_size = ARRAYSIZE(domain);
        SID_NAME_USE use;
        if (LookupAccountSidW(NULL, sid, name, &name_size, domain, &domain_size, &use)) {
            char *name_text = text_from_utf16z(name), *domain_text = text_from_utf16z(domain);
            result = domain_text[0] != 0 ? str_format("%s\\%s", domain_text, name_text) : str_copy(name_text);
            free(name_text);
            free(domain_text);
        }
        LocalFree(sid);
    }
    free(wide);
    return result;
}

static char *cached_name(const char *sid)
{
    char *user = NULL;
    uint64_t now = clock_ms();
    AcquireSRWLockShared(&names.lock);
    for (unsigned i = 0; i < NAMES_KEPT && user == NULL; i++)
        if (names.entries[i].sid != NULL && names.entries[i].until > now && strcmp(names.entries[i].sid, sid) == 0)
            user = str_copy(names.entries[i].user);
    ReleaseSRWLockShared(&names.lock);
    return user;
}

void pipe_identity_look_up(struct pipe_identity *identity)
{
    char *user = cached_name(identity->sid);
    if (user == NULL) {
        user = account_name(identity->sid);
        uint64_t until = user != NULL ? UINT64_MAX : clock_ms() + FAILED_MS;
        if (user == NULL)
            user = str_copy(identity->sid);
        AcquireSRWLockExclusive(&names.lock);
        free(names.entries[names.next].sid);
        free(names.entries[names.next].user);
        names.entries[names.next].sid = str_copy(identity->sid);
        names.entries[names.next].user = str_copy(user);
        names.entries[names.next].until = until;
        names.next = (names.next + 1) % NAMES_KEPT;
        ReleaseSRWLockExclusive(&names.lock);
    }
    free(identity->user);
    identity->user = user;
}

void pipe_identity_free(struct pipe_identity *identity)
{
    free(identity->sid);
    free(identity->user);
    win_close(identity->token);
    *identity = (struct pipe_identity){0};
}
