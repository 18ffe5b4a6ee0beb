/* Copying a tree with everything in it that no Win32 call under Wine can make: names with backslashes, names that are
 * not UTF-8, trailing dots. */
#ifndef EMULATOR_CLIENT_NATIVE_H
#define EMULATOR_CLIENT_NATIVE_H

#include "gate.h"

/* Copies what is in `source` into the folder `target`: names, hard links, times. Under Wine by /bin/cp, elsewhere by
 * Win32 calls. */
struct error *native_copy_tree(const wchar_t *source, const wchar_t *target, struct work_fault *fault) ERROR_MUST_CHECK;

#endif
