/* hcsd.v1.Diagnostics: everything in flight, without waiting for any of it; the stdio relays get a moment to tell their figures. */
#include "hcs/guard.h" /* before all else: windows.h */

#include <stdatomic.h>
#include <string.h>

#include <hcsd/v1/diagnostics.pb-c.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/services/host_probe.h"
#include "daemon/services/service.h"
#include "relay/relays.h"

struct diagnostics {
    struct service service;
    struct relays *relays;
    struct guard *guard;
    char *version, *hcs_library, *windows;
    char *service_name, *config_file, *state_dir;
    Hcsd__V1__VersionResponse__LibrariesEntry *libraries;
    Hcsd__V1__VersionResponse__LibrariesEntry **library_pointers;
    size_t library_count;
    uint64_t (*connections)(void *context);
    void *context;
};

static bool in_flight(const struct job_view *job)
{
    return !strcmp(job->state, "queued") || !strcmp(job->state, "running") ||
           !strcmp(service_text(job->cleanup), "pending");
}

static void fill_job(Hcsd__V1__Operation *row, const struct job_view *job)
{
    hcsd__v1__operation__init(row);
    row->kind = service_text(job->kind);
    row->object = service_text(job->object);
    row->phase = service_text(job->phase);
    row->age_seconds = job->age_seconds;
    row->last_progress_seconds = job->last_progress_seconds;
    row->step = service_text(job->step);
    row->worker_pid = job->worker_pid;
    row->path = service_text(job->path);
    row->job = service_text(job->id);
}

static void fill_task(Hcsd__V1__Operation *row, const struct task_operation_view *task)
{
    hcsd__v1__operation__init(row);
    row->kind = (char *)task->kind;
    row->object = service_text(task->object);
    row->phase = service_text(task->phase);
    row->age_seconds = row->last_progress_seconds = task->age_seconds;
    row->step = service_text(task->step);
    row->evidence = service_text(task->evidence);
}

static void fill_call(Hcsd__V1__Operation *row, const struct guard_record *call)
{
    hcsd__v1__operation__init(row);
    row->kind = (char *)"call";
    row->object = service_text(call->object);
    row->phase = service_text(call->name);
    row->age_seconds = row->last_progress_seconds = (double)call->age_ms / 1000;
}

/* An array of `count` pointers to the rows; the caller frees it. */
static void *pointers_to(void *rows, size_t size, size_t count)
{
    void **pointers = mem_new_array(count, void *);
    for (size_t i = 0; i < count; i++)
        pointers[i] = (char *)rows + i * size;
    return pointers;
}

static void fill_relay(Hcsd__V1__Relay *row, const struct relay_view *relay)
{
    hcsd__v1__relay__init(row);
    row->pid = relay->pid;
    row->version = service_text(relay->version);
    row->sessions = relay->sessions;
    row->stdin_bytes = relay->stdin_bytes;
    row->output_bytes = relay->output_bytes;
    row->dropped_bytes = relay->dropped_bytes;
    row->answers = relay->answers;
}

struct get {
    struct rpc_call *call;
    struct diagnostics *diagnostics;
};

static void reply(void *context)
{
    struct get *get = context;
    struct diagnostics *diagnostics = get->diagnostics;
    struct service *service = &diagnostics->service;
    Hcsd__V1__DiagnosticsReport report = HCSD__V1__DIAGNOSTICS_REPORT__INIT;
    struct job_view *jobs;
    struct task_operation_view *tasks;
    struct worker_view *workers;
    struct relay_view *relays = NULL;
    struct guard_list stuck = {0}, running = {0};
    char **quarantined;
    size_t job_count, task_count, worker_count, quarantined_count, relay_count = 0, count = 0;

    jobs_view(service->jobs, NULL, &jobs, &job_count);
    tasks_operations(service->tasks, &tasks, &task_count);
    jobs_workers(service->jobs, &workers, &worker_count);
    jobs_quarantined(service->jobs, &quarantined, &quarantined_count);
    if (diagnostics->relays)
        relays_view(diagnostics->relays, &relays, &relay_count);
    if (diagnostics->guard) {
        guard_list_stuck(diagnostics->guard, &stuck);
        guard_list_running(diagnostics->guard, &running);
    }

    Hcsd__V1__Operation *operations = mem_new_array(job_count + task_count + running.count, Hcsd__V1__Operation);
    for (size_t i = 0; i < job_count; i++) {
        report.queued_jobs += !strcmp(jobs[i].state, "queued");
        if (in_flight(&jobs[i]))
            fill_job(&operations[count++], &jobs[i]);
    }
    for (size_t i = 0; i < task_count; i++)
        fill_task(&operations[count++], &tasks[i]);
    for (size_t i = 0; i < running.count; i++)
        if (!running.records[i].abandoned && !running.records[i].lost)
            fill_call(&operations[count++], &running.records[i]);
    report.n_operations = count;
    report.operations = pointers_to(operations, sizeof *operations, count);

    Hcsd__V1__StuckCall *calls = mem_new_array(stuck.count, Hcsd__V1__StuckCall);
    for (size_t i = 0; i < stuck.count; i++) {
        hcsd__v1__stuck_call__init(&calls[i]);
        calls[i].call = service_text(stuck.records[i].name);
        calls[i].object = service_text(stuck.records[i].object);
        calls[i].age_seconds = (double)stuck.records[i].age_ms / 1000;
    }
    report.n_stuck_calls = stuck.count;
    report.stuck_calls = pointers_to(calls, sizeof *calls, stuck.count);

    Hcsd__V1__Worker *worker_rows = mem_new_array(worker_count, Hcsd__V1__Worker);
    for (size_t i = 0; i < worker_count; i++) {
        hcsd__v1__worker__init(&worker_rows[i]);
        worker_rows[i].pid = workers[i].pid;
        worker_rows[i].state = service_text(workers[i].state);
        worker_rows[i].job = workers[i].job;
        worker_rows[i].lane = service_text(workers[i].lane);
    }
    report.n_workers = worker_count;
    report.workers = pointers_to(worker_rows, sizeof *worker_rows, worker_count);

    Hcsd__V1__Relay *relay_rows = mem_new_array(relay_count, Hcsd__V1__Relay);
    for (size_t i = 0; i < relay_count; i++)
        fill_relay(&relay_rows[i], &relays[i]);
    report.n_relays = relay_count;
    report.relays = pointers_to(relay_rows, sizeof *relay_rows, relay_count);

    report.n_quarantined = quarantined_count;
    report.quarantined = quarantined;
    report.tasks = tasks_count(service->tasks);
    report.connections = diagnostics->connections ? diagnostics->connections(diagnostics->context) : 0;
    rpc_call_reply(get->call, &report.base);

    free(report.operations);
    free(report.relays);
    free(relay_rows);
    relay_views_free(relays, relay_count);
    free(report.stuck_calls);
    free(report.workers);
    free(operations);
    free(calls);
    free(worker_rows);
    guard_list_free(&stuck);
    guard_list_free(&running);
    job_views_free(jobs, job_count);
    task_operation_views_free(tasks, task_count);
    free(workers);
    for (size_t i = 0; i < quarantined_count; i++)
        free(quarantined[i]);
    free(quarantined);
    free(get);
}

static void handle_get(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct diagnostics *diagnostics = context;
    struct get *get = mem_new(struct get);
    *get = (struct get){call, diagnostics};
    (void)message;
    if (diagnostics->relays)
        relays_glance(diagnostics->relays, reply, get);
    else
        reply(get);
}

static void handle_version(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct diagnostics *diagnostics = context;
    Hcsd__V1__VersionResponse response = HCSD__V1__VERSION_RESPONSE__INIT;
    (void)message;
    response.version = diagnostics->version;
    response.hcs_library = diagnostics->hcs_library;
    response.windows = diagnostics->windows;
    response.pid = GetCurrentProcessId();
    response.n_libraries = diagnostics->library_count;
    response.libraries = diagnostics->library_pointers;
    rpc_call_reply(call, &response.base);
}

/* Held by the handler, by whoever ends the call, and by whoever may be told that the client has gone. */
struct host_call {
    struct rpc_call *call;
    atomic_int references;
    SRWLOCK lock; /* below */
    struct host_probe *probe;
    bool gone;
};

static void host_unref(struct host_call *host)
{
    if (atomic_fetch_sub(&host->references, 1) != 1)
        return;
    host_probe_free(host->probe);
    free(host);
}

static void host_gone(void *context)
{
    struct host_call *host = context;
    AcquireSRWLockExclusive(&host->lock);
    host->gone = true;
    if (host->probe)
        host_probe_cancel(host->probe);
    ReleaseSRWLockExclusive(&host->lock);
    host_unref(host);
}

static void host_done(void *context, struct error *error, char *report)
{
    struct host_call *host = context;
    if (rpc_call_off_gone(host->call))
        host_unref(host);
    if (error) {
        rpc_call_fail(host->call, error);
    } else {
        Hcsd__V1__HostResponse response = HCSD__V1__HOST_RESPONSE__INIT;
        response.report = report;
        rpc_call_reply(host->call, &response.base);
    }
    free(report);
    host_unref(host);
}

static void handle_host(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct diagnostics *diagnostics = context;
    const Hcsd__V1__HostRequest *request = (const Hcsd__V1__HostRequest *)message;
    struct host_probe_options options = {diagnostics->service_name, diagnostics->config_file, diagnostics->state_dir,
                                         request->layers, request->n_layers};
    struct host_probe *probe = NULL;
    if (!options.service || !options.config_file || !options.folder) {
        rpc_call_fail(call, error_make(ERROR_KIND_UNAVAILABLE, "probe the host", NULL, "this hcsd has no probe"));
        return;
    }
    struct host_call *host = mem_new(struct host_call);
    host->call = call;
    atomic_init(&host->references, 3);
    InitializeSRWLock(&host->lock);
    rpc_call_on_gone(call, host_gone, host);
    struct error *error = host_probe_start(&options, host_done, host, &probe);
    if (error) {
        host_done(host, error, NULL);
    } else {
        AcquireSRWLockExclusive(&host->lock);
        host->probe = probe;
        if (host->gone)
            host_probe_cancel(probe);
        ReleaseSRWLockExclusive(&host->lock);
    }
    host_unref(host);
}

static const struct rpc_method methods[] = {
    METHOD("Get", hcsd__v1__get_diagnostics_request, hcsd__v1__diagnostics_report, RPC_UNARY, handle_get),
    METHOD("Host", hcsd__v1__host_request, hcsd__v1__host_response, RPC_UNARY, handle_host),
    METHOD("Version", hcsd__v1__version_request, hcsd__v1__version_response, RPC_UNARY, handle_version),
};

static void free_more(struct service *service)
{
    struct diagnostics *diagnostics = (struct diagnostics *)service;
    for (size_t i = 0; i < diagnostics->library_count; i++) {
        free(diagnostics->libraries[i].key);
        free(diagnostics->libraries[i].value);
    }
    free(diagnostics->libraries);
    free(diagnostics->library_pointers);
    free(diagnostics->version);
    free(diagnostics->hcs_library);
    free(diagnostics->windows);
    free(diagnostics->service_name);
    free(diagnostics->config_file);
    free(diagnostics->state_dir);
}

const struct rpc_service *diagnostics_service_open(const struct diagnostics_options *options)
{
    struct diagnostics *diagnostics = (struct diagnostics *)service_new(
        sizeof *diagnostics, "hcsd.v1.Diagnostics", NULL, methods, sizeof methods / sizeof *methods);
    diagnostics->service.tasks = options->tasks;
    diagnostics->service.jobs = options->jobs;
    diagnostics->service.free_more = free_more;
    diagnostics->relays = options->relays;
    diagnostics->guard = options->guard;
    diagnostics->version = str_copy(service_text(options->version));
    diagnostics->hcs_library = str_copy(service_text(options->hcs_library));
    diagnostics->windows = options->windows ? str_copy(options->windows) : str_format("10.0.%u", win_build());
    diagnostics->service_name = str_copy(options->service);
    diagnostics->config_file = str_copy(options->config_file);
    diagnostics->state_dir = str_copy(options->state_dir);
    diagnostics->connections = options->connections;
    diagnostics->context = options->context;
    diagnostics->library_count = options->library_count;
    diagnostics->libraries = mem_new_array(options->library_count, Hcsd__V1__VersionResponse__LibrariesEntry);
    for (size_t i = 0; i < options->library_count; i++) {
        hcsd__v1__version_response__libraries_entry__init(&diagnostics->libraries[i]);
        diagnostics->libraries[i].key = str_copy(service_text(options->libraries[i].name));
        diagnostics->libraries[i].value = str_copy(service_text(options->libraries[i].version));
    }
    diagnostics->library_pointers =
        pointers_to(diagnostics->libraries, sizeof *diagnostics->libraries, options->library_count);
    return &diagnostics->service.table;
}
