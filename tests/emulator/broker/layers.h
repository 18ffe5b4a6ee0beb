/* The books of the storage half: which layers are activated and prepared, and under which volume. They outlive whoever
 * made the calls. What is on disk is the DLL's business. Locked. */
#ifndef EMULATOR_BROKER_LAYERS_H
#define EMULATOR_BROKER_LAYERS_H

#include "broker.h"

struct layer {
    struct layer *next;
    char *key;       /* the path in lower case, without \\?\ and without a backslash at the end */
    char *path;      /* as the caller gave it */
    char volume[64]; /* \\?\Volume{guid}, always the same for a path */
    bool prepared;   /* every layer in the books is activated */
    json_t *parents; /* paths, nearest first; of the last Prepare */
};

/* NULL when the layer is not activated. */
struct layer *layers_find(const char *path);
struct layer *layers_find_volume(const char *volume);

/* Each answers a storage call; see requests.c for the table. */
struct error *layers_activate(const json_t *request, json_t *reply) ERROR_MUST_CHECK;
struct error *layers_deactivate(const json_t *request, json_t *reply) ERROR_MUST_CHECK;
struct error *layers_prepare(const json_t *request, json_t *reply) ERROR_MUST_CHECK;
struct error *layers_unprepare(const json_t *request, json_t *reply) ERROR_MUST_CHECK;
struct error *layers_mount_path(const json_t *request, json_t *reply) ERROR_MUST_CHECK;
/* For ExportLayer: 21 when the layer is not activated. */
struct error *layers_check_export(const json_t *request, json_t *reply) ERROR_MUST_CHECK;
/* For DestroyLayer: "child": path of a prepared layer that has this one in its chain; 32 when it is activated itself. */
struct error *layers_check_destroy(const json_t *request, json_t *reply) ERROR_MUST_CHECK;

#endif
