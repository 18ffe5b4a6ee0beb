#include "journal/document.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* CON, PRN, AUX, NUL, COM0–9, LPT0–9, alone or before a dot: names that Windows gives to devices in every folder. */
static bool is_device(const char *part)
{
    static const char *const names[] = {"con", "prn", "aux", "nul", "com", "lpt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(part) < 3)
            return false;
        char start[4] = {part[0], part[1], part[2], '\0'};
        if (!text_equal_ascii_nocase(start, names[i]))
            continue;
        const char *rest = part + 3;
        if (i >= 4 && *rest >= '0' && *rest <= '9')
            rest++;
        else if (i >= 4)
            continue;
        if (*rest == '\0' || *rest == '.')
            return true;
    }
    return false;
}

struct mask {
    struct buffer nibbles; /* four letters each, one bit per letter, lowest first */
    unsigned letters;
    bool any;
};

static void mask_add(struct mask *mask, bool capital)
{
    if (mask->letters % 4 == 0)
        buffer_add(&mask->nibbles, "", 1);
    if (capital) {
        mask->nibbles.data[mask->nibbles.size - 1] |= (uint8_t)(1u << mask->letters % 4);
        mask->any = true;
    }
    mask->letters++;
}

static void add_part(struct buffer *name, struct mask *mask, const char *part, bool first)
{
    bool device = first && is_device(part);
    for (const char *c = part; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        bool capital = byte >= 'A' && byte <= 'Z';
        bool letter = capital || (byte >= 'a' && byte <= 'z');
        bool inner_dot = byte == '.' && c != part && c[1] != '\0';
        if (device && c == part) {
            buffer_add_format(name, "%%%02x", byte);
            continue;
        }
        if (letter)
            mask_add(mask, capital);
        if (capital)
            byte = (unsigned char)(byte - 'A' + 'a');
        if (is_plain(byte) || inner_dot)
            buffer_add(name, &byte, 1);
        else
            buffer_add_format(name, "%%%02x", byte);
    }
}

struct error *journal_name(const struct journal_key *key, char **ret_name)
{
    if (key->id[0] == '\0' || (key->space != NULL && key->space[0] == '\0'))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "name document", key->id, "the id or its namespace is empty");
    if (strlen(key->id) > JOURNAL_NAME_MAX || (key->space != NULL && strlen(key->space) > JOURNAL_NAME_MAX))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "name document", key->id, "the id is too long");

    struct buffer name = {0};
    struct mask mask = {0};
    if (key->space != NULL) {
        add_part(&name, &mask, key->space, true);
        buffer_add_text(&name, "~");
    }
    add_part(&name, &mask, key->id, key->space == NULL);
    if (mask.any) {
        buffer_add_text(&name, key->space != NULL ? "~" : "~~");
        size_t last = mask.nibbles.size;
        while (last > 0 && mask.nibbles.data[last - 1] == 0)
            last--;
        for (size_t i = 0; i < last; i++)
            buffer_add_format(&name, "%x", mask.nibbles.data[i]);
    }
    buffer_add_text(&name, ".json");
    buffer_free(&mask.nibbles);

    if (name.size > JOURNAL_NAME_MAX) {
        buffer_free(&name);
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "name document", key->id,
                          "the id is too long for a file's name");
    }
    *ret_name = (char *)name.data;
    return NULL;
}

static int hex_value(char digit)
{
    return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* What add_part has written from `text` to `end`; `letters` counts on over the parts. */
static char *take_part(const char *text, const char *end, const char *mask, unsigned *letters)
{
    struct buffer part = {0};
    size_t nibbles = strlen(mask);
    buffer_add_text(&part, "");
    while (text < end) {
        char byte = *text++;
        if (byte == '%') {
            int high = end - text >= 2 ? hex_value(text[0]) : -1, low = high >= 0 ? hex_value(text[1]) : -1;
            if (low < 0) {
                buffer_free(&part);
                return NULL;
            }
            byte = (char)(high << 4 | low);
            text += 2;
        } else if (byte >= 'a' && byte <= 'z') {
            unsigned letter = (*letters)++;
            if (letter / 4 < nibbles && (hex_value(mask[letter / 4]) >> letter % 4 & 1) != 0)
                byte = (char)(byte - 'a' + 'A');
        }
        buffer_add(&part, &byte, 1);
    }
    return (char *)part.data;
}

bool journal_name_key(const char *name, char **ret_space, char **ret_id)
{
    static const char suffix[] = ".json";
    size_t size = strlen(name), tail = sizeof suffix - 1;
    if (size <= tail || size > JOURNAL_NAME_MAX || strcmp(name + size - tail, suffix) != 0)
        return false;
    char *text = str_copy_n(name, size - tail), *space = NULL, *id = NULL, *again = NULL;
    const char *end = text + strlen(text), *first = strchr(text, '~');
    const char *second = first != NULL ? strchr(first + 1, '~') : NULL, *mask = second != NULL ? second + 1 : "";
    unsigned letters = 0;
    bool alone = first == NULL || second == first + 1; /* "id" or "id~~mask", else "space~id" or "space~id~mask" */
    if (strspn(mask, "0123456789abcdef") == strlen(mask)) {
        if (!alone)
            space = take_part(text, first, mask, &letters);
        id = take_part(alone ? text : first + 1,
                       alone ? (first != NULL ? first : end) : (second != NULL ? second : end), mask, &letters);
    }
    bool good = id != NULL && (alone || space != NULL);
    /* One name for each key: what does not lead back is nobody's. */
    if (good) {
        struct error *error = journal_name(&(struct journal_key){space, id}, &again);
        good = error == NULL && strcmp(again, name) == 0;
        error_free(error);
    }
    if (good) {
        *ret_space = space;
        *ret_id = id;
    } else {
        free(space);
        free(id);
    }
    free(again);
    free(text);
    return good;
}

/* CRC-32 as zlib's, a nibble at a time: documents are small. */
static uint32_t crc32_of(const char *text)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xFFFFFFFF;
    for (; *text != '\0'; text++) {
        crc ^= (unsigned char)*text;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

#define CHECKSUM_SIZE 20

static struct error *body_checksum(const json_t *body, char checksum[CHECKSUM_SIZE])
{
    char *compact = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    if (compact == NULL)
        return error_make(ERROR_KIND_INTERNAL, "encode document", NULL,
                          "the body is no JSON (a text that is no UTF-8)");
    snprintf(checksum, CHECKSUM_SIZE, "crc32:%08x", crc32_of(compact));
    free(compact);
    return NULL;
}

struct error *journal_encode(const char *kind, int version, const struct journal_key *key, const json_t *body,
                             char **ret_text, size_t *ret_size)
{
    char checksum[CHECKSUM_SIZE];
    struct error *error = body_checksum(body, checksum);
    if (error != NULL)
        return error;
    json_t *keys = key->space != NULL ? json_pack("[s,s]", key->space, key->id) : json_pack("[s]", key->id);
    json_t *document = json_pack("{s:s, s:i, s:o, s:s, s:O}", "kind", kind, "version", version, "key", keys, "checksum",
                                 checksum, "body", body);
    char *text = document == NULL ? NULL : json_dumps(document, JSON_INDENT(1));
    json_decref(document);
    if (text == NULL)
        return error_make(ERROR_KIND_INTERNAL, "encode document", key->id, "the document cannot be written as JSON");
    *ret_text = text;
    *ret_size = strlen(text);
    return NULL;
}

void journal_document_free(struct journal_document *document)
{
    free(document->space);
    free(document->id);
    json_decref(document->body);
    *document = (struct journal_document){0};
}

static struct error *damaged(const char *name, const char *why)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read document", name, "%s", why);
}

struct error *journal_decode(const char *text, size_t size, const char *kind, int version, const char *name,
                             struct journal_document *ret_document)
{
    json_error_t where;
    json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    struct error *error = NULL;
    const char *found_kind = NULL, *checksum = NULL, *first = NULL, *second = NULL;
    json_int_t found_version = 0;
    json_t *body = NULL;

    if (document == NULL) {
        error = error_make(ERROR_KIND_DATA_LOSS, "read document", name, "it is no JSON: line %d: %s", where.line,
                           where.text);
        goto out;
    }
    /* The version first: a newer hcsd may have changed everything else. */
    if (json_unpack(document, "{s:s, s:I}", "kind", &found_kind, "version", &found_version) != 0) {
        error = damaged(name, "it has no kind and version");
        goto out;
    }
    if (strcmp(found_kind, kind) != 0) {
        error = error_make(ERROR_KIND_DATA_LOSS, "read document", name, "it is a %s, not a %s", found_kind, kind);
        goto out;
    }
    if (found_version > version) {
        error =
            error_make(ERROR_KIND_FAILED_PRECONDITION, "read document", name,
                       "a newer hcsd wrote it (version %lld, this one knows %d)", (long long)found_version, version);
        goto out;
    }
    if (found_version < 1) {
        error = damaged(name, "its version is below 1");
        goto out;
    }
    if (json_unpack(document, "{s:[s], s:s, s:o}", "key", &first, "checksum", &checksum, "body", &body) != 0 ||
        !json_is_object(body) || json_array_size(json_object_get(document, "key")) > 2) {
        error = damaged(name, "its key, checksum or body is missing or of another type");
        goto out;
    }
    json_t *more = json_array_get(json_object_get(document, "key"), 1);
    if (more != NULL && (second = json_string_value(more)) == NULL) {
        error = damaged(name, "its key is no text");
        goto out;
    }
    char computed[CHECKSUM_SIZE];
    error = body_checksum(body, computed);
    if (error != NULL)
        goto out;
    if (strcmp(checksum, computed) != 0) {
        error = error_make(ERROR_KIND_DATA_LOSS, "read document", name, "its checksum is %s, its content's %s",
                           checksum, computed);
        goto out;
    }
    *ret_document = (struct journal_document){
        .version = (int)found_version,
        .space = second != NULL ? str_copy(first) : NULL,
        .id = str_copy(second != NULL ? second : first),
        .body = json_incref(body),
    };

out:
    json_decref(document);
    return error;
}
