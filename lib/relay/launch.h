/* The relay's process: started, found again, and its control pipe dialled. */
#ifndef HCSD_RELAY_LAUNCH_H
#define HCSD_RELAY_LAUNCH_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct launch {
    HANDLE process; /* to wait for it and to give it handles */
    uint32_t pid;
    uint64_t created; /* FILETIME */
    char *pipe;       /* \\.\pipe\NAME */
};

/* The image that is beside this program. The caller frees it. */
struct error *launch_image(const char *version, char **ret_image) ERROR_MUST_CHECK;

/* Starts one: nothing inherited but an event, outside of this process's job where that allows it. Waits until its pipe is served,
 * at most `milliseconds`. NOT_FOUND when there is no image. */
struct error *launch_start(const char *image, unsigned milliseconds, struct launch *ret_launch) ERROR_MUST_CHECK;

/* The process of this pid if it is the one that was created then and has not ended. False otherwise. */
bool launch_find(uint32_t pid, uint64_t created, const char *pipe, struct launch *ret_launch);

/* Opens the control pipe, for overlapped I/O, and makes sure that this very process serves it. The pipe is busy for a moment after
 * another hcsd has died. */
struct error *launch_dial(const struct launch *launch, unsigned milliseconds, HANDLE *ret_pipe) ERROR_MUST_CHECK;

void launch_clear(struct launch *launch); /* closes and frees what is in it; the process goes on */

#endif
