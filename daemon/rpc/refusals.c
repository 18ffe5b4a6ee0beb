#include "daemon/rpc/refusals.h"

void refusals_init(struct refusals *refusals, uint64_t now_ms)
{
    *refusals = (struct refusals){.from_ms = now_ms, .tokens = REFUSALS_BURST};
}

bool refusals_add(struct refusals *refusals, uint64_t now_ms, unsigned *ret_silent)
{
    uint64_t earned = (now_ms - refusals->from_ms) / REFUSALS_EVERY_MS;
    refusals->from_ms += earned * REFUSALS_EVERY_MS;
    refusals->tokens =
        earned < REFUSALS_BURST - refusals->tokens ? refusals->tokens + (unsigned)earned : REFUSALS_BURST;
    refusals->count++;
    if (refusals->tokens == 0) {
        refusals->silent++;
        return false;
    }
    refusals->tokens--;
    *ret_silent = refusals->silent;
    refusals->silent = 0;
    return true;
}
