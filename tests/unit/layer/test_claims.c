/* Who may have a layer beside whom, as a truth table, and which paths are one layer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "layer/claims.h"

static enum error_kind take(struct claims *claims, const char *path, enum claim_mode mode, const char *holder,
                            const char *names)
{
    struct error *error = claims_take(claims, path, mode, holder);
    enum error_kind kind = error == NULL ? 0 : error->kind;
    if (error != NULL && names != NULL && strstr(error->message, names) == NULL)
        fail_msg("expected \"%s\" in: %s", names, error->message);
    error_free(error);
    return kind;
}

static void test_modes(void **state)
{
    (void)state;
    static const struct {
        enum claim_mode held, wanted;
        bool refused;
    } rows[] = {
        {CLAIM_OWN, CLAIM_OWN, true},     {CLAIM_OWN, CLAIM_USE, false},    {CLAIM_OWN, CLAIM_DESTROY, true},
        {CLAIM_USE, CLAIM_OWN, false},    {CLAIM_USE, CLAIM_USE, false},    {CLAIM_USE, CLAIM_DESTROY, true},
        {CLAIM_DESTROY, CLAIM_OWN, true}, {CLAIM_DESTROY, CLAIM_USE, true}, {CLAIM_DESTROY, CLAIM_DESTROY, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct claims *claims = claims_new();
        assert_int_equal(take(claims, "C:\\layers\\a", rows[i].held, "container web", NULL), 0);
        enum error_kind kind = take(claims, "C:\\layers\\a", rows[i].wanted, "export 7", "container web");
        if (kind != (rows[i].refused ? ERROR_KIND_FAILED_PRECONDITION : 0))
            fail_msg("held %d, wanted %d: %s", rows[i].held, rows[i].wanted, error_kind_name(kind));
        /* Refused for the holder itself, too; and another layer is another matter. */
        assert_int_equal(take(claims, "C:\\layers\\a", CLAIM_DESTROY, "container web", NULL),
                         ERROR_KIND_FAILED_PRECONDITION);
        assert_int_equal(take(claims, "C:\\layers\\ab", CLAIM_DESTROY, "export 7", NULL), 0);
        assert_true(claims_release(claims, "C:\\layers\\a", rows[i].held, "container web"));
        claims_release_all(claims, "export 7");
        assert_int_equal(claims_count(claims), 0);
        claims_free(claims);
    }
    claims_free(NULL);
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"C:\\layers\\a", "c:\\LAYERS\\A", true},        {"C:\\layers\\a", "C:/layers/a/", true},
        {"C:\\layers\\a", "C:\\layers\\x\\..\\a", true}, {"C:\\layers\\a", "C:\\layers\\\\a\\", true},
        {"C:\\layers\\a", "\\\\?\\C:\\layers\\a", true}, {"C:\\layers\\a", "\\\\?\\c:\\layers\\A\\", true},
        {"C:\\layers\\a", "C:\\layers\\b", false},       {"C:\\layers\\a", "D:\\layers\\a", false},
        {"C:\\layers\\a", "C:\\layers\\a\\b", false},    {"C:\\layers\\a", "a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct claims *claims = claims_new();
        if (claims_same_layer(rows[i].a, rows[i].b) != rows[i].same)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
        assert_int_equal(take(claims, rows[i].a, CLAIM_OWN, "x", NULL), 0);
        const char *holder = claims_holder(claims, rows[i].b);
        assert_true((holder != NULL) == rows[i].same);
        claims_free(claims);
    }
}

static void test_bookkeeping(void **state)
{
    (void)state;
    struct claims *claims = claims_new();
    assert_int_equal(take(claims, "layers\\a", CLAIM_OWN, "x", NULL), ERROR_KIND_INVALID_ARGUMENT);
    assert_int_equal(take(claims, "C:\\a", CLAIM_USE, "user", NULL), 0);
    assert_int_equal(take(claims, "C:\\a", CLAIM_USE, "user", NULL), 0);
    assert_string_equal(claims_holder(claims, "C:\\a"), "user");
    assert_int_equal(take(claims, "C:\\a", CLAIM_OWN, "owner", NULL), 0);
    assert_string_equal(claims_holder(claims, "C:\\a"), "owner");
    assert_true(claims_release(claims, "C:\\A", CLAIM_USE, "user"));
    assert_true(claims_release(claims, "C:\\a", CLAIM_USE, "user"));
    assert_false(claims_release(claims, "C:\\a", CLAIM_USE, "user"));
    assert_false(claims_release(claims, "C:\\a", CLAIM_OWN, "user"));
    assert_false(claims_release(claims, "nonsense", CLAIM_OWN, "user"));
    claims_rename(claims, "owner", "heir");
    assert_string_equal(claims_holder(claims, "C:\\a"), "heir");
    assert_int_equal(take(claims, "C:\\staging\\e1\\Files", CLAIM_OWN, "below", NULL), 0);
    assert_string_equal(claims_holder_below(claims, "C:\\staging\\e1"), "below");
    assert_string_equal(claims_holder_below(claims, "C:\\staging\\e1\\files"), "below");
    assert_null(claims_holder_below(claims, "C:\\staging\\e"));
    assert_null(claims_holder_below(claims, "nonsense"));
    for (int i = 0; i < 100; i++)
        assert_int_equal(take(claims, "C:\\many", CLAIM_USE, "many", NULL), 0);
    claims_release_all(claims, "many");
    assert_int_equal(claims_count(claims), 2);
    claims_free(claims);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_modes), cmocka_unit_test(test_paths),
                                       cmocka_unit_test(test_bookkeeping)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
