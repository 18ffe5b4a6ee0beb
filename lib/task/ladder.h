/* The kill ladder: what is done next about a container that does not end. Pure: time goes in, the next call comes out.
 *
 *   SHUTDOWN -> TERMINATE -> FRESH (terminate through a fresh handle) -> PROCESSES (each process) -> STUCK
 *
 * A rung whose call fails is left at once; one whose call was accepted, or does not come back, is left after wait_ms. STUCK is
 * reported once; from there rounds begin again at TERMINATE after pauses that double from wait_ms to an hour. A call that has
 * not come back is never made a second time. Each function returns the rung whose step is to be taken now (once), or
 * RUNG_NONE. Times are milliseconds of any clock that does not go back. */
#ifndef HCSD_TASK_LADDER_H
#define HCSD_TASK_LADDER_H

#include <stdbool.h>
#include <stdint.h>

enum rung { RUNG_NONE, RUNG_SHUTDOWN, RUNG_TERMINATE, RUNG_FRESH, RUNG_PROCESSES, RUNG_STUCK };
#define RUNG_COUNT          6

#define LADDER_PAUSE_MAX_MS 3600000u

/* Zero-initialised plus wait_ms is a ladder that has not begun. */
struct ladder {
    enum rung rung;    /* RUNG_NONE: not begun */
    unsigned rounds;   /* how often STUCK was reached */
    unsigned busy;     /* bit 1 << rung: its call has not come back */
    uint32_t wait_ms;  /* what each rung gets */
    uint64_t begun_ms; /* when the first rung was taken */
    uint64_t since_ms; /* when the present one was */
    uint64_t due_ms;   /* when the present one is left */
};

const char *rung_name(enum rung rung); /* "shutdown", "terminate", "terminate through a fresh handle", … */
const char *rung_call(enum rung rung); /* "HcsTerminateComputeSystem", …; "" where there is none */

/* Begins at, or jumps up to, `rung`; one that is at or above it already goes on as it was (an equal kill joins), but a ladder
 * in its pause begins a new round at once. */
enum rung ladder_raise(struct ladder *ladder, enum rung rung, uint64_t now_ms);
/* The call of `rung` came back. */
enum rung ladder_returned(struct ladder *ladder, enum rung rung, bool accepted, uint64_t now_ms);
/* It will not come back within its bound: the next rung; it counts as busy until ladder_freed. */
enum rung ladder_lost(struct ladder *ladder, enum rung rung, uint64_t now_ms);
void ladder_freed(struct ladder *ladder, enum rung rung);
/* Time has passed; to be called at due_ms. */
enum rung ladder_tick(struct ladder *ladder, uint64_t now_ms);

#endif
