#include "task/phases.h"

#include <string.h>

struct verdict {
    enum error_kind kind; /* 0: go ahead */
    const char *reason;
};

#define REFUSED(reason)                                                                                                \
    {                                                                                                                  \
        ERROR_KIND_FAILED_PRECONDITION, reason                                                                         \
    }

#define PAUSED_DEAF "it is paused; resume it first, or end it with signal 9"

static const char *const names[PHASE_COUNT] = {"creating", "created", "starting", "running",
                                               "pausing",  "paused",  "ending",   "stopped"};

static const struct {
    const char *operation;
    struct verdict verdicts[PHASE_COUNT];
} table[REQUEST_COUNT] = {
    [REQUEST_START] = {"start",
                       {
                           [PHASE_CREATING] = REFUSED("it is still being created"),
                           [PHASE_STARTING] = REFUSED("it is being started already"),
                           [PHASE_RUNNING] = REFUSED("it is running already"),
                           [PHASE_PAUSING] = REFUSED("it is running already"),
                           [PHASE_PAUSED] = REFUSED("it is running already, and paused"),
                           [PHASE_ENDING] = REFUSED("it is ending; a process can be started only once"),
                           [PHASE_STOPPED] = REFUSED("it has ended; a process can be started only once"),
                       }},
    [REQUEST_KILL] = {"kill",
                      {
                          [PHASE_CREATING] = REFUSED("it is still being created"),
                          [PHASE_STOPPED] = {ERROR_KIND_NOT_FOUND, "it has ended already"},
                      }},
    [REQUEST_SIGNAL] = {"kill",
                        {
                            [PHASE_CREATING] = REFUSED("it is still being created"),
                            [PHASE_PAUSING] = REFUSED(PAUSED_DEAF),
                            [PHASE_PAUSED] = REFUSED(PAUSED_DEAF),
                            [PHASE_STOPPED] = {ERROR_KIND_NOT_FOUND, "it has ended already"},
                        }},
    [REQUEST_DELETE] = {"delete",
                        {
                            [PHASE_CREATING] = REFUSED("it is still being created"),
                            [PHASE_STARTING] = REFUSED("it is being started; kill it first"),
                            [PHASE_RUNNING] = REFUSED("it is running; kill it first"),
                            [PHASE_PAUSING] = REFUSED("it is running; kill it first"),
                            [PHASE_PAUSED] = REFUSED("it is paused; kill it with signal 9 first"),
                        }},
    [REQUEST_EXEC] = {"exec",
                      {
                          [PHASE_CREATING] = REFUSED("the container is still being created"),
                          [PHASE_CREATED] = REFUSED("the container is not running; start it first"),
                          [PHASE_STARTING] = REFUSED("the container is not running yet"),
                          [PHASE_PAUSING] = REFUSED("the container is being paused; resume it first"),
                          [PHASE_PAUSED] = REFUSED("the container is paused; resume it first"),
                          [PHASE_ENDING] = REFUSED("the container is ending"),
                          [PHASE_STOPPED] = REFUSED("the container has ended"),
                      }},
    [REQUEST_PAUSE] = {"pause",
                       {
                           [PHASE_CREATING] = REFUSED("it is still being created"),
                           [PHASE_CREATED] = REFUSED("it is not running; start it first"),
                           [PHASE_STARTING] = REFUSED("it is not running yet"),
                           [PHASE_PAUSING] = REFUSED("it is being paused already"),
                           [PHASE_PAUSED] = REFUSED("it is paused already"),
                           [PHASE_ENDING] = REFUSED("it is ending"),
                           [PHASE_STOPPED] = REFUSED("it has ended"),
                       }},
    [REQUEST_RESUME] = {"resume",
                        {
                            [PHASE_CREATING] = REFUSED("it is still being created"),
                            [PHASE_CREATED] = REFUSED("it is not paused; start it"),
                            [PHASE_STARTING] = REFUSED("it is not paused"),
                            [PHASE_RUNNING] = REFUSED("it is not paused"),
                            [PHASE_PAUSING] = REFUSED("it is still being paused; try again"),
                            [PHASE_ENDING] = REFUSED("it is ending"),
                            [PHASE_STOPPED] = REFUSED("it has ended"),
                        }},
    [REQUEST_CONTROL] = {"update",
                         {
                             [PHASE_CREATING] = REFUSED("it is still being created"),
                             [PHASE_PAUSING] = REFUSED(PAUSED_DEAF),
                             [PHASE_PAUSED] = REFUSED(PAUSED_DEAF),
                             [PHASE_ENDING] = REFUSED("it is ending"),
                             [PHASE_STOPPED] = {ERROR_KIND_NOT_FOUND, "it has ended"},
                         }},
};

const char *phase_name(enum phase phase)
{
    return names[phase];
}

bool phase_parse(const char *name, enum phase *ret_phase)
{
    for (unsigned i = 0; i < PHASE_COUNT; i++)
        if (!strcmp(names[i], name)) {
            *ret_phase = (enum phase)i;
            return true;
        }
    return false;
}

enum task_status phase_status(enum phase phase, bool ran)
{
    switch (phase) {
    case PHASE_CREATING:
    case PHASE_CREATED:
    case PHASE_STARTING:
        return TASK_CREATED;
    case PHASE_RUNNING:
        return TASK_RUNNING;
    case PHASE_PAUSING:
        return TASK_PAUSING;
    case PHASE_PAUSED:
        return TASK_PAUSED;
    case PHASE_ENDING:
        return ran ? TASK_RUNNING : TASK_CREATED;
    case PHASE_STOPPED:
        return TASK_STOPPED;
    }
    return TASK_UNKNOWN;
}

struct error *phase_check(enum phase phase, enum request request, const char *object)
{
    const struct verdict *verdict = &table[request].verdicts[phase];
    if (!verdict->kind)
        return NULL;
    return error_make(verdict->kind, table[request].operation, object, "%s", verdict->reason);
}
