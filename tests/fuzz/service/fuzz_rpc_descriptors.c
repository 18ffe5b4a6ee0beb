/* Any bytes as a FileDescriptorSet: refused, or an index that finds files, symbols and what they need without leaving it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/rpc/descriptors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *set = mem_copy(data, size); /* of exactly that size, for the sanitizer */
    struct descriptors *descriptors = NULL;
    struct error *error = descriptors_open(set, size, &descriptors);
    if (error == NULL) {
        descriptors_add_alias(descriptors, "a.v3.Task", "a.v2.Task");
        static const char *const symbols[] = {"a.v3.Task", "a.v2.Task", ".a.v3.Task", "", "."};
        for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
            const struct descriptor_file *file = descriptors_symbol(descriptors, symbols[i]);
            descriptors_is_message(descriptors, symbols[i]);
            if (file == NULL)
                continue;
            const struct descriptor_file **files = NULL;
            size_t count = descriptors_closure(descriptors, file, &files);
            if (count == 0 || files[0] != file || descriptors_file(descriptors, file->name) == NULL)
                abort();
            free(files);
        }
    }
    error_free(error);
    descriptors_close(descriptors);
    free(set);
    return 0;
}
