/* The ladders. Read a row as: in this phase, without progress for so long (and again for each rung), or when the phase as a
 * whole took so long, do this, then this. What a rung does is up to whoever supervises (daemon/jobs). */
#include <string.h>

#include "watch/watch.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A storage call makes no progress that hcsd sees but its process's I/O, and it cannot be called off: the worker goes. Before
 * the archive is complete the job fails, and a fresh worker undoes what was begun; after it only the folder is at stake. A
 * cancelled worker has its grace to come out of whatever it is in. */
#define NUDGE_THEN_KILL                                                                                                \
    {                                                                                                                  \
        WATCH_NOTICE, WATCH_GO_AROUND, WATCH_KILL, WATCH_ABANDON                                                       \
    }
static const struct watch_rule export_rules[] = {
    {"queued", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_NONE}},
    {"begin", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"activate", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"turn", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"prepare", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"unprepare", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"stage", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"archive", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"cancel", WATCH_UNBOUNDED, WATCH_GRACE, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"deactivate", WATCH_STALL, WATCH_UNBOUNDED, WATCH_UNDO, NUDGE_THEN_KILL},
    {"cleanup", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
};

/* Mounting and releasing answer their caller within hcs.call_seconds, queue and turns included. */
static const struct watch_rule call_rules[] = {
    {"queued", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_ANSWER}},
    {"begin", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"turn", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"activate", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"prepare", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"path", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"unprepare", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"deactivate", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"target", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
    {"create", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_UNDO, {WATCH_KILL, WATCH_ABANDON}},
};

/* The other storage calls that a caller waits for: the same bound over all of it. */
static const struct watch_rule layer_rules[] = {
    {"queued", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_ANSWER}},
    {"begin", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"exists", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"path", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"create", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"expand", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"image", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"utility_image", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"grant", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"copy", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"deactivate", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_QUARANTINE, {WATCH_KILL, WATCH_ABANDON}},
    {"destroy", WATCH_UNBOUNDED, WATCH_DESTROY, WATCH_QUARANTINE, {WATCH_KILL, WATCH_ABANDON}},
    {"cleanup", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
};

/* An archive becomes a layer: judged by its progress, like an export. */
static const struct watch_rule import_rules[] = {
    {"queued", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_NONE}},
    {"begin", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
    {"archive", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
    {"import", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
    {"apply", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
    {"image", WATCH_STALL, WATCH_UNBOUNDED, WATCH_NONE, NUDGE_THEN_KILL},
    {"utility_image", WATCH_STALL, WATCH_UNBOUNDED, WATCH_NONE, NUDGE_THEN_KILL},
    {"destroy", WATCH_UNBOUNDED, WATCH_DESTROY, WATCH_QUARANTINE, {WATCH_KILL, WATCH_ABANDON}},
    {"cleanup", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
};

/* What a dead worker left, dealt with by a fresh one: the layer released, the folder removed. */
static const struct watch_rule clean_rules[] = {
    {"queued", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_NONE}},
    {"begin", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
    {"target", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"unprepare", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"deactivate", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"cleanup", WATCH_STALL, WATCH_UNBOUNDED, WATCH_QUARANTINE, NUDGE_THEN_KILL},
    {"destroy", WATCH_UNBOUNDED, WATCH_DESTROY, WATCH_JANITOR, {WATCH_KILL, WATCH_ABANDON}}, /* of half a layer */
};

/* The last resort for a quarantined folder: DestroyLayer under a deadline of its own, then a look at what is left. */
static const struct watch_rule destroy_rules[] = {
    {"queued", WATCH_UNBOUNDED, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_NONE}},
    {"begin", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"target", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"unprepare", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"deactivate", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
    {"destroy", WATCH_UNBOUNDED, WATCH_DESTROY, WATCH_JANITOR, {WATCH_KILL, WATCH_ABANDON}},
    {"cleanup", WATCH_STALL, WATCH_UNBOUNDED, WATCH_JANITOR, NUDGE_THEN_KILL},
};

/* A worker process that comes up, or goes when it was asked to. */
static const struct watch_rule worker_rules[] = {
    {"start", WATCH_UNBOUNDED, WATCH_START, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"end", WATCH_UNBOUNDED, WATCH_GRACE, WATCH_NONE, {WATCH_KILL, WATCH_ABANDON}},
    {"killed", WATCH_STALL, WATCH_UNBOUNDED, WATCH_NONE, {WATCH_ABANDON}},
};

const struct watch_kind watch_kinds[] = {
    {"export", WATCH_UNBOUNDED, export_rules, COUNT(export_rules)},
    {"mount", WATCH_CALL, call_rules, COUNT(call_rules)},
    {"release", WATCH_CALL, call_rules, COUNT(call_rules)},
    {"layer", WATCH_CALL, layer_rules, COUNT(layer_rules)},
    {"import", WATCH_UNBOUNDED, import_rules, COUNT(import_rules)},
    {"clean", WATCH_UNBOUNDED, clean_rules, COUNT(clean_rules)},
    {"sweep", WATCH_UNBOUNDED, clean_rules, COUNT(clean_rules)},
    {"destroy", WATCH_UNBOUNDED, destroy_rules, COUNT(destroy_rules)},
    {"worker", WATCH_UNBOUNDED, worker_rules, COUNT(worker_rules)},
};
const size_t watch_kinds_count = COUNT(watch_kinds);

const struct watch_kind *watch_kind_find(const char *name)
{
    for (size_t i = 0; i < watch_kinds_count; i++)
        if (strcmp(watch_kinds[i].name, name) == 0)
            return &watch_kinds[i];
    return NULL;
}

struct watch_limits watch_limits_from(unsigned stall_seconds, unsigned destroy_seconds, unsigned call_seconds)
{
    return (struct watch_limits){.ms = {
                                     [WATCH_STALL] = stall_seconds * UINT64_C(1000),
                                     [WATCH_DESTROY] = destroy_seconds * UINT64_C(1000),
                                     [WATCH_CALL] = call_seconds * UINT64_C(1000),
                                     [WATCH_GRACE] = 1500,
                                     [WATCH_START] = 60 * UINT64_C(1000),
                                 }};
}
