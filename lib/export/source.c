#include "export/source.h"

#include <winioctl.h>

#include <string.h>

#include "base/memory.h"

#define EA_BUFFER               (64u << 10)
#define REPARSE_BUFFER          (16u << 10)
#define STREAM_LIST_MAX         (4u << 20)
#define RANGES_AT_ONCE          256

#define NT_BUFFER_OVERFLOW      ((NTSTATUS)0x80000005L)
#define NT_BUFFER_TOO_SMALL     ((NTSTATUS)0xC0000023L)
#define NT_INFO_LENGTH_MISMATCH ((NTSTATUS)0xC0000004L)

NTSTATUS NTAPI NtQueryEaFile(HANDLE file, PIO_STATUS_BLOCK io, PVOID data, ULONG size, BOOLEAN single, PVOID list,
                             ULONG list_size, PULONG index, BOOLEAN restart);
NTSTATUS NTAPI NtQuerySecurityObject(HANDLE handle, SECURITY_INFORMATION information, PSECURITY_DESCRIPTOR descriptor,
                                     ULONG size, PULONG needed);

struct source_calls source_calls = {BackupRead, BackupSeek};

/* ---- the bytes of a file ---- */

struct file_source {
    struct stream_source source;
    HANDLE handle;
    uint64_t start, size, at;
    const char *path;
};

static struct error *file_source_read(struct stream_source *source, void *data, size_t size, size_t *ret_got)
{
    struct file_source *file = (struct file_source *)source;
    uint64_t left = file->size - file->at;
    NTSTATUS status = folder_read(file->handle, file->at, data, size < left ? size : (size_t)left, ret_got);
    if (status < 0)
        return error_ntstatus((uint32_t)status, "read file", file->path, NULL);
    file->at += *ret_got;
    return NULL;
}

static struct error *file_source_skip(struct stream_source *source, uint64_t size, uint64_t *ret_skipped)
{
    struct file_source *file = (struct file_source *)source;
    uint64_t left = file->size - file->at;
    *ret_skipped = size < left ? size : left;
    file->at += *ret_skipped;
    return NULL;
}

static struct error *file_source_rewind(struct stream_source *source)
{
    struct file_source *file = (struct file_source *)source;
    file->at = file->start;
    return NULL;
}

static void file_source_free(struct stream_source *source)
{
    free(source);
}

struct stream_source *source_file(HANDLE handle, uint64_t start, uint64_t size, const char *path)
{
    struct file_source *file = mem_new(struct file_source);
    file->source = (struct stream_source){file_source_read, file_source_skip, file_source_rewind, file_source_free};
    file->handle = handle;
    file->start = file->at = start;
    file->size = size;
    file->path = path;
    return &file->source;
}

/* ---- BackupRead ---- */

struct backup_source {
    struct stream_source source;
    HANDLE handle;
    bool security;
    void *context;
    const char *path;
};

static void backup_end(struct backup_source *backup)
{
    DWORD got;
    if (backup->context)
        source_calls.backup_read(backup->handle, NULL, 0, &got, TRUE, backup->security, &backup->context);
    backup->context = NULL;
}

static struct error *backup_source_read(struct stream_source *source, void *data, size_t size, size_t *ret_got)
{
    struct backup_source *backup = (struct backup_source *)source;
    size_t got = 0;
    while (got < size) {
        DWORD part = 0;
        DWORD want = size - got > 0x10000000 ? 0x10000000 : (DWORD)(size - got);
        if (!source_calls.backup_read(backup->handle, (uint8_t *)data + got, want, &part, FALSE, backup->security,
                                      &backup->context))
            return error_win32(GetLastError(), "BackupRead", backup->path, NULL);
        if (part == 0)
            break;
        got += part;
    }
    *ret_got = got;
    return NULL;
}

static struct error *backup_source_skip(struct stream_source *source, uint64_t size, uint64_t *ret_skipped)
{
    struct backup_source *backup = (struct backup_source *)source;
    uint64_t skipped = 0;
    while (skipped < size) {
        DWORD low = 0, high = 0;
        uint64_t left = size - skipped;
        source_calls.backup_seek(backup->handle, (DWORD)left, (DWORD)(left >> 32), &low, &high, &backup->context);
        uint64_t part = (uint64_t)high << 32 | low;
        if (part == 0 || part > left)
            break;
        skipped += part;
    }
    /* What cannot be sought over is read. */
    uint8_t *rest = skipped < size ? mem_resize_array(NULL, 64u << 10, 1) : NULL;
    struct error *error = NULL;
    while (skipped < size && !error) {
        size_t got = 0;
        uint64_t left = size - skipped;
        error = backup_source_read(source, rest, left < (64u << 10) ? (size_t)left : (64u << 10), &got);
        skipped += got;
        if (got == 0)
            break;
    }
    free(rest);
    *ret_skipped = skipped;
    return error;
}

static struct error *backup_source_rewind(struct stream_source *source)
{
    struct backup_source *backup = (struct backup_source *)source;
    backup_end(backup);
    LARGE_INTEGER start = {.QuadPart = 0};
    /* Folders have no position to set. */
    SetFilePointerEx(backup->handle, start, NULL, FILE_BEGIN);
    return NULL;
}

static void backup_source_free(struct stream_source *source)
{
    backup_end((struct backup_source *)source);
    free(source);
}

/* ---- our own: metadata in memory, data in files ---- */

struct segment {
    struct buffer memory; /* first this … */
    HANDLE handle;        /* … then `size` bytes of this file from `offset` */
    bool owns_handle;
    uint64_t offset, size;
};

struct made_source {
    struct stream_source source;
    struct segment *segments;
    size_t count;
    size_t current;
    uint64_t at; /* within the current segment, memory first */
    const char *path;
};

static struct error *made_source_read(struct stream_source *source, void *data, size_t size, size_t *ret_got)
{
    struct made_source *made = (struct made_source *)source;
    size_t got = 0;
    while (got < size && made->current < made->count) {
        const struct segment *segment = &made->segments[made->current];
        uint64_t left = segment->memory.size + segment->size - made->at;
        if (left == 0) {
            made->current++;
            made->at = 0;
            continue;
        }
        size_t take = size - got;
        if (made->at < segment->memory.size) {
            if (take > segment->memory.size - made->at)
                take = segment->memory.size - (size_t)made->at;
            memcpy((uint8_t *)data + got, segment->memory.data + made->at, take);
        } else {
            if (take > left)
                take = (size_t)left;
            size_t part = 0;
            NTSTATUS status = folder_read(segment->handle, segment->offset + made->at - segment->memory.size,
                                          (uint8_t *)data + got, take, &part);
            if (status < 0)
                return error_ntstatus((uint32_t)status, "read file", made->path, NULL);
            if (part < take)
                return error_make(ERROR_KIND_DATA_LOSS, "read file", made->path, "it became shorter while it was read");
        }
        made->at += take;
        got += take;
    }
    *ret_got = got;
    return NULL;
}

static struct error *made_source_skip(struct stream_source *source, uint64_t size, uint64_t *ret_skipped)
{
    struct made_source *made = (struct made_source *)source;
    uint64_t skipped = 0;
    while (skipped < size && made->current < made->count) {
        const struct segment *segment = &made->segments[made->current];
        uint64_t left = segment->memory.size + segment->size - made->at;
        uint64_t take = size - skipped < left ? size - skipped : left;
        made->at += take;
        skipped += take;
        if (take == left) {
            made->current++;
            made->at = 0;
        }
    }
    *ret_skipped = skipped;
    return NULL;
}

static struct error *made_source_rewind(struct stream_source *source)
{
    struct made_source *made = (struct made_source *)source;
    made->current = 0;
    made->at = 0;
    return NULL;
}

static void made_source_free(struct stream_source *source)
{
    struct made_source *made = (struct made_source *)source;
    for (size_t i = 0; i < made->count; i++) {
        buffer_free(&made->segments[i].memory);
        if (made->segments[i].owns_handle)
            CloseHandle(made->segments[i].handle);
    }
    free(made->segments);
    free(made);
}

static struct segment *add_segment(struct made_source *made)
{
    made->segments = mem_resize_array(made->segments, made->count + 1, sizeof *made->segments);
    made->segments[made->count] = (struct segment){0};
    return &made->segments[made->count++];
}

static void add_metadata(struct made_source *made, uint32_t id, const void *data, size_t size)
{
    struct segment *segment = add_segment(made);
    const struct stream_header header = {.id = id, .size = size};
    stream_add_header(&segment->memory, &header);
    buffer_add(&segment->memory, data, size);
}

static struct error *make_security(struct made_source *made, HANDLE handle)
{
    const SECURITY_INFORMATION wanted[] = {
        OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | SACL_SECURITY_INFORMATION,
        OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION};
    uint8_t *data = mem_resize_array(NULL, EA_BUFFER, 1);
    NTSTATUS status = -1;
    /* The SACL needs a right that the open may not have got. */
    for (size_t i = 0; i < 2 && status < 0; i++) {
        ULONG needed = 0;
        status = NtQuerySecurityObject(handle, wanted[i], data, EA_BUFFER, &needed);
        if (status >= 0)
            add_metadata(made, STREAM_SECURITY, data, needed);
    }
    free(data);
    return status < 0 ? error_ntstatus((uint32_t)status, "read security", made->path, NULL) : NULL;
}

static void make_attributes(struct made_source *made, HANDLE handle)
{
    uint8_t *data = mem_resize_array(NULL, EA_BUFFER, 1);
    IO_STATUS_BLOCK io = {0};
    /* None, or a system that has none, are the same here. */
    NTSTATUS status = NtQueryEaFile(handle, &io, data, EA_BUFFER, FALSE, NULL, 0, NULL, TRUE);
    if (status >= 0 && io.Information > 0)
        add_metadata(made, STREAM_EA, data, io.Information);
    free(data);
}

static struct error *make_reparse(struct made_source *made, HANDLE handle)
{
    uint8_t *data = mem_resize_array(NULL, REPARSE_BUFFER, 1);
    IO_STATUS_BLOCK io = {0};
    NTSTATUS status =
        NtFsControlFile(handle, NULL, NULL, NULL, &io, FSCTL_GET_REPARSE_POINT, NULL, 0, data, REPARSE_BUFFER);
    if (status >= 0)
        add_metadata(made, STREAM_REPARSE, data, io.Information);
    free(data);
    return status < 0 ? error_ntstatus((uint32_t)status, "read reparse point", made->path, NULL) : NULL;
}

static void make_plain_data(struct made_source *made, HANDLE handle, const struct stream_header *header)
{
    struct segment *segment = add_segment(made);
    stream_add_header(&segment->memory, header);
    segment->handle = handle;
    segment->size = header->size;
}

/* Data of a sparse file as BackupRead gives it: in one piece when all of it is allocated, else a block for each range. */
static struct error *make_sparse_data(struct made_source *made, HANDLE handle, uint64_t size)
{
    struct stream_header header = {.id = STREAM_DATA, .attributes = STREAM_ATTRIBUTE_SPARSE};
    uint64_t from = 0;
    bool blocks = false;
    while (size > 0) {
        FILE_ALLOCATED_RANGE_BUFFER want, ranges[RANGES_AT_ONCE];
        IO_STATUS_BLOCK io = {0};
        want.FileOffset.QuadPart = (LONGLONG)from;
        want.Length.QuadPart = (LONGLONG)(size - from);
        NTSTATUS status = NtFsControlFile(handle, NULL, NULL, NULL, &io, FSCTL_QUERY_ALLOCATED_RANGES, &want,
                                          sizeof want, ranges, sizeof ranges);
        if (status < 0 && status != NT_BUFFER_OVERFLOW) {
            if (blocks)
                return error_ntstatus((uint32_t)status, "read allocated ranges", made->path, NULL);
            header.size = size; /* a file system that cannot say: all of it */
            make_plain_data(made, handle, &header);
            return NULL;
        }
        size_t count = io.Information / sizeof ranges[0];
        if (!blocks && status >= 0 && count == 1 && ranges[0].FileOffset.QuadPart == 0 &&
            (uint64_t)ranges[0].Length.QuadPart >= size) {
            header.size = size;
            make_plain_data(made, handle, &header);
            return NULL;
        }
        if (!blocks)
            make_plain_data(made, handle, &header);
        blocks = true;
        for (size_t i = 0; i < count; i++) {
            uint64_t offset = (uint64_t)ranges[i].FileOffset.QuadPart;
            uint64_t length = (uint64_t)ranges[i].Length.QuadPart;
            if (offset >= size)
                break;
            if (length > size - offset)
                length = size - offset;
            struct stream_header block = {.id = STREAM_SPARSE_BLOCK, .size = length, .offset = offset};
            make_plain_data(made, handle, &block);
            made->segments[made->count - 1].offset = offset;
            from = offset + length;
        }
        if (status >= 0 || count == 0)
            break;
    }
    if (!blocks) {
        make_plain_data(made, handle, &header);
        return NULL;
    }
    struct stream_header end = {.id = STREAM_SPARSE_BLOCK, .offset = size};
    make_plain_data(made, handle, &end);
    return NULL;
}

static struct error *make_alternate(struct made_source *made, struct folder_volume *volume, HANDLE handle,
                                    const FILE_STREAM_INFORMATION *row)
{
    struct stream_header header = {.id = STREAM_ALTERNATE, .name_units = row->StreamNameLength / sizeof(WCHAR)};
    if (header.name_units >= STREAM_NAME_MAX / 2)
        return error_make(ERROR_KIND_DATA_LOSS, "read stream list", made->path, "a stream has a name of %zu characters",
                          header.name_units);
    memcpy(header.name, row->StreamName, row->StreamNameLength);
    header.name[header.name_units] = 0;
    if (wcscmp((const WCHAR *)header.name, L"::$DATA") == 0)
        return NULL;
    HANDLE stream = NULL;
    struct folder_info info;
    NTSTATUS status = folder_open_name(volume, handle, (const WCHAR *)header.name, FILE_READ_DATA, 0, &stream);
    if (status >= 0)
        status = folder_info(stream, &info);
    if (status < 0) {
        if (stream)
            CloseHandle(stream);
        return error_ntstatus((uint32_t)status, "open stream", made->path, NULL);
    }
    header.size = info.size;
    make_plain_data(made, stream, &header);
    made->segments[made->count - 1].owns_handle = true;
    return NULL;
}

static struct error *make_alternates(struct made_source *made, struct folder_volume *volume, HANDLE handle)
{
    ULONG size = 16u << 10;
    uint8_t *data = NULL;
    IO_STATUS_BLOCK io = {0};
    NTSTATUS status;
    do {
        size *= 4;
        data = mem_resize_array(data, size, 1);
        status = NtQueryInformationFile(handle, &io, data, size, FileStreamInformation);
    } while ((status == NT_BUFFER_OVERFLOW || status == NT_BUFFER_TOO_SMALL || status == NT_INFO_LENGTH_MISMATCH) &&
             size < STREAM_LIST_MAX);
    struct error *error = NULL;
    /* A file system without streams refuses the question. */
    for (size_t at = 0; status >= 0 && io.Information > 0 && !error;) {
        const FILE_STREAM_INFORMATION *row = (const void *)(data + at);
        error = make_alternate(made, volume, handle, row);
        if (row->NextEntryOffset == 0)
            break;
        at += row->NextEntryOffset;
    }
    free(data);
    return error;
}

static struct error *source_make(struct folder_volume *volume, HANDLE handle, bool security, const char *path,
                                 struct stream_source **ret_source)
{
    struct made_source *made = mem_new(struct made_source);
    made->source = (struct stream_source){made_source_read, made_source_skip, made_source_rewind, made_source_free};
    made->path = path;
    struct folder_info info;
    struct error *error = NULL;
    NTSTATUS status = folder_info(handle, &info);
    if (status < 0)
        error = error_ntstatus((uint32_t)status, "read file information", path, NULL);
    if (!error && security)
        error = make_security(made, handle);
    if (!error) {
        make_attributes(made, handle);
        if (info.attributes & FILE_ATTRIBUTE_REPARSE_POINT)
            error = make_reparse(made, handle);
    }
    if (!error && !(info.attributes & FILE_ATTRIBUTE_DIRECTORY)) {
        const struct stream_header header = {.id = STREAM_DATA, .size = info.size};
        if (info.attributes & FILE_ATTRIBUTE_SPARSE_FILE)
            error = make_sparse_data(made, handle, info.size);
        else if (!(info.attributes & FILE_ATTRIBUTE_REPARSE_POINT) || info.size > 0)
            make_plain_data(made, handle, &header);
    }
    if (!error)
        error = make_alternates(made, volume, handle);
    if (error) {
        made_source_free(&made->source);
        return error;
    }
    *ret_source = &made->source;
    return NULL;
}

struct error *source_backup(struct folder_volume *volume, HANDLE handle, bool security, const char *path,
                            struct stream_source **ret_source)
{
    if (volume->no_backup_read)
        return source_make(volume, handle, security, path, ret_source);
    struct backup_source *backup = mem_new(struct backup_source);
    backup->source =
        (struct stream_source){backup_source_read, backup_source_skip, backup_source_rewind, backup_source_free};
    backup->handle = handle;
    backup->security = security;
    backup->path = path;

    uint8_t first[STREAM_HEADER_SIZE];
    DWORD got = 0;
    if (!source_calls.backup_read(handle, first, sizeof first, &got, FALSE, security, &backup->context)) {
        DWORD code = GetLastError();
        backup_source_free(&backup->source);
        if (code != ERROR_NOT_SUPPORTED && code != ERROR_CALL_NOT_IMPLEMENTED)
            return error_win32(code, "BackupRead", path, NULL);
        volume->no_backup_read = true;
        return source_make(volume, handle, security, path, ret_source);
    }
    struct error *error = backup_source_rewind(&backup->source);
    if (error) {
        backup_source_free(&backup->source);
        return error;
    }
    *ret_source = &backup->source;
    return NULL;
}
