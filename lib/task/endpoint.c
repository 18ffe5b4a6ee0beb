#include "task/endpoint.h"

#include <ctype.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define LIMIT 1024u

static const char pipe_prefix[] = "\\\\.\\pipe\\";
static const char file_prefix[] = "file:///";

static struct error *refuse(const char *text, const char *stream, const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, stream, text, "%s", why);
}

static bool begins(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++)
        if (tolower((unsigned char)*text) != tolower((unsigned char)*prefix))
            return false;
    return true;
}

/* Each part between backslashes must be a real name: "." and ".." are resolved before a pipe or file is looked up, and so
 * could lead to another device. */
static bool parts_are_plain(const char *path)
{
    for (;;) {
        size_t size = strcspn(path, "\\");
        if (size == 0 || (size == 1 && path[0] == '.') || (size == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (!path[size])
            return true;
        path += size + 1;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The path of a file URL with backslashes, or NULL. */
static char *file_path(const char *text)
{
    char *path = str_copy(text), *out = path;
    for (const char *in = text; *in; in++) {
        int high = -1, low = -1;
        if (*in == '%' && (high = hex_digit(in[1])) >= 0 && (low = hex_digit(in[2])) >= 0) {
            *out = (char)(high * 16 + low);
            in += 2;
        } else
            *out = *in;
        if (*out == '/')
            *out = '\\';
        if (!*out || (unsigned char)*out < 0x20)
            goto bad;
        out++;
    }
    *out = 0;
    if (isalpha((unsigned char)path[0]) && path[1] == ':' && path[2] == '\\' && !strpbrk(path + 2, ":*?\"<>|") &&
        parts_are_plain(path + 3) && text_is_utf8(path, strlen(path)))
        return path;
bad:
    free(path);
    return NULL;
}

struct error *endpoint_parse(const char *text, const char *stream, enum endpoint_kind *ret_kind, char **ret_path)
{
    if (!text || !*text) {
        *ret_kind = ENDPOINT_NONE;
        *ret_path = NULL;
        return NULL;
    }
    if (strlen(text) > LIMIT)
        return refuse("", stream, "the name is longer than 1024 bytes");
    if (begins(text, pipe_prefix)) {
        const char *name = text + sizeof pipe_prefix - 1;
        if (strpbrk(name, "/:") || !parts_are_plain(name))
            return refuse(text, stream, "this is no plain pipe name; \\\\.\\pipe\\NAME is");
        *ret_path = str_copy(text);
        *ret_kind = ENDPOINT_PIPE;
        return NULL;
    }
    if (begins(text, file_prefix)) {
        if (!strcmp(stream, "stdin"))
            return refuse(text, stream, "a file can take output only; give a pipe \\\\.\\pipe\\NAME");
        char *path = file_path(text + sizeof file_prefix - 1);
        if (!path)
            return refuse(text, stream, "a file must be given as file:///C:/folder/name");
        *ret_path = path;
        *ret_kind = ENDPOINT_FILE;
        return NULL;
    }
    return refuse(text, stream,
                  "only local pipes \\\\.\\pipe\\NAME and, for output, file:///C:/folder/name can be used");
}
