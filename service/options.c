#include "service/options.h"

#include <stddef.h>
#include <string.h>

#include "hcsd_version.h"

const char service_help[] =
    "hcsd " HCSD_VERSION ": runs containers and exports their layers, for orchestrators, on a named pipe\n"
    "\n"
    "  hcsd.exe --register-service [--service-name NAME] [--config FILE] [--delayed-start] [--required-privileges]\n"
    "  hcsd.exe --unregister-service [--service-name NAME] [--purge] [--if-own]\n"
    "                                          stops and removes it; --purge: with its state and configuration;\n"
    "                                          --if-own: unless it runs another version's hcsd.exe\n"
    "  hcsd.exe --stop-service [--service-name NAME]\n"
    "                                          stops it and waits for that\n"
    "  hcsd.exe --console [--config FILE]      runs in this window until Ctrl-C\n"
    "  hcsd.exe --check-config FILE            says what is wrong with a configuration\n"
    "  hcsd.exe --probe-host [--config FILE] [--layer DIR [--layer PARENT]...]\n"
    "                                          asks this Windows what hcsd believes of it (hcsctl diag host), as JSON\n"
    "  hcsd.exe --version\n"
    "\n"
    "The configuration is %ProgramData%\\hcsd\\config.json unless --config names another.\n"
    "\n"
    "Example, elevated:\n"
    "  hcsd.exe --register-service\n"
    "  sc.exe start hcsd\n";

/* Service names end up in registry paths and command lines: SCM forbids slashes, we forbid what would need quoting. */
static bool is_service_name(const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > 80)
        return false;
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == size;
}

struct error *service_options_parse(int count, const char *const *arguments, struct service_options *ret_options)
{
    static const struct {
        const char *flag;
        enum service_action action;
    } actions[] = {
        {"--help", SERVICE_ACTION_HELP},
        {"-h", SERVICE_ACTION_HELP},
        {"/?", SERVICE_ACTION_HELP},
        {"--version", SERVICE_ACTION_VERSION},
        {"--console", SERVICE_ACTION_CONSOLE},
        {"--check-config", SERVICE_ACTION_CHECK_CONFIG},
        {"--register-service", SERVICE_ACTION_REGISTER},
        {"--unregister-service", SERVICE_ACTION_UNREGISTER},
        {"--stop-service", SERVICE_ACTION_STOP},
        {"--restore-service", SERVICE_ACTION_RESTORE},
        {"--probe-host", SERVICE_ACTION_PROBE},
        {"--run-service", SERVICE_ACTION_RUN},
    };
    struct service_options options = {.action = SERVICE_ACTION_HELP, .service_name = "hcsd"};
    const char *chosen = NULL;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i], *value = NULL;
        const char *next = i + 1 < count ? arguments[i + 1] : NULL;
        size_t row = 0;
        while (row < sizeof actions / sizeof actions[0] && strcmp(actions[row].flag, argument) != 0)
            row++;
        bool is_action = row < sizeof actions / sizeof actions[0];
        bool takes_value = strcmp(argument, "--config") == 0 || strcmp(argument, "--service-name") == 0 ||
                           strcmp(argument, "--check-config") == 0 || strcmp(argument, "--layer") == 0;
        if (takes_value) {
            if (next == NULL || *next == 0)
                return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", argument, "%s needs a value",
                                  argument);
            value = next;
            i++;
        }
        if (is_action) {
            if (chosen != NULL)
                return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", argument,
                                  "%s and %s exclude each other", chosen, argument);
            chosen = argument;
            options.action = actions[row].action;
            if (value != NULL)
                options.config_file = value;
        } else if (strcmp(argument, "--config") == 0) {
            options.config_file = value;
        } else if (strcmp(argument, "--service-name") == 0) {
            if (!is_service_name(value))
                return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", value,
                                  "a service name has 1 to 80 letters, digits, '-', '_' or '.'");
            options.service_name = value;
        } else if (strcmp(argument, "--layer") == 0) {
            if (options.layer_count == SERVICE_LAYERS_MAX)
                return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", argument, "more than %d layers",
                                  SERVICE_LAYERS_MAX);
            options.layers[options.layer_count++] = value;
        } else if (strcmp(argument, "--delayed-start") == 0) {
            options.delayed_start = true;
        } else if (strcmp(argument, "--required-privileges") == 0) {
            options.required_privileges = true;
        } else if (strcmp(argument, "--purge") == 0) {
            options.purge = true;
        } else if (strcmp(argument, "--if-own") == 0) {
            options.if_own = true;
        } else {
            return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", argument,
                              "unknown argument; hcsd.exe --help lists them");
        }
    }
    if ((options.delayed_start || options.required_privileges) && options.action != SERVICE_ACTION_REGISTER)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line",
                          options.delayed_start ? "--delayed-start" : "--required-privileges",
                          "it belongs to --register-service");
    if ((options.purge || options.if_own) && options.action != SERVICE_ACTION_UNREGISTER)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", options.purge ? "--purge" : "--if-own",
                          "it belongs to --unregister-service");
    if (options.layer_count != 0 && options.action != SERVICE_ACTION_PROBE)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", "--layer",
                          "it belongs to --probe-host");
    if (count > 0 && chosen == NULL)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", arguments[0],
                          "it does not say what to do: --console, --register-service, … (hcsd.exe --help lists them)");
    *ret_options = options;
    return NULL;
}
