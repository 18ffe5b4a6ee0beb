/* Storage calls on layers, each made by a worker within hcs.call_seconds (DEADLINE_EXCEEDED names the call; the worker is then
 * replaced). A part of daemon/jobs; thread-safe; every function that is named after a call blocks.
 *
 * Errors are HCS's own, or NOT_FOUND (no such folder), FAILED_PRECONDITION naming who holds the layer, UNAVAILABLE while hcsd
 * stops. Paths are absolute. */
#ifndef HCSD_DAEMON_JOBS_LAYERS_H
#define HCSD_DAEMON_JOBS_LAYERS_H

#include "daemon/jobs/jobs.h"

/* Who has mounted what clients mount by themselves: such mounts outlive hcsd until somebody unmounts them. */
#define LAYERS_CLIENT_HOLDER "layer mount"

/* jobs_mount_layer with a folder that the volume is mounted on as well (made, and removed again at release), or NULL; no disk is
 * made. */
struct error *jobs_mount_layer_at(struct jobs *jobs, const char *holder, const char *scratch,
                                  const char *const *parents, size_t parent_count, const char *target,
                                  char **ret_volume) ERROR_MUST_CHECK;

/* What is known of, mounted or half so; strings belong to the views. */
struct layer_view {
    char *path, *holder;
    char *target;      /* "" none */
    const char *state; /* "mounting", "mounted", "releasing", "left" (a failed attempt that is being taken down) */
    char **parents;
    size_t parent_count;
    int64_t since_ns;
};
void jobs_layers(struct jobs *jobs, struct layer_view **ret_views, size_t *ret_count);
void layer_views_free(struct layer_view *views, size_t count);

/* A new folder with a scratch disk over the parents (nearest first); bytes 0: HCS's own size. ALREADY_EXISTS. */
struct error *jobs_create_scratch(struct jobs *jobs, const char *layer, const char *const *parents, size_t parent_count,
                                  uint64_t bytes, char **ret_deviation) ERROR_MUST_CHECK;
/* The disk and the volume on it; only ever larger. *ret_deviation (caller frees; "" mostly) says what could not be done here. */
struct error *jobs_expand_scratch(struct jobs *jobs, const char *layer, uint64_t bytes,
                                  char **ret_deviation) ERROR_MUST_CHECK;
struct error *jobs_layer_exists(struct jobs *jobs, const char *layer, bool *ret_exists) ERROR_MUST_CHECK;
/* FAILED_PRECONDITION unless it is mounted. */
struct error *jobs_layer_mount_path(struct jobs *jobs, const char *layer, char **ret_volume) ERROR_MUST_CHECK;
/* ProcessBaseImage, and ProcessUtilityImage where there is a utility VM. */
struct error *jobs_process_image(struct jobs *jobs, const char *layer, bool *ret_utility_vm) ERROR_MUST_CHECK;
/* Renames the folder (which fails while anything below is in use), then DestroyLayer, then a look. Nothing that depends on it
 * may be known: FAILED_PRECONDITION names it. What is still there after the rename is taken down by the janitor, and the error
 * says so: the layer itself is gone then. DATA_LOSS when DestroyLayer ended its worker with an exception. */
struct error *jobs_destroy_layer(struct jobs *jobs, const char *layer) ERROR_MUST_CHECK;

/* An archive becomes a layer in a folder that is empty or not there. Takes as long as it makes progress (the watchdog of exports is
 * over it), in the queue of exports: RESOURCE_EXHAUSTED when that is full. After an error nothing of the layer is left. */
struct layer_import {
    const char *layer;
    const char *const *parents; /* nearest first; none: a base layer */
    size_t parent_count;
    const char *input;            /* the archive's path */
    const char *digest, *diff_id; /* what it must have, or "" */
};
struct layer_imported {
    char *digest, *diff_id;
    uint64_t size, entries;
    struct export_deviation *deviations;
    size_t deviation_count;
    uint64_t deviation_total;
};
struct error *jobs_import_archive(struct jobs *jobs, const struct layer_import *import,
                                  struct layer_imported *ret_imported) ERROR_MUST_CHECK;
void layer_imported_clear(struct layer_imported *imported);

/* Claims without a mount, for containers whose layers are in a utility VM: the scratch (NULL: none) is the holder's own, parents
 * are in use by it. All or none. */
struct error *jobs_claim_layers(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                                size_t parent_count) ERROR_MUST_CHECK;
void jobs_unclaim_layers(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                         size_t parent_count);

/* What a container in a utility VM needs of the disk: looked at, made where it is missing, opened to the VM. `order` is the
 * message (docs/worker.md, "stage"), of which the reference is taken; *ret_found is the worker's answer, the caller's to drop. */
struct json_t;
struct error *jobs_stage_layers(struct jobs *jobs, const char *holder, const char *scratch, struct json_t *order,
                                struct json_t **ret_found) ERROR_MUST_CHECK;

#endif
