/* hcsd in the service manager's database. Windows only. */
#ifndef HCSD_SERVICE_REGISTRATION_H
#define HCSD_SERVICE_REGISTRATION_H

#include <stdbool.h>

#include "base/error.h"

struct registration {
    const char *name;        /* of the service */
    const char *config_file; /* absolute, or NULL: the default */
    bool delayed_start;
    bool required_privileges;
    /* Told what this Windows lacks and what follows from it; registering goes on. */
    void (*lacking)(void *context, const char *feature, const char *consequence);
    void *context;
};

/* Registers this program: LocalSystem, own process, automatic start, recovery actions (restart after 15 s, 15 s, then none,
 * forgotten after a day, also on failures that the service reports), SID type unrestricted, preshutdown time, description,
 * event source, data folder. A new service that cannot be completed is deleted again.
 *
 * A service that exists gets this program's command line (its --config is kept unless another is given; the line before is
 * remembered for registration_restore) and event source. Everything else stays as its administrator has it, unless it has
 * no recovery actions: then nobody has completed it yet. */
struct error *registration_add(const struct registration *registration) ERROR_MUST_CHECK;

/* Takes the last registration_add back, for an installer that must undo: the command line before it, or no service. */
struct error *registration_restore(const char *name) ERROR_MUST_CHECK;

/* Stops the service and waits for that and for the end of its process, at most 30 s. One that is not there or does not run is no error. */
struct error *registration_stop(const char *name) ERROR_MUST_CHECK;

/* Stops the service likewise, deletes it and its event source. State and configuration stay. NOT_FOUND when there is
 * none. */
struct error *registration_remove(const char *name) ERROR_MUST_CHECK;

/* Whether the service's command line names this program. False when there is no such service. */
struct error *registration_is_own(const char *name, bool *ret_own) ERROR_MUST_CHECK;

/* The configuration file in the service's command line; NULL: none named, or no such service. The caller frees it. */
struct error *registration_config_file(const char *name, char **ret_path) ERROR_MUST_CHECK;

/* The time that the system gives the service at preshutdown, in ms; 0: not known. */
unsigned registration_preshutdown_ms(const char *name);
/* Asks for the time that a stop needs, unless it is set. Needs no more rights than the service has. */
struct error *registration_ensure_preshutdown(const char *name) ERROR_MUST_CHECK;

#endif
