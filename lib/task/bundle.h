/* The bundle of a container: its config.json and what is made of it. Windows only.
 *
 * Only bundle_load touches the disk (and may block there); nothing is written. Not thread-safe. */
#ifndef HCSD_TASK_BUNDLE_H
#define HCSD_TASK_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "task/tasks.h"

struct bundle;

/* Reads PATH\config.json. NOT_FOUND naming the folder or the file that is missing; INVALID_ARGUMENT for a path that is not on a
 * local drive, and for a document that is no OCI spec, naming the JSON path; RESOURCE_EXHAUSTED when it is too large. */
struct error *bundle_load(const char *path, struct bundle **ret_bundle) ERROR_MUST_CHECK;
void bundle_free(struct bundle *bundle);

/* Has what the client's runtime asks for; INVALID_ARGUMENT where that and the spec contradict each other. The texts are borrowed. */
struct error *bundle_apply(struct bundle *bundle, const struct task_runtime *runtime) ERROR_MUST_CHECK;

/* The layers that are to be mounted for it, or none: a root.path counts as mounted already, and a container in a VM gets its
 * layers there. The texts are the bundle's or the request's; `parents` is the bundle's. */
struct bundle_mount {
    const char *scratch;        /* NULL: nothing is to be mounted */
    const char *const *parents; /* nearest first */
    size_t parent_count;
};
/* Takes the rootfs mount of the request in, where there is one; both or neither of it and windows.layerFolders is
 * FAILED_PRECONDITION, and so are fewer than two layers. */
struct error *bundle_layers(struct bundle *bundle, const struct task_create *create,
                            struct bundle_mount *ret_mount) ERROR_MUST_CHECK;

bool bundle_is_isolated(const struct bundle *bundle); /* in a VM */
bool bundle_is_linux(const struct bundle *bundle);
/* The pod that its annotations put it into; spec/spec.h. */
struct spec_pod;
struct error *bundle_pod(const struct bundle *bundle, const char *id, uint32_t os_build,
                         struct spec_pod *ret_pod) ERROR_MUST_CHECK;

/* The document for HcsCreateComputeSystem; the caller frees it. bundle_layers comes first. Layers' ids are asked of HCS
 * (NameToGuid, guarded). */
struct storage;
struct bundle_render {
    const char *id, *owner;
    const char *linux_boot_files; /* or NULL */
    const char *volume;           /* as mount_layers gave it, or NULL */
    bool mount_later;             /* it is not mounted, and need not be: for looking at the document */
    uint32_t os_build;
    struct storage *storage;
};
struct error *bundle_system_document(struct bundle *bundle, const struct bundle_render *render,
                                     char **ret_document) ERROR_MUST_CHECK;

/* ---- in a utility VM of hcsd's own ---- */

/* Its process documents are for a container in such a VM from now on. */
void bundle_set_hosted(struct bundle *bundle, bool hosted);
bool bundle_can_be_hosted(const struct bundle *bundle, uint32_t os_build);
/* The same as bundle_layers, for one that goes into the VM: all of it is to be mounted there. */
struct error *bundle_hosted_layers(struct bundle *bundle, const struct task_create *create,
                                   struct bundle_mount *ret_mount) ERROR_MUST_CHECK;
struct spec_bind;
struct spec_hosted;
struct spec_windows;
/* What of the host it wants to see; the array is the caller's. */
struct error *bundle_binds(const struct bundle *bundle, const struct bundle_render *render,
                           struct spec_bind **ret_binds, size_t *ret_count) ERROR_MUST_CHECK;
const struct spec_windows *bundle_windows(const struct bundle *bundle);
struct error *bundle_hosted_document(struct bundle *bundle, const struct bundle_render *render,
                                     const struct spec_hosted *hosted, char **ret_document) ERROR_MUST_CHECK;

/* The document for HcsCreateProcess, of the init; the caller frees it. */
struct error *bundle_process_document(struct bundle *bundle, const struct task_create *create,
                                      char **ret_document) ERROR_MUST_CHECK;

/* The same for an exec, from its own process object; what that leaves out is the init's. */
struct error *bundle_exec_document(struct bundle *bundle, const struct task_exec *exec,
                                   char **ret_document) ERROR_MUST_CHECK;

/* What was noticed while rendering and did not make it fail; the bundle's. */
char *const *bundle_warnings(const struct bundle *bundle, size_t *ret_count);

#endif
