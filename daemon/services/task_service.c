/* containerd.task.v3.Task. */
#include <windows.h>

#include "daemon/services/state.h" /* before the other messages, see there */

#include <stdatomic.h>

#include <google/protobuf/empty.pb-c.h>

#include "base/memory.h"
#include "daemon/services/task_payload.h"

static const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

static struct service *service_of(void *context)
{
    return context;
}

static const char *namespace_of(const struct rpc_call *call)
{
    return rpc_call_caller(call)->containerd_namespace;
}

/* The completion of what has an empty answer. */
static void reply_empty(void *context, struct error *error, const struct task_view *view)
{
    struct rpc_call *call = context;
    (void)view;
    if (error)
        rpc_call_fail(call, error);
    else
        rpc_call_reply(call, &empty.base);
}

static void create_done(void *context, struct error *error, const struct task_view *view)
{
    struct rpc_call *call = context;
    Containerd__Task__V3__CreateTaskResponse response = CONTAINERD__TASK__V3__CREATE_TASK_RESPONSE__INIT;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    response.pid = view->pid;
    rpc_call_reply(call, &response.base);
}

static void handle_create(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__CreateTaskRequest *request = (const Containerd__Task__V3__CreateTaskRequest *)message;
    struct task_create_storage storage;
    struct error *error = task_create_from(call, request, &storage);
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    task_create(service_of(context)->tasks, &storage.create, create_done, call);
    task_create_storage_free(&storage);
}

static void start_done(void *context, struct error *error, const struct task_view *view)
{
    struct rpc_call *call = context;
    Containerd__Task__V3__StartResponse response = CONTAINERD__TASK__V3__START_RESPONSE__INIT;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    response.pid = view->pid;
    rpc_call_reply(call, &response.base);
}

static void handle_start(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__StartRequest *request = (const Containerd__Task__V3__StartRequest *)message;
    task_start(service_of(context)->tasks, namespace_of(call), request->id, request->exec_id, start_done, call);
}

static void handle_state(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__StateRequest *request = (const Containerd__Task__V3__StateRequest *)message;
    Containerd__Task__V3__StateResponse response;
    Google__Protobuf__Timestamp time;
    struct task_view view;
    struct error *error =
        task_state(service_of(context)->tasks, namespace_of(call), request->id, request->exec_id, &view);
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    state_response(&view, &response, &time);
    rpc_call_reply(call, &response.base);
    task_view_free(&view);
}

static void handle_exec(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__ExecProcessRequest *request = (const Containerd__Task__V3__ExecProcessRequest *)message;
    const struct task_exec exec = {
        .containerd_namespace = namespace_of(call),
        .id = request->id,
        .exec_id = request->exec_id,
        .stdin_path = request->stdin,
        .stdout_path = request->stdout,
        .stderr_path = request->stderr,
        .terminal = request->terminal,
        .spec = request->spec ? (const char *)request->spec->value.data : "",
        .spec_size = request->spec ? request->spec->value.len : 0,
    };
    task_exec(service_of(context)->tasks, &exec, reply_empty, call);
}

static void handle_kill(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__KillRequest *request = (const Containerd__Task__V3__KillRequest *)message;
    task_kill(service_of(context)->tasks, namespace_of(call), request->id, request->exec_id, request->signal,
              request->all, reply_empty, call);
}

static void delete_done(void *context, struct error *error, const struct task_view *view)
{
    struct rpc_call *call = context;
    Containerd__Task__V3__DeleteResponse response = CONTAINERD__TASK__V3__DELETE_RESPONSE__INIT;
    Google__Protobuf__Timestamp time;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    response.pid = view->pid;
    response.exit_status = view->exit_status;
    response.exited_at = service_time(view->exited_ns, &time);
    rpc_call_reply(call, &response.base);
}

static void handle_delete(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__DeleteRequest *request = (const Containerd__Task__V3__DeleteRequest *)message;
    char *client = service_client(call);
    task_delete(service_of(context)->tasks, namespace_of(call), request->id, request->exec_id, false, client,
                delete_done, call);
    free(client);
}

/* A Wait is ended by whoever comes first: the exit (wait_done), or the client's going away together with a ticket that could
 * still be taken back. */
struct wait {
    _Atomic unsigned references; /* handler, completion, `gone` */
    _Atomic uint64_t ticket;     /* 0: not known yet */
    struct tasks *tasks;
    struct rpc_call *call;
};
#define TICKET_GONE UINT64_MAX

static void wait_release(struct wait *wait)
{
    if (atomic_fetch_sub(&wait->references, 1) == 1)
        free(wait);
}

static void wait_done(void *context, struct error *error, const struct task_view *view)
{
    struct wait *wait = context;
    Containerd__Task__V3__WaitResponse response = CONTAINERD__TASK__V3__WAIT_RESPONSE__INIT;
    Google__Protobuf__Timestamp time;
    if (rpc_call_off_gone(wait->call))
        wait_release(wait);
    if (error)
        rpc_call_fail(wait->call, error);
    else {
        response.exit_status = view->exit_status;
        response.exited_at = service_time(view->exited_ns, &time);
        rpc_call_reply(wait->call, &response.base);
    }
    wait_release(wait);
}

static void wait_cancel(struct wait *wait, uint64_t ticket)
{
    if (!task_wait_cancel(wait->tasks, ticket))
        return;
    rpc_call_fail(wait->call, error_make(ERROR_KIND_CANCELLED, "wait", NULL, "the client has gone away"));
    wait_release(wait); /* the completion's */
}

static void wait_gone(void *context)
{
    struct wait *wait = context;
    uint64_t ticket = atomic_exchange(&wait->ticket, TICKET_GONE);
    if (ticket)
        wait_cancel(wait, ticket);
    wait_release(wait);
}

static void handle_wait(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__WaitRequest *request = (const Containerd__Task__V3__WaitRequest *)message;
    struct tasks *tasks = service_of(context)->tasks;
    struct wait *wait = mem_new(struct wait);
    uint64_t ticket, none = 0;
    char *containerd_namespace = str_copy(namespace_of(call)), *id = str_copy(request->id),
         *exec_id = str_copy(request->exec_id);

    atomic_init(&wait->references, 3);
    wait->tasks = tasks;
    wait->call = call;
    rpc_call_on_gone(call, wait_gone, wait);
    /* From here on the call may end, and with it the request, at any time. */
    task_wait(tasks, containerd_namespace, id, exec_id, wait_done, wait, &ticket);
    if (ticket && !atomic_compare_exchange_strong(&wait->ticket, &none, ticket))
        wait_cancel(wait, ticket);
    wait_release(wait);
    free(containerd_namespace);
    free(id);
    free(exec_id);
}

static void handle_connect(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__ConnectRequest *request = (const Containerd__Task__V3__ConnectRequest *)message;
    Containerd__Task__V3__ConnectResponse response = CONTAINERD__TASK__V3__CONNECT_RESPONSE__INIT;
    struct task_view view;
    struct error *error = task_state(service_of(context)->tasks, namespace_of(call), request->id, NULL, &view);
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    response.shim_pid = GetCurrentProcessId();
    response.task_pid = view.pid ? view.pid : response.shim_pid; /* clients skip kill for pid 0 */
    rpc_call_reply(call, &response.base);
    task_view_free(&view);
}

static void pids_done(void *context, struct error *error, const struct task_process_view *processes, size_t count)
{
    struct rpc_call *call = context;
    Containerd__Task__V3__PidsResponse response = CONTAINERD__TASK__V3__PIDS_RESPONSE__INIT;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    struct row {
        Containerd__V1__Types__ProcessInfo info;
        Google__Protobuf__Any details;
    } *rows = mem_new_array(count, struct row);
    response.processes = mem_new_array(count, Containerd__V1__Types__ProcessInfo *);
    response.n_processes = count;
    for (size_t i = 0; i < count; i++) {
        containerd__v1__types__process_info__init(&rows[i].info);
        rows[i].info.pid = processes[i].pid;
        payload_process(&processes[i], &rows[i].details);
        rows[i].info.info = &rows[i].details;
        response.processes[i] = &rows[i].info;
    }
    rpc_call_reply(call, &response.base);
    for (size_t i = 0; i < count; i++)
        any_free(&rows[i].details);
    free(response.processes);
    free(rows);
}

static void handle_pids(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__PidsRequest *request = (const Containerd__Task__V3__PidsRequest *)message;
    task_processes(service_of(context)->tasks, namespace_of(call), request->id, GetCurrentProcessId(), pids_done, call);
}

static void handle_pause(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__PauseRequest *request = (const Containerd__Task__V3__PauseRequest *)message;
    task_pause(service_of(context)->tasks, namespace_of(call), request->id, reply_empty, call);
}

static void handle_resume(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__ResumeRequest *request = (const Containerd__Task__V3__ResumeRequest *)message;
    task_resume(service_of(context)->tasks, namespace_of(call), request->id, reply_empty, call);
}

static void handle_checkpoint(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__CheckpointTaskRequest *request =
        (const Containerd__Task__V3__CheckpointTaskRequest *)message;
    struct task_view view;
    struct error *error = task_state(service_of(context)->tasks, namespace_of(call), request->id, NULL, &view);
    if (!error) {
        task_view_free(&view);
        error =
            error_make(ERROR_KIND_UNIMPLEMENTED, "checkpoint", request->id,
                       "Windows has no checkpoints of containers: the Host Compute Service saves a VM as a template "
                       "only, and nothing could restore a container from it");
    }
    rpc_call_fail(call, error);
}

static void handle_resize(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__ResizePtyRequest *request = (const Containerd__Task__V3__ResizePtyRequest *)message;
    task_resize(service_of(context)->tasks, namespace_of(call), request->id, request->exec_id, request->width,
                request->height, reply_empty, call);
}

/* The flag `stdin` is not looked at: there is nothing else that could be closed, and containerd always sets it. */
static void handle_close_io(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__CloseIORequest *request = (const Containerd__Task__V3__CloseIORequest *)message;
    task_close_stdin(service_of(context)->tasks, namespace_of(call), request->id, request->exec_id, reply_empty, call);
}

static void handle_update(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__UpdateTaskRequest *request = (const Containerd__Task__V3__UpdateTaskRequest *)message;
    const Google__Protobuf__Any *resources = request->resources;
    task_update(service_of(context)->tasks, namespace_of(call), request->id, resources ? resources->type_url : "",
                resources ? (const char *)resources->value.data : "", resources ? resources->value.len : 0, reply_empty,
                call);
}

static void stats_done(void *context, struct error *error, const struct task_statistics *statistics)
{
    struct rpc_call *call = context;
    Containerd__Task__V3__StatsResponse response = CONTAINERD__TASK__V3__STATS_RESPONSE__INIT;
    Google__Protobuf__Any any;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    payload_statistics(statistics, &any);
    response.stats = &any;
    rpc_call_reply(call, &response.base);
    any_free(&any);
}

static void handle_stats(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Containerd__Task__V3__StatsRequest *request = (const Containerd__Task__V3__StatsRequest *)message;
    task_statistics(service_of(context)->tasks, namespace_of(call), request->id, stats_done, call);
}

/* containerd sends it after every deletion; hcsd outlives its tasks, so there is nothing to end. */
static void handle_shutdown(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)message, (void)context;
    rpc_call_reply(call, &empty.base);
}

#define UNARY(method, request, response, handler)                                                                      \
    METHOD(method, containerd__task__v3__##request, containerd__task__v3__##response, RPC_UNARY, handler)
#define UNARY_EMPTY(method, request, handler)                                                                          \
    METHOD(method, containerd__task__v3__##request, google__protobuf__empty, RPC_UNARY, handler)

static const struct rpc_method methods[] = {
    UNARY("State", state_request, state_response, handle_state),
    UNARY("Create", create_task_request, create_task_response, handle_create),
    UNARY("Start", start_request, start_response, handle_start),
    UNARY("Delete", delete_request, delete_response, handle_delete),
    UNARY("Pids", pids_request, pids_response, handle_pids),
    UNARY_EMPTY("Pause", pause_request, handle_pause),
    UNARY_EMPTY("Resume", resume_request, handle_resume),
    UNARY_EMPTY("Checkpoint", checkpoint_task_request, handle_checkpoint),
    UNARY_EMPTY("Kill", kill_request, handle_kill),
    UNARY_EMPTY("Exec", exec_process_request, handle_exec),
    UNARY_EMPTY("ResizePty", resize_pty_request, handle_resize),
    UNARY_EMPTY("CloseIO", close_iorequest, handle_close_io),
    UNARY_EMPTY("Update", update_task_request, handle_update),
    UNARY("Wait", wait_request, wait_response, handle_wait),
    UNARY("Stats", stats_request, stats_response, handle_stats),
    UNARY("Connect", connect_request, connect_response, handle_connect),
    UNARY_EMPTY("Shutdown", shutdown_request, handle_shutdown),
};

const struct rpc_service *task_service_open(struct tasks *tasks)
{
    struct service *service = service_new(sizeof *service, "containerd.task.v3.Task", "containerd.task.v2.Task",
                                          methods, sizeof methods / sizeof *methods);
    service->tasks = tasks;
    return &service->table;
}
