#include <stdlib.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/output.h"

#include "hcsd/v1/diagnostics.pb-c.h"

static json_t *report_json(const Hcsd__V1__DiagnosticsReport *report)
{
    json_t *operations = json_array(), *calls = json_array(), *workers = json_array(), *quarantined = json_array();
    for (size_t i = 0; i < report->n_operations; i++) {
        const Hcsd__V1__Operation *operation = report->operations[i];
        json_array_append_new(
            operations, json_pack("{s:s, s:s, s:s, s:f, s:f, s:s, s:I, s:s}", "kind", operation->kind, "object",
                                  operation->object, "phase", operation->phase, "age_seconds", operation->age_seconds,
                                  "last_progress_seconds", operation->last_progress_seconds, "step", operation->step,
                                  "worker_pid", (json_int_t)operation->worker_pid, "path", operation->path));
    }
    for (size_t i = 0; i < report->n_stuck_calls; i++) {
        const Hcsd__V1__StuckCall *call = report->stuck_calls[i];
        json_array_append_new(calls, json_pack("{s:s, s:s, s:f}", "call", call->call, "object", call->object,
                                               "age_seconds", call->age_seconds));
    }
    for (size_t i = 0; i < report->n_workers; i++) {
        const Hcsd__V1__Worker *worker = report->workers[i];
        json_array_append_new(workers, json_pack("{s:I, s:s, s:s}", "pid", (json_int_t)worker->pid, "state",
                                                 worker->state, "job", worker->job));
    }
    for (size_t i = 0; i < report->n_quarantined; i++)
        json_array_append_new(quarantined, json_string(report->quarantined[i]));
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o}", "operations", operations, "stuck_calls", calls, "workers",
                     workers, "tasks", (json_int_t)report->tasks, "connections", (json_int_t)report->connections,
                     "queued_jobs", (json_int_t)report->queued_jobs, "quarantined", quarantined);
}

static void add_operations(const Hcsd__V1__DiagnosticsReport *report, struct buffer *text)
{
    static const char *const head[] = {"OPERATION",     "OBJECT", "PHASE",  "AGE",
                                       "LAST PROGRESS", "STEP",   "WORKER", "IN HAND"};
    struct table table = {.columns = sizeof head / sizeof head[0]};
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, head[i]);
    for (size_t i = 0; i < report->n_operations; i++) {
        const Hcsd__V1__Operation *operation = report->operations[i];
        char *age = format_seconds(operation->age_seconds), *last = format_seconds(operation->last_progress_seconds);
        char *pid = operation->worker_pid == 0 ? str_copy("-") : str_format("%u", operation->worker_pid);
        const char *row[] = {operation->kind, operation->object, operation->phase, age, last, operation->step, pid,
                             operation->path};
        for (size_t n = 0; n < table.columns; n++)
            table_add(&table, row[n]);
        free(pid);
        free(last);
        free(age);
    }
    table_format(&table, text);
    table_free(&table);
}

static struct error *report_text(const Hcsd__V1__DiagnosticsReport *report)
{
    struct buffer text = {0};
    buffer_add_format(&text, "%llu containers, %llu connections, %llu jobs waiting\n",
                      (unsigned long long)report->tasks, (unsigned long long)report->connections,
                      (unsigned long long)report->queued_jobs);
    if (report->n_operations != 0)
        add_operations(report, &text);
    for (size_t i = 0; i < report->n_stuck_calls; i++) {
        char *age = format_seconds(report->stuck_calls[i]->age_seconds);
        buffer_add_format(&text, "stuck: %s for %s, for %s\n", report->stuck_calls[i]->call,
                          report->stuck_calls[i]->object, age);
        free(age);
    }
    for (size_t i = 0; i < report->n_workers; i++)
        buffer_add_format(&text, "worker %u: %s %s\n", report->workers[i]->pid, report->workers[i]->state,
                          report->workers[i]->job);
    for (size_t i = 0; i < report->n_quarantined; i++)
        buffer_add_format(&text, "quarantined: %s\n", report->quarantined[i]);
    struct error *error = output_bytes(text.data, text.size);
    buffer_free(&text);
    return error;
}

static struct error *diag(struct cli *cli)
{
    Hcsd__V1__GetDiagnosticsRequest request = HCSD__V1__GET_DIAGNOSTICS_REQUEST__INIT;
    Hcsd__V1__DiagnosticsReport *report = NULL;
    struct error *error = cli_call(cli, "/hcsd.v1.Diagnostics/Get", &request, &hcsd__v1__diagnostics_report__descriptor,
                                   CLI_LOOK_MS, &report);
    if (error == NULL)
        error = cli->json ? output_json(report_json(report)) : report_text(report);
    cli_free(report);
    return error;
}

const struct command diag_commands[] = {
    {
        .noun = "diag",
        .operands = "",
        .summary = "What hcsd is doing, and what is stuck",
        .details = "",
        .example = "hcsctl diag",
        .run = diag,
    },
    {0},
};
