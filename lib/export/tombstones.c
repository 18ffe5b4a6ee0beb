#include "export/tombstones.h"

#include <string.h>

#include "base/memory.h"

static int compare_bytes(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_rows(const void *a, const void *b)
{
    const struct tombstone *left = a;
    const struct tombstone *right = b;
    int order = compare_bytes(left->path, left->folder_size, right->path, right->folder_size);
    return order ? order : strcmp(left->path, right->path);
}

/* No part may be empty, "." or "..". */
static bool path_is_clean(const char *path)
{
    for (;;) {
        size_t part = strcspn(path, "/");
        if (part == 0 || (part == 1 && path[0] == '.') || (part == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (!path[part])
            return true;
        path += part + 1;
    }
}

struct error *tombstones_parse(const char *text, size_t size, const char *object, struct tombstones *ret_tombstones)
{
    static const char version[] = "\xef\xbb\xbfVersion 1.0";
    struct tombstones tombstones = {0};
    size_t capacity = 0;
    size_t line_number = 0;
    size_t at = 0;

    while (at < size || line_number == 0) {
        const char *line = text + at;
        const char *newline = at < size ? memchr(line, '\n', size - at) : NULL;
        size_t length = newline ? (size_t)(newline - line) : size - at;
        at += length + 1;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        line_number++;

        if (line_number == 1) {
            if (length == sizeof version - 1 && memcmp(line, version, length) == 0)
                continue;
            tombstones_free(&tombstones);
            return error_make(ERROR_KIND_DATA_LOSS, "read tombstones.txt", object,
                              "the first line is not \"Version 1.0\": this is no folder in transport format");
        }
        if (length == 0)
            continue;

        char *path = NULL;
        if (line[0] == '\\' && !memchr(line, '\0', length)) {
            path = str_format("Files/%.*s", (int)(length - 1), line + 1);
            for (char *c = path; *c; c++)
                if (*c == '\\')
                    *c = '/';
        }
        if (!path || !path_is_clean(path)) {
            free(path);
            tombstones_free(&tombstones);
            return error_make(ERROR_KIND_DATA_LOSS, "read tombstones.txt", object, "line %zu is no path", line_number);
        }
        if (tombstones.count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            tombstones.rows = mem_resize_array(tombstones.rows, capacity, sizeof *tombstones.rows);
        }
        tombstones.rows[tombstones.count++] =
            (struct tombstone){.path = path, .folder_size = (size_t)(strrchr(path, '/') - path)};
    }

    if (tombstones.count > 0)
        qsort(tombstones.rows, tombstones.count, sizeof *tombstones.rows, compare_rows);
    size_t kept = 0;
    for (size_t i = 0; i < tombstones.count; i++) {
        if (kept > 0 && strcmp(tombstones.rows[kept - 1].path, tombstones.rows[i].path) == 0)
            free(tombstones.rows[i].path);
        else
            tombstones.rows[kept++] = tombstones.rows[i];
    }
    tombstones.count = kept;
    *ret_tombstones = tombstones;
    return NULL;
}

void tombstones_free(struct tombstones *tombstones)
{
    if (!tombstones)
        return;
    for (size_t i = 0; i < tombstones->count; i++)
        free(tombstones->rows[i].path);
    free(tombstones->rows);
    *tombstones = (struct tombstones){0};
}

size_t tombstones_in(const struct tombstones *tombstones, const char *folder, size_t *ret_first)
{
    size_t folder_size = strlen(folder);
    size_t low = 0;
    size_t high = tombstones->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct tombstone *row = &tombstones->rows[middle];
        if (compare_bytes(row->path, row->folder_size, folder, folder_size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < tombstones->count &&
           compare_bytes(tombstones->rows[end].path, tombstones->rows[end].folder_size, folder, folder_size) == 0)
        end++;
    *ret_first = low;
    return end - low;
}
