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
        {{NULL}, {.action = SERVICE_ACTION_HELP, .service_name = "hcsd"}},
        {{"--help"}, {.action = SERVICE_ACTION_HELP, .service_name = "hcsd"}},
        {{"/?"}, {.action = SERVICE_ACTION_HELP, .service_name = "hcsd"}},
        {{"--version"}, {.action = SERVICE_ACTION_VERSION, .service_name = "hcsd"}},
        {{"--console"}, {.action = SERVICE_ACTION_CONSOLE, .service_name = "hcsd"}},
        {{"--console", "--config", "x.json"},
         {.action = SERVICE_ACTION_CONSOLE, .service_name = "hcsd", .config_file = "x.json"}},
        {{"--config", "x.json", "--console"},
         {.action = SERVICE_ACTION_CONSOLE, .service_name = "hcsd", .config_file = "x.json"}},
        {{"--check-config", "x.json"},
         {.action = SERVICE_ACTION_CHECK_CONFIG, .service_name = "hcsd", .config_file = "x.json"}},
        {{"--register-service"}, {.action = SERVICE_ACTION_REGISTER, .service_name = "hcsd"}},
        {{"--register-service", "--service-name", "hcsd-2", "--delayed-start", "--required-privileges"},
         {.action = SERVICE_ACTION_REGISTER,
          .service_name = "hcsd-2",
          .delayed_start = true,
          .required_privileges = true}},
        {{"--unregister-service", "--service-name", "a.b_c"},
         {.action = SERVICE_ACTION_UNREGISTER, .service_name = "a.b_c"}},
        {{"--unregister-service", "--purge", "--if-own"},
         {.action = SERVICE_ACTION_UNREGISTER, .service_name = "hcsd", .purge = true, .if_own = true}},
        {{"--stop-service"}, {.action = SERVICE_ACTION_STOP, .service_name = "hcsd"}},
        {{"--restore-service"}, {.action = SERVICE_ACTION_RESTORE, .service_name = "hcsd"}},
        {{"--probe-host"}, {.action = SERVICE_ACTION_PROBE, .service_name = "hcsd"}},
        {{"--run-service"}, {.action = SERVICE_ACTION_RUN, .service_name = "hcsd"}},
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
        {{"--console", "--layer", "C:\\base"}, "--layer"},
        {{"--probe-host", "--layer"}, "--layer"},
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

static void test_layers(void **state)
{
    (void)state;
    const char *many[1 + 2 * (SERVICE_LAYERS_MAX + 1)] = {"--probe-host"};
    for (size_t i = 1; i < sizeof many / sizeof many[0]; i += 2) {
        many[i] = "--layer";
        many[i + 1] = i == 1 ? "C:\\top" : "C:\\base";
    }
    struct service_options options;
    assert_null(service_options_parse(1 + 2 * SERVICE_LAYERS_MAX, many, &options));
    assert_int_equal(options.layer_count, SERVICE_LAYERS_MAX);
    assert_string_equal(options.layers[0], "C:\\top");
    assert_string_equal(options.layers[SERVICE_LAYERS_MAX - 1], "C:\\base");
    struct error *error = service_options_parse(sizeof many / sizeof many[0], many, &options);
    assert_non_null(error);
    assert_string_equal(error->object, "--layer");
    error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_layers),
                                       cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
