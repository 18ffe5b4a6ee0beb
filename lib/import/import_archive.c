#include "import/import_archive.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/metadata.h"

#define COPY_SIZE           (64u << 10)

/* winnt.h's, which this file does without. */
#define ATTRIBUTE_DIRECTORY 0x10u
#define ATTRIBUTE_SPARSE    0x200u
#define ATTRIBUTE_REPARSE   0x400u

#define XATTR               "MSWINDOWS.xattr."
#define SECURITY_MAX        (64u << 10) /* of a descriptor; its header counts in 16 bits */
#define EA_MAX              (64u << 10) /* of all attributes of a file together, as NTFS has it */

struct import {
    const struct import_archive_options *options;
    struct deviations *deviations;
    struct tar_reader reader;
    const struct tar_member *member;
    struct stream_sink *sink; /* of the entry that alternate streams may still follow */
    char *path;               /* its path */
    uint8_t *copy;
};

static struct error *finish_entry(struct import *import)
{
    struct error *error = NULL;
    if (import->sink) {
        error = import->sink->finish(import->sink);
        import->sink->free(import->sink);
    }
    import->sink = NULL;
    free(import->path);
    import->path = NULL;
    return error;
}

static struct error *give_stream(struct import *import, uint32_t id, const void *data, size_t size)
{
    const struct stream_header header = {.id = id, .size = size};
    struct error *error = import->sink->begin(import->sink, &header);
    return error ? error : import->sink->write(import->sink, data, size);
}

/* ---- content ---- */

static struct error *read_content(struct import *import, size_t *ret_got)
{
    struct error *error = NULL;
    if (import->options->control->cancelled)
        return error_make(ERROR_KIND_CANCELLED, "import layer", import->path, "the import was cancelled");
    error = tar_reader_read(&import->reader, import->copy, COPY_SIZE, ret_got);
    if (!error)
        import->options->control->bytes += *ret_got;
    return error;
}

static struct error *copy_content(struct import *import, const struct stream_header *header)
{
    struct error *error = import->sink->begin(import->sink, header);
    for (uint64_t left = header->size; left > 0 && !error;) {
        size_t got = 0;
        error = read_content(import, &got);
        if (!error)
            error = import->sink->write(import->sink, import->copy, got);
        left -= got;
    }
    return error;
}

static bool is_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* A sparse file gets its holes back: an empty data stream, a block for each part that is not all zero, and the end mark. */
static struct error *copy_sparse(struct import *import, uint64_t size)
{
    const struct stream_header data = {.id = STREAM_DATA, .attributes = STREAM_ATTRIBUTE_SPARSE};
    struct error *error = import->sink->begin(import->sink, &data);
    for (uint64_t at = 0; at < size && !error;) {
        size_t got = 0;
        error = read_content(import, &got);
        const struct stream_header block = {.id = STREAM_SPARSE_BLOCK, .offset = at, .size = got};
        if (!error && !is_zero(import->copy, got)) {
            error = import->sink->begin(import->sink, &block);
            if (!error)
                error = import->sink->write(import->sink, import->copy, got);
        }
        at += got;
    }
    const struct stream_header end = {.id = STREAM_SPARSE_BLOCK, .offset = size};
    return error || size == 0 ? error : import->sink->begin(import->sink, &end);
}

/* ---- metadata ---- */

static struct error *bad_record(const struct import *import, const char *key)
{
    return error_make(ERROR_KIND_DATA_LOSS, "import entry", import->member->path, "the record %s is damaged", key);
}

static struct error *give_security(struct import *import)
{
    const struct tar_record *raw = tar_member_record(import->member, "MSWINDOWS.rawsd");
    const struct tar_record *text = tar_member_record(import->member, "MSWINDOWS.sd");
    struct error *error = NULL;
    if (raw) {
        uint8_t *data = NULL;
        size_t size = 0;
        if (!tar_decode_base64(raw->value, raw->value_size, &data, &size) || size == 0 || size > SECURITY_MAX)
            error = bad_record(import, raw->key);
        else
            error = give_stream(import, STREAM_SECURITY, data, size);
        free(data);
    } else if (text) {
        struct buffer descriptor = {0};
        error = import->options->tree->sddl(import->options->tree, import->member->path, text->value, &descriptor);
        if (!error)
            error = give_stream(import, STREAM_SECURITY, descriptor.data, descriptor.size);
        buffer_free(&descriptor);
    }
    return error;
}

static struct error *give_attributes(struct import *import)
{
    struct buffer list = {0};
    size_t last = 0;
    struct error *error = NULL;
    for (size_t i = 0; i < import->member->record_count && !error; i++) {
        const struct tar_record *record = &import->member->records[i];
        if (strncmp(record->key, XATTR, strlen(XATTR)) != 0)
            continue;
        const char *name = record->key + strlen(XATTR);
        uint8_t *value = NULL;
        size_t size = 0;
        if (!tar_decode_base64(record->value, record->value_size, &value, &size) ||
            !ea_encode(&list, &last, name, strlen(name), value, size) || list.size > EA_MAX)
            error = bad_record(import, record->key);
        free(value);
    }
    if (!error && list.size > 0)
        error = give_stream(import, STREAM_EA, list.data, list.size);
    buffer_free(&list);
    return error;
}

static struct error *give_reparse(struct import *import)
{
    struct buffer data = {0};
    bool mount_point = tar_member_record(import->member, "MSWINDOWS.mountpoint") != NULL;
    struct error *error = reparse_encode(import->member->link, mount_point, import->member->path, &data);
    if (!error)
        error = give_stream(import, STREAM_REPARSE, data.data, data.size);
    buffer_free(&data);
    return error;
}

static void report_records(struct import *import)
{
    static const char *const known[] = {"MSWINDOWS.fileattr", "MSWINDOWS.rawsd", "MSWINDOWS.sd",
                                        "MSWINDOWS.mountpoint"};
    for (size_t i = 0; i < import->member->record_count; i++) {
        const char *key = import->member->records[i].key;
        bool taken = strncmp(key, XATTR, strlen(XATTR)) == 0;
        for (size_t n = 0; n < sizeof known / sizeof known[0] && !taken; n++)
            taken = strcmp(key, known[n]) == 0;
        if (!taken)
            deviations_add(import->deviations, "record_left_out", import->member->path,
                           "The record %s has no meaning in a Windows layer.", key);
    }
}

/* ---- entries ---- */

static struct error *find_attributes(const struct import *import, uint32_t *ret_attributes)
{
    const struct tar_member *member = import->member;
    const struct tar_record *record = tar_member_record(member, "MSWINDOWS.fileattr");
    bool link = member->type == TAR_SYMBOLIC_LINK;
    if (!record) {
        *ret_attributes = member->type == TAR_FOLDER ? ATTRIBUTE_DIRECTORY : link ? ATTRIBUTE_REPARSE : 0;
        return NULL;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < record->value_size; i++) {
        if (record->value[i] < '0' || record->value[i] > '9' || value > UINT32_MAX)
            return bad_record(import, record->key);
        value = value * 10 + (uint64_t)(record->value[i] - '0');
    }
    if (record->value_size == 0 || value > UINT32_MAX)
        return bad_record(import, record->key);
    bool folder = value & ATTRIBUTE_DIRECTORY;
    if (!link && folder != (member->type == TAR_FOLDER))
        return import_refuse(member->path, "its type and its attributes differ in whether it is a folder");
    if (link && !(value & ATTRIBUTE_REPARSE))
        return import_refuse(member->path, "it is a link and its attributes say that it is none");
    *ret_attributes = (uint32_t)value;
    return NULL;
}

/* Where a layer may have what. */
static struct error *check_place(const struct import *import, const struct import_name *name)
{
    const char *path = import->member->path;
    bool base = import->options->base;
    if (name->top && !name->stream && import->member->type != TAR_FOLDER)
        return import_refuse(path, "this is the name of a folder of the layer itself");
    if (name->whiteout && (base || name->top || (name->area != IMPORT_FILES && name->area != IMPORT_UTILITY_VM)))
        return import_refuse(path, base ? "a base layer has nothing below it that it could delete"
                                        : "only what is below Files or UtilityVM can be deleted");
    bool in_vm = name->area == IMPORT_UTILITY_VM && !name->top && strcmp(name->path, "UtilityVM/Files") != 0 &&
                 strncmp(name->path, "UtilityVM/Files/", 16) != 0;
    if (in_vm && base)
        return import_refuse(path, "of UtilityVM only its Files belong to a layer");
    if (base && (name->area == IMPORT_HIVES || name->area == IMPORT_OTHER))
        return import_refuse(path, "a base layer has Files and UtilityVM, and nothing else");
    return NULL;
}

static struct error *import_stream(struct import *import, const struct import_name *name)
{
    const struct tar_member *member = import->member;
    if (member->type != TAR_FILE)
        return import_refuse(member->path, "an alternate stream is a file's content and nothing else");
    if (!import->sink || strcmp(import->path, name->path) != 0)
        return import_refuse(member->path, "an alternate stream stands right behind its file; this one does not");
    struct stream_header header = {.id = STREAM_ALTERNATE, .size = member->size};
    char *text = str_format(":%s:$DATA", name->stream);
    char16_t *units = text_to_utf16(text, &header.name_units);
    free(text);
    if (!units || header.name_units >= STREAM_NAME_MAX / 2) {
        free(units);
        return import_refuse(member->path, "its stream's name is too long");
    }
    memcpy(header.name, units, header.name_units * sizeof *units);
    free(units);
    return copy_content(import, &header);
}

static struct error *import_link(struct import *import, const struct import_name *name)
{
    struct import_name first = {0};
    const struct tar_member *member = import->member;
    struct error *error = import_name_parse(member->link, member->binary_names, &first);
    if (error) {
        error_free(error);
        return import_refuse(member->path, "it is a hard link to \"%s\", which is no name in a layer", member->link);
    }
    if (first.area != name->area || first.top || first.stream || first.whiteout)
        error = import_refuse(member->path, "it is a hard link to \"%s\", which leads out of its part of the layer",
                              member->link);
    else
        error = import->options->tree->link(import->options->tree, name, first.path);
    import_name_free(&first);
    return error;
}

static struct error *import_node(struct import *import, const struct import_name *name)
{
    const struct tar_member *member = import->member;
    bool link = member->type == TAR_SYMBOLIC_LINK;
    struct import_node node = {
        .path = name->path,
        .area = name->area,
        .top = name->top,
        .modified = member->modified,
        .created = member->created ? member->created : member->modified,
    };
    struct error *error = find_attributes(import, &node.attributes);
    if (error)
        return error;
    node.folder = node.attributes & ATTRIBUTE_DIRECTORY;
    if (!link && tar_member_record(member, "MSWINDOWS.mountpoint"))
        return import_refuse(member->path, "it is a mount point without a target");
    error = import->options->tree->create(import->options->tree, &node, &import->sink);
    if (error)
        return error;
    import->path = str_copy(name->path);
    report_records(import);
    error = give_security(import);
    if (!error)
        error = give_attributes(import);
    if (!error && link)
        error = give_reparse(import);
    if (error || node.folder || link)
        return error;
    if (node.attributes & ATTRIBUTE_SPARSE && (member->mode || member->size > 0))
        return copy_sparse(import, member->size);
    /* The exporter says by the mode 0 that a file has no data stream at all. */
    const struct stream_header data = {.id = STREAM_DATA, .size = member->size};
    return member->mode || member->size > 0 ? copy_content(import, &data) : NULL;
}

static struct error *import_member(struct import *import, const struct import_name *name)
{
    const struct tar_member *member = import->member;
    struct error *error = check_place(import, name);
    if (error)
        return error;
    if (name->stream)
        return import_stream(import, name);
    error = finish_entry(import);
    if (error)
        return error;
    if (name->whiteout) {
        if (member->type != TAR_FILE || member->size > 0)
            return import_refuse(member->path, "a whiteout is an empty file");
        return import->options->tree->whiteout(import->options->tree, name);
    }
    if (member->type == TAR_HARD_LINK)
        return import_link(import, name);
    if (member->type != TAR_FILE && member->type != TAR_FOLDER && member->type != TAR_SYMBOLIC_LINK)
        return import_refuse(member->path, "entries of type '%c' have no form in a Windows layer",
                             member->type >= ' ' && member->type <= '~' ? member->type : '?');
    return import_node(import, name);
}

static struct error *import_all(struct import *import)
{
    for (;;) {
        struct import_name name = {0};
        if (import->options->control->cancelled)
            return error_make(ERROR_KIND_CANCELLED, "import layer", import->path, "the import was cancelled");
        struct error *error = tar_reader_next(&import->reader, &import->member);
        if (error || !import->member)
            return error ? error : finish_entry(import);
        export_control_set_path(import->options->control, import->member->path);
        error = import_name_parse(import->member->path, import->member->binary_names, &name);
        if (!error)
            error = import_member(import, &name);
        import_name_free(&name);
        if (error)
            return error;
        import->options->control->entries++;
    }
}

struct error *import_archive(const struct import_archive_options *options, struct deviations *ret_deviations)
{
    struct import import = {.options = options, .deviations = ret_deviations};
    import.copy = mem_resize_array(NULL, COPY_SIZE, 1);
    tar_reader_init(&import.reader, options->source);
    struct error *error = import_all(&import);
    if (import.sink)
        import.sink->free(import.sink);
    free(import.path);
    free(import.copy);
    tar_reader_free(&import.reader);
    return error;
}
