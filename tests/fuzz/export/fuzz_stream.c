/* Any bytes are read as backup streams by a source that gives and skips as little as it likes. What was read, written again,
 * is what was there: nothing is lost, nothing made up. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "export/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    unsigned skips = data[0]; /* which streams' content is passed over */
    struct stream_source *source = stream_source_memory((uint8_t *)(uintptr_t)data, 1, size, true);
    struct stream_reader reader;
    struct buffer again = {0};
    size_t at = 1; /* behind what was read whole */
    source->rewind(source);
    stream_reader_init(&reader, source, "fuzz");
    for (unsigned number = 0;; number++) {
        struct stream_header header;
        bool end = false;
        struct error *error = stream_next(&reader, &header, &end);
        if (error || end) {
            require(error || at == size);
            error_free(error);
            break;
        }
        require(header.name_units <= STREAM_NAME_MAX / 2 && header.size <= INT64_MAX);
        stream_add_header(&again, &header);
        require(at + again.size <= size && memcmp(data + at, again.data, again.size) == 0);
        at += again.size;
        buffer_clear(&again);
        if (skips & 1u << number % 8) {
            at += header.size < size ? (size_t)header.size : size; /* the next header tells whether it was there */
            continue;
        }
        uint8_t part[7];
        size_t got = 1;
        while (!error && got > 0) {
            error = stream_read(&reader, part, sizeof part, &got);
            require(error || (at + got <= size && memcmp(data + at, part, got) == 0));
            at += error ? 0 : got;
        }
        if (error) {
            error_free(error);
            break;
        }
    }
    buffer_free(&again);
    stream_source_free(source);
    return 0;
}
