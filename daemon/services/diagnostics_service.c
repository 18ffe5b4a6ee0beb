/* hcsd.v1.Diagnostics: everything in flight, without waiting for any of it. */
#include "hcs/guard.h" /* before all else: windows.h */

#include <string.h>

#include <hcsd/v1/diagnostics.pb-c.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/services/service.h"

struct diagnostics {
    struct service service;
    struct guard *guard;
    char *version, *hcs_library, *windows;
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
}

static void fill_task(Hcsd__V1__Operation *row, const struct task_operation_view *task)
{
    hcsd__v1__operation__init(row);
    row->kind = (char *)task->kind;
    row->object = service_text(task->object);
    row->phase = service_text(task->phase);
    row->age_seconds = row->last_progress_seconds = task->age_seconds;
    row->step = service_text(task->step);
}

/* An array of `count` pointers to the rows; the caller frees it. */
static void *pointers_to(void *rows, size_t size, size_t count)
{
    void **pointers = mem_new_array(count, void *);
    for (size_t i = 0; i < count; i++)
        pointers[i] = (char *)rows + i * size;
    return pointers;
}

static void handle_get(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct diagnostics *diagnostics = context;
    struct service *service = &diagnostics->service;
    Hcsd__V1__DiagnosticsReport report = HCSD__V1__DIAGNOSTICS_REPORT__INIT;
    struct job_view *jobs;
    struct task_operation_view *tasks;
    struct worker_view *workers;
    struct guard_list stuck = {0};
    char **quarantined;
    size_t job_count, task_count, worker_count, quarantined_count, count = 0;
    (void)message;

    jobs_view(service->jobs, NULL, &jobs, &job_count);
    tasks_operations(service->tasks, &tasks, &task_count);
    jobs_workers(service->jobs, &workers, &worker_count);
    jobs_quarantined(service->jobs, &quarantined, &quarantined_count);
    if (diagnostics->guard)
        guard_list_stuck(diagnostics->guard, &stuck);

    Hcsd__V1__Operation *operations = mem_new_array(job_count + task_count, Hcsd__V1__Operation);
    for (size_t i = 0; i < job_count; i++) {
        report.queued_jobs += !strcmp(jobs[i].state, "queued");
        if (in_flight(&jobs[i]))
            fill_job(&operations[count++], &jobs[i]);
    }
    for (size_t i = 0; i < task_count; i++)
        fill_task(&operations[count++], &tasks[i]);
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
    }
    report.n_workers = worker_count;
    report.workers = pointers_to(worker_rows, sizeof *worker_rows, worker_count);

    report.n_quarantined = quarantined_count;
    report.quarantined = quarantined;
    report.tasks = tasks_count(service->tasks);
    report.connections = diagnostics->connections ? diagnostics->connections(diagnostics->context) : 0;
    rpc_call_reply(call, &report.base);

    free(report.operations);
    free(report.stuck_calls);
    free(report.workers);
    free(operations);
    free(calls);
    free(worker_rows);
    guard_list_free(&stuck);
    job_views_free(jobs, job_count);
    task_operation_views_free(tasks, task_count);
    free(workers);
    for (size_t i = 0; i < quarantined_count; i++)
        free(quarantined[i]);
    free(quarantined);
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

static const struct rpc_method methods[] = {
    METHOD("Get", hcsd__v1__get_diagnostics_request, hcsd__v1__diagnostics_report, RPC_UNARY, handle_get),
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
}

const struct rpc_service *diagnostics_service_open(const struct diagnostics_options *options)
{
    struct diagnostics *diagnostics = (struct diagnostics *)service_new(
        sizeof *diagnostics, "hcsd.v1.Diagnostics", NULL, methods, sizeof methods / sizeof *methods);
    diagnostics->service.tasks = options->tasks;
    diagnostics->service.jobs = options->jobs;
    diagnostics->service.free_more = free_more;
    diagnostics->guard = options->guard;
    diagnostics->version = str_copy(service_text(options->version));
    diagnostics->hcs_library = str_copy(service_text(options->hcs_library));
    diagnostics->windows = options->windows ? str_copy(options->windows) : str_format("10.0.%u", win_build());
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
