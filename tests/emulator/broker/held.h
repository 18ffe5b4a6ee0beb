/* Work that is done after its call was answered: at once, or when the fault row that holds it is gone. */
#ifndef EMULATOR_BROKER_HELD_H
#define EMULATOR_BROKER_HELD_H

#include "broker.h"

/* Locked. Runs `work(context, delivery)` with the lock held, on another thread. With a fault of action pending it waits
 * until the row is taken out of the file, or for its after_ms when that is given; with late and twice `delivery` says so. `fault` may be NULL. */
void held_submit(const struct fault *fault, void (*work)(void *context, struct delivery delivery), void *context);

/* How much waits for a row to go. Locked. */
unsigned held_count(void);

#endif
