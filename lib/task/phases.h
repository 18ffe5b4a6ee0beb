/* The phases of a container's life and what may be asked in each. Pure.
 *
 *   (reserved) CREATING -> CREATED -> STARTING -> RUNNING -> ENDING -> STOPPED -> (gone)
 *
 * CREATED and STARTING go to ENDING too: a kill, a delete, a start that failed, a container that ended by itself. Execs use
 * CREATED, STARTING, RUNNING, ENDING and STOPPED. On the wire a container that is ENDING still has the status it had, until
 * its exit is latched (the design's decision); what was asked in vain gets the error class that containerd's clients
 * expect. */
#ifndef HCSD_TASK_PHASES_H
#define HCSD_TASK_PHASES_H

#include <stdbool.h>

#include "base/error.h"
#include "task/tasks.h"

enum phase { PHASE_CREATING, PHASE_CREATED, PHASE_STARTING, PHASE_RUNNING, PHASE_ENDING, PHASE_STOPPED };
#define PHASE_COUNT 6

enum request { REQUEST_START, REQUEST_KILL, REQUEST_DELETE, REQUEST_EXEC };
#define REQUEST_COUNT 4

const char *phase_name(enum phase phase);
/* NULL when the name is none of phase_name's: *ret_phase is untouched. */
bool phase_parse(const char *name, enum phase *ret_phase);

/* `ran`: the process was started once. */
enum task_status phase_status(enum phase phase, bool ran);

/* NULL: go ahead. DELETE in ENDING is allowed: it waits for the end, within a bound. */
struct error *phase_check(enum phase phase, enum request request, const char *object) ERROR_MUST_CHECK;

#endif
