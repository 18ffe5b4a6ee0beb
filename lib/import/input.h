/* The archive's bytes: decompressed (none, gzip, zstd, by libarchive's filters) and both digests computed on the way. Pure; one
 * thread. */
#ifndef HCSD_IMPORT_INPUT_H
#define HCSD_IMPORT_INPUT_H

#include "export/tar_reader.h"
#include "import/import.h"

struct input;

/* Errors: DATA_LOSS when the input is no archive that this can read; the input's own. */
struct error *input_open(const struct import_input *from, struct export_control *control,
                         struct input **ret_input) ERROR_MUST_CHECK;
const struct tar_source *input_source(const struct input *input);
/* Reads what stands behind the archive's end, so that the digests are of everything, and fills in digests, sizes and media
 * type. */
struct error *input_finish(struct input *input, struct import_result *result) ERROR_MUST_CHECK;
void input_free(struct input *input); /* takes NULL */

#endif
