/* Volumes, deletes, renames, backup streams: what of the file system hcsd relies on. */
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

/* A path in the probe's folder. The caller frees it. */
static wchar_t *place(const struct probe *probe, const wchar_t *name)
{
    size_t folder = wcslen(probe->folder), size = wcslen(name);
    wchar_t *path = mem_new_array(folder + size + 2, wchar_t);
    memcpy(path, probe->folder, folder * sizeof *path);
    path[folder] = L'\\';
    memcpy(path + folder + 1, name, size * sizeof *path);
    return path;
}

/* A new file with a few bytes, open with `access`; NULL: told already. */
static HANDLE make(struct probe *probe, const wchar_t *name, DWORD access, DWORD attributes,
                   enum probe_verdict *verdict)
{
    if (probe->folder == NULL) {
        probe_found(probe, "no folder could be made in the state folder");
        *verdict = PROBE_NOT_ASKED;
        return NULL;
    }
    wchar_t *path = place(probe, name);
    DWORD count;
    HANDLE file = CreateFileW(path, GENERIC_WRITE, SHARE_ALL, NULL, CREATE_NEW, attributes, NULL);
    DWORD code = GetLastError();
    if (file != INVALID_HANDLE_VALUE) {
        WriteFile(file, "probe", 5, &count, NULL);
        CloseHandle(file);
        file = CreateFileW(path, access, SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
        code = GetLastError();
    }
    free(path);
    if (file != INVALID_HANDLE_VALUE)
        return file;
    *verdict = probe_failed(probe, "CreateFile", code);
    return NULL;
}

static bool is_there(const struct probe *probe, const wchar_t *name)
{
    wchar_t *path = place(probe, name);
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
    HANDLE file = make(probe, L"read-only", DELETE, FILE_ATTRIBUTE_READONLY, &verdict);
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
    HANDLE other = make(probe, L"held", GENERIC_READ, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (other == NULL)
        return verdict;
    wchar_t *path = place(probe, L"held");
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
    HANDLE file = make(probe, L"mapped", GENERIC_READ | GENERIC_WRITE | DELETE, FILE_ATTRIBUTE_NORMAL, &verdict);
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
    HANDLE file = make(probe, L"by-id", FILE_READ_ATTRIBUTES, FILE_ATTRIBUTE_NORMAL, &verdict);
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
    HANDLE file = make(probe, name, DELETE, FILE_ATTRIBUTE_NORMAL, &verdict);
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
    wchar_t *folder = place(probe, L"folder"), *target = place(probe, L"renamed");
    CreateDirectoryW(folder, NULL);
    HANDLE child = make(probe, L"folder\\child", GENERIC_READ, FILE_ATTRIBUTE_NORMAL, &verdict);
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

static enum probe_verdict look_backup_read(struct probe *probe, const char *argument)
{
    (void)argument;
    enum probe_verdict verdict = PROBE_DIFFERENT;
    HANDLE file = make(probe, L"backup", GENERIC_READ, FILE_ATTRIBUTE_NORMAL, &verdict);
    if (file == NULL)
        return verdict;
    /* Stream id 1 (data), no attributes, 5 bytes, no name, "probe". */
    static const uint8_t expected[] = {1, 0, 0, 0, 0, 0, 0, 0,   5,   0,   0,   0,  0,
                                       0, 0, 0, 0, 0, 0, 0, 'p', 'r', 'o', 'b', 'e'};
    uint8_t found[4096];
    DWORD size = 0, code = ERROR_SUCCESS;
    void *context = NULL;
    if (!BackupRead(file, found, sizeof found, &size, FALSE, FALSE, &context))
        code = GetLastError();
    BackupRead(file, NULL, 0, &(DWORD){0}, TRUE, FALSE, &context);
    CloseHandle(file);
    if (code != ERROR_SUCCESS)
        return probe_failed(probe, "BackupRead", code);
    bool same = size >= sizeof expected && memcmp(found, expected, sizeof expected) == 0;
    probe_found(probe, "%lu bytes, %s", size,
                same ? "as our own reader writes them" : "other ones than our own reader's");
    return probe_judge(same);
}

static const struct probe_check file_checks[] = {
    {"volume", "state folder", "NTFS with all that is asked for", look_volume, "state"},
    {"volume", "staging folder", "NTFS with all that is asked for", look_volume, "staging"},
    {"volume", "state folder compressed", "neither compressed nor encrypted", look_compressed, "state"},
    {"volume", "staging folder compressed", "neither compressed nor encrypted", look_compressed, "staging"},
    {"files", "delete, read-only", "the name is gone at once", look_delete_read_only, NULL},
    {"files", "delete, another handle open", "the name is gone at once (POSIX semantics)", look_delete_open, NULL},
    {"files", "delete, mapped", "refused with 5", look_delete_mapped, NULL},
    {"files", "open and delete by id", "opened by id, and deleted by it", look_open_by_id, NULL},
    {"files", "name with a lone surrogate", "opens by its exact name", look_name, "lone surrogate"},
    {"files", "name with a trailing dot", "opens by its exact name", look_name, "trailing dot"},
    {"files", "name of a device", "an ordinary name", look_name, "device name"},
    {"files", "depth", "300 folders", look_deep, NULL},
    {"files", "rename of a folder with an open file in it", "refused with 5", look_rename, NULL},
    {"files", "BackupRead", "the same bytes as our own reader", look_backup_read, NULL},
};
const struct probe_table probe_files = {file_checks, sizeof file_checks / sizeof file_checks[0]};
