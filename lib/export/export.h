/* The export engine: a staged layer folder becomes an OCI layer archive, and is taken down.
 *
 * Runs in a worker process. What a folder in transport format looks like is in docs/export.md (from hcsshim's export
 * folder); the archive is what containerd and moby read and write for Windows layers. The steps around it (activate,
 * prepare, ExportLayer, deactivate) belong to the worker (daemon/worker). */
#ifndef HCSD_EXPORT_EXPORT_H
#define HCSD_EXPORT_EXPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum export_compression { EXPORT_GZIP = 0, EXPORT_ZSTD = 1, EXPORT_NONE = 2 }; /* as in hcsd.v1 */

/* What is asked for. Paths are absolute, WTF-8. */
struct export_request {
    char *layer;
    char **parents; /* nearest first; none: a base layer, walked in place */
    size_t parent_count;
    char *output; /* "" or NULL: streamed */
    bool overwrite;
    enum export_compression compression;
    int level; /* 0: default */
};

struct export_counters {
    uint64_t entries;      /* tar headers written, PAX ones not counted */
    uint64_t bytes;        /* of the uncompressed archive */
    uint64_t output_bytes; /* of the output */
    uint64_t removed;      /* entries of the staging folder that are gone */
};

/* What did not go the usual way, one row each: nothing is left out silently. */
struct export_deviation {
    char *kind;   /* "not_utf16", "recycle_bin", "orphan_tombstone", "unknown_reparse", … listed in docs/export.md */
    char *path;   /* printable UTF-8, relative to the layer */
    char *detail; /* one sentence */
};
#define EXPORT_DEVIATIONS_MAX     1000
/* The one kind that is about this system and not about the layer's content. */
#define EXPORT_DEVIATION_FALLBACK "no_backup_read"

struct export_result {
    char digest[72];        /* "sha256:…" of the output */
    char diff_id[72];       /* of the uncompressed archive */
    uint64_t size;          /* bytes of the output */
    const char *media_type; /* static */
    uint64_t entries;
    double staging_seconds; /* filled in by the worker */
    double archive_seconds;
    struct export_deviation *deviations; /* at most EXPORT_DEVIATIONS_MAX … */
    size_t deviation_count;
    uint64_t deviation_total; /* … of this many */
};
struct export_result *export_result_copy(const struct export_result *result);
void export_result_free(struct export_result *result);
/* Deviations that concern what is in the archive. */
uint64_t export_result_content_deviations(const struct export_result *result);

/* Shared between the thread that works and whoever looks on (heartbeats, cancel). Zero-initialise, then export_control_init. */
struct export_control {
    _Atomic uint64_t entries, bytes, output_bytes, removed;
    _Atomic bool
        cancelled; /* set by anybody: the engine returns CANCELLED within a second, in the middle of a file too */
    _Atomic bool go_around; /* set by the watchdog: what resists is skipped and reported instead of retried */
    void *path_lock;        /* the path in hand, see export_control_path */
    char *path;
};
void export_control_init(struct export_control *control);
void export_control_free(struct export_control *control);
void export_control_set_path(struct export_control *control, const char *path);
char *export_control_path(struct export_control *control); /* printable copy, caller frees; never blocks for long */

/* Where the archive goes. `write` takes all bytes or fails; it may block as long as the reader does. */
struct export_output {
    struct error *(*write)(void *context, const void *data, size_t size);
    void *context;
};

struct export_archive_options {
    const char *folder;  /* staged folder in transport format, or the layer itself when `base` */
    bool base;           /* no parents: walked in place, nothing is removed */
    bool remove_as_read; /* staged copies: each file is deleted by the open that read it */
    enum export_compression compression;
    int level;
    const struct export_output *output;
    struct export_control *control;
};

/* Writes the whole archive. On failure the output is incomplete and the caller throws it away. Errors: CANCELLED;
 * DATA_LOSS for a folder that is no transport format, naming the file; the output's own error; the system's, with path. */
struct error *export_archive(const struct export_archive_options *options,
                             struct export_result **ret_result) ERROR_MUST_CHECK;

/* A file output: written beside its final name and put in place complete and flushed, or not at all. */
struct export_file;
struct error *export_file_open(const char *path, bool overwrite, struct export_file **ret_file) ERROR_MUST_CHECK;
const struct export_output *export_file_output(struct export_file *file);
struct error *
export_file_commit(struct export_file *file) ERROR_MUST_CHECK; /* flush, rename; export_file_free is still due */
void export_file_free(struct export_file *file);               /* without commit: removes what was written */

/* Removes a folder and all below it, by handle, never following a reparse point, never leaving its root, never looping.
 * An entry that resists is reported and passed by. Returns NULL also when entries are left: look at `left_total`. A set
 * control->cancelled does not stop it: a cancelled export's folder is to go too. NOT_FOUND when the folder is not there. */
struct remover_report {
    struct export_deviation *left; /* what is still there, with the reason; at most EXPORT_DEVIATIONS_MAX */
    size_t left_count;
    uint64_t left_total;
    uint64_t removed;
};
struct error *remover_run(const char *folder, struct export_control *control,
                          struct remover_report *ret_report) ERROR_MUST_CHECK;
void remover_report_free(struct remover_report *report);

#endif
