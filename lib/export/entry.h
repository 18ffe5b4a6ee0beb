/* One entry of a layer: its backup stream becomes tar headers and content. Pure (the packer's threads aside); one thread. */
#ifndef HCSD_EXPORT_ENTRY_H
#define HCSD_EXPORT_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "export/packer.h"
#include "export/result.h"
#include "export/stream.h"

struct entry {
    const char *path; /* relative to the layer, WTF-8, slashes */
    bool folder;
    uint32_t attributes;
    uint64_t modified, created; /* FILETIME */
};

/* Writes the entry and, right behind it, its alternate streams as PATH:STREAM. The source is read to its end, twice where
 * needed: metadata may stand behind the data. Adds to control->entries. Errors: DATA_LOSS for a stream that is damaged or
 * holds a reparse point of the containers' filter; the packer's and the source's own. Deviations: "unknown_reparse",
 * "stream_left_out", "attribute_left_out", "not_utf16" (a stream's name), all with the entry's path. */
struct error *entry_write(const struct entry *entry, struct stream_source *source, struct packer *packer,
                          struct export_control *control, struct deviations *deviations) ERROR_MUST_CHECK;

/* A further name of a file that was written as `first`. */
struct error *entry_write_hard_link(const struct entry *entry, const char *first, struct packer *packer,
                                    struct export_control *control) ERROR_MUST_CHECK;

/* FOLDER/.wh.NAME for a path that the layer deletes. */
struct error *entry_write_whiteout(const char *path, struct packer *packer,
                                   struct export_control *control) ERROR_MUST_CHECK;

#endif
