/* Import: a layer archive becomes a folder, the mirror of lib/export.
 *
 * Runs in a worker process. The steps around it are the worker's: for a layer with parents
 *
 *     1. an empty staging folder; import_run(IMPORT_FOR_HCS) fills it from the archive, in transport format
 *     2. storage_import(layer folder, staging folder, parents), HCS's ImportLayer
 *     3. import_apply: what HCS does not take from the folder, whiteouts and hard links
 *     4. with result->utility_vm storage_process_utility_image(layer\UtilityVM), which step 1 made in the layer's folder
 *     5. the staging folder goes (remover_run), whatever happened before
 *
 * and for a base layer
 *
 *     1. an empty layer folder; import_run(IMPORT_BASE) fills it
 *     2. storage_process_base_image(layer), and with result->utility_vm storage_process_utility_image(layer\UtilityVM)
 *
 * Whoever knows the digest or diff_id that the archive must have compares them before step 2. The process has SeBackup,
 * SeRestore and SeSecurity enabled. */
#ifndef HCSD_IMPORT_IMPORT_H
#define HCSD_IMPORT_IMPORT_H

#include "export/export.h"

enum import_target {
    IMPORT_COMPLETE, /* transport format with everything in it, as ExportLayer makes it: tombstones.txt, hard links as such */
    IMPORT_FOR_HCS, /* the same for ImportLayer, which takes neither: they are in the result */
    IMPORT_BASE,    /* a base layer, plain files with security */
};

/* Where the archive comes from (none, gzip or zstd: found out). Fills `data`; fewer bytes than asked for mean the end. May
 * block as long as the writer does. */
struct import_input {
    struct error *(*read)(void *context, void *data, size_t size, size_t *ret_got);
    void *context;
};

/* A file as input. */
struct import_file;
struct error *import_file_open(const char *path, struct import_file **ret_file) ERROR_MUST_CHECK;
const struct import_input *import_file_input(struct import_file *file);
void import_file_free(struct import_file *file); /* takes NULL */

/* What is left to do after ImportLayer. Paths are relative to the layer, WTF-8, slashes. */
struct import_link {
    char *path, *first;
};
struct import_pending {
    char **whiteouts;
    size_t whiteout_count;
    struct import_link *links;
    size_t link_count;
};
#define IMPORT_PENDING_MAX (64u << 20) /* bytes of all these paths: more is RESOURCE_EXHAUSTED */

struct import_options {
    const char *folder; /* absolute; exists and is empty */
    enum import_target target;
    const struct import_input *input;
    /* IMPORT_FOR_HCS, for a layer with a UtilityVM: that is made in the layer's own folder at once, from the nearest parent's. NULL: such
     * a layer is FAILED_PRECONDITION. */
    const char *layer, *parent;
    struct export_control *control; /* entries, bytes (plain), output_bytes (read from the input), path, cancelled */
};

struct import_result {
    char digest[72];  /* "sha256:…" of the input */
    char diff_id[72]; /* of the plain archive */
    uint64_t size;    /* bytes of the input */
    uint64_t plain_size;
    const char *media_type; /* static */
    uint64_t entries;
    bool utility_vm;                     /* the layer has UtilityVM/Files */
    struct import_pending pending;       /* IMPORT_FOR_HCS only */
    struct export_deviation *deviations; /* "record_left_out"; at most EXPORT_DEVIATIONS_MAX of deviation_total */
    size_t deviation_count;
    uint64_t deviation_total;
};

/* Fills the folder. Nothing that the archive says leads out of it: entries that could are refused, as are names that Windows
 * does not have (import_name.h has the rules); each folder must come before what is in it. After an error the folder is empty
 * again but for what could not be removed. Errors: INVALID_ARGUMENT naming the entry; ALREADY_EXISTS for an entry that is there
 * twice, also by case; DATA_LOSS for a damaged archive; FAILED_PRECONDITION when the folder is not empty, or there is nothing to
 * make a utility VM from; CANCELLED within a second; the input's and the system's. Memory: one
 * entry's metadata, buffers of 64 KiB, a handle for each level of the current path, and `pending`. */
struct error *import_run(const struct import_options *options, struct import_result **ret_result) ERROR_MUST_CHECK;
void import_result_free(struct import_result *result); /* takes NULL */

/* After ImportLayer: removes in the layer's folder what the layer deletes and makes its hard links; a link's first name is
 * looked for in the layer and then in its parents, nearest first. Folders keep their times. Never through a reparse point. An
 * absent whiteout is none; NOT_FOUND for a link whose first name is nowhere. */
struct error *import_apply(const char *layer, const char *const *parents, size_t parent_count,
                           const struct import_pending *pending, struct export_control *control) ERROR_MUST_CHECK;

#endif
