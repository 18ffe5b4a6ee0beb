/* How often each fault row was applied, for all clients together. */
#ifndef EMULATOR_BROKER_COUNTS_H
#define EMULATOR_BROKER_COUNTS_H

#include "broker.h"

/* Locked. May the row `index` of the fault file's `generation`, which applies `limit` times (0: always), be applied
 * once more? Counts it if so. */
bool counts_take(uint64_t generation, uint32_t index, uint32_t skip, uint32_t limit);

/* Locked. The row that strikes `call` on `object`, counted; action NONE when there is none. fault_free. */
struct fault counts_find(const char *call, const char *object);

/* Locked. The counts as JSON, for the books. */
json_t *counts_json(void);

#endif
