#include "import/input.h"

#include <archive.h>
#include <archive_entry.h>

#include <string.h>

#include "base/memory.h"
#include "export/sha256.h"

#define READ_SIZE (64u << 10)

struct input {
    struct tar_source source;
    const struct import_input *from;
    struct export_control *control;
    struct archive *archive;
    struct error *error; /* of the input, while libarchive is between */
    bool ended;          /* the input is */
    uint8_t *packed;     /* READ_SIZE */
    struct sha256 packed_sha, plain_sha;
    uint64_t packed_size, plain_size;
    const uint8_t *block; /* libarchive's, plain, good until the next */
    size_t block_size;
};

static la_ssize_t read_packed(struct archive *archive, void *context, const void **ret_data)
{
    struct input *input = context;
    size_t got = 0;
    if (input->control->cancelled)
        input->error = error_make(ERROR_KIND_CANCELLED, "import layer", NULL, "the import was cancelled");
    if (!input->error && !input->ended)
        input->error = input->from->read(input->from->context, input->packed, READ_SIZE, &got);
    if (input->error) {
        archive_set_error(archive, -1, "the input failed");
        return -1;
    }
    input->ended = got < READ_SIZE;
    sha256_add(&input->packed_sha, input->packed, got);
    input->packed_size += got;
    input->control->output_bytes = input->packed_size;
    *ret_data = input->packed;
    return (la_ssize_t)got;
}

/* The input's own error comes before what libarchive makes of it. */
static struct error *take_error(struct input *input)
{
    struct error *error = input->error;
    input->error = NULL;
    if (error)
        return error;
    const char *text = archive_error_string(input->archive);
    return error_make(ERROR_KIND_DATA_LOSS, "read archive", NULL, "%s",
                      text ? text : "it is empty, or its compression is damaged");
}

static struct error *next_block(struct input *input)
{
    const void *data = NULL;
    size_t size = 0;
    la_int64_t offset = 0;
    int result = archive_read_data_block(input->archive, &data, &size, &offset);
    if (result != ARCHIVE_OK && result != ARCHIVE_EOF)
        return take_error(input);
    input->block = data;
    input->block_size = result == ARCHIVE_EOF ? 0 : size;
    if (input->block_size > 0)
        sha256_add(&input->plain_sha, input->block, input->block_size);
    input->plain_size += input->block_size;
    return NULL;
}

static struct error *read_plain(void *context, void *data, size_t size, size_t *ret_got)
{
    struct input *input = context;
    size_t got = 0;
    while (got < size) {
        if (input->block_size == 0) {
            struct error *error = next_block(input);
            if (error)
                return error;
            if (input->block_size == 0)
                break;
        }
        size_t take = size - got < input->block_size ? size - got : input->block_size;
        memcpy((uint8_t *)data + got, input->block, take);
        input->block += take;
        input->block_size -= take;
        got += take;
    }
    *ret_got = got;
    return NULL;
}

struct error *input_open(const struct import_input *from, struct export_control *control, struct input **ret_input)
{
    struct input *input = mem_new(struct input);
    input->source = (struct tar_source){read_plain, input};
    input->from = from;
    input->control = control;
    input->packed = mem_resize_array(NULL, READ_SIZE, 1);
    sha256_init(&input->packed_sha);
    sha256_init(&input->plain_sha);
    input->archive = archive_read_new();
    struct archive_entry *entry;
    struct error *error = NULL;
    if (!input->archive)
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "read archive", NULL, "there is no memory for a reader");
    else if (archive_read_support_filter_gzip(input->archive) != ARCHIVE_OK ||
             archive_read_support_filter_zstd(input->archive) != ARCHIVE_OK ||
             archive_read_support_format_raw(input->archive) != ARCHIVE_OK ||
             archive_read_open(input->archive, input, NULL, read_packed, NULL) != ARCHIVE_OK ||
             archive_read_next_header(input->archive, &entry) != ARCHIVE_OK)
        error = take_error(input);
    if (error) {
        input_free(input);
        return error;
    }
    *ret_input = input;
    return NULL;
}

const struct tar_source *input_source(const struct input *input)
{
    return &input->source;
}

struct error *input_finish(struct input *input, struct import_result *result)
{
    struct error *error = NULL;
    do
        error = next_block(input);
    while (!error && input->block_size > 0);
    /* What no filter asked for, behind the last member. */
    while (!error && !input->ended) {
        const void *data;
        if (read_packed(input->archive, input, &data) < 0)
            error = take_error(input);
    }
    if (error)
        return error;
    uint8_t digest[32];
    sha256_end(&input->packed_sha, digest);
    sha256_text(digest, result->digest);
    sha256_end(&input->plain_sha, digest);
    sha256_text(digest, result->diff_id);
    result->size = input->packed_size;
    result->plain_size = input->plain_size;
    int filter = archive_filter_code(input->archive, 0);
    result->media_type = filter == ARCHIVE_FILTER_GZIP   ? "application/vnd.oci.image.layer.v1.tar+gzip"
                         : filter == ARCHIVE_FILTER_ZSTD ? "application/vnd.oci.image.layer.v1.tar+zstd"
                                                         : "application/vnd.oci.image.layer.v1.tar";
    return NULL;
}

void input_free(struct input *input)
{
    if (!input)
        return;
    if (input->archive)
        archive_read_free(input->archive);
    error_free(input->error);
    free(input->packed);
    free(input);
}
