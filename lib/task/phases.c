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

static const char *const names[PHASE_COUNT] = {"creating", "created", "starting", "running", "ending", "stopped"};

static const struct {
    const char *operation;
    struct verdict verdicts[PHASE_COUNT];
} table[REQUEST_COUNT] = {
    [REQUEST_START] = {"start",
                       {
                           [PHASE_CREATING] = REFUSED("it is still being created"),
                           [PHASE_STARTING] = REFUSED("it is being started already"),
                           [PHASE_RUNNING] = REFUSED("it is running already"),
                           [PHASE_ENDING] = REFUSED("it is ending; a process can be started only once"),
                           [PHASE_STOPPED] = REFUSED("it has ended; a process can be started only once"),
                       }},
    [REQUEST_KILL] = {"kill",
                      {
                          [PHASE_CREATING] = REFUSED("it is still being created"),
                          [PHASE_STOPPED] = {ERROR_KIND_NOT_FOUND, "it has ended already"},
                      }},
    [REQUEST_DELETE] = {"delete",
                        {
                            [PHASE_CREATING] = REFUSED("it is still being created"),
                            [PHASE_STARTING] = REFUSED("it is being started; kill it first"),
                            [PHASE_RUNNING] = REFUSED("it is running; kill it first"),
                        }},
    [REQUEST_EXEC] = {"exec",
                      {
                          [PHASE_CREATING] = REFUSED("the container is still being created"),
                          [PHASE_CREATED] = REFUSED("the container is not running; start it first"),
                          [PHASE_STARTING] = REFUSED("the container is not running yet"),
                          [PHASE_ENDING] = REFUSED("the container is ending"),
                          [PHASE_STOPPED] = REFUSED("the container has ended"),
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
