/* The watchdog's judgement: time and progress go in, decisions come out.
 *
 * An operation has a kind, an object, a phase, a progress counter and a ladder of actions. It stalls when its phase or its
 * counter has not changed for the phase's stall limit; each further stretch of that length takes the next rung of the
 * phase's ladder. A phase may have a limit of its own, and the operation one over all: when one of them passes, the rungs
 * that only nudge are skipped and the first that ends the operation is taken. After that rung progress changes nothing more,
 * and each further rung waits as long as a stall does. Which phases exist, their limits, their ladders and what follows once
 * the worker is out of the way are tables (watch_ladders.c).
 *
 * Pure: no threads, no clock, no memory of its own. Times are milliseconds of a clock that never goes back
 * (base/clock.h); one that does go back counts as standing still. One thread at a time per operation; never fails. */
#ifndef HCSD_WATCH_WATCH_H
#define HCSD_WATCH_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum watch_action {
    WATCH_NONE,       /* nothing to do */
    WATCH_NOTICE,     /* say so: object, phase, what is in hand, seconds */
    WATCH_GO_AROUND,  /* tell the worker to pass by what resists; break its blocking call off once */
    WATCH_ANSWER,     /* whoever waits gets DEADLINE_EXCEEDED now; the operation goes on */
    WATCH_KILL,       /* end the worker */
    WATCH_ABANDON,    /* the worker does not die: leave it, replace it */
    WATCH_UNDO,       /* a fresh worker undoes what was begun: releases the layer, removes the folder */
    WATCH_QUARANTINE, /* mark what is left; a fresh worker destroys it */
    WATCH_JANITOR,    /* it stays for the janitor, who tries again later */
};
#define WATCH_ACTION_COUNT 9
const char *watch_action_name(enum watch_action action); /* "notice", "go_around", …; "" for WATCH_NONE */

/* The limits come from the configuration; a rule names which of them it goes by. */
enum watch_bound { WATCH_UNBOUNDED, WATCH_STALL, WATCH_DESTROY, WATCH_CALL, WATCH_GRACE, WATCH_START };
#define WATCH_BOUND_COUNT 6
struct watch_limits {
    uint64_t ms[WATCH_BOUND_COUNT]; /* 0: no limit; [WATCH_UNBOUNDED] is not looked at */
};
/* Seconds as configured; the grace of a cancel and the start of a process are no settings. */
struct watch_limits watch_limits_from(unsigned stall_seconds, unsigned destroy_seconds, unsigned call_seconds);

#define WATCH_RUNGS_MAX 6
struct watch_rule {
    const char *phase;
    enum watch_bound stall;                   /* without progress; the same again for each further rung */
    enum watch_bound limit;                   /* of the phase as a whole, progress or not */
    enum watch_action after;                  /* what follows when the worker died, or was ended, in this phase */
    enum watch_action rungs[WATCH_RUNGS_MAX]; /* ends with WATCH_NONE */
};

struct watch_kind {
    const char *name;       /* "export", "mount", … */
    enum watch_bound total; /* of the operation as a whole */
    const struct watch_rule *rules;
    size_t rule_count;
};

/* The kinds of this program; NULL when there is none of that name. */
const struct watch_kind *watch_kind_find(const char *name);
extern const struct watch_kind watch_kinds[];
extern const size_t watch_kinds_count;
const struct watch_rule *watch_rule_find(const struct watch_kind *kind, const char *phase);

/* One operation. Zero-initialised is one that has not begun: it never asks for anything. */
struct watch {
    const struct watch_kind *kind;
    const struct watch_limits *limits; /* must outlive it; may change: the next tick goes by the new ones */
    const struct watch_rule *rule;     /* of the phase; NULL: a phase that is not watched */
    const char *phase;                 /* static */
    uint64_t started_ms, phase_ms;     /* when it, and its phase, began */
    uint64_t progress_ms;              /* of the last progress: a change of phase or counter, a pause's end */
    uint64_t rung_ms;                  /* when the last rung was taken */
    uint64_t counter;
    unsigned rung; /* the next one */
    bool paused;
    enum watch_action step; /* the last action taken; WATCH_NONE again after progress */
};

void watch_begin(struct watch *watch, const struct watch_kind *kind, const struct watch_limits *limits,
                 const char *phase, uint64_t now_ms);
/* A new phase is progress, and starts its ladder at the bottom. `phase` is one of the kind's, else it is not watched. */
void watch_phase(struct watch *watch, const char *phase, uint64_t now_ms);
/* Any change of `counter` is progress and puts the ladder back to its bottom, unless the operation is being ended already.
 * Returns true when that ended a stall. */
bool watch_progress(struct watch *watch, uint64_t counter, uint64_t now_ms);
/* While paused (somebody outside is waited for: a slow reader) nothing is asked for but the limits. Waiting is no stall. */
void watch_pause(struct watch *watch, bool paused, uint64_t now_ms);
void watch_end(struct watch *watch);

/* What is to be done now, one action at a time: call again until WATCH_NONE. */
enum watch_action watch_tick(struct watch *watch, uint64_t now_ms);
#define WATCH_NEVER UINT64_MAX
/* When watch_tick will next have something to say if nothing happens until then; not later than now when it has. */
uint64_t watch_next_deadline(const struct watch *watch);

/* Milliseconds without progress, and since the beginning. */
uint64_t watch_idle_ms(const struct watch *watch, uint64_t now_ms);
uint64_t watch_age_ms(const struct watch *watch, uint64_t now_ms);

/* The janitor's pause before try number `tries` (0: the first): grows by doubling from `base_ms`, at most an hour. */
uint64_t watch_pause_ms(unsigned tries, uint64_t base_ms);

#endif
