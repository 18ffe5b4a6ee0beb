#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "service/options.h"

#define MOST 8

static struct error *parse(const char *const *arguments, struct service_options *ret_options)
{
    int count = 0;
    while (count < MOST && arguments[count] != NULL)
        count++;
    return service_options_parse(count, arguments, ret_options);
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[MOST];
        struct service_options expected;
    } rows[] = {
        {{NULL}, {SERVICE_ACTION_HELP, NULL, "hcsd", false, false, false, false}},
        {{"--help"}, {SERVICE_ACTION_HELP, NULL, "hcsd", false, false, false, false}},
        {{"/?"}, {SERVICE_ACTION_HELP, NULL, "hcsd", false, false, false, false}},
        {{"--version"}, {SERVICE_ACTION_VERSION, NULL, "hcsd", false, false, false, false}},
        {{"--console"}, {SERVICE_ACTION_CONSOLE, NULL, "hcsd", false, false, false, false}},
        {{"--console", "--config", "x.json"}, {SERVICE_ACTION_CONSOLE, "x.json", "hcsd", false, false, false, false}},
        {{"--config", "x.json", "--console"}, {SERVICE_ACTION_CONSOLE, "x.json", "hcsd", false, false, false, false}},
        {{"--check-config", "x.json"}, {SERVICE_ACTION_CHECK_CONFIG, "x.json", "hcsd", false, false, false, false}},
        {{"--register-service"}, {SERVICE_ACTION_REGISTER, NULL, "hcsd", false, false, false, false}},
        {{"--register-service", "--service-name", "hcsd-2", "--delayed-start", "--required-privileges"},
         {SERVICE_ACTION_REGISTER, NULL, "hcsd-2", true, true, false, false}},
        {{"--unregister-service", "--service-name", "a.b_c"},
         {SERVICE_ACTION_UNREGISTER, NULL, "a.b_c", false, false, false, false}},
        {{"--unregister-service", "--purge", "--if-own"},
         {SERVICE_ACTION_UNREGISTER, NULL, "hcsd", false, false, true, true}},
        {{"--stop-service"}, {SERVICE_ACTION_STOP, NULL, "hcsd", false, false, false, false}},
        {{"--restore-service"}, {SERVICE_ACTION_RESTORE, NULL, "hcsd", false, false, false, false}},
        {{"--probe-host"}, {SERVICE_ACTION_PROBE, NULL, "hcsd", false, false, false, false}},
        {{"--run-service"}, {SERVICE_ACTION_RUN, NULL, "hcsd", false, false, false, false}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct service_options options;
        assert_null(parse(rows[i].arguments, &options));
        assert_int_equal(options.action, rows[i].expected.action);
        assert_string_equal(options.service_name, rows[i].expected.service_name);
        assert_int_equal(options.delayed_start, rows[i].expected.delayed_start);
        assert_int_equal(options.required_privileges, rows[i].expected.required_privileges);
        assert_int_equal(options.purge, rows[i].expected.purge);
        assert_int_equal(options.if_own, rows[i].expected.if_own);
        if (rows[i].expected.config_file == NULL)
            assert_null(options.config_file);
        else
            assert_string_equal(options.config_file, rows[i].expected.config_file);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[MOST];
        const char *named;
    } rows[] = {
        {{"--consolation"}, "--consolation"},
        {{"--config", "x.json"}, "--config"}, /* to do what? */
        {{"--service-name", "web"}, "--service-name"},
        {{"console"}, "console"},
        {{"--check-config"}, "--check-config"},
        {{"--config"}, "--config"},
        {{"--config", ""}, "--config"},
        {{"--console", "--run-service"}, "--run-service"},
        {{"--console", "--delayed-start"}, "--delayed-start"},
        {{"--required-privileges"}, "--required-privileges"},
        {{"--console", "--purge"}, "--purge"},
        {{"--stop-service", "--if-own"}, "--if-own"},
        {{"--register-service", "--service-name", "a b"}, "a b"},
        {{"--register-service", "--service-name", "a\"b"}, "a\"b"},
        {{"--register-service", "--service-name", "a\\b"}, "a\\b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct service_options options = {.service_name = "untouched"};
        struct error *error = parse(rows[i].arguments, &options);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        assert_string_equal(error->object, rows[i].named);
        assert_string_equal(options.service_name, "untouched");
        error_free(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
