#include "export/entry.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/metadata.h"
#include "export/tar.h"

/* The modes of go-winio's backuptar: the type alone. */
#define MODE_FOLDER    0040000u
#define MODE_FILE      0100000u
#define MODE_LINK      0120000u
#define MODE_HARD_LINK 0644u

#define ALTERNATES_MAX 100000 /* of one file; NTFS ends far below */

/* A data stream as the first pass found it. */
struct content {
    char *name; /* of an alternate stream, ":NAME" */
    uint64_t size;
    bool sparse_blocks, end_mark;
};

/* What the first pass over a backup stream found. */
struct findings {
    bool has_data;
    struct content data;
    struct content *alternates;
    size_t alternate_count;
    struct buffer security;
    struct reparse reparse;
    bool has_reparse;
    struct tar_record *records;
    size_t record_count;
    unsigned left_out; /* bit for each stream id that tar has no place for */
};

static void findings_free(struct findings *findings)
{
    for (size_t i = 0; i < findings->alternate_count; i++)
        free(findings->alternates[i].name);
    free(findings->alternates);
    buffer_free(&findings->security);
    free(findings->reparse.target);
    for (size_t i = 0; i < findings->record_count; i++)
        tar_record_free(&findings->records[i]);
    free(findings->records);
}

/* ":NAME:$DATA" -> ":NAME" */
static char *alternate_name(const struct stream_header *header)
{
    static const char type[] = ":$DATA";
    char *name = text_from_utf16(header->name, header->name_units);
    size_t size = strlen(name);
    if (size > sizeof type - 1 && strcmp(name + size - (sizeof type - 1), type) == 0)
        name[size - (sizeof type - 1)] = '\0';
    return name;
}

static struct error *damaged(const struct entry *entry, const char *why)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read backup stream", entry->path, "%s", why);
}

static struct error *add_block(const struct entry *entry, struct content *content, const struct stream_header *header)
{
    if (!content)
        return damaged(entry, "a sparse block has no data stream before it");
    if (content->end_mark)
        return damaged(entry, "a sparse block stands behind the end mark");
    if (header->offset < content->size)
        return damaged(entry, "sparse blocks overlap or are not in order");
    content->sparse_blocks = true;
    content->size = header->offset + header->size;
    content->end_mark = header->size == 0;
    return NULL;
}

struct ea_context {
    const struct entry *entry;
    struct findings *findings;
    struct deviations *deviations;
};

static void add_attribute(void *context, uint8_t flags, const char *name, size_t name_size, const uint8_t *value,
                          size_t value_size)
{
    const struct ea_context *ea = context;
    struct findings *findings = ea->findings;
    struct tar_record record;
    (void)flags; /* has no place in a tar and no meaning for stored attributes */
    if (!tar_xattr_record(name, name_size, value, value_size, &record)) {
        char *printable = text_printable(name, name_size, 0);
        deviations_add(ea->deviations, "attribute_left_out", ea->entry->path,
                       "The extended attribute \"%s\" cannot be a PAX record.", printable);
        free(printable);
        return;
    }
    findings->records = mem_resize_array(findings->records, findings->record_count + 1, sizeof *findings->records);
    findings->records[findings->record_count++] = record;
}

static struct error *read_attributes(const struct entry *entry, struct stream_reader *reader, struct findings *findings,
                                     struct deviations *deviations)
{
    struct buffer content = {0};
    struct ea_context context = {entry, findings, deviations};
    struct error *error = stream_read_all(reader, &content);
    if (!error)
        error = ea_decode(content.data, content.size, entry->path, add_attribute, &context);
    buffer_free(&content);
    return error;
}

static struct error *read_reparse(const struct entry *entry, struct stream_reader *reader, struct findings *findings,
                                  struct deviations *deviations)
{
    struct buffer content = {0};
    struct reparse reparse = {0};
    struct error *error = stream_read_all(reader, &content);
    if (!error)
        error = reparse_decode(content.data, content.size, entry->path, &reparse);
    buffer_free(&content);
    if (error)
        return error;
    if (reparse.kind == REPARSE_CONTAINER)
        return error_make(ERROR_KIND_DATA_LOSS, "read backup stream", entry->path,
                          "reparse tag 0x%08" PRIX32
                          " is a placeholder of the container filter: the layer was exported "
                          "without it being resolved",
                          reparse.tag);
    if (reparse.kind == REPARSE_UNKNOWN) {
        deviations_add(deviations, "unknown_reparse", entry->path,
                       "Reparse tag 0x%08" PRIX32 " has no form in a tar; the entry is written without it.",
                       reparse.tag);
        return NULL;
    }
    free(findings->reparse.target);
    findings->reparse = reparse;
    findings->has_reparse = true;
    return NULL;
}

static struct error *add_alternate(const struct entry *entry, struct findings *findings,
                                   const struct stream_header *header, struct deviations *deviations)
{
    size_t count = findings->alternate_count;
    if (count == ALTERNATES_MAX)
        return damaged(entry, "it has more alternate streams than a file can have");
    if ((count & (count - 1)) == 0)
        findings->alternates =
            mem_resize_array(findings->alternates, count ? count * 2 : 1, sizeof *findings->alternates);
    char *name = alternate_name(header);
    findings->alternates[findings->alternate_count++] = (struct content){.name = name, .size = header->size};
    if (!text_is_utf8(name, strlen(name))) {
        char *path = str_format("%s%s", entry->path, name);
        deviations_add(deviations, "not_utf16", path, "The stream's name is no UTF-16; it is written as WTF-8.");
        free(path);
    }
    return NULL;
}

/* The first pass: everything but the content of data streams. */
static struct error *find(const struct entry *entry, struct stream_source *source, struct findings *findings,
                          struct deviations *deviations)
{
    struct stream_reader reader;
    struct content *current = NULL;
    stream_reader_init(&reader, source, entry->path);
    for (;;) {
        struct stream_header header;
        bool end = false;
        struct error *error = stream_next(&reader, &header, &end);
        if (error || end) {
            if (!error && findings->data.sparse_blocks && !findings->data.end_mark)
                error = damaged(entry, "the sparse blocks have no end mark");
            for (size_t i = 0; i < findings->alternate_count && !error; i++)
                if (findings->alternates[i].sparse_blocks && !findings->alternates[i].end_mark)
                    error = damaged(entry, "the sparse blocks of an alternate stream have no end mark");
            return error;
        }
        switch (header.id) {
        case STREAM_DATA:
            if (findings->has_data)
                return damaged(entry, "it has two data streams");
            findings->has_data = true;
            current = &findings->data;
            current->size = header.size;
            break;
        case STREAM_ALTERNATE:
            error = add_alternate(entry, findings, &header, deviations);
            current = findings->alternate_count ? &findings->alternates[findings->alternate_count - 1] : NULL;
            break;
        case STREAM_SPARSE_BLOCK:
            error = add_block(entry, current, &header);
            break;
        case STREAM_SECURITY:
            buffer_clear(&findings->security);
            error = stream_read_all(&reader, &findings->security);
            break;
        case STREAM_EA:
            error = read_attributes(entry, &reader, findings, deviations);
            break;
        case STREAM_REPARSE:
            error = read_reparse(entry, &reader, findings, deviations);
            break;
        case STREAM_LINK: /* hard links are known from the file's id */
            break;
        case STREAM_PROPERTY:
        case STREAM_OBJECT_ID:
        case STREAM_TXFS:
        case STREAM_GHOSTED_EXTENTS:
            findings->left_out |= 1u << header.id;
            break;
        default:
            error = error_make(ERROR_KIND_DATA_LOSS, "read backup stream", entry->path,
                               "stream id %" PRIu32 " is unknown", header.id);
        }
        if (error)
            return error;
    }
}

/* Content of the current stream, straight into the packer's room. */
static struct error *copy(struct stream_reader *reader, struct packer *packer)
{
    while (reader->left > 0) {
        void *room;
        size_t size, got = 0;
        struct error *error = packer_room(packer, &room, &size);
        if (!error)
            error = stream_read(reader, room, size, &got);
        if (error)
            return error;
        packer_fill(packer, got);
    }
    return NULL;
}

/* A later pass: writes the content of the data stream (`which` -1) or of the alternate stream with that number, holes as
 * zeros, filled up to a whole block. What the first pass found must still be there: the headers are out already. */
static struct error *write_content(const struct entry *entry, struct stream_source *source,
                                   const struct content *content, long which, struct packer *packer)
{
    struct stream_reader reader;
    struct error *error = source->rewind(source);
    uint64_t written = 0;
    long alternate = -1;
    bool current = false;
    stream_reader_init(&reader, source, entry->path);
    while (!error) {
        struct stream_header header;
        bool end = false;
        error = stream_next(&reader, &header, &end);
        if (error || end)
            break;
        if (header.id == STREAM_ALTERNATE)
            alternate++;
        if (current && header.id != STREAM_SPARSE_BLOCK)
            break;
        if (header.id == STREAM_DATA)
            current = which < 0;
        else if (header.id == STREAM_ALTERNATE)
            current = alternate == which;
        if (!current)
            continue;
        if (header.id == STREAM_SPARSE_BLOCK) {
            if (header.offset < written || header.offset > content->size ||
                header.size > content->size - header.offset) {
                error = damaged(entry, "it changed while it was read");
                break;
            }
            error = packer_write_zeros(packer, header.offset - written);
            written = header.offset;
        } else if (header.size > content->size) {
            error = damaged(entry, "it changed while it was read");
        }
        if (!error)
            error = copy(&reader, packer);
        written += header.size;
    }
    if (error)
        return error;
    if (written != content->size)
        return damaged(entry, "it changed while it was read");
    return packer_write_zeros(packer, tar_padding(content->size));
}

static struct error *write_header(const struct tar_entry *tar, struct packer *packer, struct export_control *control)
{
    struct buffer header = {0};
    tar_add_header(&header, tar);
    struct error *error = packer_write(packer, header.data, header.size);
    buffer_free(&header);
    control->entries++;
    return error;
}

static struct error *write_alternate(const struct entry *entry, struct stream_source *source,
                                     const struct content *content, long which, unsigned mode, struct packer *packer,
                                     struct export_control *control)
{
    char *path = str_format("%s%s", entry->path, content->name);
    const struct tar_entry tar = {
        .path = path,
        .type = TAR_FILE,
        .mode = mode,
        .size = content->size,
        .modified = entry->modified,
    };
    struct error *error = write_header(&tar, packer, control);
    if (!error && content->size > 0)
        error = write_content(entry, source, content, which, packer);
    free(path);
    return error;
}

static void report_left_out(const struct entry *entry, const struct findings *findings, bool data,
                            struct deviations *deviations)
{
    static const struct {
        unsigned id;
        const char *what;
    } streams[] = {{STREAM_PROPERTY, "property data"},
                   {STREAM_OBJECT_ID, "an object id"},
                   {STREAM_TXFS, "transaction data"},
                   {STREAM_GHOSTED_EXTENTS, "ghosted extents"}};
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++)
        if (findings->left_out & 1u << streams[i].id)
            deviations_add(deviations, "stream_left_out", entry->path, "It has %s, which a tar has no place for.",
                           streams[i].what);
    if (data)
        deviations_add(deviations, "stream_left_out", entry->path,
                       "It is a folder or a link and has %" PRIu64 " bytes of data, which a tar has no place for.",
                       findings->data.size);
}

struct error *entry_write(const struct entry *entry, struct stream_source *source, struct packer *packer,
                          struct export_control *control, struct deviations *deviations)
{
    struct findings findings = {0};
    struct error *error = find(entry, source, &findings, deviations);
    if (error)
        goto out;

    bool no_content = entry->folder || findings.has_reparse;
    struct tar_entry tar = {
        .path = entry->path,
        .type = findings.has_reparse ? TAR_SYMBOLIC_LINK
                : entry->folder      ? TAR_FOLDER
                                     : TAR_FILE,
        .mode = (entry->folder ? MODE_FOLDER : 0) | (findings.has_reparse ? MODE_LINK : 0) |
                (findings.has_data && !entry->folder ? MODE_FILE : 0),
        .size = no_content ? 0 : findings.data.size,
        .link = findings.has_reparse ? findings.reparse.target : NULL,
        .modified = entry->modified,
        .created = entry->created,
        .has_attributes = true,
        .attributes = entry->attributes,
        .mount_point = findings.has_reparse && findings.reparse.kind == REPARSE_MOUNT_POINT,
        .security = findings.security.size ? findings.security.data : NULL,
        .security_size = findings.security.size,
        .records = findings.records,
        .record_count = findings.record_count,
    };
    report_left_out(entry, &findings, no_content && findings.data.size > 0, deviations);
    error = write_header(&tar, packer, control);
    if (!error && tar.size > 0)
        error = write_content(entry, source, &findings.data, -1, packer);
    for (size_t i = 0; i < findings.alternate_count && !error; i++)
        error = write_alternate(entry, source, &findings.alternates[i], (long)i, tar.mode, packer, control);

out:
    findings_free(&findings);
    return error;
}

struct error *entry_write_hard_link(const struct entry *entry, const char *first, struct packer *packer,
                                    struct export_control *control)
{
    const struct tar_entry tar = {
        .path = entry->path,
        .type = TAR_HARD_LINK,
        .mode = MODE_HARD_LINK,
        .link = first,
        .modified = entry->modified,
        .created = entry->created,
        .has_attributes = true,
        .attributes = entry->attributes,
    };
    return write_header(&tar, packer, control);
}

struct error *entry_write_whiteout(const char *path, struct packer *packer, struct export_control *control)
{
    const char *slash = strrchr(path, '/');
    char *name = slash ? str_format("%.*s/.wh.%s", (int)(slash - path), path, slash + 1) : str_format(".wh.%s", path);
    const struct tar_entry tar = {.path = name, .type = TAR_FILE};
    struct error *error = write_header(&tar, packer, control);
    free(name);
    return error;
}
