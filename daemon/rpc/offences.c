#include "daemon/rpc/offences.h"

void offences_add(struct offences *offences, uint32_t pid, unsigned count, uint64_t now_ms)
{
    unsigned at = 0;
    for (unsigned i = 0; i < OFFENCES_KEPT; i++) {
        if (offences->entries[i].pid == pid) {
            at = i;
            break;
        }
        if (offences->entries[i].until_ms < offences->entries[at].until_ms)
            at = i;
    }
    if (offences->entries[at].pid != pid || offences->entries[at].until_ms < now_ms) {
        offences->entries[at].pid = pid;
        offences->entries[at].until_ms = now_ms;
    }
    uint64_t left = offences->entries[at].until_ms - now_ms + (uint64_t)count * OFFENCES_EVERY_MS;
    offences->entries[at].until_ms = now_ms + (left < OFFENCES_LAST_MS ? left : OFFENCES_LAST_MS);
}

bool offences_are_too_many(const struct offences *offences, uint32_t pid, uint64_t now_ms)
{
    for (unsigned i = 0; i < OFFENCES_KEPT; i++)
        if (offences->entries[i].pid == pid)
            return offences->entries[i].until_ms > now_ms + OFFENCES_MOST * OFFENCES_EVERY_MS;
    return false;
}
