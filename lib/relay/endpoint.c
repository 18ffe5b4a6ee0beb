#include "relay/endpoint.h"

#include <ctype.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define LIMIT 1024u

static const char pipe_prefix[] = "\\\\.\\pipe\\";
static const char npipe_prefix[] = "npipe:////./pipe/";
static const char file_prefix[] = "file:///";
static const char logger_prefix[] = "binary:///";
static const char logger_v2_prefix[] = "binary-v2:///";

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

/* A part of a URL with its escapes taken out; NULL when it holds what no name and no argument has. */
static char *unescape(const char *text, size_t size)
{
    char *plain = mem_zero(size + 1), *out = plain;
    for (const char *in = text, *end = text + size; in < end; in++) {
        int high = -1, low = -1;
        if (*in == '%' && end - in > 2 && (high = hex_digit(in[1])) >= 0 && (low = hex_digit(in[2])) >= 0) {
            *out = (char)(high * 16 + low);
            in += 2;
        } else
            *out = *in;
        if ((unsigned char)*out < 0x20)
            goto bad;
        out++;
    }
    if (text_is_utf8(plain, (size_t)(out - plain)))
        return plain;
bad:
    free(plain);
    return NULL;
}

/* The path of a URL with backslashes, or NULL. */
static char *url_path(const char *text, size_t size)
{
    char *path = unescape(text, size);
    if (!path)
        return NULL;
    for (char *at = path; *at; at++)
        if (*at == '/')
            *at = '\\';
    if (isalpha((unsigned char)path[0]) && path[1] == ':' && path[2] == '\\' && !strpbrk(path + 2, ":*?\"<>|") &&
        parts_are_plain(path + 3))
        return path;
    free(path);
    return NULL;
}

static struct error *parse_pipe(const char *text, const char *name, const char *stream, struct endpoint *endpoint)
{
    if (strpbrk(name, "/:") || !parts_are_plain(name) || !text_is_utf8(name, strlen(name)))
        return refuse(text, stream, "this is no plain pipe name; \\\\.\\pipe\\NAME is");
    endpoint->path = str_format("%s%s", pipe_prefix, name);
    endpoint->kind = ENDPOINT_PIPE;
    return NULL;
}

static struct error *parse_logger(const char *text, const char *rest, const char *stream, struct endpoint *endpoint)
{
    static const char wanted[] = "a logger must be given as binary:///C:/folder/name.exe?key=value";
    size_t size = strcspn(rest, "?");
    endpoint->path = url_path(rest, size);
    if (!endpoint->path)
        return refuse(text, stream, wanted);
    endpoint->kind = ENDPOINT_LOGGER;
    endpoint->arguments = mem_new_array(ENDPOINT_ARGUMENTS_MAX, char *);
    for (const char *at = rest + size; *at;) {
        at++;
        size_t pair = strcspn(at, "&"), key = strcspn(at, "=&");
        if (pair && endpoint->argument_count + 2 > ENDPOINT_ARGUMENTS_MAX)
            return refuse(text, stream, "a logger can have 16 keys");
        for (unsigned part = 0; pair && part < (key < pair ? 2 : 1); part++) {
            char *argument = part ? unescape(at + key + 1, pair - key - 1) : unescape(at, key);
            if (!argument)
                return refuse(text, stream, wanted);
            endpoint->arguments[endpoint->argument_count++] = argument;
        }
        at += pair;
    }
    return NULL;
}

static struct error *parse(const char *text, const char *stream, struct endpoint *endpoint)
{
    if (!text || !*text)
        return NULL;
    if (strlen(text) > LIMIT)
        return refuse("", stream, "the name is longer than 1024 bytes");
    if (begins(text, pipe_prefix))
        return parse_pipe(text, text + sizeof pipe_prefix - 1, stream, endpoint);
    if (begins(text, npipe_prefix))
        return parse_pipe(text, text + sizeof npipe_prefix - 1, stream, endpoint);
    bool file = begins(text, file_prefix), second = begins(text, logger_v2_prefix);
    if (!file && !second && !begins(text, logger_prefix))
        return refuse(text, stream,
                      "only local pipes \\\\.\\pipe\\NAME and, for output, file:///C:/folder/name and "
                      "binary:///C:/folder/name.exe can be used");
    if (!strcmp(stream, "stdin"))
        return refuse(text, stream, "a file or a logger can take output only; give a pipe \\\\.\\pipe\\NAME");
    if (!file) {
        endpoint->must_answer = second;
        return parse_logger(text, text + (second ? sizeof logger_v2_prefix : sizeof logger_prefix) - 1, stream,
                            endpoint);
    }
    const char *rest = text + sizeof file_prefix - 1;
    endpoint->path = url_path(rest, strlen(rest));
    if (!endpoint->path)
        return refuse(text, stream, "a file must be given as file:///C:/folder/name");
    endpoint->kind = ENDPOINT_FILE;
    return NULL;
}

void endpoint_clear(struct endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->argument_count; i++)
        free(endpoint->arguments[i]);
    free(endpoint->arguments);
    free(endpoint->path);
    *endpoint = (struct endpoint){0};
}

struct error *endpoint_parse(const char *text, const char *stream, struct endpoint *ret_endpoint)
{
    struct endpoint endpoint = {0};
    struct error *error = parse(text, stream, &endpoint);
    if (error)
        endpoint_clear(&endpoint);
    else
        *ret_endpoint = endpoint;
    return error;
}

struct error *endpoint_parse_all(const char *const texts[3], struct endpoint ret_endpoints[3])
{
    static const char *const names[3] = {"stdin", "stdout", "stderr"};
    struct endpoint endpoints[3] = {{0}};
    struct error *error = NULL;
    for (unsigned i = 0; !error && i < 3; i++)
        error = endpoint_parse(texts[i], names[i], &endpoints[i]);
    bool out = endpoints[1].kind == ENDPOINT_LOGGER, second = endpoints[2].kind == ENDPOINT_LOGGER;
    if (!error && (second || (out && endpoints[2].kind != ENDPOINT_NONE)) &&
        strcmp(texts[1] ? texts[1] : "", texts[2]) != 0)
        error = refuse(texts[2], "stderr", "one logger takes both outputs: give stdout and stderr the same URL");
    for (unsigned i = 0; i < 3; i++)
        if (error)
            endpoint_clear(&endpoints[i]);
        else
            ret_endpoints[i] = endpoints[i];
    return error;
}
