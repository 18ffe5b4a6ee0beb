/* sandbox.vhdx, the disk of a writable layer: a real file that begins as a VHDX does and goes on with what the emulator
 * has to remember of it, as JSON: {"size": bytes, "parents": [paths, nearest first]}. */
#ifndef EMULATOR_CLIENT_SANDBOX_H
#define EMULATOR_CLIENT_SANDBOX_H

#include <windows.h>

#include <stdint.h>

#include "base/error.h"

#define SANDBOX_SIZE ((uint64_t)20 << 30)

/* Makes the layer's folder, if need be, and its disk; 80 when there is a disk. */
struct error *sandbox_create(const wchar_t *layer, const wchar_t *const *parents, size_t count) ERROR_MUST_CHECK;

/* Records a larger size; 87 for a smaller one, 2 when there is no disk. */
struct error *sandbox_expand(const wchar_t *layer, uint64_t size) ERROR_MUST_CHECK;

/* 3 when a parent is not there, or they are not those that the disk was made for, in their order. A disk that the
 * emulator did not make has no say. */
struct error *sandbox_check_parents(const wchar_t *layer, const wchar_t *const *parents, size_t count) ERROR_MUST_CHECK;

#endif
