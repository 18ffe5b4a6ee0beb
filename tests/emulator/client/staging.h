/* ExportLayer's copying, in the calling process as on Windows: what a layer's `Files` has that its parents' do not,
 * staged in the transport format.
 *
 * `Files` of each layer is its merged view. A name's counterpart is the one in the nearest parent that has it; changed
 * is a file or folder whose type, size, time of writing or attributes differ (a folder's size does not count). What the
 * layer lacks and a parent has is a tombstone, the topmost only. A layer without `Files` has no changes. Which parents
 * count: layer_path_count_parents.
 *
 * A folder `transport` in the layer is staged as it is, before the rest; what it brings is not staged twice. A layer
 * that has no `Files` beside it gets nothing but it. */
#ifndef EMULATOR_CLIENT_STAGING_H
#define EMULATOR_CLIENT_STAGING_H

#include "gate.h"
#include "target.h"

/* `folder` is there and empty. `fault` is looked at between files. */
struct error *staging_export(const wchar_t *layer, const wchar_t *const *parents, size_t count, const wchar_t *folder,
                             struct work_fault *fault) ERROR_MUST_CHECK;

/* Copies `source` with all below it into the folder `target`, plainly. */
struct error *staging_copy_plain(HANDLE source, const struct target *target, struct work_fault *fault) ERROR_MUST_CHECK;

#endif
