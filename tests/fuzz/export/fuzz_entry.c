/* A backup stream of any bytes becomes tar blocks or an error: covers the stream reader, the reparse and EA decoders and the
 * PAX writer. What came out is read back: checksums, lengths and order of the records, and the end must fit. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "export/entry.h"
#include "export/tar.h"
#include "memory_packer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_records(const char *records, size_t size)
{
    char last[4096] = "";
    while (size > 0) {
        char *end;
        size_t length = strtoul(records, &end, 10);
        const char *equals = memchr(records, '=', size);
        require(length > 0 && length <= size && *end == ' ' && equals && equals < records + length);
        require(records[length - 1] == '\n');
        size_t key = (size_t)(equals - end - 1);
        require(key > 0 && key < sizeof last);
        require(strncmp(last, end + 1, key) < 0 || strlen(last) < key || last[key] == '\0');
        memcpy(last, end + 1, key);
        last[key] = '\0';
        records += length;
        size -= length;
    }
}

static void check_tar(const struct buffer *tar)
{
    size_t at = 0;
    while (at < tar->size) {
        require(tar->size - at >= TAR_BLOCK);
        const uint8_t *header = tar->data + at;
        unsigned sum = 0;
        for (size_t i = 0; i < TAR_BLOCK; i++)
            sum += i >= 148 && i < 156 ? ' ' : header[i];
        require(strtoul((const char *)header + 148, NULL, 8) == sum);
        size_t size = strtoull((const char *)header + 124, NULL, 8);
        at += TAR_BLOCK;
        require(size <= tar->size - at);
        if (header[156] == 'x')
            check_records((const char *)tar->data + at, size);
        at += size + tar_padding(size);
        require(at <= tar->size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    struct packer packer = {0};
    struct export_control control = {0};
    struct deviations deviations = {0};
    const struct entry entry = {.path = "Files/\xed\xa0\x80",
                                .folder = data[0] & 0x10,
                                .attributes = data[0],
                                .modified = data[1],
                                .created = data[2]};
    uint8_t *copy = mem_copy(data, size);
    struct stream_source *source = stream_source_memory(copy, 4, size, false);
    struct error *error = entry_write(&entry, source, &packer, &control, &deviations);
    if (!error)
        check_tar(&packer.tar);
    error_free(error);
    stream_source_free(source);
    deviations_free(&deviations);
    buffer_free(&packer.tar);
    return 0;
}
