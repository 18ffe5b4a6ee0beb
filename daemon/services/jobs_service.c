/* hcsd.v1.Jobs. */
#include "base/memory.h"
#include "daemon/services/job_message.h"
#include "daemon/services/service.h"

static void handle_list(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    Hcsd__V1__ListJobsResponse response = HCSD__V1__LIST_JOBS_RESPONSE__INIT;
    struct job_view *views;
    size_t count;
    (void)message;

    jobs_view(service->jobs, NULL, &views, &count);
    struct job_message *rows = mem_new_array(count, struct job_message);
    response.n_jobs = count;
    response.jobs = mem_new_array(count, Hcsd__V1__Job *);
    for (size_t i = 0; i < count; i++) {
        job_message_fill(&rows[i], &views[i]);
        response.jobs[i] = &rows[i].message;
    }
    rpc_call_reply(call, &response.base);
    for (size_t i = 0; i < count; i++)
        job_message_clear(&rows[i]);
    free(response.jobs);
    free(rows);
    job_views_free(views, count);
}

static void handle_get(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    const Hcsd__V1__GetJobRequest *request = (const Hcsd__V1__GetJobRequest *)message;
    struct job_message row;
    struct job_view *views;
    size_t count;

    jobs_view(service->jobs, request->id, &views, &count);
    if (count) {
        job_message_fill(&row, &views[0]);
        rpc_call_reply(call, &row.message.base);
        job_message_clear(&row);
    } else
        rpc_call_fail(call, error_make(ERROR_KIND_NOT_FOUND, "look up job", request->id,
                                       "there is no job of this id; the last 256 that ended are kept"));
    job_views_free(views, count);
}

static void handle_cancel(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    const Hcsd__V1__CancelJobRequest *request = (const Hcsd__V1__CancelJobRequest *)message;
    const Hcsd__V1__CancelJobResponse response = HCSD__V1__CANCEL_JOB_RESPONSE__INIT;
    char *client = service_client(call), *reason = str_format("cancelled by %s", client);
    struct error *error = jobs_cancel(service->jobs, request->id, reason);
    if (error)
        rpc_call_fail(call, error);
    else
        rpc_call_reply(call, &response.base);
    free(client);
    free(reason);
}

static const struct rpc_method methods[] = {
    METHOD("List", hcsd__v1__list_jobs_request, hcsd__v1__list_jobs_response, RPC_UNARY, handle_list),
    METHOD("Get", hcsd__v1__get_job_request, hcsd__v1__job, RPC_UNARY, handle_get),
    METHOD("Cancel", hcsd__v1__cancel_job_request, hcsd__v1__cancel_job_response, RPC_UNARY, handle_cancel),
};

const struct rpc_service *jobs_service_open(struct jobs *jobs)
{
    struct service *service =
        service_new(sizeof *service, "hcsd.v1.Jobs", NULL, methods, sizeof methods / sizeof *methods);
    service->jobs = jobs;
    return &service->table;
}
