#include "import/sink.h"

#include <winioctl.h>

#include <string.h>

#include "base/memory.h"

#define WRITE_SIZE (64u << 10) /* so much is gathered for one write */

NTSTATUS NTAPI NtSetEaFile(HANDLE file, PIO_STATUS_BLOCK io, PVOID data, ULONG size);
NTSTATUS NTAPI NtSetSecurityObject(HANDLE handle, SECURITY_INFORMATION information, PSECURITY_DESCRIPTOR descriptor);

struct sink_calls sink_calls = {BackupWrite};

struct file_sink {
    struct stream_sink sink;
    struct sink_options options;
    char *path;
    struct buffer bytes; /* not written yet; of our own sink: metadata not complete yet */
    uint64_t at;         /* where the next bytes go */
    void *context;       /* BackupWrite's */

    /* our own */
    struct stream_header header; /* of the current stream */
    HANDLE alternate;            /* the stream that content goes to, or NULL: the file itself */
};

static struct error *failed(const struct file_sink *file, NTSTATUS status, const char *operation)
{
    return status < 0 ? error_ntstatus((uint32_t)status, operation, file->path, NULL) : NULL;
}

static struct file_sink *sink_new(const struct sink_options *options)
{
    struct file_sink *file = mem_new(struct file_sink);
    file->options = *options;
    file->path = str_copy(options->path);
    return file;
}

static void sink_end(struct file_sink *file)
{
    if (file->alternate)
        CloseHandle(file->alternate);
    CloseHandle(file->options.handle);
    buffer_free(&file->bytes);
    free(file->path);
    free(file);
}

/* ---- in transport format ---- */

static struct error *staged_flush(struct file_sink *file)
{
    NTSTATUS status = folder_write(file->options.handle, file->at, file->bytes.data, file->bytes.size);
    file->at += file->bytes.size;
    buffer_clear(&file->bytes);
    return failed(file, status, "write file");
}

static struct error *staged_begin(struct stream_sink *sink, const struct stream_header *header)
{
    struct file_sink *file = (struct file_sink *)sink;
    stream_add_header(&file->bytes, header);
    return NULL;
}

static struct error *staged_write(struct stream_sink *sink, const void *data, size_t size)
{
    struct file_sink *file = (struct file_sink *)sink;
    buffer_add(&file->bytes, data, size);
    return file->bytes.size < WRITE_SIZE ? NULL : staged_flush(file);
}

static struct error *staged_finish(struct stream_sink *sink)
{
    struct file_sink *file = (struct file_sink *)sink;
    struct error *error = staged_flush(file);
    if (error)
        return error;
    return failed(file, folder_set_info(file->options.handle, 0, file->options.modified, file->options.created),
                  "set times");
}

static void staged_free(struct stream_sink *sink)
{
    sink_end((struct file_sink *)sink);
}

struct stream_sink *sink_staged(const struct sink_options *options)
{
    struct file_sink *file = sink_new(options);
    file->sink = (struct stream_sink){staged_begin, staged_write, staged_finish, staged_free};
    for (unsigned i = 0; i < 4; i++) {
        uint8_t byte = (uint8_t)(options->attributes >> (8 * i));
        buffer_add(&file->bytes, &byte, 1);
    }
    return &file->sink;
}

/* ---- plain, by BackupWrite ---- */

static struct error *backup_flush(struct file_sink *file)
{
    struct error *error = NULL;
    for (size_t at = 0; at < file->bytes.size && !error;) {
        DWORD written = 0;
        if (!sink_calls.backup_write(file->options.handle, file->bytes.data + at, (DWORD)(file->bytes.size - at),
                                     &written, FALSE, file->options.security, &file->context))
            error = error_win32(GetLastError(), "BackupWrite", file->path, NULL);
        else if (written == 0)
            error = error_make(ERROR_KIND_INTERNAL, "BackupWrite", file->path, "it took nothing");
        at += written;
    }
    buffer_clear(&file->bytes);
    return error;
}

static struct error *backup_write(struct stream_sink *sink, const void *data, size_t size)
{
    struct file_sink *file = (struct file_sink *)sink;
    buffer_add(&file->bytes, data, size);
    return file->bytes.size < WRITE_SIZE ? NULL : backup_flush(file);
}

/* BackupWrite keeps memory and a handle until a call says that it is over, after errors too. */
static void backup_end(struct file_sink *file)
{
    DWORD written;
    if (file->context)
        sink_calls.backup_write(file->options.handle, NULL, 0, &written, TRUE, file->options.security, &file->context);
    file->context = NULL;
}

/* Data, then times and attributes together: after read-only nothing more is written. */
static struct error *plain_finish(struct file_sink *file)
{
    return failed(
        file,
        folder_set_info(file->options.handle, file->options.attributes, file->options.modified, file->options.created),
        "set times and attributes");
}

static struct error *backup_finish(struct stream_sink *sink)
{
    struct file_sink *file = (struct file_sink *)sink;
    struct error *error = backup_flush(file);
    backup_end(file);
    return error ? error : plain_finish(file);
}

static void backup_free(struct stream_sink *sink)
{
    backup_end((struct file_sink *)sink);
    sink_end((struct file_sink *)sink);
}

/* An empty data stream changes nothing in a new file; whether the call exists is all that counts. */
static bool has_backup_write(struct file_sink *file)
{
    struct buffer nothing = {0};
    const struct stream_header data = {.id = STREAM_DATA};
    DWORD written = 0;
    stream_add_header(&nothing, &data);
    bool done = sink_calls.backup_write(file->options.handle, nothing.data, (DWORD)nothing.size, &written, FALSE,
                                        file->options.security, &file->context);
    DWORD code = done ? 0 : GetLastError();
    backup_end(file);
    buffer_free(&nothing);
    return code != ERROR_NOT_SUPPORTED && code != ERROR_CALL_NOT_IMPLEMENTED;
}

/* ---- plain, by our own ---- */

static bool is_metadata(uint32_t id)
{
    return id == STREAM_SECURITY || id == STREAM_EA || id == STREAM_REPARSE;
}

static NTSTATUS set_security(struct file_sink *file)
{
    const SECURITY_INFORMATION wanted[] = {
        OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | SACL_SECURITY_INFORMATION,
        OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION};
    NTSTATUS status = -1;
    if (!file->options.security)
        return 0;
    /* The SACL needs a right that the open may not have got. */
    for (size_t i = 0; i < 2 && status < 0; i++)
        status = NtSetSecurityObject(file->options.handle, wanted[i], file->bytes.data);
    return status;
}

static struct error *give_metadata(struct file_sink *file)
{
    IO_STATUS_BLOCK io;
    NTSTATUS status = 0;
    const char *operation = "set security";
    if (file->header.id == STREAM_SECURITY) {
        status = set_security(file);
    } else if (file->header.id == STREAM_EA) {
        operation = "set extended attributes";
        status = NtSetEaFile(file->options.handle, &io, file->bytes.data, (ULONG)file->bytes.size);
    } else {
        operation = "set reparse point";
        status = NtFsControlFile(file->options.handle, NULL, NULL, NULL, &io, FSCTL_SET_REPARSE_POINT, file->bytes.data,
                                 (ULONG)file->bytes.size, NULL, 0);
    }
    buffer_clear(&file->bytes);
    return failed(file, status, operation);
}

static HANDLE content_handle(const struct file_sink *file)
{
    return file->alternate ? file->alternate : file->options.handle;
}

static struct error *own_begin(struct stream_sink *sink, const struct stream_header *header)
{
    struct file_sink *file = (struct file_sink *)sink;
    file->header = *header;
    file->at = 0;
    if (header->id == STREAM_ALTERNATE) {
        if (file->alternate)
            CloseHandle(file->alternate);
        file->alternate = NULL;
        NTSTATUS status = folder_create(file->options.volume, file->options.handle, (const WCHAR *)header->name,
                                        header->name_units, FILE_WRITE_DATA, 0, &file->alternate);
        return failed(file, status, "create alternate stream");
    }
    if (header->attributes & STREAM_ATTRIBUTE_SPARSE) {
        IO_STATUS_BLOCK io; /* a file system without holes has them filled */
        NtFsControlFile(content_handle(file), NULL, NULL, NULL, &io, FSCTL_SET_SPARSE, NULL, 0, NULL, 0);
    }
    if (header->id == STREAM_SPARSE_BLOCK) {
        file->at = header->offset;
        if (header->size == 0)
            return failed(file, folder_set_size(content_handle(file), header->offset), "set size");
    }
    return NULL;
}

static struct error *own_write(struct stream_sink *sink, const void *data, size_t size)
{
    struct file_sink *file = (struct file_sink *)sink;
    if (is_metadata(file->header.id)) {
        buffer_add(&file->bytes, data, size);
        return file->bytes.size < file->header.size ? NULL : give_metadata(file);
    }
    NTSTATUS status = folder_write(content_handle(file), file->at, data, size);
    file->at += size;
    return failed(file, status, "write file");
}

static struct error *own_finish(struct stream_sink *sink)
{
    return plain_finish((struct file_sink *)sink);
}

static void own_free(struct stream_sink *sink)
{
    sink_end((struct file_sink *)sink);
}

struct stream_sink *sink_plain(const struct sink_options *options)
{
    struct file_sink *file = sink_new(options);
    if (!options->volume->no_backup_write && !has_backup_write(file))
        options->volume->no_backup_write = true;
    if (options->volume->no_backup_write)
        file->sink = (struct stream_sink){own_begin, own_write, own_finish, own_free};
    else
        file->sink = (struct stream_sink){staged_begin, backup_write, backup_finish, backup_free};
    return &file->sink;
}
