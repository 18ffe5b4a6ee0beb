#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "spec/spec.h"

static struct error *load(const char *text, struct spec **ret_spec)
{
    return spec_load(text, strlen(text), ret_spec);
}

static void a_size_limit_holds(void **state)
{
    (void)state;
    struct spec *spec = NULL;
    char *text = mem_zero(SPEC_SIZE_LIMIT + 2);
    memset(text, ' ', SPEC_SIZE_LIMIT + 1);
    struct error *error = spec_load(text, SPEC_SIZE_LIMIT + 1, &spec);
    assert_int_equal(error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
    error_free(error);
    text[0] = '{';
    text[SPEC_SIZE_LIMIT - 1] = '}';
    assert_null(spec_load(text, SPEC_SIZE_LIMIT, &spec));
    spec_free(spec);
    free(text);
}

/* Nesting, text with NUL and bytes that are no UTF-8 are the parser's to refuse. */
static void hostile_text_is_refused(void **state)
{
    (void)state;
    struct spec *spec = NULL;
    char *deep = mem_zero(200001);
    memset(deep, '[', 200000);
    static const char *const texts[] = {"{\"hostname\":\"a\\u0000b\"}",
                                        "{\"hostname\":\"\xFF\"}",
                                        "{\"hostname\":\"\xED\xA0\x80\"}",
                                        "{\"hostname\":\"\\uD800\"}",
                                        "{} {}",
                                        "nul",
                                        "{\"a\":01}"};
    struct error *error = load(deep, &spec);
    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
    error_free(error);
    free(deep);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        error = load(texts[i], &spec);
        if (error == NULL)
            fail_msg("accepted: %s", texts[i]);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
    }
    assert_null(spec);
    spec_free(NULL);
    spec_process_free(NULL);
}

/* Whatever one member is replaced by, there is a spec or an error that names it, and nothing leaks (the sanitizer's part). */
static void every_member_may_be_of_any_type(void **state)
{
    (void)state;
    static const char *const members[] = {
        "hostname", "root", "process", "mounts", "windows", "linux", "annotations",
    };
    static const char *const windows_members[] = {"layerFolders", "hyperv",  "ignoreFlushesDuringBoot", "resources",
                                                  "network",      "devices", "credentialSpec"};
    static const char *const process_members[] = {"terminal",    "consoleSize", "cwd", "user",
                                                  "commandLine", "args",        "env"};
    static const char *const values[] = {"null", "1",   "-1",   "1.5",  "true", "\"x\"",
                                         "[]",   "[1]", "[{}]", "[[]]", "{}",   "{\"a\":[]}"};
    const struct {
        const char *const *members;
        size_t count;
    } groups[] = {{members, 7}, {windows_members, 7}, {process_members, 7}};
    unsigned good = 0, bad = 0;
    for (size_t g = 0; g < 3; g++)
        for (size_t m = 0; m < groups[g].count; m++)
            for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
                char *text = g == 0   ? str_format("{\"%s\":%s}", groups[g].members[m], values[v])
                             : g == 1 ? str_format("{\"windows\":{\"%s\":%s}}", groups[g].members[m], values[v])
                                      : str_format("{\"process\":{\"%s\":%s}}", groups[g].members[m], values[v]);
                struct spec *spec = NULL;
                struct error *error = load(text, &spec);
                if (error != NULL) {
                    bad++;
                    assert_null(spec);
                    assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
                    if (strstr(error->message, groups[g].members[m]) == NULL)
                        fail_msg("%s: \"%s\" does not name it", text, error->message);
                } else {
                    good++;
                }
                error_free(error);
                spec_free(spec);
                free(text);
            }
    assert_true(good > 21 && bad > 150);
}

static void command_lines_have_windows_limit(void **state)
{
    (void)state;
    for (int size = 32766; size <= 32767; size++) {
        char *argument = mem_zero((size_t)size + 1), *document = NULL;
        memset(argument, 'x', (size_t)size);
        char *text = str_format("{\"process\":{\"args\":[\"%s\"]}}", argument);
        struct spec *spec = NULL;
        assert_null(load(text, &spec));
        struct error *error = spec_render_process(spec, spec->process, NULL, NULL, &document);
        assert_int_equal(error == NULL, size == 32766);
        if (error != NULL)
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
        spec_free(spec);
        free(document);
        free(text);
        free(argument);
    }
}

static void isolation_is_seen(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool isolated;
    } rows[] = {
        {"{}", false},
        {"{\"windows\":{}}", false},
        {"{\"windows\":{\"hyperv\":null}}", false},
        {"{\"windows\":{\"hyperv\":{}}}", true},
        {"{\"linux\":{}}", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct spec *spec = NULL;
        assert_null(load(rows[i].text, &spec));
        assert_int_equal(spec_is_isolated(spec), rows[i].isolated);
        spec_free(spec);
    }
}

/* hcsd looks into layers for a utility VM: a folder on another machine, or a device, would hold it up. */
static void layers_are_on_local_drives(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool good;
    } rows[] = {
        {"C:\\\\layers\\\\base", true},
        {"c:/layers/base/", true},
        {"\\\\\\\\?\\\\D:\\\\base", true},
        {"\\\\\\\\?\\\\Volume{18955d65-d45a-557b-bf1c-49d6dfefc526}\\\\base", true},
        {"\\\\\\\\server\\\\share\\\\base", false},
        {"//server/share/base", false},
        {"\\\\\\\\?\\\\UNC\\\\server\\\\share\\\\base", false},
        {"\\\\\\\\.\\\\pipe\\\\base", false},
        {"\\\\\\\\?\\\\GLOBALROOT\\\\Device\\\\base", false},
        {"C:\\\\lay*ers\\\\base", false},
        {"layers\\\\base", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = str_format("{\"windows\":{\"layerFolders\":[\"%s\",\"C:\\\\scratch\"]}}", rows[i].path);
        struct spec *spec = NULL;
        struct spec_layers layers;
        assert_null(load(text, &spec));
        struct error *error = spec_layers(spec, NULL, &layers);
        if ((error == NULL) != rows[i].good)
            fail_msg("%s: %s", rows[i].path, error == NULL ? "accepted" : error->message);
        if (error != NULL) {
            assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
            assert_non_null(strstr(error->message, "layerFolders[0]"));
        }
        error_free(error);
        spec_free(spec);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_limit_holds),
        cmocka_unit_test(hostile_text_is_refused),
        cmocka_unit_test(every_member_may_be_of_any_type),
        cmocka_unit_test(command_lines_have_windows_limit),
        cmocka_unit_test(isolation_is_seen),
        cmocka_unit_test(layers_are_on_local_drives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
