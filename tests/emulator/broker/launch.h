/* Real processes of a container. Called without the broker's lock. */
#ifndef EMULATOR_BROKER_LAUNCH_H
#define EMULATOR_BROKER_LAUNCH_H

#include "broker.h"
#include "pipes.h"

struct launch {
    const json_t *parameters; /* of HcsCreateProcess */
    const char *command;
    const char *layer; /* the container's writable layer, "" */
    HANDLE job;
    struct stdio *stdio;
};

/* Starts the command in the job, with the child's ends of the pipes as its streams (NUL where there is none), the given
 * environment on top of the broker's.
 *
 * Working directory: C:\x\y is <layer>\Files\x\y when the layer has that folder, else the host's C:\x\y; without one,
 * <layer>\Files or the host's C:\. A folder that is in neither fails with 267. A program is looked for by its own path
 * on the host only. */
struct error *launch_process(const struct launch *launch, HANDLE *ret_process, uint32_t *ret_pid) ERROR_MUST_CHECK;

#endif
