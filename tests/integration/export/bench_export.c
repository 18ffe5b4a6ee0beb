/* What bench_export.py measures: the export engine, and bare programs that do the least that has to be done.
 *
 *     bench_export small-floor FOLDER          open, read, delete each staged file by one handle; remove the folders
 *     bench_export small FOLDER OUTPUT         archive without compression, and removal
 *     bench_export large-floor FOLDER OUTPUT   read and write the bytes
 *     bench_export large FOLDER OUTPUT         archive without compression; the folder stays
 *     bench_export pack INPUT zlib|gzip|zstd|none LEVEL   compress a file as an export does, digests included; zlib: the
 *                                              measure of old, zlib's gzip on one thread without digests
 *     bench_export idle                        the same image doing nothing, for its memory
 *
 * Prints {"seconds":…,"bytes":…}. Nothing is flushed to the disk, on either side. */
#include <windows.h>

#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include <zlib.h>

#include "base/memory.h"
#include "base/win.h"
#include "export/export.h"
#include "export/packer.h"

#define COPY_BUFFER (256u << 10)
#define IDLE_MS     2000

static LARGE_INTEGER began;

static void start(void)
{
    QueryPerformanceCounter(&began);
}

static int report(uint64_t bytes)
{
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    printf("{\"seconds\":%.4f,\"bytes\":%llu}\n", (double)(now.QuadPart - began.QuadPart) / (double)frequency.QuadPart,
           (unsigned long long)bytes);
    return 0;
}

static int fail(struct error *error)
{
    char *text = error_text(error);
    fprintf(stderr, "%s\n", text);
    free(text);
    error_free(error);
    return 1;
}

static void need(BOOL success, const char *what)
{
    if (success)
        return;
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    ExitProcess(1);
}

static wchar_t *join(const wchar_t *folder, const wchar_t *name)
{
    size_t size = wcslen(folder) + wcslen(name) + 2;
    wchar_t *path = mem_new_array(size, wchar_t);
    swprintf(path, size, L"%ls\\%ls", folder, name);
    return path;
}

static uint64_t floor_file(const wchar_t *path, uint8_t *buffer)
{
    HANDLE file =
        CreateFileW(path, GENERIC_READ | DELETE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    need(file != INVALID_HANDLE_VALUE, "open");
    DWORD got = 0;
    uint64_t bytes = 0;
    do {
        need(ReadFile(file, buffer, COPY_BUFFER, &got, NULL), "read");
        bytes += got;
    } while (got == COPY_BUFFER);
    FILE_DISPOSITION_INFO disposition = {TRUE};
    need(SetFileInformationByHandle(file, FileDispositionInfo, &disposition, sizeof disposition), "delete");
    CloseHandle(file);
    return bytes;
}

static uint64_t floor_folder(const wchar_t *folder, uint8_t *buffer)
{
    uint64_t bytes = 0;
    WIN32_FIND_DATAW found;
    wchar_t *pattern = join(folder, L"*");
    HANDLE find =
        FindFirstFileExW(pattern, FindExInfoBasic, &found, FindExSearchNameMatch, NULL, FIND_FIRST_EX_LARGE_FETCH);
    free(pattern);
    need(find != INVALID_HANDLE_VALUE, "list");
    do {
        if (wcscmp(found.cFileName, L".") == 0 || wcscmp(found.cFileName, L"..") == 0)
            continue;
        wchar_t *path = join(folder, found.cFileName);
        bytes +=
            found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? floor_folder(path, buffer) : floor_file(path, buffer);
        free(path);
    } while (FindNextFileW(find, &found));
    FindClose(find);
    need(RemoveDirectoryW(folder), "remove folder");
    return bytes;
}

static int small_floor(const wchar_t *folder)
{
    uint8_t *buffer = mem_zero(COPY_BUFFER);
    start();
    uint64_t bytes = floor_folder(folder, buffer);
    free(buffer);
    return report(bytes);
}

static int large_floor(const wchar_t *folder, const wchar_t *output)
{
    uint8_t *buffer = mem_zero(COPY_BUFFER);
    uint64_t bytes = 0;
    start();
    HANDLE out = CreateFileW(output, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    need(out != INVALID_HANDLE_VALUE, "create output");
    wchar_t *files = join(folder, L"Files");
    wchar_t *pattern = join(files, L"*");
    WIN32_FIND_DATAW found;
    HANDLE find = FindFirstFileW(pattern, &found);
    need(find != INVALID_HANDLE_VALUE, "list");
    do {
        if (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
            continue;
        wchar_t *path = join(files, found.cFileName);
        HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
        need(file != INVALID_HANDLE_VALUE, "open");
        DWORD got = 0, written = 0;
        do {
            need(ReadFile(file, buffer, COPY_BUFFER, &got, NULL), "read");
            need(WriteFile(out, buffer, got, &written, NULL), "write");
            bytes += got;
        } while (got > 0);
        CloseHandle(file);
        free(path);
    } while (FindNextFileW(find, &found));
    FindClose(find);
    CloseHandle(out);
    free(pattern);
    free(files);
    free(buffer);
    return report(bytes);
}

static int archive(const char *folder, const char *output, bool remove)
{
    struct export_control control = {0};
    struct export_file *file = NULL;
    struct export_result *result = NULL;
    struct remover_report left = {0};
    export_control_init(&control);
    start();
    struct error *error = export_file_open(output, true, &file);
    if (!error) {
        const struct export_archive_options options = {
            .folder = folder,
            .remove_as_read = remove,
            .compression = EXPORT_NONE,
            .output = export_file_output(file),
            .control = &control,
        };
        error = export_archive(&options, &result);
    }
    if (!error && remove)
        error = remover_run(folder, &control, &left);
    if (error)
        return fail(error);
    report(result->size);
    if (left.left_total > 0)
        fprintf(stderr, "%llu entries are left\n", (unsigned long long)left.left_total);
    int status = left.left_total > 0;
    remover_report_free(&left);
    export_result_free(result);
    export_file_free(file);
    export_control_free(&control);
    return status;
}

static struct error *count(void *context, const void *data, size_t size)
{
    (void)data;
    *(uint64_t *)context += size;
    return NULL;
}

static int pack_zlib(HANDLE file, int level)
{
    static uint8_t in[COPY_BUFFER], out[COPY_BUFFER];
    z_stream stream = {0};
    uint64_t bytes = 0;
    DWORD got;
    deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    do {
        need(ReadFile(file, in, sizeof in, &got, NULL), "read");
        stream.next_in = in;
        stream.avail_in = got;
        do {
            stream.next_out = out;
            stream.avail_out = sizeof out;
            deflate(&stream, got == 0 ? Z_FINISH : Z_NO_FLUSH);
            bytes += sizeof out - stream.avail_out;
        } while (stream.avail_out == 0);
    } while (got > 0);
    deflateEnd(&stream);
    return report(bytes);
}

static int pack(const wchar_t *input, const char *method, int level)
{
    HANDLE file = CreateFileW(input, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    need(file != INVALID_HANDLE_VALUE, "open");
    start();
    if (strcmp(method, "zlib") == 0)
        return pack_zlib(file, level);
    uint64_t bytes = 0;
    struct export_control control = {0};
    const struct export_output output = {count, &bytes};
    struct packer *packer = NULL;
    struct export_result result = {0};
    export_control_init(&control);
    struct error *error = packer_open(strcmp(method, "gzip") == 0   ? EXPORT_GZIP
                                      : strcmp(method, "zstd") == 0 ? EXPORT_ZSTD
                                                                    : EXPORT_NONE,
                                      level, &output, &control, &packer);
    DWORD got = 1;
    while (!error && got > 0) {
        void *room;
        size_t size;
        error = packer_room(packer, &room, &size);
        if (!error) {
            need(ReadFile(file, room, size > COPY_BUFFER ? COPY_BUFFER : (DWORD)size, &got, NULL), "read");
            packer_fill(packer, got);
        }
    }
    if (!error)
        error = packer_finish(packer, &result);
    if (error)
        return fail(error);
    report(bytes);
    packer_free(packer);
    export_control_free(&control);
    return 0;
}

int wmain(int argument_count, wchar_t **wide);
int wmain(int argument_count, wchar_t **wide)
{
    char *arguments[6] = {0};
    for (int i = 0; i < 6 && i < argument_count; i++)
        arguments[i] = win_text(wide[i]);
    const char *verb = argument_count > 1 ? arguments[1] : "";
    if (strcmp(verb, "small-floor") == 0 && argument_count == 3)
        return small_floor(wide[2]);
    if (strcmp(verb, "small") == 0 && argument_count == 4)
        return archive(arguments[2], arguments[3], true);
    if (strcmp(verb, "large-floor") == 0 && argument_count == 4)
        return large_floor(wide[2], wide[3]);
    if (strcmp(verb, "large") == 0 && argument_count == 4)
        return archive(arguments[2], arguments[3], false);
    if (strcmp(verb, "pack") == 0 && argument_count == 5)
        return pack(wide[2], arguments[3], (int)strtol(arguments[4], NULL, 10));
    if (strcmp(verb, "idle") == 0) {
        WaitForSingleObject(GetCurrentProcess(), IDLE_MS);
        return 0;
    }
    fprintf(stderr, "see the head of bench_export.c for what it takes\n");
    return 2;
}
