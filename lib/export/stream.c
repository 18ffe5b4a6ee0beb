#include "export/stream.h"

#include <string.h>

#include "base/memory.h"

struct memory_source {
    struct stream_source source;
    uint8_t *data;
    size_t start, size, at;
    bool borrowed;
};

static struct error *memory_read(struct stream_source *source, void *data, size_t size, size_t *ret_got)
{
    struct memory_source *memory = (struct memory_source *)source;
    size_t left = memory->size - memory->at;
    size_t got = size < left ? size : left;
    if (got > 0)
        memcpy(data, memory->data + memory->at, got);
    memory->at += got;
    *ret_got = got;
    return NULL;
}

static struct error *memory_skip(struct stream_source *source, uint64_t size, uint64_t *ret_skipped)
{
    struct memory_source *memory = (struct memory_source *)source;
    size_t left = memory->size - memory->at;
    size_t skipped = size < left ? (size_t)size : left;
    memory->at += skipped;
    *ret_skipped = skipped;
    return NULL;
}

static struct error *memory_rewind(struct stream_source *source)
{
    struct memory_source *memory = (struct memory_source *)source;
    memory->at = memory->start;
    return NULL;
}

static void memory_free(struct stream_source *source)
{
    struct memory_source *memory = (struct memory_source *)source;
    if (!memory->borrowed)
        free(memory->data);
    free(memory);
}

struct stream_source *stream_source_memory(void *data, size_t start, size_t size, bool borrowed)
{
    struct memory_source *memory = mem_new(struct memory_source);
    memory->source = (struct stream_source){memory_read, memory_skip, memory_rewind, memory_free};
    memory->data = data;
    memory->start = memory->at = start;
    memory->size = size;
    memory->borrowed = borrowed;
    return &memory->source;
}

void stream_source_free(struct stream_source *source)
{
    if (source)
        source->free(source);
}

static uint32_t read_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint64_t read_u64(const uint8_t *bytes)
{
    return read_u32(bytes) | (uint64_t)read_u32(bytes + 4) << 32;
}

static void write_number(uint8_t *bytes, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

void stream_reader_init(struct stream_reader *reader, struct stream_source *source, const char *object)
{
    *reader = (struct stream_reader){.source = source, .object = object};
}

static struct error *cut_off(const struct stream_reader *reader, const char *what)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read backup stream", reader->object, "the file ends in the middle of %s",
                      what);
}

static struct error *skip_rest(struct stream_reader *reader)
{
    if (reader->left == 0)
        return NULL;
    uint64_t skipped = 0;
    struct error *error = reader->source->skip(reader->source, reader->left, &skipped);
    if (error)
        return error;
    if (skipped < reader->left)
        return cut_off(reader, "a stream");
    reader->left = 0;
    return NULL;
}

struct error *stream_next(struct stream_reader *reader, struct stream_header *ret_header, bool *ret_end)
{
    struct error *error = skip_rest(reader);
    if (error)
        return error;

    uint8_t bytes[STREAM_HEADER_SIZE];
    size_t got = 0;
    error = reader->source->read(reader->source, bytes, sizeof bytes, &got);
    if (error)
        return error;
    if (got == 0) {
        *ret_end = true;
        return NULL;
    }
    if (got < sizeof bytes)
        return cut_off(reader, "a stream's header");

    uint32_t id = read_u32(bytes);
    uint64_t size = read_u64(bytes + 8);
    uint32_t name_bytes = read_u32(bytes + 16);
    if (size > INT64_MAX || name_bytes > STREAM_NAME_MAX || name_bytes % 2 != 0 ||
        (id == STREAM_SPARSE_BLOCK && size < 8))
        return error_make(ERROR_KIND_DATA_LOSS, "read backup stream", reader->object,
                          "stream %u says it has %llu bytes and a name of %u bytes, which cannot be", id,
                          (unsigned long long)size, name_bytes);

    ret_header->id = id;
    ret_header->attributes = read_u32(bytes + 4);
    ret_header->size = size;
    ret_header->offset = 0;
    ret_header->name_units = name_bytes / 2;
    error = reader->source->read(reader->source, ret_header->name, name_bytes, &got);
    if (error)
        return error;
    if (got < name_bytes)
        return cut_off(reader, "a stream's name");
    if (id == STREAM_SPARSE_BLOCK) {
        error = reader->source->read(reader->source, bytes, 8, &got);
        if (error)
            return error;
        if (got < 8)
            return cut_off(reader, "a sparse block's offset");
        ret_header->offset = read_u64(bytes);
        ret_header->size -= 8;
        if (ret_header->offset > INT64_MAX || ret_header->size > INT64_MAX - ret_header->offset)
            return error_make(ERROR_KIND_DATA_LOSS, "read backup stream", reader->object,
                              "a sparse block stands at %llu, which cannot be", (unsigned long long)ret_header->offset);
    }
    reader->left = ret_header->size;
    *ret_end = false;
    return NULL;
}

struct error *stream_read(struct stream_reader *reader, void *data, size_t size, size_t *ret_got)
{
    size_t want = size < reader->left ? size : (size_t)reader->left;
    if (want == 0) {
        *ret_got = 0;
        return NULL;
    }
    size_t got = 0;
    struct error *error = reader->source->read(reader->source, data, want, &got);
    if (error)
        return error;
    if (got < want)
        return cut_off(reader, "a stream");
    reader->left -= got;
    *ret_got = got;
    return NULL;
}

struct error *stream_read_all(struct stream_reader *reader, struct buffer *ret_content)
{
    if (reader->left > STREAM_METADATA_MAX)
        return error_make(ERROR_KIND_DATA_LOSS, "read backup stream", reader->object,
                          "a stream of metadata with %llu bytes is more than any file system keeps",
                          (unsigned long long)reader->left);
    size_t got = 0;
    size_t size = (size_t)reader->left;
    struct error *error = stream_read(reader, buffer_reserve(ret_content, size), size, &got);
    if (error)
        return error;
    ret_content->size += got;
    return NULL;
}

void stream_add_header(struct buffer *buffer, const struct stream_header *header)
{
    bool block = header->id == STREAM_SPARSE_BLOCK;
    uint8_t bytes[STREAM_HEADER_SIZE];
    write_number(bytes, header->id, 4);
    write_number(bytes + 4, header->attributes, 4);
    write_number(bytes + 8, header->size + (block ? 8 : 0), 8);
    write_number(bytes + 16, header->name_units * 2, 4);
    buffer_add(buffer, bytes, sizeof bytes);
    for (size_t i = 0; i < header->name_units; i++) {
        write_number(bytes, header->name[i], 2);
        buffer_add(buffer, bytes, 2);
    }
    if (block) {
        write_number(bytes, header->offset, 8);
        buffer_add(buffer, bytes, 8);
    }
}
