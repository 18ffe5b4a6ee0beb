/* Any text as a client's stream: what is taken is a pipe's own name or a path on a drive, with nothing in it that leads
 * elsewhere. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "relay/endpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct endpoint *endpoint)
{
    const char *path = endpoint->path, *rest;
    if (endpoint->kind == ENDPOINT_NONE)
        return;
    if (!path || !text_is_utf8(path, strlen(path)) || strstr(path, "\\..\\") || strchr(path, '/'))
        abort();
    rest = endpoint->kind == ENDPOINT_PIPE ? path + 9 : path + 3;
    if (endpoint->kind == ENDPOINT_PIPE ? strncmp(path, "\\\\.\\pipe\\", 9) != 0 : path[1] != ':' || path[2] != '\\')
        abort();
    if (!*rest || strchr(rest, ':'))
        abort();
    for (size_t i = 0; i < endpoint->argument_count; i++)
        if (!text_is_utf8(endpoint->arguments[i], strlen(endpoint->arguments[i])))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = str_copy_n((const char *)data, size);
    const char *both[3] = {"", text, text};
    struct endpoint endpoints[3] = {{0}};
    struct error *error = endpoint_parse(text, "stdin", &endpoints[0]);
    if (!error && endpoints[0].kind > ENDPOINT_PIPE)
        abort();
    if (!error)
        check(&endpoints[0]);
    endpoint_clear(&endpoints[0]);
    error_free(error);
    error = endpoint_parse_all(both, endpoints);
    for (unsigned i = 0; !error && i < 3; i++) {
        check(&endpoints[i]);
        endpoint_clear(&endpoints[i]);
    }
    error_free(error);
    free(text);
    return 0;
}
