/* hcsd in the service manager's database and as a source of the event log. Windows only. */
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

/* Registers this program (or changes what is registered under the name): LocalSystem, own process, automatic start, recovery
 * actions (restart after 15 s, 15 s, then none, forgotten after a day, also on failures that the service reports), SID
 * type unrestricted, preshutdown time, description, event source, data folder. A new service that cannot be completed
 * is deleted again. */
struct error *registration_add(const struct registration *registration) ERROR_MUST_CHECK;

/* Stops the service (within 30 s), deletes it and its event source. State and configuration stay. NOT_FOUND when there is
 * none. */
struct error *registration_remove(const char *name) ERROR_MUST_CHECK;

/* Registers the message DLL beside this program as the event source `name`, unless it is: services made with sc.exe get
 * their texts this way. */
struct error *registration_ensure_event_source(const char *name) ERROR_MUST_CHECK;

/* The time that the system gives the service at preshutdown, in ms; 0: not known. */
unsigned registration_preshutdown_ms(const char *name);
/* Asks for the time that a stop needs, unless it is set. Needs no more rights than the service has. */
struct error *registration_ensure_preshutdown(const char *name) ERROR_MUST_CHECK;

#endif
