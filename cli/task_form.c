#include "cli/output.h"
#include "cli/task.h"

const char *task_status_name(Containerd__V1__Types__Status status)
{
    static const char *const names[] = {"unknown", "created", "running", "stopped", "paused", "running"};
    return (unsigned)status < sizeof names / sizeof names[0] ? names[status] : names[0];
}

json_t *task_json(const char *containerd_namespace, const Containerd__Task__V3__StateResponse *state)
{
    bool stopped = state->status == CONTAINERD__V1__TYPES__STATUS__STOPPED;
    json_t *json = json_pack("{s:s, s:s, s:I, s:s, s:o, s:o}", "id", state->id, "namespace", containerd_namespace,
                             "pid", (json_int_t)state->pid, "status", task_status_name(state->status), "exit_status",
                             stopped ? json_integer(state->exit_status) : json_null(), "exited_at",
                             stopped ? format_time(state->exited_at) : json_null());
    if (state->exec_id != NULL && *state->exec_id != 0)
        json_object_set_new(json, "exec_id", json_string(state->exec_id));
    return json;
}
