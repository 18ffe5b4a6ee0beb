/* SHA-256 (FIPS 180-4), with the processor's SHA extensions where it has them.
 *
 * Our own because none of the dependencies has one that is fast in both places: BCrypt does 300 MB/s under Wine, this
 * does 1,700 on the same machine, and a digest library would be a dependency for 150 lines. Pure; one thread at a time. */
#ifndef HCSD_EXPORT_SHA256_H
#define HCSD_EXPORT_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[64];
};

void sha256_init(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *data, size_t size);
/* Ends the digest; the struct must be initialised again before further use. */
void sha256_end(struct sha256 *sha, uint8_t digest[32]);
/* The digest as registries write it: "sha256:" and 64 hexadecimal digits. */
void sha256_text(const uint8_t digest[32], char text[72]);

/* For tests: use plain C even where the processor could do better. Not while digests are under way. */
void sha256_force_portable(bool force);

#endif
