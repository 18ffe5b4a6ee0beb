/* Paths of layers, as callers give them. */
#ifndef EMULATOR_CLIENT_LAYER_PATH_H
#define EMULATOR_CLIENT_LAYER_PATH_H

#include <windows.h>

#include <stdbool.h>
#include <stddef.h>

/* The layer that a storage call names: `id` below the home folder when that is given, else `id` itself. The caller
 * frees it. */
wchar_t *layer_path_of(const wchar_t *home, const wchar_t *id);
wchar_t *layer_path_join(const wchar_t *folder, const wchar_t *name);
bool layer_path_is_absolute(const wchar_t *path);
bool layer_path_is_folder(const wchar_t *path);
/* Without a file or folder in it. */
bool layer_path_is_empty(const wchar_t *path);

/* ImportLayer leaves a mark that a layer's Files is its merged view, so that what it lacks is gone whatever farther
 * parents have. A layer that somebody made by hand may hold its own changes only: then farther parents count too. Gives
 * how many of the parents, nearest first, count. */
size_t layer_path_count_parents(const wchar_t *const *parents, size_t count);
#define LAYER_MERGED_MARK L"emulator-merged"

#endif
