/* The host probe (probe/probe.h) in a process of its own: what it asks of the system may hang, and must not hang hcsd. Windows
 * only; thread-safe. */
#ifndef HCSD_DAEMON_SERVICES_HOST_PROBE_H
#define HCSD_DAEMON_SERVICES_HOST_PROBE_H

#include "base/error.h"

#define HOST_PROBE_MS       60000
#define HOST_PROBE_LAYER_MS 300000 /* with layers */
#define HOST_PROBE_LAYERS   128

struct host_probe_options {
    const char *service;     /* its name */
    const char *config_file; /* absolute */
    const char *folder;      /* where the report's file is made, which goes by itself */
    char *const *layers;     /* a layer and its parents, nearest first; or none */
    size_t layer_count;
};

struct host_probe;

/* Starts it; `done` is called once from a thread of the pool: with the report as JSON text, which it takes, or with an error,
 * which it takes: DEADLINE_EXCEEDED after HOST_PROBE_MS (or LAYER_MS), CANCELLED after host_probe_cancel. FAILED_PRECONDITION
 * while another one runs; INVALID_ARGUMENT: a layer. *ret_probe is the caller's until host_probe_free, which may be called from `done`. */
struct error *host_probe_start(const struct host_probe_options *options,
                               void (*done)(void *context, struct error *error, char *report), void *context,
                               struct host_probe **ret_probe) ERROR_MUST_CHECK;
void host_probe_cancel(struct host_probe *probe);
void host_probe_free(struct host_probe *probe);

#endif
