#include "daemon/parts.h"

#include <windows.h>

#include <archive.h>
#include <grpc/grpc.h>
#include <jansson.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/config_file.h"
#include "daemon/events/exchange.h"
#include "daemon/folder.h"
#include "daemon/folders.h"
#include "daemon/jobs/jobs.h"
#include "daemon/jobs/layers.h"
#include "daemon/rpc/grpc_server.h"
#include "daemon/rpc/health_service.h"
#include "daemon/rpc/reflection_service.h"
#include "daemon/services/services.h"
#include "daemon/services/task_payload.h"
#include "hcs/compute.h"
#include "hcsd_version.h"
#include "relay/relays.h"
#include "task/tasks.h"
#include "uvm/machines.h"

#include "hcsd_descriptor_set.h"

#define HCS_LOOK_MS   10000 /* while HCS cannot be used: how often it is looked for */
#define DRAIN_LOOK_MS 50
#define PROGRESS_MS   1000
#define CLOSE_MS_MIN  500

/* ---- folders ---- */

static struct error *open_folders(struct daemon *daemon)
{
    return folders_open(daemon->config, daemon->options.log, &daemon->lock);
}

/* ---- the Host Compute Service ---- */

static const char *library_path(const struct daemon *daemon)
{
    return daemon->config->hcs_library == NULL ? "vmcompute.dll of System32" : daemon->config->hcs_library;
}

static void set_health(struct daemon *daemon, bool usable)
{
    if (daemon->health != NULL)
        health_service_set(daemon->health, NULL, usable && !daemon->ending && !daemon->lost);
}

/* Serving or not, by whether HCS can be used; as long as it cannot it is looked for again. */
static void look_for_hcs(struct daemon *daemon)
{
    struct error *error = hcs_library_require(daemon->library, HCS_EXPORT_HcsEnumerateComputeSystems);
    set_health(daemon, error == NULL);
    if (error == NULL)
        return;
    if (!daemon->hcs_told) {
        char *text = error_text(error);
        event_emit(EVENT_HCS_UNAVAILABLE, text, library_path(daemon));
        free(text);
        daemon->hcs_told = true;
    }
    error_free(error);
    ULARGE_INTEGER due = {.QuadPart = (ULONGLONG)(-(LONGLONG)HCS_LOOK_MS * 10000)};
    FILETIME time = {.dwLowDateTime = due.LowPart, .dwHighDateTime = due.HighPart};
    SetThreadpoolTimer(daemon->hcs_timer, &time, 0, 1000);
}

static void CALLBACK hcs_timer_due(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    (void)instance;
    (void)timer;
    look_for_hcs(context);
}

/* hcsd ends itself then, so what is lost with the threads comes back with the next process. */
static void calls_exhausted(void *context, uint32_t lost)
{
    struct daemon *daemon = context;
    (void)lost;
    InterlockedExchange(&daemon->ending, 1);
    set_health(daemon, false);
    daemon->options.exhausted(daemon->options.context);
}

/* vmcompute has ended: what was in flight has failed. */
static void hcs_disconnected(void *context)
{
    struct daemon *daemon = context;
    InterlockedExchange(&daemon->lost, 1);
    set_health(daemon, false);
    if (daemon->tasks != NULL)
        tasks_reconnect(daemon->tasks);
}

static void hcs_reconnected(void *context, unsigned running)
{
    struct daemon *daemon = context;
    char *count = str_format("%u", running);
    InterlockedExchange(&daemon->lost, 0);
    set_health(daemon, true);
    event_emit(EVENT_HCS_RECONNECTED, count);
    free(count);
}

static struct error *open_hcs(struct daemon *daemon)
{
    struct guard_options guard = {
        .call_ms = daemon->config->hcs_call_seconds * 1000,
        .max_lost_calls = daemon->config->hcs_max_lost_calls,
        .exhausted = calls_exhausted,
        .context = daemon,
    };
    struct error *error = hcs_library_new(daemon->config->hcs_library, &daemon->library);
    if (error == NULL)
        error = guard_new(&guard, &daemon->guard);
    if (error == NULL)
        error = compute_new(daemon->library, daemon->guard, hcs_disconnected, daemon, &daemon->compute);
    return error;
}

/* ---- jobs and tasks ---- */

static struct error *mount_layers(void *context, const char *holder, const char *scratch, const char *const *parents,
                                  size_t parent_count, char **ret_volume)
{
    struct daemon *daemon = context;
    return jobs_mount_layer(daemon->jobs, holder, scratch, parents, parent_count, ret_volume);
}

static struct error *release_layers(void *context, const char *holder, const char *scratch)
{
    struct daemon *daemon = context;
    return machines_holds(daemon->machines, holder) ? machines_release(daemon->machines, holder)
                                                    : jobs_release_layer(daemon->jobs, holder, scratch);
}

static struct error *mount_in_vm(void *context, const struct machines_mount *mount, struct uvm_mounted *ret_mounted)
{
    struct daemon *daemon = context;
    return machines_mount(daemon->machines, mount, ret_mounted);
}

static bool is_machine(void *context, const char *id)
{
    struct daemon *daemon = context;
    return machines_has(daemon->machines, id);
}

static struct error *stage_layers(void *context, const char *holder, const char *scratch, struct json_t *order,
                                  struct json_t **ret_found)
{
    struct daemon *daemon = context;
    return jobs_stage_layers(daemon->jobs, holder, scratch, order, ret_found);
}

static struct error *claim_layers(void *context, const char *holder, const char *scratch, const char *const *parents,
                                  size_t parent_count)
{
    struct daemon *daemon = context;
    return jobs_claim_layers(daemon->jobs, holder, scratch, parents, parent_count);
}

static void unclaim_layers(void *context, const char *holder, const char *scratch, const char *const *parents,
                           size_t parent_count)
{
    struct daemon *daemon = context;
    jobs_unclaim_layers(daemon->jobs, holder, scratch, parents, parent_count);
}

static void task_event(void *context, const char *topic, const struct task_view *view)
{
    struct daemon *daemon = context;
    Google__Protobuf__Any event;
    log_debug("%s %s/%s %s", topic, view->containerd_namespace, view->id, view->exec_id);
    if (!payload_event(topic, view, &event))
        return;
    exchange_publish(daemon->exchange, envelope_new(clock_wall_ns(), view->containerd_namespace, topic, event.type_url,
                                                    event.value.data, event.value.len));
    any_free(&event);
}

static struct error *open_jobs(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    char *state = path_join(config->state_dir, "jobs");
    struct jobs_options options = jobs_numbers(config);
    options.staging_dir = config->staging_dir;
    options.state_dir = state;
    options.hcs_library = config->hcs_library;
    struct error *error = jobs_open(&options, &daemon->jobs);
    free(state);
    return error;
}

static struct error *open_relays(struct daemon *daemon)
{
    char *state = path_join(daemon->config->state_dir, "relays");
    const struct relays_options options = {.state_dir = state, .hold_ms = daemon->config->stdio_drain_seconds * 1000};
    struct error *error = relays_open(&options, &daemon->relays);
    free(state);
    return error;
}

static struct error *open_machines(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    char *state = path_join(config->state_dir, "machines");
    struct machines_options options = {
        .compute = daemon->compute,
        .owner = "hcsd",
        .state_dir = state,
        .call_ms = config->hcs_call_seconds * 1000,
        .stall_ms = config->watchdog_stall_seconds * 1000,
        .stage = stage_layers,
        .claim = claim_layers,
        .unclaim = unclaim_layers,
        .context = daemon,
    };
    struct error *error = machines_open(&options, &daemon->machines);
    free(state);
    return error;
}

static struct error *open_tasks(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    char *state = path_join(config->state_dir, "tasks");
    struct tasks_options options = tasks_numbers(config);
    options.library = daemon->library;
    options.compute = daemon->compute;
    options.guard = daemon->guard;
    options.relays = daemon->relays;
    options.owner = "hcsd";
    options.state_dir = state;
    options.terminate_survivors = config->restart_terminate_survivors;
    options.linux_boot_files = config->linux_boot_files;
    options.mount_layers = mount_layers;
    options.release_layers = release_layers;
    options.mount_in_vm = mount_in_vm;
    options.is_machine = is_machine;
    options.event = task_event;
    options.reconnected = hcs_reconnected;
    options.context = daemon;
    struct error *error = tasks_open(&options, &daemon->tasks);
    if (error == NULL && daemon->lost) /* before hcs_disconnected could see the tasks */
        tasks_reconnect(daemon->tasks);
    free(state);
    return error;
}

/* What containers of an earlier life hold stays mounted; all else is the janitor's. */
static void keep_mounts(struct daemon *daemon)
{
    char **holders = NULL;
    size_t count = 0;
    tasks_holders(daemon->tasks, &holders, &count);
    machines_keep(daemon->machines, (const char *const *)holders, count);
    holders = mem_resize_array(holders, count + 1, sizeof holders[0]);
    holders[count++] = str_copy(LAYERS_CLIENT_HOLDER);
    jobs_keep_mounts(daemon->jobs, (const char *const *)holders, count);
    for (size_t i = 0; i < count; i++)
        free(holders[i]);
    free(holders);
}

/* ---- services ---- */

static uint64_t connections(void *context)
{
    struct daemon *daemon = context;
    struct rpc_server_counters counters = {0};
    if (daemon->server != NULL)
        rpc_server_count(daemon->server, &counters);
    return counters.connections;
}

static struct error *open_services(struct daemon *daemon)
{
    const struct diagnostics_library libraries[] = {
        {"libgrpc", grpc_version_string()},
        {"protobuf-c", protobuf_c_version()},
        {"libarchive", ARCHIVE_VERSION_ONLY_STRING},
        {"jansson", jansson_version_str()},
        {"zlib", zlibVersion()},
        {"zstd", ZSTD_versionString()},
        {"libdeflate", LIBDEFLATE_VERSION_STRING},
    };
    struct diagnostics_options diagnostics = {
        .tasks = daemon->tasks,
        .jobs = daemon->jobs,
        .relays = daemon->relays,
        .guard = daemon->guard,
        .version = HCSD_VERSION,
        .service = daemon->options.service,
        .config_file = daemon->config_file,
        .state_dir = daemon->config->state_dir,
        .hcs_library = library_path(daemon),
        .libraries = libraries,
        .library_count = sizeof libraries / sizeof libraries[0],
        .connections = connections,
        .context = daemon,
    };
    daemon->services[TASK] = task_service_open(daemon->tasks);
    daemon->services[TASKS] = tasks_service_open(daemon->tasks);
    daemon->services[EVENTS] = events_service_open(daemon->exchange);
    daemon->services[LAYERS] = layers_service_open(daemon->jobs, daemon->machines);
    daemon->services[JOBS] = jobs_service_open(daemon->jobs);
    daemon->services[DIAGNOSTICS] = diagnostics_service_open(&diagnostics);
    daemon->health = health_service_open(daemon->services, HEALTH);
    daemon->services[HEALTH] = health_service_table(daemon->health);
    struct error *error = reflection_service_open(daemon->services, REFLECTION, hcsd_descriptor_set,
                                                  hcsd_descriptor_set_size, &daemon->reflection);
    if (error == NULL)
        daemon->services[REFLECTION] = reflection_service_table(daemon->reflection);
    return error;
}

static struct error *open_server(struct daemon *daemon)
{
    struct rpc_server_options options = {
        .pipe = daemon->config->pipe,
        .pipe_access = (const char *const *)daemon->config->pipe_access.items,
        .pipe_access_count = daemon->config->pipe_access.count,
        .services = daemon->services,
        .service_count = SERVICE_COUNT,
    };
    daemon->hcs_timer = CreateThreadpoolTimer(hcs_timer_due, daemon, NULL);
    if (daemon->hcs_timer == NULL)
        return error_win32(GetLastError(), "CreateThreadpoolTimer", "hcsd", NULL);
    return rpc_server_open(&options, &daemon->server);
}

/* ---- closing ---- */

static unsigned left_until(uint64_t end)
{
    uint64_t now = clock_ms();
    uint64_t left = end > now ? end - now : 0;
    return left < CLOSE_MS_MIN ? CLOSE_MS_MIN : (unsigned)left;
}

/* Takes what daemon_start has made as far as it came. How many calls and threads are left that would not end. */
static unsigned close_all(struct daemon *daemon, uint64_t end)
{
    if (daemon->hcs_timer != NULL) {
        SetThreadpoolTimer(daemon->hcs_timer, NULL, 0, 0);
        WaitForThreadpoolTimerCallbacks(daemon->hcs_timer, TRUE);
        CloseThreadpoolTimer(daemon->hcs_timer);
    }
    exchange_end(daemon->exchange);
    /* Calls that only wait (Wait) are never over by themselves. */
    unsigned patience = left_until(end) / 4;
    unsigned left = rpc_server_close(daemon->server, patience < CLOSE_MS_MIN ? CLOSE_MS_MIN : patience);
    /* Each uses those that follow: once one did not end, these stay, and the end of the process ends the workers. */
    bool ended = daemon->tasks == NULL || tasks_close(daemon->tasks, left_until(end));
    ended = ended && relays_close(daemon->relays);
    ended = ended && machines_close(daemon->machines, left_until(end));
    ended = ended && (daemon->jobs == NULL || jobs_close(daemon->jobs, left_until(end)));
    left += !ended;
    if (daemon->guard != NULL) {
        left += guard_count(daemon->guard).running;
        if (left == 0)
            compute_free(daemon->compute);
        if (!guard_close(daemon->guard, left == 0 ? left_until(end) : 0) && left == 0)
            left = 1;
    }
    /* What calls that are left may still touch stays in memory. */
    if (left != 0)
        return left;
    hcs_library_free(daemon->library);
    reflection_service_close(daemon->reflection);
    health_service_close(daemon->health);
    for (int i = TASK; i < HEALTH; i++)
        service_close(daemon->services[i]);
    exchange_close(daemon->exchange);
    win_close(daemon->lock);
    config_free(daemon->config);
    free(daemon->config_file);
    free(daemon);
    return 0;
}

static unsigned in_flight(struct daemon *daemon)
{
    return tasks_in_flight(daemon->tasks) + jobs_in_flight(daemon->jobs);
}

static unsigned count_running(struct daemon *daemon)
{
    struct task_view *views = NULL;
    size_t count = 0;
    unsigned running = 0;
    task_list(daemon->tasks, NULL, &views, &count);
    for (size_t i = 0; i < count; i++)
        running += views[i].status == TASK_RUNNING || views[i].status == TASK_PAUSED || views[i].status == TASK_PAUSING;
    task_views_free(views, count);
    return running;
}

static void refuse_work(struct daemon *daemon)
{
    InterlockedExchange(&daemon->ending, 1);
    set_health(daemon, false);
    rpc_server_drain(daemon->server);
    jobs_drain(daemon->jobs);
    tasks_drain(daemon->tasks);
}

static void drain(struct daemon *daemon, uint64_t end, const struct daemon_progress *progress)
{
    /* The last quarter of the time is for cancelling and closing. */
    uint64_t begin = clock_ms(), told = begin, enough = end - (end - begin) / 4;
    char *operations = str_format("%u", in_flight(daemon)), *seconds = str_format("%llu", (end - begin + 999) / 1000);
    event_emit(EVENT_SERVICE_DRAINING, operations, seconds);
    free(seconds);
    free(operations);
    refuse_work(daemon);
    /* Nobody tells when the last one has ended: looked at in short turns, within the bound. */
    for (uint64_t now = begin; in_flight(daemon) != 0 && now < enough; now = clock_ms()) {
        pause_system.wait(pause_system.context, DRAIN_LOOK_MS);
        if (now - told >= PROGRESS_MS) {
            progress->step(progress->context);
            told = now;
        }
    }
}

bool daemon_stop(struct daemon *daemon, unsigned milliseconds, const struct daemon_progress *progress)
{
    uint64_t begin = clock_ms(), end = begin + milliseconds;
    drain(daemon, end, progress);
    /* What only waits is never over by itself, and what has not ended by now does not. */
    tasks_end_waits(daemon->tasks);
    jobs_cancel_all(daemon->jobs);
    progress->step(progress->context);
    char *running = str_format("%u", count_running(daemon));
    unsigned left = close_all(daemon, end);
    char *seconds = str_format("%.1f", (double)(clock_ms() - begin) / 1000), *count = str_format("%u", left);
    if (left == 0)
        event_emit(EVENT_SERVICE_STOPPED, seconds, running);
    else
        event_emit(EVENT_SERVICE_STOP_FORCED, seconds, count);
    free(count);
    free(seconds);
    free(running);
    return left == 0;
}

void daemon_leave(struct daemon *daemon)
{
    refuse_work(daemon);
    char *running = str_format("%u", count_running(daemon));
    event_emit(EVENT_SERVICE_STOPPED, "0.0", running);
    free(running);
}

/* ---- opening ---- */

struct error *daemon_start(const struct daemon_options *options, const struct daemon_progress *progress,
                           struct daemon **ret_daemon)
{
    struct error *(*const steps[])(struct daemon *) = {
        open_folders, open_hcs, open_jobs, open_machines, open_relays, open_tasks, open_services, open_server,
    };
    struct daemon *daemon = mem_new(struct daemon);
    struct error *error = NULL;
    bool optional = options->config_file == NULL;
    daemon->options = *options;
    daemon->exchange = exchange_open();
    if (optional)
        error = config_file_path(&daemon->config_file);
    else
        daemon->config_file = str_copy(options->config_file);
    if (error == NULL)
        error = folder_check_file(daemon->config_file);
    if (error == NULL)
        error = config_file_read(daemon->config_file, optional, NULL, &daemon->config);
    if (error == NULL && daemon->config->hcs_library != NULL)
        error = folder_check_file(daemon->config->hcs_library);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && error == NULL; i++) {
        progress->step(progress->context);
        error = steps[i](daemon);
    }
    if (error != NULL) {
        close_all(daemon, clock_ms());
        return error;
    }
    keep_mounts(daemon);
    rpc_server_start(daemon->server);
    look_for_hcs(daemon);
    event_emit(EVENT_SERVICE_STARTED, HCSD_VERSION, daemon->config->pipe, daemon->config->state_dir);
    *ret_daemon = daemon;
    return NULL;
}
