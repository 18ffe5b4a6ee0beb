/* hcsd.v1.Tasks. */
#include "daemon/services/state.h" /* before the other messages, see there */

#include <hcsd/v1/tasks.pb-c.h>

#include "base/memory.h"

static void handle_list(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    Hcsd__V1__ListTasksResponse response = HCSD__V1__LIST_TASKS_RESPONSE__INIT;
    struct task_view *views;
    size_t count;
    (void)message;

    task_list(service->tasks, rpc_call_caller(call)->containerd_namespace, &views, &count);
    struct row {
        Containerd__Task__V3__StateResponse state;
        Google__Protobuf__Timestamp time;
    } *rows = mem_new_array(count, struct row);
    response.n_tasks = count;
    response.tasks = mem_new_array(count, Containerd__Task__V3__StateResponse *);
    for (size_t i = 0; i < count; i++) {
        state_response(&views[i], &rows[i].state, &rows[i].time);
        response.tasks[i] = &rows[i].state;
    }
    rpc_call_reply(call, &response.base);
    free(response.tasks);
    free(rows);
    task_views_free(views, count);
}

static void force_done(void *context, struct error *error, const struct task_view *view)
{
    struct rpc_call *call = context;
    Hcsd__V1__ForceDeleteResponse response = HCSD__V1__FORCE_DELETE_RESPONSE__INIT;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    response.left = service_text(view->stuck);
    rpc_call_reply(call, &response.base);
}

static void handle_force_delete(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    const Hcsd__V1__ForceDeleteRequest *request = (const Hcsd__V1__ForceDeleteRequest *)message;
    char *client = service_client(call);
    task_delete(service->tasks, rpc_call_caller(call)->containerd_namespace, request->id, NULL, true, client,
                force_done, call);
    free(client);
}

static void render_done(void *context, struct error *error, const char *document, char *const *warnings,
                        size_t warning_count)
{
    struct rpc_call *call = context;
    Hcsd__V1__RenderCreateResponse response = HCSD__V1__RENDER_CREATE_RESPONSE__INIT;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    response.document = (char *)document;
    response.warnings = (char **)warnings;
    response.n_warnings = warning_count;
    rpc_call_reply(call, &response.base);
}

static void handle_render(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    const Hcsd__V1__RenderCreateRequest *request = (const Hcsd__V1__RenderCreateRequest *)message;
    struct task_create_storage storage;
    struct error *error =
        request->create ? task_create_from(call, request->create, &storage)
                        : error_make(ERROR_KIND_INVALID_ARGUMENT, "render", NULL, "the request has no create message");
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    task_render(service->tasks, &storage.create, request->os_build, render_done, call);
    task_create_storage_free(&storage);
}

static const struct rpc_method methods[] = {
    METHOD("List", hcsd__v1__list_tasks_request, hcsd__v1__list_tasks_response, RPC_UNARY, handle_list),
    METHOD("ForceDelete", hcsd__v1__force_delete_request, hcsd__v1__force_delete_response, RPC_UNARY,
           handle_force_delete),
    METHOD("RenderCreate", hcsd__v1__render_create_request, hcsd__v1__render_create_response, RPC_UNARY, handle_render),
};

const struct rpc_service *tasks_service_open(struct tasks *tasks)
{
    struct service *service =
        service_new(sizeof *service, "hcsd.v1.Tasks", NULL, methods, sizeof methods / sizeof *methods);
    service->tasks = tasks;
    return &service->table;
}
