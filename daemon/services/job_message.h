/* Between the job messages and daemon/jobs. */
#ifndef HCSD_DAEMON_SERVICES_JOB_MESSAGE_H
#define HCSD_DAEMON_SERVICES_JOB_MESSAGE_H

#include <hcsd/v1/jobs.pb-c.h>

#include "daemon/jobs/jobs.h"

/* A message and all it points to; texts point into what it was made from. */
struct job_result_message {
    Hcsd__V1__ExportResult message;
    Hcsd__V1__ExportSeconds seconds;
    Hcsd__V1__Deviation *rows;
};
void job_result_fill(struct job_result_message *result, const char *job, const struct export_result *from);
void job_result_clear(struct job_result_message *result);

/* Deviations as messages: rows and the array of pointers, both the caller's to free. */
Hcsd__V1__Deviation **job_deviations(const struct export_deviation *from, size_t count, Hcsd__V1__Deviation **ret_rows);

void job_progress_fill(Hcsd__V1__ExportProgress *progress, const struct export_counters *counters, const char *phase,
                       const char *path);

struct job_message {
    Hcsd__V1__Job message;
    Google__Protobuf__Timestamp submitted, started, ended;
    Hcsd__V1__ExportProgress progress;
    struct job_result_message result;
    Hcsd__V1__JobEvent *events;
    Google__Protobuf__Timestamp *event_times;
    char *error;
};
void job_message_fill(struct job_message *job, const struct job_view *view);
void job_message_clear(struct job_message *job);

#endif
