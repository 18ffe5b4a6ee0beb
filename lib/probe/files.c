/* Volumes, deletes, renames: what of the file system hcsd relies on. */
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "export/folder.h"
#include "probe/checks.h"

#define SHARE_ALL             (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

/* Of winnt.h and winbase.h, which older headers lack. */
#define SUPPORTS_POSIX_UNLINK 0x00000400u
#define DISPOSITION_EX        21
#define DISPOSITION_FLAGS     (1u | 2u | 16u) /* delete, POSIX semantics, ignore read-only */
#define RENAME_EX             22
#define RENAME_FLAGS          (1u | 2u) /* replace, POSIX semantics */

/* ---- volumes ---- */

/* `argument`: "state" or "staging", and the flag that is asked for. */
struct volume {
    wchar_t system[32];
    DWORD flags;
    ULONGLONG free;
    DWORD attributes; /* of the folder */
};

static enum probe_verdict open_volume(struct probe *probe, const char *which, struct volume *ret_volume)
{
    const char *path = strcmp(which, "state") == 0 ? probe->options->state_dir : probe->options->staging_dir;
    struct volume volume = {0};
    ULARGE_INTEGER free_bytes = {0};
    wchar_t *wide = NULL, root[MAX_PATH];
    error_free(win_path(path, &wide));
    DWORD code = ERROR_SUCCESS;
    if (wide == NULL)
        code = ERROR_INVALID_NAME;
    else if (!GetVolumePathNameW(wide, root, ARRAYSIZE(root)) ||
             !GetVolumeInformationW(root, NULL, 0, NULL, NULL, &volume.flags, volume.system, ARRAYSIZE(volume.system)))
        code = GetLastError();
    if (code == ERROR_SUCCESS) {
        GetDiskFreeSpaceExW(wide, &free_bytes, NULL, NULL);
        volume.free = free_bytes.QuadPart;
        volume.attributes = GetFileAttributesW(wide);
    }
    free(wide);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "GetVolumeInformation", code);
    *ret_volume = volume;
    return PROBE_AS_EXPECTED;
}

static enum probe_verdict look_volume(struct probe *probe, const char *which)
{
    static const struct {
        DWORD flag;
        const char *name;
    } flags[] = {
        {FILE_SUPPORTS_OPEN_BY_FILE_ID, "open by id"},
        {SUPPORTS_POSIX_UNLINK, "POSIX delete"},
        {FILE_SUPPORTS_HARD_LINKS, "hard links"},
        {FILE_SUPPORTS_SPARSE_FILES, "sparse files"},
        {FILE_NAMED_STREAMS, "streams"},
        {FILE_SUPPORTS_EXTENDED_ATTRIBUTES, "extended attributes"},
        {FILE_SUPPORTS_REPARSE_POINTS, "reparse points"},
    };
    struct volume volume;
    enum probe_verdict verdict = open_volume(probe, which, &volume);
    if (verdict != PROBE_AS_EXPECTED)
        return verdict;
    struct buffer lacking = {0};
    buffer_add_text(&lacking, "");
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if ((volume.flags & flags[i].flag) == 0)
            buffer_add_format(&lacking, "%s%s", lacking.size == 0 ? "; without " : ", ", flags[i].name);
    probe_found(probe, "%ls, flags 0x%08lX, %llu MB free%s", volume.system, volume.flags,
                (unsigned long long)(volume.free >> 20), (char *)lacking.data);
    bool good = wcscmp(volume.system, L"NTFS") == 0 && lacking.size == 0;
    buffer_free(&lacking);
    return probe_judge(good);
}

static enum probe_verdict look_compressed(struct probe *probe, const char *which)
{
    struct volume volume;
    enum probe_verdict verdict = open_volume(probe, which, &volume);
    if (verdict != PROBE_AS_EXPECTED)
        return verdict;
    probe_found(probe, "attributes 0x%08lX", volume.attributes);
    return probe_judge((volume.attributes & (FILE_ATTRIBUTE_COMPRESSED | FILE_ATTRIBUTE_ENCRYPTED)) == 0);
}

/* ---- files of our own ---- */

static bool is_there(const struct probe *probe, const wchar_t *name)
{
    wchar_t *path = probe_place(probe, name);
    WIN32_FIND_DATAW data;
    HANDLE find = FindFirstFileW(path, &data); /* an open would fail for a file that is going */
    if (find != INVALID_HANDLE_VALUE)
        FindClose(find);
    free(path);
    return find != INVALID_HANDLE_VALUE;
}

/* FileDispositionInfoEx as hcsd uses it. */
static DWORD dispose(HANDLE file)
{
    DWORD flags = DISPOSITION_FLAGS;
    return SetFileInformationByHandle(file, (FILE_INFO_BY_HANDLE_CLASS)DISPOSITION_EX, &flags, sizeof flags)
               ? ERROR_SUCCESS
               : GetLastError();
}

static enum probe_verdict look_delete_read_only(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE file = probe_make(probe, L"read-only", DELETE, FILE_ATTRIBUTE_READONLY, &verdict);
    if (file == NULL)
        return verdict;
    DWORD code = dispose(file);
    CloseHandle(file);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "FileDispositionInfoEx", code);
    probe_found(probe, "the name is %s", is_there(probe, L"read-only") ? "still there" : "gone");
    return probe_judge(!is_there(probe, L"read-only"));
}

static enum probe_verdict look_delete_open(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE other = probe_make(probe, L"held", GENERIC_READ, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (other == NULL)
        return verdict;
    wchar_t *path = probe_place(probe, L"held");
    HANDLE file = CreateFileW(path, DELETE, SHARE_ALL, NULL, OPEN_EXISTING, 0, NULL);
    DWORD code = file == INVALID_HANDLE_VALUE ? GetLastError() : dispose(file);
    win_close(file);
    free(path);
    if (code == ERROR_SUCCESS) {
        bool there = is_there(probe, L"held");
        probe_found(probe, "the name is %s while another handle is open", there ? "still there" : "gone");
        verdict = probe_judge(!there);
    } else {
        verdict = probe_failed(probe, "FileDispositionInfoEx", code);
    }
    CloseHandle(other);
    return verdict;
}

static enum probe_verdict look_delete_mapped(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE file = probe_make(probe, L"mapped", GENERIC_READ | GENERIC_WRITE | DELETE, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (file == NULL)
        return verdict;
    HANDLE section = CreateFileMappingW(file, NULL, PAGE_READWRITE, 0, 0, NULL);
    void *view = section == NULL ? NULL : MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    FILE_DISPOSITION_INFO classic = {TRUE};
    DWORD code = view == NULL                                                                      ? GetLastError()
                 : SetFileInformationByHandle(file, FileDispositionInfo, &classic, sizeof classic) ? ERROR_SUCCESS
                                                                                                   : GetLastError();
    if (view != NULL)
        UnmapViewOfFile(view);
    win_close(section);
    CloseHandle(file);
    if (code == ERROR_SUCCESS)
        probe_found(probe, "it was deleted");
    else
        probe_failed(probe, "FileDispositionInfo", code);
    return probe_judge(code == ERROR_ACCESS_DENIED);
}

static enum probe_verdict look_open_by_id(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE file = probe_make(probe, L"by-id", FILE_READ_ATTRIBUTES, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (file == NULL)
        return verdict;
    BY_HANDLE_FILE_INFORMATION information = {0};
    GetFileInformationByHandle(file, &information);
    FILE_ID_DESCRIPTOR id = {.dwSize = sizeof id, .Type = FileIdType};
    id.FileId.QuadPart = (LONGLONG)((uint64_t)information.nFileIndexHigh << 32 | information.nFileIndexLow);
    /* Any handle on the volume does; Wine wants the folder's. */
    HANDLE folder = CreateFileW(probe->folder, FILE_READ_ATTRIBUTES, SHARE_ALL, NULL, OPEN_EXISTING,
                                FILE_FLAG_BACKUP_SEMANTICS, NULL);
    HANDLE again = OpenFileById(folder, &id, DELETE, SHARE_ALL, NULL, FILE_FLAG_BACKUP_SEMANTICS);
    FILE_DISPOSITION_INFO classic = {TRUE};
    DWORD code = again == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    if (code == ERROR_SUCCESS && !SetFileInformationByHandle(again, FileDispositionInfo, &classic, sizeof classic))
        code = GetLastError();
    win_close(again);
    win_close(folder);
    CloseHandle(file);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "OpenFileById and delete", code);
    bool there = is_there(probe, L"by-id");
    probe_found(probe, "opened by id, and %s", there ? "still there" : "deleted by it");
    return probe_judge(!there);
}

/* `argument`: which odd name. */
static enum probe_verdict look_name(struct probe *probe, const char *argument)
{
    static const struct {
        const char *which;
        wchar_t name[16];
    } names[] = {{"lone surrogate", {L'a', 0xD800, L'b', 0}}, {"trailing dot", L"dot."}, {"device name", L"con"}};
    enum probe_verdict verdict = PROBE_DIFFERENT;
    const wchar_t *name = L"";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].which, argument) == 0)
            name = names[i].name;
    HANDLE file = probe_make(probe, name, DELETE, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (file == NULL)
        return verdict;
    FILE_DISPOSITION_INFO classic = {TRUE};
    bool deleted = SetFileInformationByHandle(file, FileDispositionInfo, &classic, sizeof classic);
    CloseHandle(file);
    probe_found(probe, "made, opened by its exact name, %s", deleted ? "deleted" : "not deleted");
    return probe_judge(deleted && !is_there(probe, name));
}

/* 300 folders in one another: longer than MAX_PATH by far. */
static enum probe_verdict look_deep(struct probe *probe, const char *argument)
{
    (void)argument;
    struct buffer path = {0};
    unsigned depth = 0;
    if (probe->folder == NULL) {
        probe_found(probe, "no folder could be made in the state folder");
        return PROBE_NOT_ASKED;
    }
    DWORD code = ERROR_SUCCESS;
    buffer_add(&path, probe->folder, wcslen(probe->folder) * sizeof(wchar_t));
    while (depth < 300 && code == ERROR_SUCCESS) {
        buffer_add(&path, L"\\deep", 5 * sizeof(wchar_t));
        buffer_add(&path, L"", sizeof(wchar_t));
        if (CreateDirectoryW((wchar_t *)path.data, NULL))
            depth++;
        else
            code = GetLastError();
        path.size -= sizeof(wchar_t);
    }
    buffer_free(&path);
    if (code != ERROR_SUCCESS)
        probe_failed(probe, "CreateDirectory", code);
    else
        probe_found(probe, "%u folders deep", depth);
    return probe_judge(depth == 300);
}

static enum probe_verdict look_rename(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    if (probe->folder == NULL) {
        probe_found(probe, "no folder could be made in the state folder");
        return PROBE_NOT_ASKED;
    }
    wchar_t *folder = probe_place(probe, L"folder"), *target = probe_place(probe, L"renamed");
    CreateDirectoryW(folder, NULL);
    HANDLE child = probe_make(probe, L"folder\\child", GENERIC_READ, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (child != NULL) {
        DWORD code = MoveFileExW(folder, target, 0) ? ERROR_SUCCESS : GetLastError();
        CloseHandle(child);
        if (code == ERROR_SUCCESS)
            probe_found(probe, "it was renamed");
        else
            probe_failed(probe, "MoveFileEx", code);
        verdict = probe_judge(code == ERROR_ACCESS_DENIED);
    }
    free(target);
    free(folder);
    return verdict;
}

/* Two names of one read-only file: what goes is a name, and the file keeps its attribute (parent layers are hard links). */
static enum probe_verdict look_delete_link(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE file = probe_make(probe, L"link-1", DELETE, FILE_ATTRIBUTE_READONLY, &verdict);
    if (file == NULL)
        return verdict;
    wchar_t *one = probe_place(probe, L"link-1"), *other = probe_place(probe, L"link-2");
    DWORD code = CreateHardLinkW(other, one, NULL) ? dispose(file) : GetLastError();
    CloseHandle(file);
    DWORD attributes = GetFileAttributesW(other);
    if (code != ERROR_SUCCESS)
        probe_failed(probe, "CreateHardLink and FileDispositionInfoEx", code);
    else
        probe_found(probe, "the first name is %s; attributes of the second: 0x%08lX",
                    is_there(probe, L"link-1") ? "still there" : "gone", attributes);
    verdict = probe_judge(code == ERROR_SUCCESS && !is_there(probe, L"link-1") &&
                          attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_READONLY) != 0);
    SetFileAttributesW(other, FILE_ATTRIBUTE_NORMAL); /* or it stays where the flags above are not known */
    free(other);
    free(one);
    return verdict;
}

/* How a document of the journal replaces the one before it. */
static enum probe_verdict look_replace(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE target = probe_make(probe, L"replaced", GENERIC_READ, FILE_ATTRIBUTE_NORMAL, &verdict);
    HANDLE file = target == NULL ? NULL : probe_make(probe, L"new", DELETE, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (file == NULL) {
        win_close(target);
        return verdict;
    }
    wchar_t *path = probe_place(probe, L"replaced");
    size_t units = wcslen(path);
    FILE_RENAME_INFO *rename = mem_zero(sizeof *rename + units * sizeof *path);
    *(DWORD *)rename = RENAME_FLAGS; /* the Ex form's Flags, where the older one has ReplaceIfExists */
    rename->FileNameLength = (DWORD)(units * sizeof *path);
    memcpy(rename->FileName, path, units * sizeof *path);
    DWORD code = SetFileInformationByHandle(file, (FILE_INFO_BY_HANDLE_CLASS)RENAME_EX, rename,
                                            (DWORD)(sizeof *rename + units * sizeof *path))
                     ? ERROR_SUCCESS
                     : GetLastError();
    free(rename);
    free(path);
    CloseHandle(file);
    CloseHandle(target);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "FileRenameInfoEx", code);
    probe_found(probe, "it was replaced");
    return probe_judge(!is_there(probe, L"new"));
}

static const struct probe_check file_checks[] = {
    {"volume", "state folder", "NTFS with all that is asked for", look_volume, "state"},
    {"volume", "staging folder", "NTFS with all that is asked for", look_volume, "staging"},
    {"volume", "state folder compressed", "neither compressed nor encrypted", look_compressed, "state"},
    {"volume", "staging folder compressed", "neither compressed nor encrypted", look_compressed, "staging"},
    {"files", "delete, read-only", "the name is gone at once", look_delete_read_only, NULL},
    {"files", "delete, read-only, by one of two links", "the name is gone; the other one is still read-only",
     look_delete_link, NULL},
    {"files", "delete, another handle open", "the name is gone at once (POSIX semantics)", look_delete_open, NULL},
    {"files", "delete, mapped", "refused with 5", look_delete_mapped, NULL},
    {"files", "open and delete by id", "opened by id, and deleted by it", look_open_by_id, NULL},
    {"files", "name with a lone surrogate", "opens by its exact name", look_name, "lone surrogate"},
    {"files", "name with a trailing dot", "opens by its exact name", look_name, "trailing dot"},
    {"files", "name of a device", "an ordinary name", look_name, "device name"},
    {"files", "depth", "300 folders", look_deep, NULL},
    {"files", "replace a file that is open", "it is replaced (POSIX semantics)", look_replace, NULL},
    {"files", "rename of a folder with an open file in it", "refused with 5", look_rename, NULL},
};
const struct probe_table probe_files = {file_checks, sizeof file_checks / sizeof file_checks[0]};
