#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/output.h"

#include "hcsd/v1/diagnostics.pb-c.h"

/* The service gives up after 60 s, with layers after 300. */
#define HOST_MS       90000u
#define HOST_LAYER_MS 330000u

static json_t *report_json(const Hcsd__V1__DiagnosticsReport *report)
{
    json_t *operations = json_array(), *calls = json_array(), *workers = json_array(), *quarantined = json_array();
    json_t *relays = json_array();
    for (size_t i = 0; i < report->n_operations; i++) {
        const Hcsd__V1__Operation *operation = report->operations[i];
        json_array_append_new(
            operations, json_pack("{s:s, s:s, s:s, s:f, s:f, s:s, s:I, s:s, s:s, s:s}", "kind", operation->kind,
                                  "object", operation->object, "phase", operation->phase, "age_seconds",
                                  operation->age_seconds, "last_progress_seconds", operation->last_progress_seconds,
                                  "step", operation->step, "worker_pid", (json_int_t)operation->worker_pid, "path",
                                  operation->path, "evidence", operation->evidence, "job", operation->job));
    }
    for (size_t i = 0; i < report->n_stuck_calls; i++) {
        const Hcsd__V1__StuckCall *call = report->stuck_calls[i];
        json_array_append_new(calls, json_pack("{s:s, s:s, s:f}", "call", call->call, "object", call->object,
                                               "age_seconds", call->age_seconds));
    }
    for (size_t i = 0; i < report->n_workers; i++) {
        const Hcsd__V1__Worker *worker = report->workers[i];
        json_array_append_new(workers, json_pack("{s:I, s:s, s:s, s:s}", "pid", (json_int_t)worker->pid, "state",
                                                 worker->state, "job", worker->job, "lane", worker->lane));
    }
    for (size_t i = 0; i < report->n_quarantined; i++)
        json_array_append_new(quarantined, json_string(report->quarantined[i]));
    for (size_t i = 0; i < report->n_relays; i++) {
        const Hcsd__V1__Relay *relay = report->relays[i];
        json_array_append_new(relays,
                              json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:b}", "pid", (json_int_t)relay->pid, "version",
                                        relay->version, "sessions", (json_int_t)relay->sessions, "stdin_bytes",
                                        (json_int_t)relay->stdin_bytes, "output_bytes", (json_int_t)relay->output_bytes,
                                        "dropped_bytes", (json_int_t)relay->dropped_bytes, "answers", relay->answers));
    }
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "operations", operations, "stuck_calls", calls,
                     "workers", workers, "tasks", (json_int_t)report->tasks, "connections",
                     (json_int_t)report->connections, "queued_jobs", (json_int_t)report->queued_jobs, "quarantined",
                     quarantined, "relays", relays);
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
    for (size_t i = 0; i < report->n_operations; i++)
        if (report->operations[i]->evidence[0] != '\0')
            buffer_add_format(&text, "%s of %s: %s\n", report->operations[i]->kind, report->operations[i]->object,
                              report->operations[i]->evidence);
    for (size_t i = 0; i < report->n_stuck_calls; i++) {
        char *age = format_seconds(report->stuck_calls[i]->age_seconds);
        buffer_add_format(&text, "stuck: %s for %s, for %s\n", report->stuck_calls[i]->call,
                          report->stuck_calls[i]->object, age);
        free(age);
    }
    for (size_t i = 0; i < report->n_workers; i++)
        buffer_add_format(&text, "worker %u (%s): %s %s\n", report->workers[i]->pid, report->workers[i]->lane,
                          report->workers[i]->state, report->workers[i]->job);
    for (size_t i = 0; i < report->n_relays; i++) {
        const Hcsd__V1__Relay *relay = report->relays[i];
        buffer_add_format(&text, "stdio relay %u (%s): %llu processes, %llu bytes in, %llu out, %llu dropped%s\n",
                          relay->pid, relay->version, (unsigned long long)relay->sessions,
                          (unsigned long long)relay->stdin_bytes, (unsigned long long)relay->output_bytes,
                          (unsigned long long)relay->dropped_bytes, relay->answers ? "" : "; it does not answer");
    }
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

/* The rows of a report for people, what is different at the end once more. */
static struct error *host_text(json_t *report)
{
    static const char *const head[] = {"ASKED", "EXPECTED", "FOUND", "VERDICT"};
    struct table table = {.columns = sizeof head / sizeof head[0]};
    struct buffer text = {0};
    json_t *row;
    size_t index, different = 0, not_asked = 0;
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, head[i]);
    json_array_foreach(json_object_get(report, "rows"), index, row)
    {
        const char *group, *name, *expected, *found, *verdict;
        if (json_unpack(row, "{s:s, s:s, s:s, s:s, s:s}", "group", &group, "name", &name, "expected", &expected,
                        "found", &found, "verdict", &verdict) != 0)
            continue;
        char *asked = str_format("%s: %s", group, name);
        const char *cells[] = {asked, expected, found, verdict};
        for (size_t i = 0; i < table.columns; i++)
            table_add(&table, cells[i]);
        free(asked);
        different += strcmp(verdict, "different") == 0;
        not_asked += strcmp(verdict, "not asked") == 0;
    }
    table_format(&table, &text);
    table_free(&table);
    buffer_add_format(&text, "%zu of %zu are different, %zu could not be asked%s\n", different,
                      json_array_size(json_object_get(report, "rows")), not_asked,
                      json_is_true(json_object_get(report, "wine")) ? "; this is Wine, not Windows" : "");
    struct error *error = output_bytes(text.data, text.size);
    buffer_free(&text);
    return error;
}

static struct error *add_layer(Hcsd__V1__HostRequest *request, const char *path)
{
    char *layer = NULL;
    struct error *error = file_absolute(path, &layer);
    if (error != NULL)
        return error;
    request->layers = mem_resize_array(request->layers, request->n_layers + 1, sizeof *request->layers);
    request->layers[request->n_layers++] = layer;
    return NULL;
}

/* The layer, then its parents. */
static struct error *host_layers(const struct arguments *arguments, Hcsd__V1__HostRequest *request)
{
    const char *layer = arguments_text(arguments, "--layer", NULL), *parent;
    if (layer == NULL)
        return arguments_item(arguments, "--parent", 0) == NULL
                   ? NULL
                   : error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", "--parent", "of which --layer?");
    struct error *error = add_layer(request, layer);
    for (size_t i = 0; error == NULL && (parent = arguments_item(arguments, "--parent", i)) != NULL; i++)
        error = add_layer(request, parent);
    return error;
}

static struct error *host(struct cli *cli)
{
    Hcsd__V1__HostRequest request = HCSD__V1__HOST_REQUEST__INIT;
    Hcsd__V1__HostResponse *response = NULL;
    json_t *report = NULL;
    struct error *error = host_layers(&cli->arguments, &request);
    if (error == NULL)
        error = cli_call(cli, "/hcsd.v1.Diagnostics/Host", &request, &hcsd__v1__host_response__descriptor,
                         request.n_layers == 0 ? HOST_MS : HOST_LAYER_MS, &response);
    if (error == NULL && (report = json_loads(response->report, 0, NULL)) == NULL)
        error =
            error_make(ERROR_KIND_DATA_LOSS, "diag host", NULL, "hcsd's report is no JSON: %.200s", response->report);
    if (error == NULL && cli->json)
        error = output_json(json_incref(report));
    else if (error == NULL)
        error = host_text(report);
    for (size_t i = 0; i < request.n_layers; i++)
        free(request.layers[i]);
    free(request.layers);
    json_decref(report);
    cli_free(response);
    return error;
}

const struct command diag_commands[] = {
    {
        .noun = "diag",
        .verb = "host",
        .operands = "",
        .summary = "Ask this Windows what hcsd believes of it: expected, found, verdict",
        .details = "The service asks, in a process of its own; nothing is changed outside its state folder. It takes "
                   "seconds, at most a minute. With --layer a scratch is made over that layer, exported and "
                   "destroyed, too: while nothing else is mounted, within five minutes. Send the output of `hcsctl "
                   "--json diag host` along "
                   "with a report of a fault.\n",
        .example = "hcsctl diag host\n"
                   "hcsctl --json diag host --layer C:\\layers\\app --parent C:\\layers\\base > report.json",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "ask the storage calls, too, with a scratch over this layer",
                     false, 0, 0, NULL},
                    {"--parent", NULL, OPTION_LIST, "DIR", "a parent of it; may be given again, nearest first", false,
                     0, 0, NULL}},
        .run = host,
    },
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
