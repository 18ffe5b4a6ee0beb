#include "memory_packer.h"

#include <string.h>

struct error *packer_room(struct packer *packer, void **ret_room, size_t *ret_size)
{
    if (packer->tar.size > MEMORY_PACKER_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "write", NULL, "enough");
    *ret_size = 1000;
    *ret_room = buffer_reserve(&packer->tar, *ret_size);
    return NULL;
}

void packer_fill(struct packer *packer, size_t size)
{
    packer->tar.size += size;
}

struct error *packer_write(struct packer *packer, const void *data, size_t size)
{
    buffer_add(&packer->tar, data, size);
    return NULL;
}

struct error *packer_write_zeros(struct packer *packer, uint64_t size)
{
    if (size > MEMORY_PACKER_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "write", NULL, "enough");
    memset(buffer_reserve(&packer->tar, size), 0, size);
    packer->tar.size += size;
    return NULL;
}
