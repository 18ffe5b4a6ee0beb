/* The volume of a scratch disk: a name for it in the file system, and its size. In workers only. Windows only. */
#ifndef HCSD_LAYER_VOLUME_H
#define HCSD_LAYER_VOLUME_H

#include "hcs/storage.h"

#include <stdbool.h>

#include "base/error.h"

/* Makes `folder` (and those above it) and mounts the volume (`\\?\Volume{guid}`) there. On an error what was made is removed
 * again: empty folders only. A folder that is there must be empty. */
struct error *volume_mount(const char *volume, const char *folder) ERROR_MUST_CHECK;
/* Takes the volume off the folder and removes the folder, never what is in it: with the volume still there that would be the
 * container's disk. What is not there (any more) is success. */
struct error *volume_unmount(const char *folder) ERROR_MUST_CHECK;

/* After the disk has grown: attaches it, and extends the volume on it to the disk's end. *ret_extended is false when there was
 * nothing to gain. UNIMPLEMENTED where the system has no virtual disks. */
struct error *volume_extend(struct storage *storage, const char *layer, bool *ret_extended) ERROR_MUST_CHECK;

/* What tests replace: Wine has no volumes but drives. */
struct volume_calls {
    BOOL(WINAPI *set_mount_point)(LPCWSTR folder, LPCWSTR volume);
    BOOL(WINAPI *delete_mount_point)(LPCWSTR folder);
};
extern struct volume_calls volume_calls;

#endif
