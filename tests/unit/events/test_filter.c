#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/events/filter.h"

/* An event of container web in k8s.io, as path -> value. */
static const char *field(void *context, const char *const *path, size_t depth)
{
    static const struct {
        const char *path, *value;
    } rows[] = {
        {"namespace", "k8s.io"}, {"topic", "/tasks/exit"},         {"event.container_id", "web"},
        {"event.exec_id", ""},   {"event.io.stdin", "a \"b\", c"}, {"event.strange name", "x"},
    };
    char text[200] = "";
    size_t size = 0;
    (void)context;
    for (size_t i = 0; i < depth && size < sizeof text; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s", i == 0 ? "" : ".", path[i]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].path, text) == 0)
            return rows[i].value;
    return NULL;
}

static bool match(const char *const *texts, size_t count)
{
    struct filters *filters = NULL;
    struct error *error = filters_parse((char *const *)(uintptr_t)texts, count, &filters);
    if (error != NULL)
        fail_msg("%s: %s", texts[0], error->message);
    bool found = filters_match(filters, field, NULL);
    filters_free(filters);
    return found;
}

static void matching(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool matches;
    } rows[] = {
        {"", true},
        {"  ", true},
        {"topic==/tasks/exit", true},
        {"topic == \"/tasks/exit\"", true},
        {"topic==/tasks/start", false},
        {"topic!=/tasks/start", true},
        {"topic~=^/tasks/", true},
        {"topic~=\"^/tasks/(exit|oom)$\"", true},
        {"topic~=/^.tasks/", true},
        {"topic~=|^/images|", false},
        {"topic~=/exit$/", true},
        {"namespace==k8s.io", true},
        {"namespace==default", false},
        {"namespace==k8s.io,topic~=exit,event.container_id==web", true},
        {"namespace==k8s.io,topic~=exit,event.container_id==api", false},
        {"event.container_id", true},
        {"event.exec_id", false}, /* empty is absent */
        {"event.exec_id==\"\"", false},
        {"event.nothing", false},
        {"event.nothing!=x", true},
        {"event.nothing==x", false},
        {"event.nothing~=^$", true},
        {"event.io.stdin==\"a \\\"b\\\", c\"", true},
        {"event.\"strange name\"==x", true},
        {"\"topic\"==\"\\x2ftasks\\u002fexit\"", true},
        {"topic ~= exit , namespace", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (match(&rows[i].text, 1) != rows[i].matches)
            fail_msg("%s: expected %d", rows[i].text, rows[i].matches);
    assert_true(match(NULL, 0));
    assert_true(match((const char *[]){"topic==x", "namespace==k8s.io"}, 2));
    assert_false(match((const char *[]){"topic==x", "namespace==y"}, 2));
    assert_true(match((const char *[]){"topic==x", ""}, 2));
}

static void refusing(void **state)
{
    (void)state;
    static const char *const rows[] = {"==x",
                                       "topic=x",
                                       "topic==",
                                       "topic==x,",
                                       ",topic",
                                       "topic==\"x",
                                       "topic x",
                                       "a.",
                                       "topic~=(",
                                       "topic==\"\\q\"",
                                       "topic<x",
                                       "a..b",
                                       "a.b.c.d.e.f.g.h.i",
                                       "topic==x y",
                                       "topic==\"\\xzz\"",
                                       "topic==\"\\ud800\""};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct filters *filters = (struct filters *)(uintptr_t)1;
        struct error *error = filters_parse((char *const *)(uintptr_t)&rows[i], 1, &filters);
        if (error == NULL)
            fail_msg("%s: expected an error", rows[i]);
        print_message("%s: %s\n", rows[i], error->message);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        error_free(error);
    }
    char *many[FILTER_COUNT_MAX + 1];
    struct filters *filters;
    for (size_t i = 0; i <= FILTER_COUNT_MAX; i++)
        many[i] = (char *)(uintptr_t) "topic";
    struct error *error = filters_parse(many, FILTER_COUNT_MAX + 1, &filters);
    assert_int_equal(error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
    error_free(error);
    char *large = mem_zero(FILTER_SIZE_MAX + 2);
    memset(large, 'a', FILTER_SIZE_MAX + 1);
    error = filters_parse(&large, 1, &filters);
    assert_int_equal(error->kind, ERROR_KIND_RESOURCE_EXHAUSTED);
    error_free(error);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matching), cmocka_unit_test(refusing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
