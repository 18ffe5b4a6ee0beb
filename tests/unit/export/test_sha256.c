#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/sha256.h"

/* FIPS 180-4's examples and those of NIST's CAVP that sit on block borders. */
static const struct {
    const char *text;
    size_t repeat;
    const char *digest;
} vectors[] = {
    {"", 1, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"a", 1000000, "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    {"a", 55, "sha256:9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
    {"a", 56, "sha256:b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
    {"a", 63, "sha256:7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
    {"a", 64, "sha256:ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
    {"a", 65, "sha256:635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
};

static void check_vectors(void)
{
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct sha256 sha;
        uint8_t digest[32];
        char text[72];
        sha256_init(&sha);
        for (size_t n = 0; n < vectors[i].repeat; n++)
            sha256_add(&sha, vectors[i].text, strlen(vectors[i].text));
        sha256_end(&sha, digest);
        sha256_text(digest, text);
        assert_string_equal(text, vectors[i].digest);
    }
}

static void vectors_hold_with_the_processor(void **state)
{
    (void)state;
    check_vectors();
}

static void vectors_hold_in_plain_c(void **state)
{
    (void)state;
    sha256_force_portable(true);
    check_vectors();
    sha256_force_portable(false);
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    uint8_t data[1000], whole[32], pieces[32];
    struct sha256 sha;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    sha256_init(&sha);
    sha256_add(&sha, data, sizeof data);
    sha256_end(&sha, whole);
    for (size_t step = 1; step < 200; step += 13) {
        sha256_init(&sha);
        for (size_t at = 0; at < sizeof data; at += step)
            sha256_add(&sha, data + at, sizeof data - at < step ? sizeof data - at : step);
        sha256_end(&sha, pieces);
        assert_memory_equal(whole, pieces, 32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_hold_with_the_processor),
        cmocka_unit_test(vectors_hold_in_plain_c),
        cmocka_unit_test(pieces_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
