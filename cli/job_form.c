#include <string.h>

#include "cli/job.h"
#include "cli/output.h"

static json_t *deviations_json(Hcsd__V1__Deviation *const *deviations, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "kind", deviations[i]->kind, "path",
                                              deviations[i]->path, "detail", deviations[i]->detail));
    return list;
}

json_t *export_json(const Hcsd__V1__ExportResult *result, const Hcsd__V1__ExportCleanup *cleanup)
{
    bool known = cleanup != NULL && strcmp(cleanup->outcome, "pending") != 0;
    json_t *seconds = json_pack("{s:f, s:f, s:o}", "staging", result->seconds == NULL ? 0 : result->seconds->staging,
                                "archive", result->seconds == NULL ? 0 : result->seconds->archive, "cleanup",
                                known ? json_real(cleanup->seconds) : json_null());
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:s, s:o, s:o}", "job", result->job, "digest", result->digest,
                  "diff_id", result->diff_id, "size", (json_int_t)result->size, "media_type", result->media_type,
                  "entries", (json_int_t)result->entries, "cleanup", cleanup == NULL ? "pending" : cleanup->outcome,
                  "seconds", seconds, "deviations", deviations_json(result->deviations, result->n_deviations));
    /* Only when the list above is not all of them. */
    if (result->deviation_count > result->n_deviations)
        json_object_set_new(json, "deviation_count", json_integer((json_int_t)result->deviation_count));
    if (cleanup != NULL && cleanup->n_left != 0)
        json_object_set_new(json, "left", deviations_json(cleanup->left, cleanup->n_left));
    return json;
}

json_t *job_json(const Hcsd__V1__Job *job, bool history)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", job->id, "kind", job->kind, "object", job->object,
                             "state", job->state, "phase", job->phase, "cleanup", job->cleanup);
    json_object_set_new(json, "submitted_at", format_time(job->submitted_at));
    json_object_set_new(json, "started_at", format_time(job->started_at));
    json_object_set_new(json, "ended_at", format_time(job->ended_at));
    json_object_set_new(json, "client", json_string(job->client));
    json_object_set_new(json, "worker_pid", json_integer(job->worker_pid));
    json_object_set_new(json, "attempts", json_integer(job->attempts));
    json_object_set_new(json, "step", json_string(job->step));
    if (job->progress != NULL)
        json_object_set_new(json, "progress",
                            json_pack("{s:I, s:I, s:I, s:s}", "entries", (json_int_t)job->progress->entries, "bytes",
                                      (json_int_t)job->progress->bytes, "output_bytes",
                                      (json_int_t)job->progress->output_bytes, "path", job->progress->path));
    if (*job->error != 0 || *job->error_code != 0)
        json_object_set_new(json, "error", json_pack("{s:s, s:s}", "code", job->error_code, "message", job->error));
    if (!history)
        return json;
    if (job->result != NULL)
        json_object_set_new(json, "result", export_json(job->result, NULL));
    json_t *events = json_array();
    for (size_t i = 0; i < job->n_history; i++)
        json_array_append_new(
            events, json_pack("{s:o, s:s}", "at", format_time(job->history[i]->at), "text", job->history[i]->text));
    json_object_set_new(json, "history", events);
    return json;
}
