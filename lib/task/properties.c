#include "task/properties.h"

#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/memory.h"

/* HCS counts time in 100 ns; clients are told nanoseconds. */
#define TICK_NS 100u

static uint64_t number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value < 0 ? 0 : (uint64_t)value;
}

static uint64_t ticks(const json_t *object, const char *name)
{
    uint64_t value = number(object, name);
    return value > UINT64_MAX / TICK_NS ? UINT64_MAX : value * TICK_NS;
}

static int64_t instant(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    int64_t ns = 0;
    return text && clock_parse_rfc3339(text, &ns) ? ns : 0;
}

static struct error *malformed(const char *id, const char *what)
{
    return error_make(ERROR_KIND_INTERNAL, "HcsGetComputeSystemProperties", id, "HCS answered without %s", what);
}

struct error *properties_statistics(const char *text, const char *id, struct task_statistics *ret_statistics)
{
    json_t *properties = json_loads(text, 0, NULL), *statistics = json_object_get(properties, "Statistics");
    const json_t *memory = json_object_get(statistics, "Memory"), *processor = json_object_get(statistics, "Processor"),
                 *storage = json_object_get(statistics, "Storage");
    struct error *error = json_is_object(statistics) ? NULL : malformed(id, "statistics");
    if (!error)
        *ret_statistics = (struct task_statistics){
            .timestamp_ns = instant(statistics, "Timestamp"),
            .started_ns = instant(statistics, "ContainerStartTime"),
            .uptime_ns = ticks(statistics, "Uptime100ns"),
            .runtime_ns = ticks(processor, "TotalRuntime100ns"),
            .user_ns = ticks(processor, "RuntimeUser100ns"),
            .kernel_ns = ticks(processor, "RuntimeKernel100ns"),
            .commit_bytes = number(memory, "MemoryUsageCommitBytes"),
            .commit_peak_bytes = number(memory, "MemoryUsageCommitPeakBytes"),
            .private_bytes = number(memory, "MemoryUsagePrivateWorkingSetBytes"),
            .read_count = number(storage, "ReadCountNormalized"),
            .read_bytes = number(storage, "ReadSizeBytes"),
            .write_count = number(storage, "WriteCountNormalized"),
            .write_bytes = number(storage, "WriteSizeBytes"),
        };
    json_decref(properties);
    return error;
}

struct error *properties_processes(const char *text, const char *id, size_t spare,
                                   struct task_process_view **ret_processes, size_t *ret_count)
{
    json_t *properties = json_loads(text, 0, NULL), *list = json_object_get(properties, "ProcessList"), *entry;
    size_t index, count = 0;
    struct task_process_view *processes;
    if (!json_is_array(list)) {
        json_decref(properties);
        return malformed(id, "a list of processes");
    }
    processes = mem_new_array(json_array_size(list) + spare, struct task_process_view);
    json_array_foreach(list, index, entry)
    {
        uint64_t pid = number(entry, "ProcessId");
        const char *image = json_string_value(json_object_get(entry, "ImageName"));
        if (pid == 0 || pid > UINT32_MAX)
            continue;
        processes[count++] = (struct task_process_view){
            .pid = (uint32_t)pid,
            .exec_id = "",
            .image = str_copy(image ? image : ""),
            .created_ns = instant(entry, "CreateTimestamp"),
            .kernel_100ns = number(entry, "KernelTime100ns"),
            .user_100ns = number(entry, "UserTime100ns"),
            .commit_bytes = number(entry, "MemoryCommitBytes"),
            .private_bytes = number(entry, "MemoryWorkingSetPrivateBytes"),
            .shared_bytes = number(entry, "MemoryWorkingSetSharedBytes"),
        };
    }
    json_decref(properties);
    *ret_processes = processes;
    *ret_count = count;
    return NULL;
}

bool properties_paused(const char *text)
{
    json_t *properties = json_loads(text, 0, NULL);
    const char *state = json_string_value(json_object_get(properties, "State"));
    bool paused = state && !strcmp(state, "Paused");
    json_decref(properties);
    return paused;
}

void task_processes_free(struct task_process_view *processes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(processes[i].image);
    free(processes);
}
