/* What layer.c and job.c share: exports as JSON. Pure. */
#ifndef HCSD_CLI_JOB_H
#define HCSD_CLI_JOB_H

#include <stdbool.h>

#include <jansson.h>

#include "hcsd/v1/jobs.pb-c.h"
#include "hcsd/v1/layers.pb-c.h"

/* The object of contracts.md for a finished export. `cleanup` NULL: not known yet. */
json_t *export_json(const Hcsd__V1__ExportResult *result, const Hcsd__V1__ExportCleanup *cleanup);

/* A job: id, kind, object, state, phase, cleanup and all else that is known; `history` with every step. */
json_t *job_json(const Hcsd__V1__Job *job, bool history);

#endif
