#include "base/path.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"

static bool is_separator(char letter)
{
    return letter == '\\' || letter == '/';
}

static bool is_drive(const char *path)
{
    return ((path[0] | 32) >= 'a' && (path[0] | 32) <= 'z') && path[1] == ':' && is_separator(path[2]);
}

/* `\\?\` and `\\.\`: literally with backslashes, as Windows demands it. */
static bool is_verbatim(const char *path)
{
    return strncmp(path, "\\\\?\\", 4) == 0 || strncmp(path, "\\\\.\\", 4) == 0;
}

bool path_is_absolute(const char *path)
{
    return is_drive(path) || (is_separator(path[0]) && is_separator(path[1]) && path[2] != 0 && !is_separator(path[2]));
}

static struct error *bad_path(const char *path, const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "check path", path, "%s", why);
}

static bool is_good_part(const char *part, size_t size, bool last)
{
    bool stream = false;
    for (size_t i = 0; i < size; i++) {
        unsigned char letter = (unsigned char)part[i];
        if (letter < 0x20 || strchr("<>\"|?*", letter) != NULL)
            return false;
        if (letter == ':') {
            if (!last || stream || i == 0)
                return false;
            stream = true;
        }
    }
    return true;
}

struct error *path_verbatim(const char *path, char **ret_path)
{
    if (is_verbatim(path)) {
        *ret_path = str_copy(path);
        return NULL;
    }
    if (!path_is_absolute(path))
        return bad_path(path, "the path is not absolute; give it with its drive, for example C:\\folder\\file");
    struct buffer out = {0};
    size_t root; /* how much of `out` no `..` takes away */
    const char *at;
    if (is_drive(path)) {
        buffer_add_format(&out, "\\\\?\\%c:", path[0]);
        root = out.size;
        at = path + 2;
    } else {
        buffer_add_text(&out, "\\\\?\\UNC");
        root = SIZE_MAX; /* until server and share are there */
        at = path + 1;
    }
    struct error *error = NULL;
    unsigned parts = 0;
    while (error == NULL) {
        while (is_separator(*at))
            at++;
        if (*at == 0)
            break;
        size_t size = strcspn(at, "\\/");
        const char *rest = at + size + strspn(at + size, "\\/");
        if (size == 1 && at[0] == '.') {
            /* this folder */
        } else if (size == 2 && at[0] == '.' && at[1] == '.') {
            if (root == SIZE_MAX || out.size <= root) {
                error = bad_path(path, "\"..\" leads above the root");
            } else {
                while (out.data[out.size - 1] != '\\')
                    out.size--;
                out.size--;
            }
        } else if (!is_good_part(at, size, *rest == 0)) {
            error = bad_path(path, "the path has a character that no file name has");
        } else {
            buffer_add_text(&out, "\\");
            buffer_add(&out, at, size);
            if (++parts == 2 && root == SIZE_MAX)
                root = out.size;
        }
        at = rest;
    }
    if (error == NULL && root == SIZE_MAX)
        error = bad_path(path, "the path names a server but no share");
    if (error != NULL) {
        buffer_free(&out);
        return error;
    }
    if (out.size == root)
        buffer_add_text(&out, "\\");
    out.data[out.size] = 0;
    *ret_path = (char *)out.data;
    return NULL;
}

static size_t without_trailing(const char *path)
{
    size_t size = strlen(path);
    while (size > 0 && is_separator(path[size - 1]))
        size--;
    return size;
}

char *path_join(const char *folder, const char *name)
{
    size_t size = strlen(folder);
    bool ended = size == 0 || is_separator(folder[size - 1]);
    return str_format("%s%s%s", folder, ended ? "" : "\\", name);
}

/* Where the last part begins and ends; begin == end for a root. */
static void last_part(const char *path, size_t *begin, size_t *end)
{
    *end = without_trailing(path);
    if (*end == 2 && path[1] == ':') { /* a drive's root */
        *begin = *end = strlen(path);
        return;
    }
    *begin = *end;
    while (*begin > 0 && !is_separator(path[*begin - 1]))
        (*begin)--;
}

char *path_last_part(const char *path)
{
    size_t begin, end;
    last_part(path, &begin, &end);
    return str_copy_n(path + begin, end - begin);
}

char *path_folder(const char *path)
{
    size_t begin, end;
    last_part(path, &begin, &end);
    size_t size = begin;
    while (size > 0 && is_separator(path[size - 1]))
        size--;
    if (size >= 2 && path[size - 1] == ':' && begin > size)
        size++; /* C:\ keeps its separator */
    return str_copy_n(path, size);
}
