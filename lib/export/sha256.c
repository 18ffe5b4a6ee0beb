#include "export/sha256.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value >> bits | value << (32 - bits);
}

static void blocks_portable(uint32_t state[8], const uint8_t *data, size_t count)
{
    for (; count > 0; count--, data += 64) {
        uint32_t w[64];
        for (unsigned i = 0; i < 16; i++)
            w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 |
                   data[4 * i + 3];
        for (unsigned i = 16; i < 64; i++) {
            uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + low + w[i - 7] + high;
        }
        uint32_t s[8];
        memcpy(s, state, sizeof s);
        for (unsigned i = 0; i < 64; i++) {
            uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                          ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
            uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                          ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof s[0]);
            s[4] += t1;
            s[0] = t1 + t2;
        }
        for (unsigned i = 0; i < 8; i++)
            state[i] += s[i];
    }
}

#if defined(__x86_64__)

__attribute__((target("sse2"))) static __m128i load(const void *data)
{
    return _mm_loadu_si128((const __m128i_u *)data);
}

__attribute__((target("sse2"))) static void store(void *data, __m128i value)
{
    _mm_storeu_si128((__m128i_u *)data, value);
}

/* Four rounds, and the message schedule for the four that come sixteen later. m0 holds the words of these rounds. */
#define ROUNDS(i, m0)                                                                                                  \
    do {                                                                                                               \
        __m128i k = _mm_add_epi32(m0, load(constants + (i)));                                                          \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);                                                                   \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));                                          \
    } while (0)
#define SCHEDULE(m0, m1, m2, m3)                                                                                       \
    do {                                                                                                               \
        m0 = _mm_sha256msg1_epu32(m0, m1);                                                                             \
        m0 = _mm_add_epi32(m0, _mm_alignr_epi8(m3, m2, 4));                                                            \
        m0 = _mm_sha256msg2_epu32(m0, m3);                                                                             \
    } while (0)

__attribute__((target("sha,sse4.1"))) static void blocks_sha(uint32_t state[8], const uint8_t *data, size_t count)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    /* The instructions want the state as ABEF and CDGH. */
    __m128i low = _mm_shuffle_epi32(load(state), 0xb1);
    __m128i high = _mm_shuffle_epi32(load(state + 4), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8);
    __m128i cdgh = _mm_blend_epi16(high, low, 0xf0);

    for (; count > 0; count--, data += 64) {
        __m128i abef_before = abef;
        __m128i cdgh_before = cdgh;
        __m128i m0 = _mm_shuffle_epi8(load(data), swap);
        __m128i m1 = _mm_shuffle_epi8(load(data + 16), swap);
        __m128i m2 = _mm_shuffle_epi8(load(data + 32), swap);
        __m128i m3 = _mm_shuffle_epi8(load(data + 48), swap);
        for (unsigned i = 0; i < 48; i += 16) {
            ROUNDS(i, m0);
            SCHEDULE(m0, m1, m2, m3);
            ROUNDS(i + 4, m1);
            SCHEDULE(m1, m2, m3, m0);
            ROUNDS(i + 8, m2);
            SCHEDULE(m2, m3, m0, m1);
            ROUNDS(i + 12, m3);
            SCHEDULE(m3, m0, m1, m2);
        }
        ROUNDS(48, m0);
        ROUNDS(52, m1);
        ROUNDS(56, m2);
        ROUNDS(60, m3);
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    low = _mm_shuffle_epi32(abef, 0x1b);
    high = _mm_shuffle_epi32(cdgh, 0xb1);
    store(state, _mm_blend_epi16(low, high, 0xf0));
    store(state + 4, _mm_alignr_epi8(high, low, 8));
}

static bool processor_has_sha(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}

#endif

/* The process's choice of code, made at first use; two threads that make it at once make the same one. */
typedef void blocks_function(uint32_t state[8], const uint8_t *data, size_t count);
static blocks_function *_Atomic chosen;

static blocks_function *blocks(void)
{
    blocks_function *function = chosen;
    if (!function) {
        function = blocks_portable;
#if defined(__x86_64__)
        if (processor_has_sha())
            function = blocks_sha;
#endif
        chosen = function;
    }
    return function;
}

void sha256_force_portable(bool force)
{
    chosen = force ? blocks_portable : NULL;
}

void sha256_init(struct sha256 *sha)
{
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, initial, sizeof initial);
    sha->size = 0;
}

void sha256_add(struct sha256 *sha, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    size_t held = sha->size % 64;
    sha->size += size;
    if (held > 0) {
        size_t take = size < 64 - held ? size : 64 - held;
        if (take > 0)
            memcpy(sha->block + held, bytes, take);
        bytes += take;
        size -= take;
        if (held + take < 64)
            return;
        blocks()(sha->state, sha->block, 1);
    }
    if (size >= 64)
        blocks()(sha->state, bytes, size / 64);
    if (size % 64 > 0)
        memcpy(sha->block, bytes + size / 64 * 64, size % 64);
}

void sha256_end(struct sha256 *sha, uint8_t digest[32])
{
    uint8_t tail[72] = {0x80};
    uint64_t bits = sha->size * 8;
    size_t padding = 64 - (sha->size + 8) % 64;
    for (unsigned i = 0; i < 8; i++)
        tail[padding + i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(sha, tail, padding + 8);
    for (unsigned i = 0; i < 32; i++)
        digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

void sha256_text(const uint8_t digest[32], char text[72])
{
    static const char digits[] = "0123456789abcdef";
    memcpy(text, "sha256:", 7);
    for (unsigned i = 0; i < 32; i++) {
        text[7 + 2 * i] = digits[digest[i] >> 4];
        text[8 + 2 * i] = digits[digest[i] & 15];
    }
    text[71] = '\0';
}
