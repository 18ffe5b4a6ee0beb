/* Documents and their names: there and back, injective, bounded; damaged and newer ones refused with the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/document.h"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *space, *id, *name;
    } rows[] = {
        {NULL, "web", "web.json"},         {"default", "web", "default~web.json"},
        {NULL, "Web", "web~~1.json"},      {NULL, "wEB", "web~~6.json"},
        {NULL, "abcdE", "abcde~~01.json"}, {"K8s.io", "a-b_c.d", "k8s.io~a-b_c.d~1.json"},
        {"a", "B", "a~b~2.json"},          {"A", "b", "a~b~1.json"},
        {NULL, "a~b", "a%7eb.json"},       {NULL, "a b/c\\d:e", "a%20b%2fc%5cd%3ae.json"},
        {NULL, "..", "%2e%2e.json"},       {NULL, ".a.", "%2ea%2e.json"},
        {NULL, "%41", "%2541.json"},       {NULL, "con", "%63on.json"},
        {NULL, "CON", "%43on~~3.json"},    {NULL, "nul.txt", "%6eul.txt.json"},
        {NULL, "com1", "%63om1.json"},     {NULL, "lpt9.x", "%6cpt9.x.json"},
        {NULL, "com", "com.json"},         {NULL, "console", "console.json"},
        {NULL, "com10", "com10.json"},     {"aux", "x", "%61ux~x.json"},
        {"x", "aux", "x~aux.json"},        {NULL, "\xc3\xbc", "%c3%bc.json"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct journal_key key = {rows[i].space, rows[i].id};
        char *name = NULL;
        assert_null(journal_name(&key, &name));
        if (strcmp(name, rows[i].name) != 0)
            fail_msg("%s, %s: expected %s, found %s", rows[i].space != NULL ? rows[i].space : "none", rows[i].id,
                     rows[i].name, name);
        char *space = NULL, *id = NULL;
        if (!journal_name_key(name, &space, &id))
            fail_msg("%s leads back to no key", name);
        assert_string_equal(id, rows[i].id);
        assert_int_equal(space == NULL, rows[i].space == NULL);
        if (space != NULL)
            assert_string_equal(space, rows[i].space);
        free(space);
        free(id);
        free(name);
    }
}

/* All short keys over letters that are trouble have names that differ even without case. */
static void test_names_are_injective(void **state)
{
    (void)state;
    static const char letters[] = "aA~.%1";
    static char names[3000][64];
    size_t count = 0;
    char id[4], space[3];
    for (size_t space_code = 0; space_code < 7; space_code++) {
        for (size_t code = 0; code < 6 * 7 * 7; code++) {
            size_t length = 0, rest = code / 6;
            id[length++] = letters[code % 6];
            if (rest % 7 != 0)
                id[length++] = letters[rest % 7 - 1];
            else if (rest / 7 != 0)
                continue;
            if (rest / 7 != 0)
                id[length++] = letters[rest / 7 - 1];
            id[length] = '\0';
            snprintf(space, sizeof space, "%c", space_code == 0 ? 'x' : letters[space_code - 1]);
            struct journal_key key = {space_code == 0 ? NULL : space, id};
            char *name = NULL;
            assert_null(journal_name(&key, &name));
            snprintf(names[count++], sizeof names[0], "%s", name);
            for (const char *c = name; *c != '\0'; c++)
                assert_false(*c >= 'A' && *c <= 'Z');
            free(name);
        }
    }
    qsort(names, count, sizeof names[0], (int (*)(const void *, const void *))strcmp);
    for (size_t i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            fail_msg("%s twice", names[i]);
    assert_true(count > 1500);
}

static void test_names_are_bounded(void **state)
{
    (void)state;
    char longest[78], hopeless[300];
    memset(longest, 'A', 76);
    longest[76] = '\0';
    struct journal_key key = {longest, longest};
    char *name = NULL;
    assert_null(journal_name(&key, &name));
    assert_true(strlen(name) <= JOURNAL_NAME_MAX);
    free(name);
    memset(hopeless, 'a', 299);
    hopeless[299] = '\0';
    const struct journal_key bad[] = {
        {NULL, hopeless},
        {NULL, ""},
        {"", "x"},
        {hopeless, "x"},
        {NULL, "////////////////////////////////////////////////////////////////////////////////////////////"}};
    for (size_t i = 0; i < 4; i++) {
        struct error *error = journal_name(&bad[i], &name);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
    }
}

static char *encode(const char *space, const char *id, json_t *body, int version)
{
    struct journal_key key = {space, id};
    char *text = NULL;
    size_t size = 0;
    assert_null(journal_encode("job", version, &key, body, &text, &size));
    assert_int_equal(size, strlen(text));
    json_decref(body);
    return text;
}

static void expect_refused(const char *text, size_t size, enum error_kind kind, const char *words)
{
    struct journal_document document = {0};
    struct error *error = journal_decode(text, size, "job", 3, "x.json", &document);
    if (error == NULL || error->kind != kind || strstr(error->message, words) == NULL)
        fail_msg("expected %s with \"%s\", found %s of %.200s", error_kind_name(kind), words,
                 error == NULL ? "success" : error->message, text);
    assert_string_equal(error->object, "x.json");
    error_free(error);
    assert_null(document.body);
}

static void test_there_and_back(void **state)
{
    (void)state;
    char *text = encode("default", "web", json_pack("{s:s, s:i, s:[i,n,b]}", "path", "C:\\Ünï", "n", -7, "l", 1, 1), 2);
    struct journal_document document = {0};
    assert_null(journal_decode(text, strlen(text), "job", 3, "x.json", &document));
    assert_int_equal(document.version, 2);
    assert_string_equal(document.space, "default");
    assert_string_equal(document.id, "web");
    assert_string_equal(json_string_value(json_object_get(document.body, "path")), "C:\\Ünï");
    assert_int_equal(json_integer_value(json_object_get(document.body, "n")), -7);
    journal_document_free(&document);
    free(text);
    text = encode(NULL, "web", json_object(), 1);
    assert_null(journal_decode(text, strlen(text), "job", 3, "x.json", &document));
    assert_null(document.space);
    journal_document_free(&document);
    free(text);
}

static void test_refusals(void **state)
{
    (void)state;
    char zeros[200] = {0};
    char *text = encode(NULL, "web", json_pack("{s:i}", "n", 1), 3);
    expect_refused("", 0, ERROR_KIND_DATA_LOSS, "JSON");
    expect_refused(zeros, sizeof zeros, ERROR_KIND_DATA_LOSS, "JSON");
    expect_refused("[]", 2, ERROR_KIND_DATA_LOSS, "kind");
    expect_refused("{\"kind\":\"job\"}", 14, ERROR_KIND_DATA_LOSS, "version");
    expect_refused("{\"kind\":\"task\",\"version\":1}", 27, ERROR_KIND_DATA_LOSS, "task");
    expect_refused("{\"kind\":\"job\",\"version\":0}", 26, ERROR_KIND_DATA_LOSS, "below 1");
    expect_refused("{\"kind\":\"job\",\"version\":1}", 26, ERROR_KIND_DATA_LOSS, "missing");
    expect_refused("{\"kind\":\"job\",\"version\":4,\"what\":\"ever\"}", 40, ERROR_KIND_FAILED_PRECONDITION, "newer");
    for (size_t cut = 1; cut < strlen(text) - 1; cut++)
        expect_refused(text, cut, ERROR_KIND_DATA_LOSS, "");
    char *number = strstr(text, "\"n\": 1");
    number[5] = '2';
    expect_refused(text, strlen(text), ERROR_KIND_DATA_LOSS, "checksum");
    free(text);
}

static void test_names_of_nobody(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        ".json",
                                        "web",
                                        "Web.json",
                                        "web~~0.json",
                                        "web~~2x.json",
                                        "a~b~c~1.json",
                                        "~web.json",
                                        "web~.json",
                                        "a%2.json",
                                        "a%zz.json",
                                        "%61.json",
                                        "con.json",
                                        "web~~.json",
                                        "reserve.bin",
                                        "a%00b.json",
                                        "web.json.json~",
                                        "a~~1~1.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *space = NULL, *id = NULL;
        if (journal_name_key(names[i], &space, &id))
            fail_msg("%s is %s, %s", names[i], space != NULL ? space : "none", id);
        assert_null(space);
        assert_null(id);
    }
}

/* Without its key a document would be refused by the next start. */
static void test_a_key_that_is_no_text_is_not_written(void **state)
{
    (void)state;
    struct journal_key key = {NULL, "a\xff"};
    char *text = NULL;
    size_t size = 0;
    json_t *body = json_object();
    struct error *error = journal_encode("job", 1, &key, body, &text, &size);
    assert_non_null(error);
    assert_null(text);
    error_free(error);
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_that_is_no_text_is_not_written),

        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_are_injective),
        cmocka_unit_test(test_names_of_nobody),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
