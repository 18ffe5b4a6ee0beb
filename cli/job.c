#include "cli/job.h"

#include <stdlib.h>

#include "cli/cli.h"
#include "cli/output.h"

static struct error *job_ls(struct cli *cli)
{
    Hcsd__V1__ListJobsRequest request = HCSD__V1__LIST_JOBS_REQUEST__INIT;
    Hcsd__V1__ListJobsResponse *response = NULL;
    struct error *error = cli_call(cli, "/hcsd.v1.Jobs/List", &request, &hcsd__v1__list_jobs_response__descriptor,
                                   CLI_LOOK_MS, &response);
    if (error != NULL)
        return error;
    static const char *const head[] = {"JOB", "STATE", "PHASE", "CLEANUP", "ENTRIES", "OBJECT"};
    json_t *jobs = json_array();
    struct table table = {.columns = sizeof head / sizeof head[0]};
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, head[i]);
    for (size_t i = 0; i < response->n_jobs; i++) {
        const Hcsd__V1__Job *job = response->jobs[i];
        char *entries = format_count(job->progress == NULL ? 0 : job->progress->entries);
        json_array_append_new(jobs, job_json(job, false));
        const char *row[] = {job->id, job->state, job->phase, job->cleanup, entries, job->object};
        for (size_t n = 0; n < table.columns; n++)
            table_add(&table, row[n]);
        free(entries);
    }
    error = cli->json ? output_json(json_pack("{s:O}", "jobs", jobs)) : output_table(&table);
    json_decref(jobs);
    table_free(&table);
    cli_free(response);
    return error;
}

static void add_line(struct buffer *text, const char *name, const char *value)
{
    if (value != NULL && *value != 0)
        buffer_add_format(text, "%-10s %s\n", name, value);
}

static void job_text(const Hcsd__V1__Job *job, struct buffer *text)
{
    add_line(text, "job", job->id);
    add_line(text, "kind", job->kind);
    add_line(text, "object", job->object);
    add_line(text, "state", job->state);
    add_line(text, "phase", job->phase);
    add_line(text, "step", job->step);
    add_line(text, "cleanup", job->cleanup);
    add_line(text, "client", job->client);
    if (job->progress != NULL) {
        char *entries = format_count(job->progress->entries), *bytes = format_bytes(job->progress->bytes);
        buffer_add_format(text, "%-10s %s entries, %s\n", "progress", entries, bytes);
        add_line(text, "in hand", job->progress->path);
        free(bytes);
        free(entries);
    }
    add_line(text, "error", job->error);
    if (job->result != NULL) {
        add_line(text, "digest", job->result->digest);
        for (size_t i = 0; i < job->result->n_deviations; i++) {
            const Hcsd__V1__Deviation *deviation = job->result->deviations[i];
            format_deviation("deviation ", deviation->kind, deviation->path, deviation->detail, text);
        }
    }
    for (size_t i = 0; i < job->n_history; i++) {
        json_t *at = format_time(job->history[i]->at);
        buffer_add_format(text, "%s  %s\n", json_is_string(at) ? json_string_value(at) : "-", job->history[i]->text);
        json_decref(at);
    }
}

static struct error *job_show(struct cli *cli)
{
    Hcsd__V1__GetJobRequest request = HCSD__V1__GET_JOB_REQUEST__INIT;
    Hcsd__V1__Job *job = NULL;
    request.id = (char *)(uintptr_t)cli->arguments.operands[0];
    struct error *error = cli_call(cli, "/hcsd.v1.Jobs/Get", &request, &hcsd__v1__job__descriptor, CLI_LOOK_MS, &job);
    if (error == NULL && cli->json) {
        error = output_json(job_json(job, true));
    } else if (error == NULL) {
        struct buffer text = {0};
        job_text(job, &text);
        error = output_bytes(text.data, text.size);
        buffer_free(&text);
    }
    cli_free(job);
    return error;
}

static struct error *job_cancel(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    Hcsd__V1__CancelJobRequest request = HCSD__V1__CANCEL_JOB_REQUEST__INIT;
    void *response = NULL;
    request.id = (char *)(uintptr_t)id;
    struct error *error = cli_call(cli, "/hcsd.v1.Jobs/Cancel", &request, &hcsd__v1__cancel_job_response__descriptor,
                                   CLI_LOOK_MS, &response);
    cli_free(response);
    return error != NULL || !cli->json ? error : output_json(json_pack("{s:s}", "id", id));
}

const struct command job_commands[] = {
    {
        .noun = "job",
        .verb = "ls",
        .operands = "",
        .summary = "List jobs in flight and the last ones that ended",
        .details = "",
        .example = "hcsctl job ls",
        .run = job_ls,
    },
    {
        .noun = "job",
        .verb = "show",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Show a job with its history and its deviations",
        .details = "",
        .example = "hcsctl job show 7d3f21c0",
        .run = job_show,
    },
    {
        .noun = "job",
        .verb = "cancel",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Cancel a queued or running job",
        .details = "",
        .example = "hcsctl job cancel 7d3f21c0",
        .run = job_cancel,
    },
    {0},
};
