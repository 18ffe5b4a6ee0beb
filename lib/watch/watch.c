#include "watch/watch.h"

#include <string.h>

const char *watch_action_name(enum watch_action action)
{
    static const char *const names[WATCH_ACTION_COUNT] = {
        [WATCH_NONE] = "",         [WATCH_NOTICE] = "notice",   [WATCH_GO_AROUND] = "go_around",
        [WATCH_ANSWER] = "answer", [WATCH_KILL] = "kill",       [WATCH_ABANDON] = "abandon",
        [WATCH_UNDO] = "undo",     [WATCH_JANITOR] = "janitor", [WATCH_QUARANTINE] = "quarantine",
    };
    return (unsigned)action < WATCH_ACTION_COUNT ? names[action] : "";
}

const struct watch_rule *watch_rule_find(const struct watch_kind *kind, const char *phase)
{
    for (size_t i = 0; i < kind->rule_count; i++)
        if (strcmp(kind->rules[i].phase, phase) == 0)
            return &kind->rules[i];
    return NULL;
}

/* Rungs that only nudge are skipped when time as a whole is up. */
static bool action_nudges(enum watch_action action)
{
    return action == WATCH_NOTICE || action == WATCH_GO_AROUND;
}

static uint64_t since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static uint64_t add(uint64_t then_ms, uint64_t ms)
{
    return then_ms > WATCH_NEVER - ms ? WATCH_NEVER : then_ms + ms;
}

static uint64_t bound_ms(const struct watch *watch, enum watch_bound bound)
{
    return bound == WATCH_UNBOUNDED ? 0 : watch->limits->ms[bound];
}

static enum watch_action next_rung(const struct watch *watch)
{
    if (watch->rule == NULL || watch->rung >= WATCH_RUNGS_MAX)
        return WATCH_NONE;
    return watch->rule->rungs[watch->rung];
}

/* Whether a rung that does more than nudge was taken in this phase: progress no longer changes the decision. */
static bool is_ending(const struct watch *watch)
{
    return watch->rung > 0 && !action_nudges(watch->rule->rungs[watch->rung - 1]);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void watch_begin(struct watch *watch, const struct watch_kind *kind, const struct watch_limits *limits,
                 const char *phase, uint64_t now_ms)
{
    *watch = (struct watch){.kind = kind, .limits = limits, .started_ms = now_ms};
    watch_phase(watch, phase, now_ms);
}

void watch_phase(struct watch *watch, const char *phase, uint64_t now_ms)
{
    if (watch->kind == NULL)
        return;
    watch->rule = watch_rule_find(watch->kind, phase);
    watch->phase = watch->rule != NULL ? watch->rule->phase : "";
    watch->phase_ms = watch->progress_ms = watch->rung_ms = now_ms;
    watch->rung = 0;
    watch->step = WATCH_NONE;
}

bool watch_progress(struct watch *watch, uint64_t counter, uint64_t now_ms)
{
    if (watch->kind == NULL || counter == watch->counter)
        return false;
    watch->counter = counter;
    if (watch->rule == NULL || is_ending(watch))
        return false;
    bool stalled = watch->rung > 0;
    watch->progress_ms = later(watch->progress_ms, now_ms);
    watch->rung = 0;
    watch->step = WATCH_NONE;
    return stalled;
}

void watch_pause(struct watch *watch, bool paused, uint64_t now_ms)
{
    if (watch->kind == NULL || watch->paused == paused)
        return;
    watch->paused = paused;
    if (!paused && watch->rule != NULL && !is_ending(watch)) {
        watch->progress_ms = later(watch->progress_ms, now_ms);
        watch->rung = 0;
        watch->step = WATCH_NONE;
    }
}

void watch_end(struct watch *watch)
{
    *watch = (struct watch){0};
}

/* When the phase's or the operation's own limit passes, whichever is first. */
static uint64_t limit_deadline(const struct watch *watch)
{
    uint64_t deadline = WATCH_NEVER;
    uint64_t total = bound_ms(watch, watch->kind->total);
    uint64_t limit = bound_ms(watch, watch->rule->limit);
    if (total != 0)
        deadline = add(watch->started_ms, total);
    if (limit != 0 && add(watch->phase_ms, limit) < deadline)
        deadline = add(watch->phase_ms, limit);
    return deadline;
}

static uint64_t stall_deadline(const struct watch *watch)
{
    bool ending = is_ending(watch);
    uint64_t stall = bound_ms(watch, ending ? WATCH_STALL : watch->rule->stall);
    if (stall == 0 || (watch->paused && !ending))
        return WATCH_NEVER;
    return add(later(watch->progress_ms, watch->rung_ms), stall);
}

/* The first rung from here that does more than nudge, or -1. */
static int ending_rung(const struct watch *watch)
{
    for (unsigned i = watch->rung; i < WATCH_RUNGS_MAX && watch->rule->rungs[i] != WATCH_NONE; i++)
        if (!action_nudges(watch->rule->rungs[i]))
            return (int)i;
    return -1;
}

static enum watch_action take(struct watch *watch, unsigned rung, uint64_t now_ms)
{
    watch->step = watch->rule->rungs[rung];
    watch->rung = rung + 1;
    watch->rung_ms = later(watch->rung_ms, now_ms);
    return watch->step;
}

enum watch_action watch_tick(struct watch *watch, uint64_t now_ms)
{
    if (watch->kind == NULL || next_rung(watch) == WATCH_NONE)
        return WATCH_NONE;
    /* The limit gives one push up; from then on each rung waits as long as a stall does. */
    int ending = is_ending(watch) ? -1 : ending_rung(watch);
    if (ending >= 0 && now_ms >= limit_deadline(watch))
        return take(watch, (unsigned)ending, now_ms);
    if (now_ms >= stall_deadline(watch))
        return take(watch, watch->rung, now_ms);
    return WATCH_NONE;
}

uint64_t watch_next_deadline(const struct watch *watch)
{
    if (watch->kind == NULL || next_rung(watch) == WATCH_NONE)
        return WATCH_NEVER;
    uint64_t deadline = stall_deadline(watch);
    if (!is_ending(watch) && ending_rung(watch) >= 0 && limit_deadline(watch) < deadline)
        deadline = limit_deadline(watch);
    return deadline;
}

uint64_t watch_idle_ms(const struct watch *watch, uint64_t now_ms)
{
    return watch->kind == NULL ? 0 : since(watch->progress_ms, now_ms);
}

uint64_t watch_age_ms(const struct watch *watch, uint64_t now_ms)
{
    return watch->kind == NULL ? 0 : since(watch->started_ms, now_ms);
}

uint64_t watch_pause_ms(unsigned tries, uint64_t base_ms)
{
    const uint64_t most = 60u * 60 * 1000;
    uint64_t pause = base_ms == 0 ? 1 : base_ms;
    while (tries-- > 0 && pause < most)
        pause *= 2;
    return pause < most ? pause : most;
}
