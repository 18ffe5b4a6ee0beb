/* tombstones.txt of the transport format: what a layer deletes from its parents (docs/export.md). Pure. */
#ifndef HCSD_EXPORT_TOMBSTONES_H
#define HCSD_EXPORT_TOMBSTONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tombstone {
    char *path;         /* relative to the layer, slashes: Files/Windows/notepad.exe */
    size_t folder_size; /* bytes of `path` that are the folder's path: Files/Windows */
    bool written;
};

struct tombstones {
    struct tombstone *rows; /* sorted by folder, then by path, by bytes; each path once */
    size_t count;
};

#define TOMBSTONES_SIZE_MAX (64u << 20) /* bytes of the file */

/* DATA_LOSS when the first line is not BOM + "Version 1.0" or a line is no path below Files, naming the line. Empty lines
 * mean nothing. `object` is the file's path for errors. */
struct error *tombstones_parse(const char *text, size_t size, const char *object,
                               struct tombstones *ret_tombstones) ERROR_MUST_CHECK;
void tombstones_free(struct tombstones *tombstones);

/* The rows of one folder (by its path relative to the layer, slashes): *ret_first is the index of the first. */
size_t tombstones_in(const struct tombstones *tombstones, const char *folder, size_t *ret_first);

#endif
