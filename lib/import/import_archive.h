/* A layer archive, entry by entry, into a tree. Pure; one thread; holds one entry's metadata and one buffer of content. */
#ifndef HCSD_IMPORT_IMPORT_ARCHIVE_H
#define HCSD_IMPORT_IMPORT_ARCHIVE_H

#include "export/result.h"
#include "export/tar_reader.h"
#include "import/import_tree.h"

struct import_archive_options {
    const struct tar_source *source; /* the plain archive */
    struct import_tree *tree;
    bool base; /* no parents: Files and UtilityVM only, no whiteouts */
    struct export_control *control;
};

/* Reads to the archive's end. Errors: INVALID_ARGUMENT for an entry that import refuses, with its path and the reason;
 * DATA_LOSS for a damaged archive; CANCELLED; the source's and the tree's. `ret_deviations` gets "record_left_out" rows and is
 * the caller's also after an error. */
struct error *import_archive(const struct import_archive_options *options,
                             struct deviations *ret_deviations) ERROR_MUST_CHECK;

#endif
