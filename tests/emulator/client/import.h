/* ImportLayer. */
#ifndef EMULATOR_CLIENT_IMPORT_H
#define EMULATOR_CLIENT_IMPORT_H

#include "gate.h"

/* Makes `layer`\Files the merged view: copies of what the parents' merged views have (nearest first) with the changes of
 * the transport folder on top. Tombstones of the transport folder (tombstones.txt, when there is one) hide what the
 * parents have. Hives and other folders beside Files are copied plainly. */
struct error *import_layer(const wchar_t *layer, const wchar_t *const *parents, size_t count, const wchar_t *folder,
                           struct work_fault *fault) ERROR_MUST_CHECK;

#endif
