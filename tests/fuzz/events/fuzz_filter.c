/* A filter as a client sends it, and the regular expressions in it, over one event. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "daemon/events/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *field(void *context, const char *const *path, size_t depth)
{
    (void)context;
    return depth == 1 ? "/tasks/exit" : path[depth - 1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct filters *filters = NULL;
    if (!text_is_utf8((const char *)data, size))
        return 0; /* the transport refuses it */
    char *text = str_copy_n((const char *)data, size);
    struct error *error = filters_parse(&text, 1, &filters);
    if (error == NULL)
        filters_match(filters, field, NULL);
    error_free(error);
    filters_free(filters);
    free(text);
    return 0;
}
