/* Base images: what ProcessBaseImage and ProcessUtilityImage leave behind, and CopyLayer. */
#ifndef EMULATOR_CLIENT_IMAGE_H
#define EMULATOR_CLIENT_IMAGE_H

#include "gate.h"

/* Needs `path`\Files; makes blank-base.vhdx, blank.vhdx, layout and Hives\*_Base. */
struct error *image_process_base(const wchar_t *path) ERROR_MUST_CHECK;
/* Needs `path`\Files; makes SystemTemplateBase.vhdx and SystemTemplate.vhdx. */
struct error *image_process_utility(const wchar_t *path) ERROR_MUST_CHECK;
/* A copy of a layer in a folder that is not there yet. */
struct error *image_copy(const wchar_t *source, const wchar_t *target, struct work_fault *fault) ERROR_MUST_CHECK;

#endif
