/* The options of a Create request: what containerd's runtime configuration says (containerd.runhcs.v1.Options). Pure. */
#ifndef HCSD_DAEMON_SERVICES_RUNTIME_OPTIONS_H
#define HCSD_DAEMON_SERVICES_RUNTIME_OPTIONS_H

#include <google/protobuf/any.pb-c.h>

#include "task/tasks.h"

struct runtime_options {
    struct task_runtime runtime; /* points into the next two */
    void *message;
    const char **annotations;
};

/* NULL, or options of another runtime: nothing is asked for. INVALID_ARGUMENT for what cannot be read or is out of range. */
struct error *runtime_options_parse(const Google__Protobuf__Any *any,
                                    struct runtime_options *ret_options) ERROR_MUST_CHECK;
void runtime_options_free(struct runtime_options *options);

#endif
