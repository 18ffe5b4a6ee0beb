/* hcsd.exe's command line. Pure. */
#ifndef HCSD_SERVICE_OPTIONS_H
#define HCSD_SERVICE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum service_action {
    SERVICE_ACTION_HELP,
    SERVICE_ACTION_VERSION,
    SERVICE_ACTION_CONSOLE,
    SERVICE_ACTION_CHECK_CONFIG,
    SERVICE_ACTION_REGISTER,
    SERVICE_ACTION_UNREGISTER,
    SERVICE_ACTION_STOP,
    SERVICE_ACTION_RESTORE, /* for the installer */
    SERVICE_ACTION_PROBE,
    SERVICE_ACTION_RUN,
};

#define SERVICE_LAYERS_MAX 128 /* more than Windows stacks */

struct service_options {
    enum service_action action;
    const char *config_file;                /* NULL: the default file, which may be absent */
    const char *service_name;               /* "hcsd" */
    bool delayed_start;                     /* --register-service only */
    bool required_privileges;               /* --register-service only */
    bool purge, if_own;                     /* --unregister-service only */
    const char *layers[SERVICE_LAYERS_MAX]; /* --probe-host only */
    size_t layer_count;
};

/* `arguments` without the program's name; the texts are borrowed. INVALID_ARGUMENT names the argument. */
struct error *service_options_parse(int count, const char *const *arguments,
                                    struct service_options *ret_options) ERROR_MUST_CHECK;

extern const char service_help[];

#endif
