/* hcsd in a console and under the service manager: the same loop (service/entry.h), driven by Ctrl-C or by controls. The
 * process has one service, which run.c holds. Windows only. */
#ifndef HCSD_SERVICE_RUN_H
#define HCSD_SERVICE_RUN_H

#include "service/options.h"

/* Both return the process's exit code. */
int run_console(const struct service_options *options);
/* Takes up to 10 s to fail outside the service manager. */
int run_service(const struct service_options *options);

#endif
