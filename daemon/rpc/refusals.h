/* Which of many refusals the operator is told: five in a row at most, then one every twelve seconds, and the next one told says
 * how many were passed over. Pure; not thread-safe. */
#ifndef HCSD_DAEMON_RPC_REFUSALS_H
#define HCSD_DAEMON_RPC_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#define REFUSALS_BURST    5u
#define REFUSALS_EVERY_MS 12000u

struct refusals {
    uint64_t count;   /* told or not */
    uint64_t from_ms; /* when the next one is earned, less REFUSALS_EVERY_MS */
    unsigned tokens;  /* so many may be told now */
    unsigned silent;  /* passed over since one was told */
};

void refusals_init(struct refusals *refusals, uint64_t now_ms);
/* Counts one. True: it is to be told, and with it that *ret_silent were not. `now_ms` never goes back. */
bool refusals_add(struct refusals *refusals, uint64_t now_ms, unsigned *ret_silent);

#endif
