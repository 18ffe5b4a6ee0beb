/* The rootfs mount of a Create request: containerd's windows-layer mounts. Pure. */
#ifndef HCSD_DAEMON_SERVICES_ROOTFS_H
#define HCSD_DAEMON_SERVICES_ROOTFS_H

#include <stddef.h>

#include <containerd/types/mount.pb-c.h>

#include "base/error.h"

struct rootfs {
    const char *source; /* the mount's own; NULL: no mount was given */
    char **parents;     /* nearest first */
    size_t parent_count;
};

/* At most one mount of type windows-layer, without a target, with the option parentLayerPaths=["C:\\…",…]; FAILED_PRECONDITION
 * where containerd's shim says so, INVALID_ARGUMENT for what cannot be read. */
struct error *rootfs_parse(Containerd__Types__Mount *const *mounts, size_t count,
                           struct rootfs *ret_rootfs) ERROR_MUST_CHECK;
void rootfs_free(struct rootfs *rootfs);
/* The option that names the parents, as it is read; NULL without any. The caller frees it. */
char *rootfs_option(const struct rootfs *rootfs);

#endif
