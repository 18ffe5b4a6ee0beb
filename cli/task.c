#include "cli/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/output.h"
#include "cli/signal.h"

#include "hcsd/v1/tasks.pb-c.h"

/* ---- calls ---- */

char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* The request of create and of its dry run. *ret_bundle is the caller's to free. */
static struct error *create_request(struct cli *cli, const char *id,
                                    Containerd__Task__V3__CreateTaskRequest *ret_request, char **ret_bundle)
{
    struct error *error = file_absolute(arguments_text(&cli->arguments, "--bundle", ""), ret_bundle);
    if (error == NULL) {
        *ret_request = (Containerd__Task__V3__CreateTaskRequest)CONTAINERD__TASK__V3__CREATE_TASK_REQUEST__INIT;
        ret_request->id = borrowed(id);
        ret_request->bundle = *ret_bundle;
    }
    return error;
}

struct error *task_create_call(struct cli *cli, const char *id, const char *stdout_path, const char *stderr_path,
                               uint32_t *ret_pid)
{
    Containerd__Task__V3__CreateTaskRequest request;
    Containerd__Task__V3__CreateTaskResponse *response = NULL;
    char *bundle = NULL;
    struct error *error = create_request(cli, id, &request, &bundle);
    if (error == NULL) {
        request.stdout = borrowed(stdout_path);
        request.stderr = borrowed(stderr_path);
        error = cli_call(cli, "/containerd.task.v3.Task/Create", &request,
                         &containerd__task__v3__create_task_response__descriptor, CLIENT_NO_LIMIT, &response);
    }
    if (error == NULL)
        *ret_pid = response->pid;
    cli_free(response);
    free(bundle);
    return error;
}

struct error *task_start_call(struct cli *cli, const char *id, const char *exec_id, uint32_t *ret_pid)
{
    Containerd__Task__V3__StartRequest request = CONTAINERD__TASK__V3__START_REQUEST__INIT;
    Containerd__Task__V3__StartResponse *response = NULL;
    request.id = borrowed(id);
    request.exec_id = borrowed(exec_id);
    struct error *error = cli_call(cli, "/containerd.task.v3.Task/Start", &request,
                                   &containerd__task__v3__start_response__descriptor, CLIENT_NO_LIMIT, &response);
    if (error == NULL)
        *ret_pid = response->pid;
    cli_free(response);
    return error;
}

struct error *task_kill_call(struct client *client, const char *id, const char *exec_id, uint32_t signal, bool all)
{
    Containerd__Task__V3__KillRequest request = CONTAINERD__TASK__V3__KILL_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.id = borrowed(id);
    request.exec_id = borrowed(exec_id);
    request.signal = signal;
    request.all = all;
    struct error *error = client_call(client, "/containerd.task.v3.Task/Kill", &request.base,
                                      &google__protobuf__empty__descriptor, CLIENT_NO_LIMIT, &response);
    cli_free(response);
    return error;
}

struct error *task_wait_call(struct client *client, const char *id, const char *exec_id,
                             Containerd__Task__V3__WaitResponse **ret_exit)
{
    Containerd__Task__V3__WaitRequest request = CONTAINERD__TASK__V3__WAIT_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.id = borrowed(id);
    request.exec_id = borrowed(exec_id);
    struct error *error = client_call(client, "/containerd.task.v3.Task/Wait", &request.base,
                                      &containerd__task__v3__wait_response__descriptor, CLIENT_NO_LIMIT, &response);
    if (error == NULL)
        *ret_exit = (Containerd__Task__V3__WaitResponse *)response;
    return error;
}

struct error *task_delete_call(struct cli *cli, const char *id, const char *exec_id,
                               Containerd__Task__V3__DeleteResponse **ret_response)
{
    Containerd__Task__V3__DeleteRequest request = CONTAINERD__TASK__V3__DELETE_REQUEST__INIT;
    request.id = borrowed(id);
    request.exec_id = borrowed(exec_id);
    return cli_call(cli, "/containerd.task.v3.Task/Delete", &request,
                    &containerd__task__v3__delete_response__descriptor, CLIENT_NO_LIMIT, ret_response);
}

static struct error *state_call(struct cli *cli, const char *id, const char *exec_id,
                                Containerd__Task__V3__StateResponse **ret_state)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    request.id = borrowed(id);
    request.exec_id = borrowed(exec_id);
    return cli_call(cli, "/containerd.task.v3.Task/State", &request, &containerd__task__v3__state_response__descriptor,
                    CLI_LOOK_MS, ret_state);
}

const char *task_exec_id(const struct cli *cli)
{
    return arguments_text(&cli->arguments, "--exec", "");
}

/* ---- verbs ---- */

static struct error *task_render(struct cli *cli, const char *id)
{
    Containerd__Task__V3__CreateTaskRequest create;
    Hcsd__V1__RenderCreateRequest request = HCSD__V1__RENDER_CREATE_REQUEST__INIT;
    Hcsd__V1__RenderCreateResponse *response = NULL;
    char *bundle = NULL;
    json_t *document = NULL;
    struct error *error = create_request(cli, id, &create, &bundle);
    if (error == NULL) {
        request.create = &create;
        request.os_build = (uint32_t)arguments_number(&cli->arguments, "--os-build", 0);
        error = cli_call(cli, "/hcsd.v1.Tasks/RenderCreate", &request, &hcsd__v1__render_create_response__descriptor,
                         CLI_LOOK_MS, &response);
    }
    if (error != NULL)
        goto out;
    document = json_loads(response->document, 0, NULL);
    if (cli->json) {
        json_t *warnings = json_array();
        for (size_t i = 0; i < response->n_warnings; i++)
            json_array_append_new(warnings, json_string(response->warnings[i]));
        error = output_json(json_pack("{s:O?, s:o}", "document", document, "warnings", warnings));
        goto out;
    }
    for (size_t i = 0; i < response->n_warnings; i++)
        output_note("hcsctl: warning: %s\n", response->warnings[i]);
    char *text = document == NULL ? str_copy(response->document) : json_dumps(document, JSON_INDENT(2));
    error = output_text("%s\n", text);
    free(text);
out:
    json_decref(document);
    cli_free(response);
    free(bundle);
    return error;
}

static struct error *task_create(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    uint32_t pid = 0;
    if (arguments_flag(&cli->arguments, "--dry-run"))
        return task_render(cli, id);
    struct error *error = task_create_call(cli, id, "", "", &pid);
    if (error != NULL)
        return error;
    return cli->json ? output_json(json_pack("{s:s, s:I}", "id", id, "pid", (json_int_t)pid)) : output_text("%s\n", id);
}

static struct error *task_start(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    uint32_t pid = 0;
    struct error *error = task_start_call(cli, id, task_exec_id(cli), &pid);
    if (error != NULL)
        return error;
    return cli->json ? output_json(json_pack("{s:s, s:I}", "id", id, "pid", (json_int_t)pid))
                     : output_text("%s runs as process %u\n", id, pid);
}

static struct error *task_kill(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    uint32_t signal = SIGNAL_TERM;
    struct error *error = signal_parse(arguments_text(&cli->arguments, "--signal", "TERM"), &signal);
    if (error == NULL)
        error = cli_dial(cli, &cli->client);
    if (error == NULL)
        error = task_kill_call(cli->client, id, task_exec_id(cli), signal, arguments_flag(&cli->arguments, "--all"));
    if (error != NULL || !cli->json)
        return error;
    return output_json(json_pack("{s:s, s:I}", "id", id, "signal", (json_int_t)signal));
}

static struct error *output_task(struct cli *cli, const Containerd__Task__V3__StateResponse *state)
{
    if (cli->json)
        return output_json(task_json(cli->containerd_namespace, state));
    const char *status = task_status_name(state->status);
    if (state->status == CONTAINERD__V1__TYPES__STATUS__STOPPED)
        return output_text("%s: %s, exited with %u\n", state->id, status, state->exit_status);
    return output_text("%s: %s, process %u\n", state->id, status, state->pid);
}

static struct error *task_state(struct cli *cli)
{
    Containerd__Task__V3__StateResponse *state = NULL;
    struct error *error = state_call(cli, cli->arguments.operands[0], task_exec_id(cli), &state);
    if (error == NULL)
        error = output_task(cli, state);
    cli_free(state);
    return error;
}

static struct error *task_wait(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    Containerd__Task__V3__WaitResponse *exit = NULL;
    Containerd__Task__V3__StateResponse *state = NULL;
    struct error *error = cli_dial(cli, &cli->client);
    if (error == NULL)
        error = task_wait_call(cli->client, id, task_exec_id(cli), &exit);
    if (error != NULL)
        return error;
    /* Wait tells no pid; somebody may have deleted the container by now. */
    error_free(state_call(cli, id, task_exec_id(cli), &state));
    Containerd__Task__V3__StateResponse ended = CONTAINERD__TASK__V3__STATE_RESPONSE__INIT;
    ended.id = borrowed(id);
    ended.exec_id = borrowed(task_exec_id(cli));
    ended.pid = state == NULL ? 0 : state->pid;
    ended.status = CONTAINERD__V1__TYPES__STATUS__STOPPED;
    ended.exit_status = exit->exit_status;
    ended.exited_at = exit->exited_at;
    error = output_task(cli, &ended);
    cli_free(state);
    cli_free(exit);
    return error;
}

static struct error *task_delete_by_force(struct cli *cli, const char *id)
{
    Hcsd__V1__ForceDeleteRequest request = HCSD__V1__FORCE_DELETE_REQUEST__INIT;
    Hcsd__V1__ForceDeleteResponse *response = NULL;
    request.id = borrowed(id);
    struct error *error = cli_call(cli, "/hcsd.v1.Tasks/ForceDelete", &request,
                                   &hcsd__v1__force_delete_response__descriptor, CLIENT_NO_LIMIT, &response);
    if (error != NULL)
        return error;
    if (cli->json)
        error = output_json(json_pack("{s:s, s:s}", "id", id, "left", response->left));
    else if (*response->left != 0)
        error = output_text("%s is deleted; hcsd goes on with what is left: %s\n", id, response->left);
    cli_free(response);
    return error;
}

static struct error *task_delete(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    Containerd__Task__V3__DeleteResponse *response = NULL;
    if (arguments_flag(&cli->arguments, "--force") && *task_exec_id(cli) != 0)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", "--force",
                          "an exec cannot be deleted by force; kill it first");
    if (arguments_flag(&cli->arguments, "--force"))
        return task_delete_by_force(cli, id);
    struct error *error = task_delete_call(cli, id, task_exec_id(cli), &response);
    if (error == NULL && cli->json)
        error =
            output_json(json_pack("{s:s, s:I, s:I, s:o}", "id", id, "pid", (json_int_t)response->pid, "exit_status",
                                  (json_int_t)response->exit_status, "exited_at", format_time(response->exited_at)));
    cli_free(response);
    return error;
}

static struct error *task_ls(struct cli *cli)
{
    Hcsd__V1__ListTasksRequest request = HCSD__V1__LIST_TASKS_REQUEST__INIT;
    Hcsd__V1__ListTasksResponse *response = NULL;
    struct error *error = cli_call(cli, "/hcsd.v1.Tasks/List", &request, &hcsd__v1__list_tasks_response__descriptor,
                                   CLI_LOOK_MS, &response);
    if (error != NULL)
        return error;
    bool quiet = arguments_flag(&cli->arguments, "--quiet");
    json_t *json = json_array();
    struct table table = {.columns = quiet ? 1 : 3};
    if (!quiet) {
        table_add(&table, "TASK");
        table_add(&table, "PID");
        table_add(&table, "STATUS");
    }
    for (size_t i = 0; i < response->n_tasks; i++) {
        const Containerd__Task__V3__StateResponse *task = response->tasks[i];
        json_array_append_new(json, task_json(cli->containerd_namespace, task));
        table_add(&table, task->id);
        if (quiet)
            continue;
        char *pid = str_format("%u", task->pid);
        table_add(&table, pid);
        free(pid);
        table_add(&table, task_status_name(task->status));
    }
    error = cli->json ? output_json(json_pack("{s:O}", "tasks", json)) : output_table(&table);
    json_decref(json);
    table_free(&table);
    cli_free(response);
    return error;
}

#define BUNDLE                                                                                                         \
    {                                                                                                                  \
        "--bundle", NULL, OPTION_TEXT, "DIR", "OCI bundle: a folder with config.json", true, 0, 0, NULL                \
    }

const struct command task_commands[] = {
    {
        .noun = "task",
        .verb = "create",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Make a container from an OCI bundle",
        .details = "Its layers are mounted; its process is started by `task start`. Nothing of its output is kept.",
        .example = "hcsctl task create --bundle C:\\bundles\\web web\n"
                   "hcsctl task create --bundle C:\\bundles\\web --dry-run --os-build 17763 web",
        .options = {BUNDLE,
                    {"--dry-run", NULL, OPTION_FLAG, NULL, "show the HCS document and make nothing", false, 0, 0, NULL},
                    {"--os-build", NULL, OPTION_NUMBER, "N", "with --dry-run: for another Windows build", false, 1,
                     99999, NULL}},
        .run = task_create,
    },
    {
        .noun = "task",
        .verb = "start",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Start a container's process",
        .details = "",
        .example = "hcsctl task start web",
        .options = {TASK_EXEC_OPTION},
        .run = task_start,
    },
    {
        .noun = "task",
        .verb = "run",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Create, start, show the output, wait, delete",
        .details = "Says at the end what the process exited with. Ctrl-C kills it; a second one leaves it alone.",
        .example = "hcsctl task run --bundle C:\\bundles\\web web",
        .options = {BUNDLE},
        .run = task_run,
    },
    {
        .noun = "task",
        .verb = "kill",
        .operands = "ID",
        .operand_count = 1,
        .summary = "End a container or an exec",
        .details = "TERM (15) asks it to shut down; KILL (9) ends it, and hcsd goes on until it has.",
        .example = "hcsctl task kill --signal KILL web",
        .options = {{"--signal", NULL, OPTION_TEXT, "SIGNAL", "a number or a name as TERM or KILL [TERM]", false, 0, 0,
                     NULL},
                    {"--all", "-a", OPTION_FLAG, NULL, "its execs too; a sandbox's whole pod", false, 0, 0, NULL},
                    TASK_EXEC_OPTION},
        .run = task_kill,
    },
    {
        .noun = "task",
        .verb = "wait",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Wait until a container has ended",
        .details = "",
        .example = "hcsctl task wait web",
        .options = {TASK_EXEC_OPTION},
        .run = task_wait,
    },
    {
        .noun = "task",
        .verb = "delete",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Take down a container that has ended or was never started",
        .details = "",
        .example = "hcsctl task delete web\nhcsctl task delete --force web",
        .options = {{"--force", "-f", OPTION_FLAG, NULL, "in any state; hcsd goes on with what will not end", false, 0,
                     0, NULL},
                    TASK_EXEC_OPTION},
        .run = task_delete,
    },
    {
        .noun = "task",
        .verb = "ls",
        .operands = "",
        .summary = "List the containers of the namespace",
        .details = "",
        .example = "hcsctl task ls\nhcsctl --namespace k8s.io task ls -q",
        .options = {{"--quiet", "-q", OPTION_FLAG, NULL, "ids only", false, 0, 0, NULL}},
        .run = task_ls,
    },
    {
        .noun = "task",
        .verb = "state",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Show a container's state",
        .details = "",
        .example = "hcsctl task state web",
        .options = {TASK_EXEC_OPTION},
        .run = task_state,
    },
    {0},
};
