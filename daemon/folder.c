#include "daemon/folder.h"

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"

#define TIGHT L"D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)"
#define CHANGE_RIGHTS                                                                                                  \
    (FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY | FILE_WRITE_EA | FILE_WRITE_ATTRIBUTES | FILE_DELETE_CHILD | DELETE |      \
     WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL)

static struct error *refused_file(const char *path, const char *who, const char *why)
{
    return error_make(
        ERROR_KIND_PERMISSION_DENIED, "check the file", path,
        "%s%s; hcsd runs as SYSTEM and takes nothing that others can change: icacls \"%s\" /setowner "
        "*S-1-5-32-544 && icacls \"%s\" /inheritance:r /grant:r *S-1-5-32-544:F *S-1-5-18:F *S-1-5-32-545:R",
        who, why, path, path);
}

static struct error *refused(const char *path, const char *who, const char *why)
{
    return error_make(
        ERROR_KIND_PERMISSION_DENIED, "check the folder", path,
        "%s%s; remove the folder, or run: icacls \"%s\" /setowner *S-1-5-32-544 && icacls \"%s\" /inheritance:r "
        "/grant:r *S-1-5-32-544:(OI)(CI)F *S-1-5-18:(OI)(CI)F",
        who, why, path, path);
}

static struct error *refused_programs(const char *path, const char *who, const char *why)
{
    return error_make(ERROR_KIND_PERMISSION_DENIED, "check the program's folder", path,
                      "%s%s: icacls \"%s\" /setowner *S-1-5-32-544 && icacls \"%s\" /inheritance:r /grant:r "
                      "*S-1-5-32-544:(OI)(CI)F *S-1-5-18:(OI)(CI)F *S-1-5-32-545:(OI)(CI)RX",
                      who, why, path, path);
}

static char *sid_text(PSID sid)
{
    wchar_t *wide = NULL;
    if (!ConvertSidToStringSidW(sid, &wide))
        return str_copy("an unknown SID");
    char *text = win_text(wide);
    LocalFree(wide);
    return text;
}

/* NT SERVICE\TrustedInstaller, S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464: it owns Program Files. */
static bool is_installer(PSID sid)
{
    static const DWORD parts[] = {
        SECURITY_SERVICE_ID_BASE_RID, 956008885, 3418522649u, 1831038044, 1853292631, 2271478464u};
    static const SID_IDENTIFIER_AUTHORITY authority = SECURITY_NT_AUTHORITY;
    const DWORD count = sizeof parts / sizeof parts[0];
    bool same = *GetSidSubAuthorityCount(sid) == count &&
                memcmp(GetSidIdentifierAuthority(sid), &authority, sizeof authority) == 0;
    for (DWORD i = 0; i < count && same; i++)
        same = *GetSidSubAuthority(sid, i) == parts[i];
    return same;
}

/* SYSTEM, Administrators, Windows' installer, or the account that this process runs as. */
static bool is_trusted(PSID sid)
{
    bool trusted =
        IsWellKnownSid(sid, WinLocalSystemSid) || IsWellKnownSid(sid, WinBuiltinAdministratorsSid) || is_installer(sid);
    HANDLE token = NULL;
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } own;
    DWORD size;
    if (!trusted && OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) {
        trusted = GetTokenInformation(token, TokenUser, &own, sizeof own, &size) && EqualSid(own.user.User.Sid, sid);
        CloseHandle(token);
    }
    return trusted;
}

/* Those stand for the owner, who is checked. */
static bool is_owner_alias(PSID sid)
{
    return IsWellKnownSid(sid, WinCreatorOwnerSid) || IsWellKnownSid(sid, WinCreatorOwnerRightsSid);
}

/* What others are granted, all together, and the SID of one of those who may change something. */
static DWORD rights_of_others(const ACL *acl, PSID *ret_who)
{
    DWORD rights = 0;
    for (DWORD i = 0; i < acl->AceCount; i++) {
        void *entry;
        if (!GetAce((ACL *)(uintptr_t)acl, i, &entry))
            continue;
        const ACE_HEADER *header = entry;
        /* Allowing entries of other kinds (object, callback) do not occur on folders: whoever put one there is not known. */
        bool allows = header->AceType == ACCESS_ALLOWED_ACE_TYPE;
        bool denies = header->AceType == ACCESS_DENIED_ACE_TYPE || header->AceType == SYSTEM_MANDATORY_LABEL_ACE_TYPE;
        ACCESS_ALLOWED_ACE *ace = entry;
        PSID sid = (PSID)&ace->SidStart;
        if (denies || (allows && (is_trusted(sid) || is_owner_alias(sid))))
            continue;
        DWORD granted = allows ? ace->Mask : GENERIC_ALL;
        if ((granted & CHANGE_RIGHTS) != 0 && allows)
            *ret_who = sid;
        rights |= granted;
    }
    return rights;
}

typedef struct error *(*refusal)(const char *path, const char *who, const char *why);

/* Owner and rights of what is open: *ret_rights is what others have, all together, when nobody else may change it. */
static struct error *check_security(const char *path, HANDLE handle, refusal refuse, DWORD *ret_rights)
{
    PSECURITY_DESCRIPTOR descriptor = NULL;
    PSID owner = NULL, who = NULL;
    PACL acl = NULL;
    struct error *error = NULL;
    DWORD code = GetSecurityInfo(handle, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner,
                                 NULL, &acl, NULL, &descriptor);
    if (code != ERROR_SUCCESS)
        return error_win32(code, "GetSecurityInfo", path, NULL);
    DWORD rights = acl == NULL ? GENERIC_ALL : rights_of_others(acl, &who);
    if (owner == NULL || !is_trusted(owner)) {
        char *text = owner == NULL ? str_copy("nobody") : sid_text(owner);
        error = refuse(path, text, " owns it and could change it");
        free(text);
    } else if ((rights & CHANGE_RIGHTS) != 0) {
        char *text = who == NULL ? str_copy("everybody") : sid_text(who);
        error = refuse(path, text, " may change what is in it");
        free(text);
    } else {
        *ret_rights = rights;
    }
    LocalFree(descriptor);
    return error;
}

static struct error *check(const char *path, HANDLE folder, enum folder_access access)
{
    BY_HANDLE_FILE_INFORMATION information;
    DWORD rights = 0;
    if (!GetFileInformationByHandle(folder, &information))
        return error_win32(GetLastError(), "GetFileInformationByHandle", path, NULL);
    if ((information.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0)
        return refused(path, "", "it is a link to another place");
    if ((information.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0)
        return refused(path, "", "a file of this name is in the way");
    struct error *error = check_security(path, folder, refused, &rights);
    if (error == NULL && rights != 0 && access == FOLDER_PRIVATE) {
        PSECURITY_DESCRIPTOR tight = NULL;
        if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(TIGHT, SDDL_REVISION_1, &tight, NULL) ||
            !SetKernelObjectSecurity(folder, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, tight))
            error = error_win32(GetLastError(), "SetKernelObjectSecurity", path, "others may read it");
        LocalFree(tight);
    }
    return error;
}

/* What is there, links followed. */
static struct error *check_existing(const char *path, refusal refuse)
{
    wchar_t *wide = NULL;
    DWORD rights;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    HANDLE file =
        CreateFileW(wide, READ_CONTROL | FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    DWORD code = file == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    free(wide);
    if (code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND)
        return NULL;
    if (code != ERROR_SUCCESS)
        return error_win32(code, "open the file", path, NULL);
    error = check_security(path, file, refuse, &rights);
    CloseHandle(file);
    return error;
}

struct error *folder_check_file(const char *path)
{
    return check_existing(path, refused_file);
}

struct error *folder_check_programs(const char *path)
{
    return check_existing(path, refused_programs);
}

struct error *folder_secure(const char *path, enum folder_access access)
{
    wchar_t *wide = NULL;
    PSECURITY_DESCRIPTOR tight = NULL;
    HANDLE folder = INVALID_HANDLE_VALUE;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(TIGHT, SDDL_REVISION_1, &tight, NULL)) {
        error = error_win32(GetLastError(), "ConvertStringSecurityDescriptorToSecurityDescriptor", path, NULL);
        goto out;
    }
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = tight};
    DWORD code = CreateDirectoryW(wide, &attributes) ? ERROR_SUCCESS : GetLastError();
    if (code == ERROR_PATH_NOT_FOUND) {
        /* Only what is made here is tight: a folder above that exists (C:\ProgramData, C:\) has its own rules. */
        char *above = path_folder(path);
        if (strcmp(above, path) != 0)
            error = folder_secure(above, FOLDER_OTHERS_READ);
        free(above);
        if (error != NULL)
            goto out;
        code = CreateDirectoryW(wide, &attributes) ? ERROR_SUCCESS : GetLastError();
    }
    if (code == ERROR_SUCCESS)
        goto out;
    if (code != ERROR_ALREADY_EXISTS) {
        error = error_win32(code, "CreateDirectory", path, NULL);
        goto out;
    }
    DWORD wanted = READ_CONTROL | FILE_READ_ATTRIBUTES | (access == FOLDER_PRIVATE ? WRITE_DAC : 0);
    folder = CreateFileW(wide, wanted, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                         FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (folder == INVALID_HANDLE_VALUE)
        error = error_win32(GetLastError(), "open the folder", path, NULL);
    else
        error = check(path, folder, access);
out:
    win_close(folder);
    LocalFree(tight);
    free(wide);
    return error;
}

struct error *folder_program_data(char **ret_path)
{
    wchar_t path[MAX_PATH];
    DWORD size = sizeof path;
    LSTATUS status = RegGetValueW(HKEY_LOCAL_MACHINE, L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList",
                                  L"ProgramData", RRF_RT_REG_SZ, NULL, path, &size);
    if (status != ERROR_SUCCESS)
        return error_win32((uint32_t)status, "read the registry", "ProfileList\\ProgramData", NULL);
    *ret_path = win_text(path);
    return NULL;
}
