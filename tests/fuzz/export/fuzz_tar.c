/* Any bytes are read as an archive. Each entry that came out is written by the exporter's own writer and read again: all of it
 * must be the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "checksums.h"
#include "export/tar_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

struct bytes {
    const uint8_t *data;
    size_t left;
};

static struct error *read_bytes(void *context, void *data, size_t size, size_t *ret_got)
{
    struct bytes *bytes = context;
    size_t got = size < bytes->left ? size : bytes->left;
    if (got > 0)
        memcpy(data, bytes->data, got);
    bytes->data += got;
    bytes->left -= got;
    *ret_got = got;
    return NULL;
}

static bool is_text(const char *text)
{
    size_t size = strlen(text);
    char16_t *units = text_to_utf16_n(text, size, NULL);
    free(units);
    return units != NULL;
}

static void check_again(const struct tar_member *member)
{
    bool is_file = member->type == TAR_FILE;
    if (!is_file && member->type != TAR_FOLDER && member->type != TAR_HARD_LINK && member->type != TAR_SYMBOLIC_LINK)
        return;
    /* What the writer is never given: it says a charset itself, and knows no empty name. */
    if (!*member->path || strcmp(member->path, "/") == 0 || !is_text(member->path) || !is_text(member->link) ||
        member->modified == 0)
        return;
    const struct tar_entry entry = {
        .path = member->path,
        .type = (enum tar_type)member->type,
        .mode = member->mode & 0177777,
        .size = member->size,
        .link = member->link,
        .modified = member->modified,
        .created = member->created,
        .records = member->records,
        .record_count = member->record_count,
    };
    struct buffer tar = {0};
    tar_add_header(&tar, &entry);
    struct bytes bytes = {tar.data, tar.size};
    const struct tar_source source = {read_bytes, &bytes};
    struct tar_reader reader;
    const struct tar_member *again = NULL;
    tar_reader_init(&reader, &source);
    struct error *error = tar_reader_next(&reader, &again);
    /* Only the size of all records together can be too much. */
    require(!error || (error->kind == ERROR_KIND_DATA_LOSS && tar.size > TAR_EXTENDED_MAX));
    if (!error) {
        require(again && bytes.left == 0 && again->type == member->type && again->size == member->size);
        require(strcmp(again->path, member->path) == 0 && strcmp(again->link, member->link) == 0);
        require(again->modified == member->modified && again->created == member->created);
        require(again->mode == (member->mode & 0177777) && again->record_count == member->record_count);
        for (size_t i = 0; i < member->record_count; i++) {
            const struct tar_record *record = tar_member_record(again, member->records[i].key);
            require(record && record->value_size == member->records[i].value_size &&
                    memcmp(record->value, member->records[i].value, record->value_size) == 0);
        }
    }
    error_free(error);
    tar_reader_free(&reader);
    buffer_free(&tar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_copy(data, size);
    set_checksums(copy, size);
    struct bytes bytes = {copy, size};
    const struct tar_source source = {read_bytes, &bytes};
    struct tar_reader reader;
    const struct tar_member *member = NULL;
    tar_reader_init(&reader, &source);
    struct error *error = NULL;
    do {
        error = tar_reader_next(&reader, &member);
        if (!error && member)
            check_again(member);
    } while (!error && member);
    error_free(error);
    tar_reader_free(&reader);
    free(copy);
    return 0;
}
