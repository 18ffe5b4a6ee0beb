#include "properties.h"

#include <psapi.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "counts.h"
#include "hcs/abi.h"
#include "held.h"
#include "layers.h"
#include "server.h"
#include "shared/frame.h"

static json_t *json_time(uint64_t filetime)
{
    char text[40];
    clock_format_rfc3339(clock_from_filetime(filetime), text);
    return json_string(text);
}

static uint64_t filetime_value(FILETIME time)
{
    return ((uint64_t)time.dwHighDateTime << 32) | time.dwLowDateTime;
}

/* One process's figures; those of an emu: command are made up, but constant. */
struct usage {
    uint64_t created;
    uint64_t kernel;
    uint64_t user;
    uint64_t commit;
    uint64_t working_set;
    char *image;
};

static struct usage usage_of(const struct system *system, uint32_t pid)
{
    struct usage usage = {.commit = 1 << 20, .working_set = 1 << 19, .created = system->created};
    const struct process *process = system->processes;
    HANDLE handle;
    FILETIME created, exited, kernel, user;
    PROCESS_MEMORY_COUNTERS memory = {.cb = sizeof memory};
    wchar_t image[MAX_PATH] = L"";
    DWORD length = MAX_PATH;

    while (process != NULL && process->pid != pid)
        process = process->next;
    if (process != NULL)
        usage.created = process->created;
    if (process != NULL && process->handle == NULL) {
        usage.image = str_copy("emu.exe");
        return usage;
    }
    handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
    if (handle != NULL && GetProcessTimes(handle, &created, &exited, &kernel, &user)) {
        usage.created = filetime_value(created);
        usage.kernel = filetime_value(kernel);
        usage.user = filetime_value(user);
    }
    if (handle != NULL && GetProcessMemoryInfo(handle, &memory, sizeof memory)) {
        usage.commit = memory.PagefileUsage;
        usage.working_set = memory.WorkingSetSize;
    }
    if (handle != NULL)
        QueryFullProcessImageNameW(handle, 0, image, &length);
    const wchar_t *name = wcsrchr(image, L'\\');
    usage.image = text_from_utf16z((const char16_t *)(name == NULL ? image : name + 1));
    if (handle != NULL)
        CloseHandle(handle);
    return usage;
}

static json_t *process_list_json(struct system *system)
{
    size_t count;
    uint32_t *pids = process_list(system, &count);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        struct usage usage = usage_of(system, pids[i]);
        json_array_append_new(list, json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "CreateTimestamp",
                                              json_time(usage.created), "ImageName", usage.image, "KernelTime100ns",
                                              (json_int_t)usage.kernel, "MemoryCommitBytes", (json_int_t)usage.commit,
                                              "MemoryWorkingSetPrivateBytes", (json_int_t)usage.working_set,
                                              "MemoryWorkingSetSharedBytes", (json_int_t)0, "ProcessId",
                                              (json_int_t)pids[i], "UserTime100ns", (json_int_t)usage.user));
        free(usage.image);
    }
    free(pids);
    return list;
}

static json_t *statistics_json(struct system *system)
{
    uint64_t now = broker_filetime();
    struct usage sum = {0};
    size_t count;
    uint32_t *pids = process_list(system, &count);

    for (size_t i = 0; i < count; i++) {
        struct usage usage = usage_of(system, pids[i]);
        sum.kernel += usage.kernel;
        sum.user += usage.user;
        sum.commit += usage.commit;
        sum.working_set += usage.working_set;
        free(usage.image);
    }
    free(pids);
    return json_pack(
        "{s:o, s:o, s:I, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I, s:I}}", "Timestamp", json_time(now),
        "ContainerStartTime", json_time(system->started != 0 ? system->started : system->created), "Uptime100ns",
        (json_int_t)(system->started == 0 ? 0 : now - system->started), "Memory", "MemoryUsageCommitBytes",
        (json_int_t)sum.commit, "MemoryUsageCommitPeakBytes", (json_int_t)sum.commit,
        "MemoryUsagePrivateWorkingSetBytes", (json_int_t)sum.working_set, "Processor", "TotalRuntime100ns",
        (json_int_t)(sum.kernel + sum.user), "RuntimeUser100ns", (json_int_t)sum.user, "RuntimeKernel100ns",
        (json_int_t)sum.kernel, "Storage", "ReadCountNormalized", (json_int_t)0, "ReadSizeBytes", (json_int_t)0,
        "WriteCountNormalized", (json_int_t)0, "WriteSizeBytes", (json_int_t)0);
}

static json_t *system_json(const struct system *system)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "Id", system->id, "SystemType", system->type,
                             "Name", system->name, "Owner", system->owner, "State", system_state_name(system->state),
                             "RuntimeOsType", "Windows", "IsRuntimeTemplate", system->state == SYSTEM_SAVED);
    if (system->hyperv)
        json_object_set_new(json, "RuntimeId", json_string(system->runtime_id));
    if (!system->hyperv) {
        json_object_set_new(json, "SiloGuid", json_string(system->runtime_id));
        json_object_set_new(json, "ObRoot", json_string("\\Silos\\1"));
    }
    if (system->state == SYSTEM_STOPPED) {
        json_object_set_new(json, "Stopped", json_true());
        json_object_set_new(json, "ExitType", json_string(system->exit_type));
    }
    return json;
}

struct error *properties_system(struct system *system, const char *query, json_t **ret_properties)
{
    json_t *wanted = query[0] == 0 ? json_object() : json_loads(query, 0, NULL);
    json_t *properties;
    size_t index;
    json_t *type;

    if (!json_is_object(wanted)) {
        json_decref(wanted);
        return error_hresult((uint32_t)HCS_E_INVALID_JSON, "HcsGetComputeSystemProperties", system->id,
                             "The query is no JSON object.");
    }
    properties = system_json(system);
    json_array_foreach(json_object_get(wanted, "PropertyTypes"), index, type)
    {
        const char *name = json_string_value(type) == NULL ? "" : json_string_value(type);
        if (strcmp(name, "Statistics") == 0)
            json_object_set_new(properties, name, statistics_json(system));
        if (strcmp(name, "ProcessList") == 0)
            json_object_set_new(properties, name, process_list_json(system));
        if (strcmp(name, "MappedVirtualDisk") == 0)
            json_object_set_new(properties, "MappedVirtualDiskControllers", json_object());
        if (strcmp(name, "GuestConnection") == 0 && system->hyperv)
            json_object_set_new(properties, "GuestConnectionInfo",
                                json_pack("{s:[{s:i, s:i}], s:i, s:{s:b, s:b, s:b}}", "SupportedSchemaVersions",
                                          "Major", 2, "Minor", 5, "ProtocolVersion", 4, "GuestDefinedCapabilities",
                                          "NamespaceAddRequestSupported", 1, "SignalProcessSupported", 1,
                                          "DumpStacksSupported", 0));
    }
    json_decref(wanted);
    *ret_properties = properties;
    return NULL;
}

json_t *properties_process(const struct process *process)
{
    return json_pack("{s:I, s:b, s:I, s:i}", "ProcessId", (json_int_t)process->pid, "Exited", process->exited,
                     "ExitCode", (json_int_t)process->exit_code, "LastWaitResult", 0);
}

static bool filter_matches(const json_t *query, const char *key, const char *value)
{
    const json_t *wanted = json_object_get(query, key);
    size_t index;
    json_t *item;

    if (!json_is_array(wanted))
        return true;
    json_array_foreach(wanted, index, item)
    {
        if (json_is_string(item) && text_equal_ascii_nocase(json_string_value(item), value))
            return true;
    }
    return false;
}

struct error *properties_enumerate(const char *text, json_t **ret_systems)
{
    json_t *query = text[0] == 0 ? json_object() : json_loads(text, 0, NULL);
    json_t *systems;

    if (!json_is_object(query)) {
        json_decref(query);
        return error_hresult((uint32_t)HCS_E_INVALID_JSON, "HcsEnumerateComputeSystems", NULL,
                             "The query is no JSON object.");
    }
    systems = json_array();
    for (const struct system *system = broker.systems; system != NULL; system = system->next)
        if (filter_matches(query, "Ids", system->id) && filter_matches(query, "Types", system->type) &&
            filter_matches(query, "Names", system->name) && filter_matches(query, "Owners", system->owner))
            json_array_append_new(systems, system_json(system));
    json_decref(query);
    *ret_systems = systems;
    return NULL;
}

static unsigned count_handles(const struct handle *handle)
{
    unsigned count = 0;
    for (; handle != NULL; handle = handle->next_of_object)
        count++;
    return count;
}

static json_t *books_process(const struct process *process)
{
    return json_pack("{s:s, s:I, s:s, s:b, s:b, s:I, s:i}", "system", process->system->id, "pid",
                     (json_int_t)process->pid, "command", process->command, "emulated", process->handle == NULL,
                     "exited", process->exited, "exit_code", (json_int_t)process->exit_code, "handles",
                     (int)count_handles(process->handles));
}

/* One system; its processes are added to `all` too. */
static json_t *books_system(const struct system *system, json_t *all)
{
    json_t *processes = json_array();
    json_t *json = system_json(system);

    for (const struct process *process = system->processes; process != NULL; process = process->next)
        json_array_append_new(processes, books_process(process));
    json_array_extend(all, processes);
    json_object_set_new(json, "VolumePath", json_string(system->volume));
    json_object_set_new(json, "layer", json_string(system->layer));
    json_object_set(json, "layers", system->layers);
    if (system->machine != NULL)
        json_object_set(json, "machine", system->machine);
    if (system->host != NULL)
        json_object_set_new(json, "host", json_string(system->host));
    json_object_set(json, "modifications", system->modifications);
    json_object_set_new(json, "handles", json_integer(count_handles(system->handles)));
    json_object_set_new(json, "processes", processes);
    return json;
}

static void books_machine(const json_t *machine, json_t *disks)
{
    const char *key, *lun;
    json_t *slots, *disk;
    json_object_foreach(json_object_get(machine, "scsi"), key, slots) json_object_foreach(slots, lun, disk)
        json_array_append(disks, json_object_get(disk, "Path"));
}

/* The storage half's books: all layers in it are activated. */
static void books_layers(json_t *books, json_t *disks)
{
    json_t *activated = json_array();
    json_t *prepared = json_array();
    json_t *mount_paths = json_object();
    json_t *layers = json_array();

    for (const struct layer *layer = broker.layers; layer != NULL; layer = layer->next) {
        char *disk = str_format("%s\\sandbox.vhdx", layer->path);
        json_array_append_new(activated, json_string(layer->path));
        if (layer->prepared)
            json_array_append_new(prepared, json_string(layer->path));
        json_object_set_new(mount_paths, layer->path, json_string(layer->volume));
        json_array_append_new(layers,
                              json_pack("{s:s, s:b, s:b, s:s, s:O}", "path", layer->path, "activated", 1, "prepared",
                                        layer->prepared, "mount_path", layer->volume, "parents", layer->parents));
        json_array_append_new(disks, json_string(disk));
        free(disk);
    }
    json_object_set_new(books, "activated", activated);
    json_object_set_new(books, "prepared", prepared);
    json_object_set_new(books, "mount_paths", mount_paths);
    json_object_set_new(books, "layers", layers);
}

json_t *properties_books(const struct client *asking)
{
    json_t *books = json_object();
    json_t *systems = json_object();
    json_t *processes = json_array();
    json_t *clients = json_array();
    json_t *disks = json_array();

    for (const struct system *system = broker.systems; system != NULL; system = system->next) {
        json_object_set_new(systems, system->id, books_system(system, processes));
        books_machine(system->machine, disks);
    }
    books_layers(books, disks);
    for (const struct client *client = broker.clients; client != NULL; client = client->next) {
        int handles = 0;
        if (client == asking)
            continue;
        for (const struct handle *handle = client->handles; handle != NULL; handle = handle->next_of_client)
            handles++;
        json_array_append_new(clients, json_pack("{s:I, s:i}", "pid", (json_int_t)client->pid, "handles", handles));
    }
    json_object_set_new(books, "running", json_true());
    json_object_set_new(books, "pid", json_integer((json_int_t)GetCurrentProcessId()));
    json_object_set_new(books, "systems", systems);
    json_object_set_new(books, "processes", processes);
    json_object_set_new(books, "clients", clients);
    json_object_set_new(books, "disks", disks);
    json_object_set(books, "calls", broker.calls);
    json_object_set_new(books, "fault_counts", counts_json());
    json_object_set_new(books, "held", json_integer(held_count()));
    return books;
}
