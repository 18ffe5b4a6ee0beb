/* Reparse data and extended attributes: any bytes decode or are refused; what decoded encodes again, and that decodes to the
 * same. The first byte says which of the two. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "export/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void fuzz_reparse(const uint8_t *data, size_t size)
{
    struct reparse found = {0}, again = {0};
    struct buffer encoded = {0};
    struct error *error = reparse_decode(data, size, "fuzz", &found);
    if (!error && found.target) {
        error = reparse_encode(found.target, found.kind == REPARSE_MOUNT_POINT, "fuzz", &encoded);
        if (!error) {
            require(reparse_decode(encoded.data, encoded.size, "fuzz", &again) == NULL);
            require(again.kind == found.kind && again.tag == found.tag && strcmp(again.target, found.target) == 0);
        }
    }
    error_free(error);
    buffer_free(&encoded);
    free(found.target);
    free(again.target);
}

struct list {
    struct buffer encoded;
    size_t last;
    struct buffer flat; /* names and values, to compare */
    unsigned count;
};

static void add(void *context, uint8_t flags, const char *name, size_t name_size, const uint8_t *value,
                size_t value_size)
{
    struct list *list = context;
    (void)flags;
    if (!ea_encode(&list->encoded, &list->last, name, name_size, value, value_size))
        return; /* a name of no bytes */
    list->count++;
    buffer_add_format(&list->flat, "%zu %zu ", name_size, value_size);
    buffer_add(&list->flat, name, name_size);
    buffer_add(&list->flat, value, value_size);
}

static void fuzz_attributes(const uint8_t *data, size_t size)
{
    struct list first = {0}, second = {0};
    struct error *error = ea_decode(data, size, "fuzz", add, &first);
    if (!error && first.count > 0) {
        require(ea_decode(first.encoded.data, first.encoded.size, "fuzz", add, &second) == NULL);
        require(first.count == second.count && first.flat.size == second.flat.size);
        require(memcmp(first.flat.data, second.flat.data, first.flat.size) == 0);
    }
    error_free(error);
    buffer_free(&first.encoded);
    buffer_free(&first.flat);
    buffer_free(&second.encoded);
    buffer_free(&second.flat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t *copy = mem_copy(data + 1, size - 1); /* of its own, so that reading beyond it is seen */
    (data[0] & 1 ? fuzz_attributes : fuzz_reparse)(copy, size - 1);
    free(copy);
    return 0;
}
