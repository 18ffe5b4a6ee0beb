#include "counts.h"

#include "base/memory.h"

/* Counts of one state of the file; another state starts anew. */
static uint64_t counted_generation;
static uint32_t *used;
static uint32_t used_size;

bool counts_take(uint64_t generation, uint32_t index, uint32_t skip, uint32_t limit)
{
    if (generation != counted_generation) {
        counted_generation = generation;
        used_size = 0;
    }
    if (index >= used_size) {
        used = mem_resize_array(used, index + 1, sizeof *used);
        while (used_size <= index)
            used[used_size++] = 0;
    }
    if (limit > 0 && used[index] >= skip + limit)
        return false;
    used[index]++;
    return used[index] > skip;
}

struct fault counts_find(const char *call, const char *object)
{
    struct fault fault = {0};

    for (uint32_t index = 0;; index = fault.index + 1) {
        fault_free(&fault);
        error_free(faults_find(broker.faults, call, object, index, &fault));
        if (fault.action == FAULT_NONE || counts_take(fault.generation, fault.index, fault.skip, fault.count))
            return fault;
    }
}

json_t *counts_json(void)
{
    json_t *counts = json_array();
    for (uint32_t i = 0; i < used_size; i++)
        json_array_append_new(counts, json_integer(used[i]));
    return counts;
}
