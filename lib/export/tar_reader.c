#include "export/tar_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"

#define SECONDS_1601_TO_1970 INT64_C(11644473600)
#define TICKS                INT64_C(10000000)

/* Where the fields of a ustar header are: offset and size. */
#define AT_NAME              0, 100
#define AT_MODE              100, 8
#define AT_SIZE              124, 12
#define AT_MTIME             136, 12
#define AT_CHECKSUM          148, 8
#define AT_LINK              157, 100
#define AT_PREFIX            345, 155

static struct error *damaged(const struct tar_reader *reader, const char *why)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read archive", reader->member.path, "%s", why);
}

static void member_clear(struct tar_member *member)
{
    for (size_t i = 0; i < member->record_count; i++)
        tar_record_free(&member->records[i]);
    free(member->records);
    free(member->path);
    free(member->link);
    *member = (struct tar_member){0};
}

void tar_reader_init(struct tar_reader *reader, const struct tar_source *source)
{
    *reader = (struct tar_reader){.source = *source};
}

void tar_reader_free(struct tar_reader *reader)
{
    if (reader)
        member_clear(&reader->member);
}

const struct tar_record *tar_member_record(const struct tar_member *member, const char *key)
{
    for (size_t i = 0; i < member->record_count; i++)
        if (strcmp(member->records[i].key, key) == 0)
            return &member->records[i];
    return NULL;
}

/* ---- values ---- */

bool tar_parse_time(const char *text, size_t size, uint64_t *ret_filetime)
{
    size_t at = size > 0 && text[0] == '-';
    bool negative = at > 0;
    int64_t seconds = 0, ticks = 0;
    size_t digits = 0;
    for (; at < size && text[at] >= '0' && text[at] <= '9'; at++, digits++) {
        seconds = seconds * 10 + (text[at] - '0');
        if (seconds >= INT64_MAX / TICKS)
            return false;
    }
    bool more = false; /* than a FILETIME can hold */
    if (digits > 0 && at < size && text[at] == '.') {
        int64_t unit = TICKS;
        for (at++; at < size && text[at] >= '0' && text[at] <= '9'; at++) {
            unit /= 10;
            ticks += (text[at] - '0') * unit;
            more = more || (unit == 0 && text[at] != '0');
        }
    }
    if (digits == 0 || at < size)
        return false;
    int64_t since_1970 = negative ? -(seconds * TICKS + ticks) - more : seconds * TICKS + ticks;
    if (since_1970 < -SECONDS_1601_TO_1970 * TICKS || since_1970 > INT64_MAX - SECONDS_1601_TO_1970 * TICKS)
        return false;
    *ret_filetime = (uint64_t)(since_1970 + SECONDS_1601_TO_1970 * TICKS);
    return true;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool tar_decode_base64(const char *text, size_t size, uint8_t **ret_data, size_t *ret_size)
{
    if (size % 4 != 0)
        return false;
    size_t padding = size > 0 ? (text[size - 1] == '=') + (text[size - 1] == '=' && text[size - 2] == '=') : 0;
    uint8_t *data = mem_zero(size / 4 * 3 + 1);
    size_t out = 0;
    for (size_t at = 0; at < size; at += 4) {
        uint32_t group = 0;
        for (size_t i = 0; i < 4; i++) {
            int digit = at + i >= size - padding ? 0 : base64_digit(text[at + i]);
            if (digit < 0) {
                free(data);
                return false;
            }
            group = group << 6 | (uint32_t)digit;
        }
        data[out++] = (uint8_t)(group >> 16);
        data[out++] = (uint8_t)(group >> 8);
        data[out++] = (uint8_t)group;
    }
    *ret_data = data;
    *ret_size = out - padding;
    return true;
}

/* An octal field, ended by a blank or NUL, or GNU's large form: the first bit set, then big-endian. */
static bool parse_number(const uint8_t *header, size_t offset, size_t size, uint64_t *ret_value)
{
    const uint8_t *field = header + offset;
    uint64_t value = 0;
    if (field[0] & 0x80) {
        for (size_t i = 0; i < size; i++) {
            if (value >> 55 != 0)
                return false;
            value = value << 8 | (i == 0 ? field[i] & 0x7fu : field[i]);
        }
        *ret_value = value;
        return true;
    }
    size_t at = 0;
    while (at < size && field[at] == ' ')
        at++;
    for (; at < size && field[at] >= '0' && field[at] <= '7'; at++)
        value = value << 3 | (uint64_t)(field[at] - '0');
    for (; at < size; at++)
        if (field[at] != ' ' && field[at] != '\0')
            return false;
    *ret_value = value;
    return true;
}

static char *parse_text(const uint8_t *header, size_t offset, size_t size)
{
    const char *field = (const char *)header + offset;
    return str_copy_n(field, strnlen(field, size));
}

static bool parse_decimal(const char *text, size_t size, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || value > INT64_MAX / 10 - 1)
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *ret_value = value;
    return size > 0;
}

/* ---- extended headers ---- */

/* What the headers in front of an entry said. */
struct extended {
    char *path, *link; /* NULL: nothing */
    bool has_size, has_modified;
    uint64_t size, modified, created;
    bool binary_names;
    struct tar_record *records;
    size_t record_count;
};

static void extended_free(struct extended *extended)
{
    free(extended->path);
    free(extended->link);
    for (size_t i = 0; i < extended->record_count; i++)
        tar_record_free(&extended->records[i]);
    free(extended->records);
}

static void set_text(char **text, const char *value, size_t size)
{
    free(*text);
    *text = size > 0 ? str_copy_n(value, size) : NULL; /* an empty value takes the record back */
}

static void keep_record(struct extended *extended, const char *key, size_t key_size, const char *value,
                        size_t value_size)
{
    struct tar_record record = {
        .key = str_copy_n(key, key_size), .value = str_copy_n(value, value_size), .value_size = value_size};
    for (size_t i = 0; i < extended->record_count; i++) {
        if (strcmp(extended->records[i].key, record.key) != 0)
            continue;
        tar_record_free(&extended->records[i]);
        extended->records[i] = record;
        return;
    }
    if ((extended->record_count & (extended->record_count - 1)) == 0)
        extended->records =
            mem_resize_array(extended->records, extended->record_count ? extended->record_count * 2 : 1, sizeof record);
    extended->records[extended->record_count++] = record;
}

static bool key_is(const char *key, size_t size, const char *name)
{
    return strlen(name) == size && memcmp(key, name, size) == 0;
}

/* Keys that say nothing a layer has: owners of another system, times of the staging. */
static bool is_meaningless(const char *key, size_t size)
{
    static const char *const keys[] = {"atime", "ctime", "uid", "gid", "uname", "gname", "comment", "charset"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (key_is(key, size, keys[i]))
            return true;
    return false;
}

static const char *set_record(struct extended *extended, const char *key, size_t key_size, const char *value,
                              size_t value_size)
{
    bool is_name = key_is(key, key_size, "path") || key_is(key, key_size, "linkpath");
    if (is_name && memchr(value, '\0', value_size))
        return "a name holds a NUL";
    if (key_is(key, key_size, "path")) {
        set_text(&extended->path, value, value_size);
    } else if (key_is(key, key_size, "linkpath")) {
        set_text(&extended->link, value, value_size);
    } else if (key_is(key, key_size, "size")) {
        extended->has_size = true;
        if (!parse_decimal(value, value_size, &extended->size))
            return "its size is no number";
    } else if (key_is(key, key_size, "mtime")) {
        extended->has_modified = true;
        if (!tar_parse_time(value, value_size, &extended->modified))
            return "its time is none that Windows has";
    } else if (key_is(key, key_size, "LIBARCHIVE.creationtime")) {
        if (!tar_parse_time(value, value_size, &extended->created))
            return "its creation time is none that Windows has";
    } else if (key_is(key, key_size, "hdrcharset")) {
        extended->binary_names = value_size == 6 && memcmp(value, "BINARY", 6) == 0;
        if (!extended->binary_names && !(value_size == 23 && memcmp(value, "ISO-IR 10646 2000 UTF-8", 23) == 0))
            return "its names are in an unknown character set";
    } else if (key_size >= 11 && memcmp(key, "GNU.sparse.", 11) == 0) {
        return "it is a sparse file of GNU tar, which layers do not have";
    } else if (!is_meaningless(key, key_size)) {
        keep_record(extended, key, key_size, value, value_size);
    }
    return NULL;
}

/* "LENGTH KEY=VALUE\n", where the length counts its own digits, one after the other. NULL, or what is wrong. */
static const char *parse_records(struct extended *extended, const char *text, size_t size)
{
    static const char broken[] = "its extended header is damaged";
    while (size > 0) {
        const char *blank = memchr(text, ' ', size < 12 ? size : 12);
        uint64_t length = 0;
        if (!blank || !parse_decimal(text, (size_t)(blank - text), &length) || length > size)
            return broken;
        size_t digits = (size_t)(blank - text);
        if (length < digits + 4 || text[length - 1] != '\n') /* blank, one of a key, '=', '\n' */
            return broken;
        const char *key = blank + 1;
        size_t rest = (size_t)length - digits - 2;
        const char *equals = memchr(key, '=', rest);
        if (!equals || equals == key || memchr(key, '\0', (size_t)(equals - key)))
            return broken;
        size_t key_size = (size_t)(equals - key);
        const char *wrong = set_record(extended, key, key_size, equals + 1, rest - key_size - 1);
        if (wrong)
            return wrong;
        text += length;
        size -= (size_t)length;
    }
    return NULL;
}

/* ---- entries ---- */

static struct error *read_exactly(struct tar_reader *reader, void *data, size_t size)
{
    size_t got = 0;
    struct error *error = reader->source.read(reader->source.context, data, size, &got);
    if (!error && got < size)
        error = damaged(reader, "the archive is cut off");
    return error;
}

struct error *tar_reader_read(struct tar_reader *reader, void *data, size_t size, size_t *ret_got)
{
    size_t want = size < reader->left ? size : (size_t)reader->left;
    struct error *error = want > 0 ? read_exactly(reader, data, want) : NULL;
    if (error)
        return error;
    reader->left -= want;
    *ret_got = want;
    return NULL;
}

static struct error *skip_rest(struct tar_reader *reader)
{
    uint8_t dropped[4096];
    struct error *error = NULL;
    size_t got;
    while (reader->left > 0 && !error)
        error = tar_reader_read(reader, dropped, sizeof dropped, &got);
    if (!error && reader->padding > 0)
        error = read_exactly(reader, dropped, reader->padding);
    reader->padding = 0;
    return error;
}

/* Two zero blocks; one and the end is what some tools write. What follows them does not belong to the archive. */
static struct error *read_end(struct tar_reader *reader)
{
    uint8_t block[TAR_BLOCK];
    size_t got = 0;
    struct error *error = reader->source.read(reader->source.context, block, sizeof block, &got);
    for (size_t i = 0; i < got && !error; i++)
        if (block[i] != 0)
            error = damaged(reader, "a block of zeros stands in the middle of the archive");
    return error;
}

static struct error *read_header(struct tar_reader *reader, uint8_t header[TAR_BLOCK], bool *ret_end)
{
    struct error *error = read_exactly(reader, header, TAR_BLOCK);
    if (error)
        return error;
    bool zero = true;
    uint64_t sum = 0, stated = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        zero = zero && header[i] == 0;
        sum += i >= 148 && i < 156 ? ' ' : header[i];
    }
    *ret_end = zero;
    if (zero)
        return read_end(reader);
    if (!parse_number(header, AT_CHECKSUM, &stated) || stated != sum)
        return damaged(reader, "a header's checksum is wrong");
    return NULL;
}

static struct error *read_extended(struct tar_reader *reader, uint64_t size, struct buffer *ret_text)
{
    if (size > TAR_EXTENDED_MAX)
        return damaged(reader, "an extended header is larger than any layer has");
    buffer_clear(ret_text);
    struct error *error = read_exactly(reader, buffer_reserve(ret_text, (size_t)size + 1), (size_t)size);
    if (error)
        return error;
    ret_text->size += (size_t)size;
    reader->padding = tar_padding(size);
    return skip_rest(reader);
}

/* A header that belongs to the entry behind it. */
static struct error *add_extended(struct tar_reader *reader, char type, uint64_t size, struct extended *extended)
{
    struct buffer text = {0};
    struct error *error = read_extended(reader, size, &text);
    const char *wrong = NULL;
    if (!error && (type == 'L' || type == 'K')) {
        size_t length = strnlen((const char *)text.data, text.size);
        set_text(type == 'L' ? &extended->path : &extended->link, (const char *)text.data, length);
    } else if (!error && type == 'x') {
        wrong = parse_records(extended, (const char *)text.data, text.size);
    } else if (!error) { /* 'g': for the rest of the archive; only a comment does no harm */
        struct extended all = {0};
        wrong = parse_records(&all, (const char *)text.data, text.size);
        if (!wrong && (all.path || all.link || all.has_size || all.has_modified || all.created || all.binary_names ||
                       all.record_count > 0))
            wrong = "a global header sets what each entry must say for itself";
        extended_free(&all);
    }
    if (wrong)
        error = error_make(ERROR_KIND_DATA_LOSS, "read archive", extended->path ? extended->path : reader->member.path,
                           "%s", wrong);
    buffer_free(&text);
    return error;
}

static void drop_slashes(char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        path[--size] = '\0';
}

/* Header and extended headers become the member; what it takes over is gone from `extended`. */
static struct error *make_member(struct tar_reader *reader, const uint8_t header[TAR_BLOCK], struct extended *extended)
{
    struct tar_member member = {.type = (char)header[156], .binary_names = extended->binary_names};
    uint64_t mode = 0, size = 0, mtime = 0;
    bool numbers = parse_number(header, AT_MODE, &mode) && parse_number(header, AT_SIZE, &size) &&
                   parse_number(header, AT_MTIME, &mtime);
    member.mode = (unsigned)(mode & 0xffff);
    member.size = extended->has_size ? extended->size : size;
    member.created = extended->created;
    bool ustar = memcmp(header + 257, "ustar\0", 6) == 0;
    member.path = extended->path;
    member.link = extended->link ? extended->link : parse_text(header, AT_LINK);
    extended->path = extended->link = NULL;
    if (!member.path) {
        char *name = parse_text(header, AT_NAME);
        char *prefix = ustar ? parse_text(header, AT_PREFIX) : str_copy("");
        member.path = *prefix ? str_format("%s/%s", prefix, name) : str_copy(name);
        free(name);
        free(prefix);
    }
    bool slash = *member.path && member.path[strlen(member.path) - 1] == '/';
    if (member.type == '\0' || member.type == '7')
        member.type = TAR_FILE;
    if (slash && member.type == TAR_FILE)
        member.type = TAR_FOLDER; /* as tars before ustar said it */
    drop_slashes(member.path);
    if (extended->has_modified)
        member.modified = extended->modified;
    else if (mtime <= INT64_MAX / TICKS - SECONDS_1601_TO_1970)
        member.modified = (mtime + SECONDS_1601_TO_1970) * TICKS;
    else
        numbers = false;
    member.records = extended->records;
    member.record_count = extended->record_count;
    extended->records = NULL;
    extended->record_count = 0;

    member_clear(&reader->member);
    reader->member = member;
    if (!numbers)
        return damaged(reader, "a number in its header is none");
    bool no_content = member.type == TAR_FOLDER || member.type == TAR_HARD_LINK || member.type == TAR_SYMBOLIC_LINK;
    if (no_content && member.size > 0)
        return damaged(reader, "it has a size and is no file: whether content follows is not certain");
    if (member.size > INT64_MAX - TAR_BLOCK)
        return damaged(reader, "its size is larger than a file can be");
    reader->left = member.size;
    reader->padding = tar_padding(member.size);
    return NULL;
}

struct error *tar_reader_next(struct tar_reader *reader, const struct tar_member **ret_member)
{
    struct extended extended = {0};
    struct error *error = skip_rest(reader);
    bool pending = false, has_records = false;
    while (!error) {
        uint8_t header[TAR_BLOCK];
        bool end = false;
        error = read_header(reader, header, &end);
        if (error)
            break;
        if (end) {
            if (pending)
                error = damaged(reader, "the archive ends behind an extended header");
            else
                *ret_member = NULL;
            break;
        }
        char type = (char)header[156];
        if (type != 'x' && type != 'g' && type != 'L' && type != 'K') {
            error = make_member(reader, header, &extended);
            if (!error)
                *ret_member = &reader->member;
            break;
        }
        uint64_t size = 0;
        pending = pending || type != 'g';
        if (type == 'x' && has_records) {
            error = damaged(reader, "two extended headers stand in front of one entry");
            break;
        }
        has_records = has_records || type == 'x';
        error = parse_number(header, AT_SIZE, &size) ? add_extended(reader, type, size, &extended)
                                                     : damaged(reader, "a number in a header is none");
    }
    extended_free(&extended);
    return error;
}
