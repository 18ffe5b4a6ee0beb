/* Backup streams: the system's reader beside our own (export/source.h), byte by byte. */
#include <windows.h>
#include <winioctl.h>

#include <string.h>

#include "base/memory.h"
#include "base/win.h"
#include "export/source.h"
#include "probe/checks.h"

#define FAR_OFF (1u << 20) /* of the second piece of a sparse file, with a hole before it */

static struct error *read_all(struct folder_volume *volume, HANDLE file, bool security, struct buffer *bytes)
{
    struct stream_source *source = NULL;
    uint8_t piece[4096];
    size_t got = sizeof piece;
    struct error *error = source_backup(volume, file, security, "the file", &source);
    while (error == NULL && got == sizeof piece) {
        error = source->read(source, piece, sizeof piece, &got);
        if (error == NULL)
            buffer_add(bytes, piece, got);
    }
    if (source != NULL)
        source->free(source);
    return error;
}

static DWORD make_sparse(HANDLE file)
{
    LARGE_INTEGER place = {.QuadPart = FAR_OFF};
    DWORD count;
    bool done = DeviceIoControl(file, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &count, NULL) &&
                SetFilePointerEx(file, place, NULL, FILE_BEGIN) && WriteFile(file, "probe", 5, &count, NULL);
    return done ? ERROR_SUCCESS : GetLastError();
}

static DWORD make_alternate(const struct probe *probe)
{
    wchar_t *path = probe_place(probe, L"streams:more");
    DWORD count;
    HANDLE stream = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_NEW, 0, NULL);
    bool done = stream != INVALID_HANDLE_VALUE && WriteFile(stream, "probe", 5, &count, NULL);
    DWORD code = done ? ERROR_SUCCESS : GetLastError();
    win_close(stream);
    free(path);
    return code;
}

static enum probe_verdict compare(struct probe *probe, HANDLE file, bool security)
{
    struct folder_volume system = {0}, own = {0};
    struct buffer theirs = {0}, ours = {0};
    atomic_store(&own.no_backup_read, true);
    struct error *error = read_all(&system, file, security, &theirs);
    if (error == NULL)
        error = read_all(&own, file, security, &ours);
    size_t same = 0;
    while (same < theirs.size && same < ours.size && theirs.data[same] == ours.data[same])
        same++;
    bool equal = error == NULL && same == theirs.size && same == ours.size && same > 0;
    if (error != NULL) {
        char *text = error_text(error);
        probe_found(probe, "%s", text);
        free(text);
        error_free(error);
    } else if (atomic_load(&system.no_backup_read)) {
        equal = false;
        probe_found(probe, "there is no BackupRead");
    } else if (equal) {
        probe_found(probe, "%zu bytes, the same", same);
    } else {
        probe_found(probe, "%zu bytes; ours are %zu, and differ at %zu", theirs.size, ours.size, same);
    }
    buffer_free(&theirs);
    buffer_free(&ours);
    return probe_judge(equal);
}

/* `argument`: what is special about the file. */
static enum probe_verdict look_backup_read(struct probe *probe, const char *argument)
{
    enum probe_verdict verdict = PROBE_DIFFERENT;
    bool sparse = strcmp(argument, "sparse") == 0, streams = strcmp(argument, "streams") == 0;
    bool security = strcmp(argument, "security") == 0;
    wchar_t *name = NULL;
    error_free(win_wide(argument, &name));
    HANDLE file = probe_make(probe, name, GENERIC_READ | GENERIC_WRITE, FILE_ATTRIBUTE_NORMAL, &verdict);
    free(name);
    if (file == NULL)
        return verdict;
    DWORD code = sparse ? make_sparse(file) : streams ? make_alternate(probe) : ERROR_SUCCESS;
    verdict = code == ERROR_SUCCESS ? compare(probe, file, security)
                                    : probe_failed(probe, sparse ? "FSCTL_SET_SPARSE" : "an alternate stream", code);
    CloseHandle(file);
    return verdict;
}

#define SAME "the same bytes as our own reader"
static const struct probe_check backup_checks[] = {
    {"files", "BackupRead", SAME, look_backup_read, "plain"},
    {"files", "BackupRead, sparse file", SAME, look_backup_read, "sparse"},
    {"files", "BackupRead, alternate stream", SAME, look_backup_read, "streams"},
    {"files", "BackupRead, with security", SAME, look_backup_read, "security"},
};
const struct probe_table probe_backup = {backup_checks, sizeof backup_checks / sizeof backup_checks[0]};
