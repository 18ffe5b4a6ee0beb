#include "task/ladder.h"

static const char *const names[RUNG_COUNT] = {
    [RUNG_NONE] = "",
    [RUNG_SHUTDOWN] = "shutdown",
    [RUNG_TERMINATE] = "terminate",
    [RUNG_FRESH] = "terminate through a fresh handle",
    [RUNG_PROCESSES] = "terminate each process",
    [RUNG_STUCK] = "stuck",
};

static const char *const calls[RUNG_COUNT] = {
    [RUNG_NONE] = "",
    [RUNG_SHUTDOWN] = "HcsShutdownComputeSystem",
    [RUNG_TERMINATE] = "HcsTerminateComputeSystem",
    [RUNG_FRESH] = "HcsTerminateComputeSystem",
    [RUNG_PROCESSES] = "HcsTerminateProcess",
    [RUNG_STUCK] = "HcsTerminateComputeSystem",
};

const char *rung_call(enum rung rung)
{
    return calls[rung];
}

const char *rung_name(enum rung rung)
{
    return names[rung];
}

static uint32_t pause_ms(const struct ladder *ladder)
{
    uint64_t pause = ladder->wait_ms;
    for (unsigned i = 1; i < ladder->rounds && pause < LADDER_PAUSE_MAX_MS; i++)
        pause *= 2;
    return pause < LADDER_PAUSE_MAX_MS ? (uint32_t)pause : LADDER_PAUSE_MAX_MS;
}

static enum rung take(struct ladder *ladder, enum rung rung, uint64_t now_ms)
{
    ladder->rung = rung;
    ladder->since_ms = now_ms;
    if (rung == RUNG_STUCK) {
        ladder->rounds++;
        ladder->due_ms = now_ms + pause_ms(ladder);
        return RUNG_STUCK;
    }
    ladder->due_ms = now_ms + ladder->wait_ms;
    if (ladder->busy & 1u << rung)
        return RUNG_NONE;
    ladder->busy |= 1u << rung;
    return rung;
}

enum rung ladder_raise(struct ladder *ladder, enum rung rung, uint64_t now_ms)
{
    if (ladder->rung == RUNG_NONE)
        ladder->begun_ms = now_ms;
    else if (ladder->rung >= rung && ladder->rung != RUNG_STUCK)
        return RUNG_NONE;
    return take(ladder, rung, now_ms);
}

enum rung ladder_returned(struct ladder *ladder, enum rung rung, bool accepted, uint64_t now_ms)
{
    ladder->busy &= ~(1u << rung);
    if (rung != ladder->rung)
        return RUNG_NONE;
    if (!accepted)
        return take(ladder, rung + 1, now_ms);
    ladder->due_ms = now_ms + ladder->wait_ms;
    return RUNG_NONE;
}

enum rung ladder_lost(struct ladder *ladder, enum rung rung, uint64_t now_ms)
{
    return rung == ladder->rung ? take(ladder, rung + 1, now_ms) : RUNG_NONE;
}

void ladder_freed(struct ladder *ladder, enum rung rung)
{
    ladder->busy &= ~(1u << rung);
}

enum rung ladder_tick(struct ladder *ladder, uint64_t now_ms)
{
    if (ladder->rung == RUNG_NONE || now_ms < ladder->due_ms)
        return RUNG_NONE;
    return take(ladder, ladder->rung == RUNG_STUCK ? RUNG_TERMINATE : ladder->rung + 1, now_ms);
}
