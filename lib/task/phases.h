/* The phases of a container's life and what may be asked in each. Pure.
 *
 *   (reserved) CREATING -> CREATED -> STARTING -> RUNNING -> ENDING -> STOPPED -> (gone)
 *                                              RUNNING -> PAUSING -> PAUSED -> RUNNING
 *
 * All before ENDING go there too: a kill, a delete, a start that failed, a container that ended by itself. Execs use
 * CREATED, STARTING, RUNNING, ENDING and STOPPED; a paused container's execs stay RUNNING. On the wire a container that is ENDING still has the status it had, until
 * its exit is latched (the design's decision); what was asked in vain gets the error class that containerd's clients
 * expect. */
#ifndef HCSD_TASK_PHASES_H
#define HCSD_TASK_PHASES_H

#include <stdbool.h>

#include "base/error.h"
#include "task/tasks.h"

/* In the order of a life: what is before PHASE_ENDING has not begun to end. */
enum phase {
    PHASE_CREATING,
    PHASE_CREATED,
    PHASE_STARTING,
    PHASE_RUNNING,
    PHASE_PAUSING,
    PHASE_PAUSED,
    PHASE_ENDING,
    PHASE_STOPPED
};
#define PHASE_COUNT 8

/* SIGNAL is a kill by anything but 9, which a paused container cannot obey; CONTROL is an update, and what else changes a
 * container without changing its phase. */
enum request {
    REQUEST_START,
    REQUEST_KILL,
    REQUEST_SIGNAL,
    REQUEST_DELETE,
    REQUEST_EXEC,
    REQUEST_PAUSE,
    REQUEST_RESUME,
    REQUEST_CONTROL
};
#define REQUEST_COUNT 8

/* Whether its process runs, be it paused. */
static inline bool phase_is_alive(enum phase phase)
{
    return phase >= PHASE_RUNNING && phase < PHASE_ENDING;
}

const char *phase_name(enum phase phase);
/* NULL when the name is none of phase_name's: *ret_phase is untouched. */
bool phase_parse(const char *name, enum phase *ret_phase);

/* `ran`: the process was started once. */
enum task_status phase_status(enum phase phase, bool ran);

/* NULL: go ahead. DELETE in ENDING is allowed: it waits for the end, within a bound. */
struct error *phase_check(enum phase phase, enum request request, const char *object) ERROR_MUST_CHECK;

#endif
