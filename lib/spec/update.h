/* What an Update request changes in a container: the requests for HcsModifyComputeSystem. Pure; thread-safe.
 *
 * Sources: opencontainers/runtime-spec (WindowsResources), hcsshim's pkg/ctrdtaskapi (ContainerMount) and
 * cmd/containerd-shim-runhcs-v1/task_hcs.go for what runhcs makes of them. */
#ifndef HCSD_SPEC_UPDATE_H
#define HCSD_SPEC_UPDATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SPEC_UPDATE_RESOURCES "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources"
#define SPEC_UPDATE_MOUNT     "github.com/Microsoft/hcsshim/pkg/ctrdtaskapi/ContainerMount"

#define SPEC_UPDATE_MAX       2u

struct spec_update {
    const char *what[SPEC_UPDATE_MAX]; /* "memory", …; static */
    char *requests[SPEC_UPDATE_MAX];
    size_t count; /* 0: there was nothing to change */
};

/* INVALID_ARGUMENT for another type or a document that contradicts itself, naming the JSON path; UNIMPLEMENTED for processors
 * before Windows build 19042. Storage limits are ignored, as they can only be set at creation. */
struct error *spec_render_update(const char *type_url, const char *value, size_t value_size, uint32_t os_build,
                                 uint32_t processor_count, struct spec_update *ret_update) ERROR_MUST_CHECK;
void spec_update_free(struct spec_update *update); /* what is in it */

#endif
