/* What an archive is unpacked into: the seam between reading it (import_archive.c, pure) and the file system (staging.c). */
#ifndef HCSD_IMPORT_IMPORT_TREE_H
#define HCSD_IMPORT_IMPORT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "export/stream.h"
#include "import/import_name.h"

/* Takes the backup streams of one file or folder, one after the other. */
struct stream_sink {
    /* The next stream; header->size bytes of content follow. */
    struct error *(*begin)(struct stream_sink *sink, const struct stream_header *header);
    struct error *(*write)(struct stream_sink *sink, const void *data, size_t size);
    struct error *(*finish)(struct stream_sink *sink); /* all streams were given: times and attributes */
    void (*free)(struct stream_sink *sink);            /* without finish: what it stands for is not whole */
};

struct import_node {
    const char *path; /* relative to the layer, slashes, clean */
    enum import_area area;
    bool top;
    bool folder;
    uint32_t attributes;
    uint64_t modified, created; /* FILETIME */
};

/* Every function may fail with the system's error. None follows a link, or goes through a file. */
struct import_tree {
    /* Makes the entry, whose folder must be there. ALREADY_EXISTS when there is one of this name. */
    struct error *(*create)(struct import_tree *tree, const struct import_node *node, struct stream_sink **ret_sink);
    /* A further name of the file `first`. NOT_FOUND when that is not there. */
    struct error *(*link)(struct import_tree *tree, const struct import_name *name, const char *first);
    struct error *(*whiteout)(struct import_tree *tree, const struct import_name *name);
    /* The binary form of a descriptor in SDDL (the old record MSWINDOWS.sd), added to a buffer. */
    struct error *(*sddl)(struct import_tree *tree, const char *path, const char *text, struct buffer *ret_descriptor);
};

#endif
