#include "daemon/services/job_message.h"

#include "base/memory.h"
#include "daemon/services/service.h"

Hcsd__V1__Deviation **job_deviations(const struct export_deviation *from, size_t count, Hcsd__V1__Deviation **ret_rows)
{
    Hcsd__V1__Deviation *rows = mem_new_array(count, Hcsd__V1__Deviation);
    Hcsd__V1__Deviation **pointers = mem_new_array(count, Hcsd__V1__Deviation *);
    for (size_t i = 0; i < count; i++) {
        hcsd__v1__deviation__init(&rows[i]);
        rows[i].kind = service_text(from[i].kind);
        rows[i].path = service_text(from[i].path);
        rows[i].detail = service_text(from[i].detail);
        pointers[i] = &rows[i];
    }
    *ret_rows = rows;
    return pointers;
}

void job_result_fill(struct job_result_message *result, const char *job, const struct export_result *from)
{
    hcsd__v1__export_result__init(&result->message);
    hcsd__v1__export_seconds__init(&result->seconds);
    result->message.job = service_text(job);
    result->message.digest = (char *)from->digest;
    result->message.diff_id = (char *)from->diff_id;
    result->message.size = from->size;
    result->message.media_type = service_text(from->media_type);
    result->message.entries = from->entries;
    result->seconds.staging = from->staging_seconds;
    result->seconds.archive = from->archive_seconds;
    result->message.seconds = &result->seconds;
    result->message.deviations = job_deviations(from->deviations, from->deviation_count, &result->rows);
    result->message.n_deviations = from->deviation_count;
    result->message.deviation_count = from->deviation_total;
}

void job_result_clear(struct job_result_message *result)
{
    free(result->message.deviations);
    free(result->rows);
    result->message.deviations = NULL;
    result->rows = NULL;
}

void job_progress_fill(Hcsd__V1__ExportProgress *progress, const struct export_counters *counters, const char *phase,
                       const char *path)
{
    hcsd__v1__export_progress__init(progress);
    progress->phase = service_text(phase);
    progress->entries = counters->entries;
    progress->bytes = counters->bytes;
    progress->output_bytes = counters->output_bytes;
    progress->path = service_text(path);
}

void job_message_fill(struct job_message *job, const struct job_view *view)
{
    *job = (struct job_message){0};
    Hcsd__V1__Job *message = &job->message;
    hcsd__v1__job__init(message);
    message->id = service_text(view->id);
    message->kind = service_text(view->kind);
    message->object = service_text(view->object);
    message->state = service_text(view->state);
    message->phase = service_text(view->phase);
    message->cleanup = service_text(view->cleanup);
    message->client = service_text(view->client);
    message->step = service_text(view->step);
    message->submitted_at = service_time(view->submitted_ns, &job->submitted);
    message->started_at = service_time(view->started_ns, &job->started);
    message->ended_at = service_time(view->ended_ns, &job->ended);
    message->worker_pid = view->worker_pid;
    message->attempts = view->attempts;
    job_progress_fill(&job->progress, &view->counters, view->phase, view->path);
    message->progress = &job->progress;
    if (view->result) {
        job_result_fill(&job->result, view->id, view->result);
        message->result = &job->result.message;
    }
    if (view->error) {
        job->error = error_text(view->error);
        message->error = job->error;
        message->error_code = (char *)error_kind_name(view->error->kind);
    }
    job->events = mem_new_array(view->history_count, Hcsd__V1__JobEvent);
    job->event_times = mem_new_array(view->history_count, Google__Protobuf__Timestamp);
    message->history = mem_new_array(view->history_count, Hcsd__V1__JobEvent *);
    message->n_history = view->history_count;
    for (size_t i = 0; i < view->history_count; i++) {
        hcsd__v1__job_event__init(&job->events[i]);
        job->events[i].at = service_time(view->history[i].at_ns, &job->event_times[i]);
        job->events[i].text = service_text(view->history[i].text);
        message->history[i] = &job->events[i];
    }
}

void job_message_clear(struct job_message *job)
{
    job_result_clear(&job->result);
    free(job->events);
    free(job->event_times);
    free(job->message.history);
    free(job->error);
}
