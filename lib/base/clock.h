/* Clocks. Watchdogs and deadlines use milliseconds that stop while the machine sleeps (QueryUnbiasedInterruptTime);
 * wall time is for people and journals only and may jump. A `struct clock` is injected where tests want to move time.
 * Thread-safe. */
#ifndef HCSD_BASE_CLOCK_H
#define HCSD_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock {
    uint64_t (*now_ms)(void *context);
    void *context;
};

/* The system's clock. */
extern const struct clock clock_system;

uint64_t clock_ms(void);     /* unbiased milliseconds since some start; never goes back */
int64_t clock_wall_ns(void); /* nanoseconds since 1970-01-01 UTC */

/* A pause before a retry on something foreign (a scanner's handle, a volume that is still appearing); never a way to
 * wait for another thread. Injected where tests count retries. */
struct pause {
    void (*wait)(void *context, uint32_t ms);
    void *context;
};
extern const struct pause pause_system;

void clock_sleep(uint32_t ms); /* what pause_system does; use pause_system */

/* RFC 3339 in UTC with up to nine digits, trailing zeros dropped: 2026-11-21T00:34:39.25Z. `text` has at least 40
 * bytes. 64 bits of nanoseconds reach from 1677 to 2262. */
void clock_format_rfc3339(int64_t wall_ns, char text[40]);
/* The way back, with any offset; digits beyond the ninth are dropped. False when it is no such time or out of range. */
bool clock_parse_rfc3339(const char *text, int64_t *ret_wall_ns);

/* Windows FILETIME (100 ns since 1601) and back, saturating at int64 bounds. */
int64_t clock_from_filetime(uint64_t filetime);
uint64_t clock_to_filetime(int64_t wall_ns);

#endif
