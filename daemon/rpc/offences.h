/* Which processes have misbehaved too often of late: a client's process may break rules so many times at once, and each offence is
 * forgotten after a while. The pid is what is known of a client before it has said anything; that it can be recycled or faked costs
 * somebody a pause at worst. Pure; not thread-safe. */
#ifndef HCSD_DAEMON_RPC_OFFENCES_H
#define HCSD_DAEMON_RPC_OFFENCES_H

#include <stdbool.h>
#include <stdint.h>

#define OFFENCES_MOST     32u  /* more of a process are too many */
#define OFFENCES_EVERY_MS 250u /* one is forgotten */
#define OFFENCES_LAST_MS  20000u
#define OFFENCES_KEPT     64u /* processes; of more, those whose offences are soonest forgotten are */

struct offences {
    struct {
        uint32_t pid;
        uint64_t until_ms; /* then all of them are forgotten */
    } entries[OFFENCES_KEPT];
};

/* `count` of them; never so many that it takes longer than OFFENCES_LAST_MS to forget them. `now_ms` never goes back. */
void offences_add(struct offences *offences, uint32_t pid, unsigned count, uint64_t now_ms);
bool offences_are_too_many(const struct offences *offences, uint32_t pid, uint64_t now_ms);

#endif
