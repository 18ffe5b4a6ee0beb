#include "daemon/services/state.h"

#include "base/memory.h"

void state_response(const struct task_view *view, Containerd__Task__V3__StateResponse *ret_response,
                    Google__Protobuf__Timestamp *storage)
{
    containerd__task__v3__state_response__init(ret_response);
    ret_response->id = (char *)view->id;
    ret_response->exec_id = (char *)view->exec_id;
    ret_response->bundle = (char *)view->bundle;
    ret_response->stdin = (char *)view->stdin_path;
    ret_response->stdout = (char *)view->stdout_path;
    ret_response->stderr = (char *)view->stderr_path;
    ret_response->terminal = view->terminal;
    ret_response->pid = view->pid;
    ret_response->status = (Containerd__V1__Types__Status)view->status;
    ret_response->exit_status = view->exit_status;
    ret_response->exited_at = service_time(view->exited_ns, storage);
}

struct error *task_create_from(const struct rpc_call *call, const Containerd__Task__V3__CreateTaskRequest *request,
                               struct task_create_storage *ret_storage)
{
    struct rootfs rootfs;
    struct runtime_options options;
    struct error *error = NULL;
    if (*request->checkpoint || *request->parent_checkpoint)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "create", request->id,
                          "Windows containers cannot be restored from a checkpoint");
    error = rootfs_parse(request->rootfs, request->n_rootfs, &rootfs);
    if (error)
        return error;
    error = runtime_options_parse(request->options, &options);
    if (error) {
        rootfs_free(&rootfs);
        return error;
    }
    *ret_storage = (struct task_create_storage){.rootfs = rootfs, .options = options, .client = service_client(call)};
    ret_storage->create = (struct task_create){
        .containerd_namespace = rpc_call_caller(call)->containerd_namespace,
        .id = request->id,
        .bundle = request->bundle,
        .stdin_path = request->stdin,
        .stdout_path = request->stdout,
        .stderr_path = request->stderr,
        .terminal = request->terminal,
        .rootfs_source = rootfs.source,
        .rootfs_parents = (const char *const *)rootfs.parents,
        .rootfs_parent_count = rootfs.parent_count,
        .runtime = options.runtime,
        .client = ret_storage->client,
    };
    return NULL;
}

void task_create_storage_free(struct task_create_storage *storage)
{
    rootfs_free(&storage->rootfs);
    runtime_options_free(&storage->options);
    free(storage->client);
}
