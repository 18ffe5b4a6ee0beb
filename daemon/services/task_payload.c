/* The messages have members of these names, which the C library makes macros of. */
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include <containerd/events/task.pb-c.h>
#include <containerd/runhcs/stats/v1/stats.pb-c.h>
#include <containerd/runhcs/v1/runhcs.pb-c.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/services/rootfs.h"
#include "daemon/services/service.h"
#include "daemon/services/task_payload.h"

void any_pack(const ProtobufCMessage *message, Google__Protobuf__Any *ret_any)
{
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    any.type_url = (char *)message->descriptor->name;
    any.value.len = protobuf_c_message_get_packed_size(message);
    any.value.data = mem_zero(any.value.len);
    protobuf_c_message_pack(message, any.value.data);
    *ret_any = any;
}

void any_free(Google__Protobuf__Any *any)
{
    free(any->value.data);
    any->value.data = NULL;
}

/* ---- statistics ---- */

static void pack_linux(const struct task_statistics *statistics, Google__Protobuf__Any *ret_any)
{
    Containerd__Runhcs__Stats__V1__Statistics message = CONTAINERD__RUNHCS__STATS__V1__STATISTICS__INIT;
    Io__Containerd__Cgroups__V1__Metrics metrics = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
    Io__Containerd__Cgroups__V1__CPUStat cpu = IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
    Io__Containerd__Cgroups__V1__CPUUsage usage = IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
    Io__Containerd__Cgroups__V1__MemoryStat memory = IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
    Io__Containerd__Cgroups__V1__MemoryEntry entry = IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
    Io__Containerd__Cgroups__V1__BlkIOStat blkio = IO__CONTAINERD__CGROUPS__V1__BLK_IOSTAT__INIT;
    Io__Containerd__Cgroups__V1__BlkIOEntry entries[4], *bytes[2] = {&entries[0], &entries[1]},
                                                        *counts[2] = {&entries[2], &entries[3]};
    const uint64_t values[4] = {statistics->read_bytes, statistics->write_bytes, statistics->read_count,
                                statistics->write_count};
    for (int i = 0; i < 4; i++) {
        io__containerd__cgroups__v1__blk_ioentry__init(&entries[i]);
        entries[i].op = service_text(i % 2 ? "Write" : "Read");
        entries[i].value = values[i];
    }
    usage.total = statistics->runtime_ns;
    usage.kernel = statistics->kernel_ns;
    usage.user = statistics->user_ns;
    cpu.usage = &usage;
    memory.rss = statistics->private_bytes;
    entry.usage = statistics->commit_bytes;
    entry.max = statistics->commit_peak_bytes;
    memory.usage = &entry;
    blkio.n_io_service_bytes_recursive = blkio.n_io_serviced_recursive = 2;
    blkio.io_service_bytes_recursive = bytes;
    blkio.io_serviced_recursive = counts;
    metrics.cpu = &cpu;
    metrics.memory = &memory;
    metrics.blkio = &blkio;
    message.container_case = CONTAINERD__RUNHCS__STATS__V1__STATISTICS__CONTAINER_LINUX_CONTAINER;
    message.linux_container = &metrics;
    any_pack(&message.base, ret_any);
}

static void pack_windows(const struct task_statistics *statistics, Google__Protobuf__Any *ret_any)
{
    Containerd__Runhcs__Stats__V1__Statistics message = CONTAINERD__RUNHCS__STATS__V1__STATISTICS__INIT;
    Containerd__Runhcs__Stats__V1__WindowsContainerStatistics windows =
        CONTAINERD__RUNHCS__STATS__V1__WINDOWS_CONTAINER_STATISTICS__INIT;
    Containerd__Runhcs__Stats__V1__WindowsContainerProcessorStatistics processor =
        CONTAINERD__RUNHCS__STATS__V1__WINDOWS_CONTAINER_PROCESSOR_STATISTICS__INIT;
    Containerd__Runhcs__Stats__V1__WindowsContainerMemoryStatistics memory =
        CONTAINERD__RUNHCS__STATS__V1__WINDOWS_CONTAINER_MEMORY_STATISTICS__INIT;
    Containerd__Runhcs__Stats__V1__WindowsContainerStorageStatistics storage =
        CONTAINERD__RUNHCS__STATS__V1__WINDOWS_CONTAINER_STORAGE_STATISTICS__INIT;
    Google__Protobuf__Timestamp timestamp, started;
    processor.total_runtime_ns = statistics->runtime_ns;
    processor.runtime_user_ns = statistics->user_ns;
    processor.runtime_kernel_ns = statistics->kernel_ns;
    memory.memory_usage_commit_bytes = statistics->commit_bytes;
    memory.memory_usage_commit_peak_bytes = statistics->commit_peak_bytes;
    memory.memory_usage_private_working_set_bytes = statistics->private_bytes;
    storage.read_count_normalized = statistics->read_count;
    storage.read_size_bytes = statistics->read_bytes;
    storage.write_count_normalized = statistics->write_count;
    storage.write_size_bytes = statistics->write_bytes;
    windows.timestamp = service_time(statistics->timestamp_ns, &timestamp);
    windows.container_start_time = service_time(statistics->started_ns, &started);
    windows.uptime_ns = statistics->uptime_ns;
    windows.processor = &processor;
    windows.memory = &memory;
    windows.storage = &storage;
    message.container_case = CONTAINERD__RUNHCS__STATS__V1__STATISTICS__CONTAINER_WINDOWS;
    message.windows = &windows;
    any_pack(&message.base, ret_any);
}

void payload_statistics(const struct task_statistics *statistics, Google__Protobuf__Any *ret_any)
{
    if (statistics->linux_container)
        pack_linux(statistics, ret_any);
    else
        pack_windows(statistics, ret_any);
}

/* ---- processes ---- */

void payload_process(const struct task_process_view *process, Google__Protobuf__Any *ret_any)
{
    Containerd__Runhcs__V1__ProcessDetails message = CONTAINERD__RUNHCS__V1__PROCESS_DETAILS__INIT;
    Google__Protobuf__Timestamp created;
    message.image_name = process->image;
    message.created_at = service_time(process->created_ns, &created);
    message.kernel_time_100_ns = process->kernel_100ns;
    message.user_time_100_ns = process->user_100ns;
    message.memory_commit_bytes = process->commit_bytes;
    message.memory_working_set_private_bytes = process->private_bytes;
    message.memory_working_set_shared_bytes = process->shared_bytes;
    message.process_id = process->pid;
    message.exec_id = service_text(process->exec_id);
    any_pack(&message.base, ret_any);
}

/* ---- events ---- */

static void pack_create(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskCreate message = CONTAINERD__EVENTS__TASK_CREATE__INIT;
    Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;
    io.stdin = service_text(view->stdin_path);
    io.stdout = service_text(view->stdout_path);
    io.stderr = service_text(view->stderr_path);
    io.terminal = view->terminal;
    message.container_id = service_text(view->id);
    message.bundle = service_text(view->bundle);
    message.io = &io;
    message.pid = view->pid;
    struct rootfs rootfs = {view->rootfs_source, (char **)(uintptr_t)view->rootfs_parents, view->rootfs_parent_count};
    Containerd__Types__Mount mount, *mounts[] = {&mount};
    char *options[2] = {service_text("rw"), rootfs_option(&rootfs)};
    if (rootfs.source) {
        containerd__types__mount__init(&mount);
        mount.type = service_text("windows-layer");
        mount.source = service_text(rootfs.source);
        mount.options = options;
        mount.n_options = options[1] ? 2 : 1;
        message.rootfs = mounts;
        message.n_rootfs = 1;
    }
    any_pack(&message.base, ret_any);
    free(options[1]);
}

static void pack_start(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskStart message = CONTAINERD__EVENTS__TASK_START__INIT;
    message.container_id = service_text(view->id);
    message.pid = view->pid;
    any_pack(&message.base, ret_any);
}

static void pack_exec_added(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskExecAdded message = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;
    message.container_id = service_text(view->id);
    message.exec_id = service_text(view->exec_id);
    any_pack(&message.base, ret_any);
}

static void pack_exec_started(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskExecStarted message = CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;
    message.container_id = service_text(view->id);
    message.exec_id = service_text(view->exec_id);
    message.pid = view->pid;
    any_pack(&message.base, ret_any);
}

static void pack_exit(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskExit message = CONTAINERD__EVENTS__TASK_EXIT__INIT;
    Google__Protobuf__Timestamp exited;
    message.container_id = service_text(view->id);
    message.id = service_text(*view->exec_id ? view->exec_id : view->id);
    message.pid = view->pid;
    message.exit_status = view->exit_status;
    message.exited_at = service_time(view->exited_ns, &exited);
    any_pack(&message.base, ret_any);
}

static void pack_delete(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskDelete message = CONTAINERD__EVENTS__TASK_DELETE__INIT;
    Google__Protobuf__Timestamp exited;
    message.container_id = service_text(view->id);
    message.id = service_text(view->exec_id); /* empty for the init, as runhcs has it */
    message.pid = view->pid;
    message.exit_status = view->exit_status;
    message.exited_at = service_time(view->exited_ns, &exited);
    any_pack(&message.base, ret_any);
}

static void pack_paused(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskPaused message = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
    message.container_id = service_text(view->id);
    any_pack(&message.base, ret_any);
}

static void pack_resumed(const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    Containerd__Events__TaskResumed message = CONTAINERD__EVENTS__TASK_RESUMED__INIT;
    message.container_id = service_text(view->id);
    any_pack(&message.base, ret_any);
}

bool payload_event(const char *topic, const struct task_view *view, Google__Protobuf__Any *ret_any)
{
    static const struct {
        const char *topic;
        void (*pack)(const struct task_view *view, Google__Protobuf__Any *ret_any);
    } rows[] = {
        {"/tasks/create", pack_create},
        {"/tasks/start", pack_start},
        {"/tasks/exec-added", pack_exec_added},
        {"/tasks/exec-started", pack_exec_started},
        {"/tasks/exit", pack_exit},
        {"/tasks/delete", pack_delete},
        {"/tasks/paused", pack_paused},
        {"/tasks/resumed", pack_resumed},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].topic, topic) == 0) {
            rows[i].pack(view, ret_any);
            return true;
        }
    return false;
}
