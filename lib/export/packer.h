/* The second half of an export: takes the bytes of the plain archive, compresses them on as many threads as there are
 * processors, computes both digests and hands the output on, in order, while the caller makes the next bytes.
 *
 * Bytes are cut into chunks of a fixed size; each chunk becomes a gzip member or a zstd frame of its own, so the output
 * depends on the input alone and not on the number of threads. Without compression one thread hashes
 * and one writes. Memory: at most 2 MiB without compression, else some 4 MiB a processor and zstd's own state.
 *
 * Pure (threads aside). One thread at a time calls; the output's `write` is called from another. */
#ifndef HCSD_EXPORT_PACKER_H
#define HCSD_EXPORT_PACKER_H

#include "export/export.h"

struct packer;

/* `level` 0 is the default; INVALID_ARGUMENT when the compression has no such level. `output` and `control` must live as
 * long as the packer; bytes and output_bytes of `control` are kept up to date. */
struct error *packer_open(enum export_compression compression, int level, const struct export_output *output,
                          struct export_control *control, struct packer **ret_pipe) ERROR_MUST_CHECK;

/* Room for more bytes, at least one; waits while all chunks are under way. Returns the output's error as soon as there is
 * one, and CANCELLED once control says so. */
struct error *packer_room(struct packer *packer, void **ret_room, size_t *ret_size) ERROR_MUST_CHECK;
void packer_fill(struct packer *packer, size_t size); /* so many bytes of the room are filled now */

struct error *packer_write(struct packer *packer, const void *data, size_t size) ERROR_MUST_CHECK;
struct error *packer_write_zeros(struct packer *packer, uint64_t size) ERROR_MUST_CHECK;

/* Waits until everything is written and fills in digest, diff_id, size and media_type. */
struct error *packer_finish(struct packer *packer, struct export_result *result) ERROR_MUST_CHECK;
void packer_free(struct packer *packer); /* waits for a write under way */

#endif
