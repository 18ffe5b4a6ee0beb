/* DestroyLayer. */
#ifndef EMULATOR_CLIENT_DESTROY_H
#define EMULATOR_CLIENT_DESTROY_H

#include "gate.h"

/* Removes the folder `path` with all in it, whatever the names. 32 and nothing removed when anything in it is open; 3
 * when it is not there. */
struct error *destroy_layer(const wchar_t *path, struct work_fault *fault) ERROR_MUST_CHECK;

#endif
