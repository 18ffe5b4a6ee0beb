/* Where a path really leads. In workers only: the paths are in layers. Windows only. */
#ifndef HCSD_LAYER_RESOLVE_H
#define HCSD_LAYER_RESOLVE_H

#include <stdbool.h>

#include "base/error.h"

/* The path of the file itself, every link on the way and at its end resolved (microsoft/go-winio pkg/fs/resolve.go): asked of
 * an open handle, so nobody can change it in between. `\\?\Volume{guid}\…`, or `\\server\share\…` where there is no volume. A path that
 * leads to a folder is FAILED_PRECONDITION, a chain that ends nowhere NOT_FOUND. The caller frees it. */
struct error *resolve_file(const char *path, char **ret_path) ERROR_MUST_CHECK;

/* Whether the folder's file system has file ids; where it has none, VSMB must not map files directly (layers.md 7.3). */
bool resolve_has_ids(const char *folder);

/* What resolve_file asks, for tests: Wine resolves no links that it did not make. */
struct resolve_calls {
    unsigned long (*final_path)(void *handle, wchar_t *path, unsigned long count, unsigned long flags);
    unsigned long (*attributes)(const wchar_t *path);
};
extern struct resolve_calls resolve_calls;

#endif
