/* The storage half of vmcompute.dll: layers. Windows only.
 *
 * These calls have no timeout, can hang and can raise exceptions that end the process: workers make them (guard NULL: in
 * place, on the calling thread; the daemon's watchdog is over the whole process), hcsd.exe makes none but
 * storage_name_to_guid, guarded.
 *
 * Paths are absolute, in UTF-8, without `\\?\`; a trailing separator is taken off. HCS takes a relative path for success
 * without effect and refuses a trailing backslash, so INVALID_ARGUMENT comes from here. Errors are HRESULT errors
 * with the layer's path as object. Thread-safe. */
#ifndef HCSD_HCS_STORAGE_H
#define HCSD_HCS_STORAGE_H

#include "hcs/guard.h"
#include "hcs/library.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

struct storage;

/* `library`, `guard` (may be NULL: direct) and `pause` (may be NULL: the system's) are borrowed and outlive it. */
struct error *storage_new(struct hcs_library *library, struct guard *guard, const struct pause *pause,
                          struct storage **ret_storage) ERROR_MUST_CHECK;
void storage_free(struct storage *storage);

/* ---- ids and chains ---- */

/* HCS's id of a name, asked once per name (the algorithm is HCS's own). */
struct error *storage_name_to_guid(struct storage *storage, const char *name, GUID *ret_guid) ERROR_MUST_CHECK;
/* 18955d65-d45a-557b-bf1c-49d6dfefc526: lower case, no braces. */
void storage_guid_text(const GUID *guid, char text[37]);

/* A layer's parents, nearest first and complete, with the id of each one's last path part. */
struct hcs_layer_list {
    HCS_LAYER_DESCRIPTOR *layers; /* owns the paths */
    size_t count;
};
struct error *hcs_layer_list_make(struct storage *storage, const char *const *paths, size_t count,
                                  struct hcs_layer_list *ret_list) ERROR_MUST_CHECK;
void hcs_layer_list_free(struct hcs_layer_list *list);

/* ---- the calls; ids are paths ---- */

struct error *storage_activate(struct storage *storage, const char *layer) ERROR_MUST_CHECK;
struct error *storage_deactivate(struct storage *storage, const char *layer) ERROR_MUST_CHECK;
/* One at a time on a machine (a Windows fault): whoever calls it holds hcsd's turn. */
struct error *storage_prepare(struct storage *storage, const char *layer,
                              const struct hcs_layer_list *parents) ERROR_MUST_CHECK;
struct error *storage_unprepare(struct storage *storage, const char *layer) ERROR_MUST_CHECK;
/* The volume's path, `\\?\Volume{guid}` without a trailing backslash; "" when there is none. The caller frees it. */
struct error *storage_mount_path(struct storage *storage, const char *layer, char **ret_path) ERROR_MUST_CHECK;
/* `folder` exists and is empty. */
struct error *storage_export(struct storage *storage, const char *layer, const char *folder,
                             const struct hcs_layer_list *parents) ERROR_MUST_CHECK;
struct error *storage_import(struct storage *storage, const char *layer, const char *folder,
                             const struct hcs_layer_list *parents) ERROR_MUST_CHECK;
struct error *storage_create_scratch(struct storage *storage, const char *layer,
                                     const struct hcs_layer_list *parents) ERROR_MUST_CHECK;
struct error *storage_expand_scratch(struct storage *storage, const char *layer, uint64_t bytes) ERROR_MUST_CHECK;
struct error *storage_create_layer(struct storage *storage, const char *layer, const char *parent) ERROR_MUST_CHECK;
struct error *storage_copy(struct storage *storage, const char *source, const char *target,
                           const struct hcs_layer_list *parents) ERROR_MUST_CHECK;
/* Removes the folder, whatever is in it; not what somebody has open. Verify by listing. */
struct error *storage_destroy(struct storage *storage, const char *layer) ERROR_MUST_CHECK;
struct error *storage_exists(struct storage *storage, const char *layer, bool *ret_exists) ERROR_MUST_CHECK;
struct error *storage_process_base_image(struct storage *storage, const char *layer) ERROR_MUST_CHECK;
struct error *storage_process_utility_image(struct storage *storage, const char *layer) ERROR_MUST_CHECK;
struct error *storage_grant_vm_access(struct storage *storage, const char *vm_id, const char *file) ERROR_MUST_CHECK;
/* A JSON array; the caller frees it. */
struct error *storage_base_images(struct storage *storage, char **ret_json) ERROR_MUST_CHECK;

/* ---- mounting ---- */

enum storage_step { STORAGE_ACTIVATE, STORAGE_PREPARE, STORAGE_UNPREPARE, STORAGE_DEACTIVATE };

/* Told before and after each call, so that it can be journalled (a dead worker undoes nothing) and PrepareLayer can be
 * given its turn. An error from `before` keeps the call from being made and is returned. Both may be NULL. */
struct storage_hooks {
    struct error *(*before)(void *context, enum storage_step step);
    void (*after)(void *context, enum storage_step step, const struct error *error); /* NULL: it succeeded */
    void *context;
};

/* Activate and Prepare. What fails with "not ready" (21) or "device not connected" (1167) is tried five times with 100 ms
 * between (layers.md 2); any other code fails at once. Nothing stays activated after an error but what Deactivate itself
 * refused. `hooks` may be NULL. */
struct error *storage_attach(struct storage *storage, const char *layer, const struct hcs_layer_list *parents,
                             const struct storage_hooks *hooks) ERROR_MUST_CHECK;
/* Unprepare and Deactivate: both are tried, the first error is returned. */
struct error *storage_detach(struct storage *storage, const char *layer,
                             const struct storage_hooks *hooks) ERROR_MUST_CHECK;

#endif
