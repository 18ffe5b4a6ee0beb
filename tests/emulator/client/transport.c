#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK       (1u << 20)
#define HEADER_SIZE 20u

/* O:BAG:SYD:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU), self-relative: what files of an image have. A constant, because
 * Wine makes descriptors up from Unix modes, and an archive is to depend on the layer only. Folders pass it on. */
static const uint8_t descriptor_file[] = {
    0x01,
    0x00,
    0x04,
    0x80,
    0x14,
    0x00,
    0x00,
    0x00,
    0x24,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x30,
    0x00,
    0x00,
    0x00,
    /* owner S-1-5-32-544 */ 0x01,
    0x02,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x05,
    0x20,
    0x00,
    0x00,
    0x00,
    0x20,
    0x02,
    0x00,
    0x00,
    /* group S-1-5-18 */ 0x01,
    0x01,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x05,
    0x12,
    0x00,
    0x00,
    0x00,
    /* DACL, 3 entries */ 0x02,
    0x00,
    0x4C,
    0x00,
    0x03,
    0x00,
    0x00,
    0x00,
    /* SY: all */ 0x00,
    0x00,
    0x14,
    0x00,
    0xFF,
    0x01,
    0x1F,
    0x00,
    0x01,
    0x01,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x05,
    0x12,
    0x00,
    0x00,
    0x00,
    /* BA: all */ 0x00,
    0x00,
    0x18,
    0x00,
    0xFF,
    0x01,
    0x1F,
    0x00,
    0x01,
    0x02,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x05,
    0x20,
    0x00,
    0x00,
    0x00,
    0x20,
    0x02,
    0x00,
    0x00,
    /* BU: read */ 0x00,
    0x00,
    0x18,
    0x00,
    0xA9,
    0x00,
    0x12,
    0x00,
    0x01,
    0x02,
    0x00,
    0x00,
    0x00,
    0x00,
    0x00,
    0x05,
    0x20,
    0x00,
    0x00,
    0x00,
    0x21,
    0x02,
    0x00,
    0x00,
};
/* Where the flags of the three entries are, and what makes them inherited by what is below. */
static const uint8_t entry_flags[] = {57, 77, 101};
#define INHERITED_BELOW 0x03

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static void add_header(struct buffer *out, uint32_t id, uint64_t size)
{
    uint8_t *at = buffer_reserve(out, HEADER_SIZE);
    memset(at, 0, HEADER_SIZE);
    put32(at, id);
    memcpy(at + 8, &size, sizeof size);
    out->size += HEADER_SIZE;
}

/* What comes before the data: attributes and the security stream. */
static void add_prefix(struct buffer *out, uint32_t attributes)
{
    bool folder = (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    uint8_t *descriptor;

    buffer_add(out, &attributes, sizeof attributes);
    add_header(out, STREAM_SECURITY, sizeof descriptor_file);
    descriptor = buffer_reserve(out, sizeof descriptor_file);
    memcpy(descriptor, descriptor_file, sizeof descriptor_file);
    for (size_t i = 0; folder && i < sizeof entry_flags; i++)
        descriptor[entry_flags[i]] |= INHERITED_BELOW;
    out->size += sizeof descriptor_file;
}

static struct error *copy_data(HANDLE source, HANDLE target, struct buffer *first, uint64_t size)
{
    struct error *error = NULL;
    size_t room = CHUNK;

    while (error == NULL) {
        size_t wanted = size < room ? (size_t)size : room;
        size_t got = 0;
        uint8_t *at = buffer_reserve(first, wanted + 1);
        if (wanted > 0)
            error = tree_read(source, at, wanted, &got);
        if (error == NULL && got < wanted) { /* it shrank: the header has promised its size */
            memset(at + got, 0, wanted - got);
            got = wanted;
        }
        first->size += got;
        size -= got;
        if (error == NULL && first->size > 0)
            error = tree_write(target, first->data, first->size);
        buffer_clear(first);
        if (size == 0)
            break;
    }
    return error;
}

struct error *transport_stage_file(HANDLE source, const struct tree_entry *entry, const struct target *target,
                                   uint64_t *ret_id)
{
    struct buffer out = {0};
    HANDLE from = NULL;
    HANDLE to = NULL;
    struct error *error = tree_open(source, entry->name, entry->units, TREE_FILE, TREE_READ,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &from);

    if (error != NULL) {
        error_free(error);
        error =
            tree_open_id(source, entry->id, TREE_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &from);
    }
    if (error == NULL)
        error = target_create(target, entry->name, entry->units, &to);
    if (error == NULL) {
        add_prefix(&out, entry->attributes);
        if (entry->size > 0)
            add_header(&out, STREAM_DATA, entry->size);
        error = copy_data(from, to, &out, entry->size);
    }
    if (error == NULL)
        error = tree_set_times(to, entry->created, entry->accessed, entry->written, 0);
    if (error == NULL)
        error = tree_id(to, ret_id);
    if (to != NULL)
        CloseHandle(to);
    if (from != NULL)
        CloseHandle(from);
    buffer_free(&out);
    return error;
}

struct error *transport_stage_sidecar(const struct tree_entry *entry, const struct target *target)
{
    size_t suffix = sizeof TRANSPORT_SIDECAR / sizeof(wchar_t) - 1;
    wchar_t *name = mem_new_array(entry->units + suffix + 1, wchar_t);
    struct buffer out = {0};
    HANDLE to = NULL;
    struct error *error;

    memcpy(name, entry->name, entry->units * sizeof *name);
    memcpy(name + entry->units, TRANSPORT_SIDECAR, suffix * sizeof *name);
    error = target_create(target, name, entry->units + suffix, &to);
    if (error == NULL) {
        add_prefix(&out, entry->attributes);
        error = tree_write(to, out.data, out.size);
    }
    if (error == NULL)
        error = tree_set_times(to, entry->created, entry->accessed, entry->written, 0);
    if (to != NULL)
        CloseHandle(to);
    buffer_free(&out);
    free(name);
    return error;
}

struct error *transport_copy_plain(HANDLE source, const struct tree_entry *entry, const struct target *target)
{
    struct buffer out = {0};
    HANDLE from = NULL;
    HANDLE to = NULL;
    struct error *error = tree_open(source, entry->name, entry->units, TREE_FILE, TREE_READ,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &from);

    if (error == NULL)
        error = target_create(target, entry->name, entry->units, &to);
    if (error == NULL)
        error = copy_data(from, to, &out, entry->size);
    if (error == NULL)
        error = tree_set_times(to, entry->created, entry->accessed, entry->written,
                               entry->attributes & (FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_HIDDEN |
                                                    FILE_ATTRIBUTE_SYSTEM | FILE_ATTRIBUTE_ARCHIVE));
    if (to != NULL)
        CloseHandle(to);
    if (from != NULL)
        CloseHandle(from);
    buffer_free(&out);
    return error;
}

struct error *transport_read_attributes(HANDLE staged, uint32_t *ret_attributes)
{
    uint32_t attributes;
    size_t got;
    struct error *error = tree_read(staged, &attributes, sizeof attributes, &got);
    if (error != NULL)
        return error;
    if (got != sizeof attributes)
        return error_win32(ERROR_INVALID_DATA, "read transport file", NULL, "it is too short");
    *ret_attributes = attributes;
    return NULL;
}

/* Skips or copies `size` bytes; `target` NULL skips. */
static struct error *stream_body(HANDLE staged, HANDLE target, uint64_t size)
{
    uint8_t *buffer;
    struct error *error = NULL;

    if (target == NULL) {
        LARGE_INTEGER distance = {.QuadPart = (LONGLONG)size};
        return SetFilePointerEx(staged, distance, NULL, FILE_CURRENT)
                   ? NULL
                   : error_win32(GetLastError(), "seek in transport file", NULL, NULL);
    }
    buffer = mem_zero(CHUNK);
    while (error == NULL && size > 0) {
        size_t got = 0;
        error = tree_read(staged, buffer, size < CHUNK ? (size_t)size : CHUNK, &got);
        if (error == NULL && got == 0)
            error = error_win32(ERROR_HANDLE_EOF, "read transport file", NULL, "cut off");
        if (error == NULL)
            error = tree_write(target, buffer, got);
        size -= got;
    }
    free(buffer);
    return error;
}

static struct error *stream_copy(HANDLE staged, HANDLE target, const uint8_t header[HEADER_SIZE])
{
    uint32_t id, name;
    uint64_t size;
    struct error *error = NULL;

    memcpy(&id, header, sizeof id);
    memcpy(&size, header + 8, sizeof size);
    memcpy(&name, header + 16, sizeof name);
    if (size > INT64_MAX || name > 65536)
        return error_win32(ERROR_INVALID_DATA, "read transport file", NULL, "a stream header is malformed");
    if (name > 0)
        error = stream_body(staged, NULL, name);
    if (error == NULL && id == STREAM_SPARSE && size >= sizeof(uint64_t)) {
        LARGE_INTEGER offset;
        size_t got = 0;
        error = tree_read(staged, &offset, sizeof offset, &got);
        size -= sizeof offset;
        if (error == NULL && !SetFilePointerEx(target, offset, NULL, FILE_BEGIN))
            error = error_win32(GetLastError(), "seek in layer file", NULL, NULL);
        if (error == NULL && size == 0 && !SetEndOfFile(target))
            error = error_win32(GetLastError(), "set length of layer file", NULL, NULL);
    }
    if (error == NULL && size > 0)
        error = stream_body(staged, id == STREAM_DATA || id == STREAM_SPARSE ? target : NULL, size);
    return error;
}

struct error *transport_unstage(HANDLE staged, const struct tree_entry *entry, HANDLE target)
{
    uint32_t attributes = 0;
    struct error *error = transport_read_attributes(staged, &attributes);

    while (error == NULL) {
        uint8_t header[HEADER_SIZE];
        size_t got = 0;
        error = tree_read(staged, header, sizeof header, &got);
        if (error != NULL || got == 0)
            break;
        error = got == sizeof header
                    ? stream_copy(staged, target, header)
                    : error_win32(ERROR_INVALID_DATA, "read transport file", NULL, "it ends within a header");
    }
    if (error == NULL)
        error = tree_set_times(target, entry->created, entry->accessed, entry->written,
                               attributes & (FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM |
                                             FILE_ATTRIBUTE_ARCHIVE));
    return error;
}

bool transport_is_sidecar(const struct tree_entry *entry)
{
    size_t suffix = sizeof TRANSPORT_SIDECAR / sizeof(wchar_t) - 1;
    return entry->units > suffix &&
           memcmp(entry->name + entry->units - suffix, TRANSPORT_SIDECAR, suffix * sizeof(wchar_t)) == 0;
}
