#include "export/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define SECONDS_1601_TO_1970 INT64_C(11644473600)
#define TICKS                UINT64_C(10000000) /* of a FILETIME in a second */
#define XATTR_PREFIX         "MSWINDOWS.xattr."

/* ustar, POSIX.1-1988. */
struct header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[100];
    char magic[6];
    char version[2];
    char uname[32];
    char gname[32];
    char devmajor[8];
    char devminor[8];
    char prefix[155];
    char padding[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a tar header is one block");

size_t tar_padding(uint64_t size)
{
    return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

static int64_t filetime_seconds(uint64_t filetime)
{
    return (int64_t)(filetime / TICKS) - SECONDS_1601_TO_1970;
}

void tar_format_time(uint64_t filetime, char text[32])
{
    int64_t seconds = filetime_seconds(filetime);
    uint32_t ticks = (uint32_t)(filetime % TICKS);
    bool negative = seconds < 0;
    if (negative && ticks > 0) {
        seconds++;
        ticks = (uint32_t)TICKS - ticks;
    }
    int length = snprintf(text, 32, "%s%" PRIu64, negative ? "-" : "", (uint64_t)(negative ? -seconds : seconds));
    if (ticks == 0)
        return;
    length += snprintf(text + length, 32 - (size_t)length, ".%07u", ticks);
    while (text[length - 1] == '0')
        text[--length] = '\0';
}

static char *base64(const uint8_t *data, size_t size, size_t *ret_size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t text_size = (size + 2) / 3 * 4;
    char *text = mem_zero(text_size + 1);
    char *out = text;
    for (size_t i = 0; i < size; i += 3) {
        size_t have = size - i;
        uint32_t group =
            (uint32_t)data[i] << 16 | (have > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (have > 2 ? data[i + 2] : 0);
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = have > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = have > 2 ? digits[group & 63] : '=';
    }
    *ret_size = text_size;
    return text;
}

bool tar_xattr_record(const char *name, size_t name_size, const uint8_t *value, size_t value_size,
                      struct tar_record *ret_record)
{
    if (name_size == 0 || memchr(name, '=', name_size) || memchr(name, '\0', name_size))
        return false;
    ret_record->key = str_format(XATTR_PREFIX "%.*s", (int)name_size, name);
    ret_record->value = base64(value, value_size, &ret_record->value_size);
    return true;
}

void tar_record_free(struct tar_record *record)
{
    if (!record)
        return;
    free(record->key);
    free(record->value);
    *record = (struct tar_record){0};
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* A name field is for old readers only where a record has the whole name: ASCII characters, as many as fit. No slash at the
 * end: old readers would take the entry for a folder. */
static void set_name(char field[100], const char *text)
{
    size_t size = 0;
    for (; *text && size < 100; text++)
        if ((unsigned char)*text < 0x80)
            field[size++] = *text;
    while (size > 0 && field[size - 1] == '/')
        field[--size] = '\0';
}

static void set_octal(char *field, size_t size, uint64_t value)
{
    if (value >> (3 * (size - 1)) != 0)
        value = 0;
    snprintf(field, size, "%0*" PRIo64, (int)size - 1, value);
}

static void add_block(struct buffer *buffer, struct header *header, char type, unsigned mode, uint64_t size,
                      int64_t mtime)
{
    set_octal(header->mode, sizeof header->mode, mode);
    set_octal(header->uid, sizeof header->uid, 0);
    set_octal(header->gid, sizeof header->gid, 0);
    set_octal(header->size, sizeof header->size, size);
    set_octal(header->mtime, sizeof header->mtime, mtime > 0 ? (uint64_t)mtime : 0);
    set_octal(header->devmajor, sizeof header->devmajor, 0);
    set_octal(header->devminor, sizeof header->devminor, 0);
    header->type = type;
    memcpy(header->magic, "ustar", 6);
    memcpy(header->version, "00", 2);
    memset(header->checksum, ' ', sizeof header->checksum);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof *header; i++)
        sum += ((const uint8_t *)header)[i];
    snprintf(header->checksum, sizeof header->checksum, "%06o", sum);
    buffer_add(buffer, header, sizeof *header);
}

static int compare_records(const void *a, const void *b)
{
    const struct tar_record *const *left = a;
    const struct tar_record *const *right = b;
    int order = strcmp((*left)->key, (*right)->key);
    return order ? order : (*left > *right) - (*left < *right);
}

/* "LENGTH KEY=VALUE\n", where the length counts its own digits. */
static void add_record(struct buffer *buffer, const struct tar_record *record)
{
    size_t rest = 1 + strlen(record->key) + 1 + record->value_size + 1;
    size_t digits = 1;
    for (size_t limit = 10; rest + digits >= limit; limit *= 10)
        digits++;
    buffer_add_format(buffer, "%zu %s=", rest + digits, record->key);
    buffer_add(buffer, record->value, record->value_size);
    buffer_add(buffer, "\n", 1);
}

static void add_zeros(struct buffer *buffer, size_t size)
{
    memset(buffer_reserve(buffer, size), 0, size);
    buffer->size += size;
}

/* The extended header's own name says what it belongs to, as other tars do: FOLDER/PaxHeaders.0/NAME. */
static void set_extended_name(char field[100], const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = slash ? str_format("%.*s/PaxHeaders.0/%s", (int)(slash - path), path, slash + 1)
                       : str_format("PaxHeaders.0/%s", path);
    set_name(field, name);
    free(name);
}

struct records {
    struct tar_record own[8];
    size_t own_count;
};

static void set_record(struct records *records, const char *key, const char *value, size_t size)
{
    /* Borrowed for the time of the call; nothing of it is freed as a record. */
    records->own[records->own_count++] = (struct tar_record){(char *)(uintptr_t)key, (char *)(uintptr_t)value, size};
}

void tar_add_header(struct buffer *buffer, const struct tar_entry *entry)
{
    struct records records = {.own_count = 0};
    char attributes[16], created[32], modified[32], size[24];
    char *security = NULL;
    const char *link = entry->link ? entry->link : "";
    int64_t mtime = entry->modified ? filetime_seconds(entry->modified) : 0;

    if (entry->created) {
        tar_format_time(entry->created, created);
        set_record(&records, "LIBARCHIVE.creationtime", created, strlen(created));
    }
    if (entry->has_attributes) {
        snprintf(attributes, sizeof attributes, "%" PRIu32, entry->attributes);
        set_record(&records, "MSWINDOWS.fileattr", attributes, strlen(attributes));
    }
    if (entry->mount_point)
        set_record(&records, "MSWINDOWS.mountpoint", "1", 1);
    if (entry->security) {
        size_t security_size = 0;
        security = base64(entry->security, entry->security_size, &security_size);
        set_record(&records, "MSWINDOWS.rawsd", security, security_size);
    }
    if (!text_is_utf8(entry->path, strlen(entry->path)) || !text_is_utf8(link, strlen(link)))
        set_record(&records, "hdrcharset", "BINARY", 6);
    if (strlen(link) > 100 || !is_ascii(link))
        set_record(&records, "linkpath", link, strlen(link));
    if (entry->modified && (entry->modified % TICKS != 0 || mtime < 0 || mtime >> 33 != 0)) {
        tar_format_time(entry->modified, modified);
        set_record(&records, "mtime", modified, strlen(modified));
    }
    if (strlen(entry->path) > 100 || !is_ascii(entry->path))
        set_record(&records, "path", entry->path, strlen(entry->path));
    struct tar_record size_record = {0};
    if (entry->size >> 33 != 0) {
        snprintf(size, sizeof size, "%" PRIu64, entry->size);
        size_record = (struct tar_record){(char *)(uintptr_t) "size", size, strlen(size)};
    }

    size_t count = 0;
    const struct tar_record **all =
        mem_new_array(records.own_count + entry->record_count + 1, const struct tar_record *);
    for (size_t i = 0; i < records.own_count; i++)
        all[count++] = &records.own[i];
    for (size_t i = 0; i < entry->record_count; i++)
        all[count++] = &entry->records[i];
    if (size_record.key)
        all[count++] = &size_record;
    if (count > 0) {
        qsort(all, count, sizeof(const struct tar_record *), compare_records);
        struct header extended = {0};
        set_extended_name(extended.name, entry->path);
        size_t header_at = buffer->size;
        add_zeros(buffer, TAR_BLOCK); /* its size is known after the records */
        for (size_t i = 0; i < count; i++)
            if (i + 1 == count || strcmp(all[i]->key, all[i + 1]->key) != 0)
                add_record(buffer, all[i]);
        uint64_t records_size = buffer->size - header_at - TAR_BLOCK;
        add_zeros(buffer, tar_padding(records_size));
        struct buffer block = {0};
        add_block(&block, &extended, 'x', 0, records_size, 0);
        memcpy(buffer->data + header_at, block.data, TAR_BLOCK);
        buffer_free(&block);
    }

    struct header header = {0};
    set_name(header.name, entry->path);
    size_t link_size = strlen(link);
    if (link_size <= 100 && is_ascii(link))
        memcpy(header.link, link, link_size);
    else
        set_name(header.link, link);
    add_block(buffer, &header, (char)entry->type, entry->mode, entry->size, mtime >> 33 == 0 ? mtime : 0);
    free(all);
    free(security);
}
