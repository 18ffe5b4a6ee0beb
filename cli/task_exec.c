#include <windows.h>

#include "base/memory.h"
#include "base/win.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/stdio.h"
#include "cli/task.h"
#include "daemon/log/console.h"

#define OUTPUT_IDLE_MS 15000 /* as for `task run`: longer than hcsd's drain */

#define PROCESS_TYPE   "types.containerd.io/opencontainers/runtime-spec/1/Process"

struct run {
    const char *id, *exec_id;
    struct stdio *out, *error;
    struct input *in;
    uint32_t pid;
    bool detached, terminal;
};

/* The OCI process object. The working directory that is not given is the container's. */
static char *process_spec(const struct arguments *arguments, bool terminal)
{
    json_t *process = json_pack("{s:s, s:b, s:{s:s}}", "cwd", arguments_text(arguments, "--cwd", ""), "terminal",
                                terminal, "user", "username", arguments_text(arguments, "--user", ""));
    json_t *args = json_array(), *env = json_array();
    CONSOLE_SCREEN_BUFFER_INFO info;
    const char *item;
    for (size_t i = 0; i < arguments->more_count; i++)
        json_array_append_new(args, json_string(arguments->more[i]));
    for (size_t i = 0; (item = arguments_item(arguments, "--env", i)) != NULL; i++)
        json_array_append_new(env, json_string(item));
    json_object_set_new(process, "args", args);
    json_object_set_new(process, "env", env);
    if (terminal && GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info))
        json_object_set_new(process, "consoleSize",
                            json_pack("{s:i, s:i}", "width", info.srWindow.Right - info.srWindow.Left + 1, "height",
                                      info.srWindow.Bottom - info.srWindow.Top + 1));
    char *text = json_dumps(process, JSON_COMPACT);
    json_decref(process);
    return text;
}

static struct error *exec_call(struct cli *cli, const struct run *run)
{
    Containerd__Task__V3__ExecProcessRequest request = CONTAINERD__TASK__V3__EXEC_PROCESS_REQUEST__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    void *response = NULL;
    char *spec = process_spec(&cli->arguments, run->terminal);
    if (spec == NULL)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", run->exec_id,
                          "the command is no valid text");
    any.type_url = borrowed(PROCESS_TYPE);
    any.value.data = (uint8_t *)spec;
    any.value.len = strlen(spec);
    request.id = borrowed(run->id);
    request.exec_id = borrowed(run->exec_id);
    request.terminal = run->terminal;
    request.spec = &any;
    if (run->in != NULL)
        request.stdin = borrowed(input_path(run->in));
    if (run->out != NULL)
        request.stdout = borrowed(stdio_path(run->out));
    if (run->error != NULL)
        request.stderr = borrowed(stdio_path(run->error));
    struct error *error = cli_call(cli, "/containerd.task.v3.Task/Exec", &request, &google__protobuf__empty__descriptor,
                                   CLIENT_NO_LIMIT, &response);
    cli_free(response);
    free(spec);
    return error;
}

static struct error *open_stdio(struct cli *cli, struct run *run)
{
    char *name = str_format("%s-%s", run->id, run->exec_id);
    struct error *error = NULL;
    if (!run->detached)
        error = stdio_open(name, "stdout", GetStdHandle(STD_OUTPUT_HANDLE), &run->out);
    if (error == NULL && !run->detached && !run->terminal)
        error = stdio_open(name, "stderr", GetStdHandle(STD_ERROR_HANDLE), &run->error);
    if (error == NULL && arguments_flag(&cli->arguments, "--interactive"))
        error = input_open(name, GetStdHandle(STD_INPUT_HANDLE), &run->in);
    free(name);
    return error;
}

/* Keys go to the process as they are typed, and it echoes them itself. */
static DWORD raw_console(void)
{
    DWORD mode = 0;
    HANDLE console = GetStdHandle(STD_INPUT_HANDLE);
    if (GetConsoleMode(console, &mode))
        SetConsoleMode(console,
                       (mode & ~(DWORD)(ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT)) | ENABLE_VIRTUAL_TERMINAL_INPUT);
    return mode;
}

static struct error *report(const struct cli *cli, const struct run *run,
                            const Containerd__Task__V3__WaitResponse *exit)
{
    Containerd__Task__V3__StateResponse state = CONTAINERD__TASK__V3__STATE_RESPONSE__INIT;
    if (!cli->json) {
        output_note("%s exited with %u\n", run->exec_id, exit->exit_status);
        return NULL;
    }
    state.id = borrowed(run->id);
    state.exec_id = borrowed(run->exec_id);
    state.pid = run->pid;
    state.status = CONTAINERD__V1__TYPES__STATUS__STOPPED;
    state.exit_status = exit->exit_status;
    state.exited_at = exit->exited_at;
    return output_json(task_json(cli->containerd_namespace, &state));
}

static struct error *report_detached(const struct cli *cli, const struct run *run)
{
    if (!cli->json)
        return output_text("%s runs as process %u\n", run->exec_id, run->pid);
    return output_json(
        json_pack("{s:s, s:s, s:I}", "id", run->id, "exec_id", run->exec_id, "pid", (json_int_t)run->pid));
}

struct error *task_exec(struct cli *cli)
{
    struct run run = {
        .id = cli->arguments.operands[0],
        .exec_id = cli->arguments.operands[1],
        .detached = arguments_flag(&cli->arguments, "--detach"),
        .terminal = arguments_flag(&cli->arguments, "--tty"),
    };
    Containerd__Task__V3__WaitResponse *exit = NULL;
    Containerd__Task__V3__DeleteResponse *deleted = NULL;
    bool made = false;
    if (run.detached && (run.terminal || arguments_flag(&cli->arguments, "--interactive")))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", "--detach",
                          "what is detached has neither input nor terminal");
    struct error *error = task_catch_interrupts(run.exec_id);
    if (error != NULL)
        return error;
    DWORD mode = run.terminal ? raw_console() : 0;
    error = open_stdio(cli, &run);
    if (error == NULL)
        error = exec_call(cli, &run);
    made = error == NULL;
    if (error == NULL)
        error = task_start_call(cli, run.id, run.exec_id, &run.pid);
    if (error == NULL && run.detached)
        error = report_detached(cli, &run);
    else if (error == NULL)
        error = task_wait_for_exit(cli, run.id, run.exec_id, &exit);
    input_close(run.in);
    stdio_close(run.out, exit != NULL ? OUTPUT_IDLE_MS : 0);
    stdio_close(run.error, exit != NULL ? OUTPUT_IDLE_MS : 0);
    if (mode != 0)
        SetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), mode);
    if (exit != NULL)
        error_keep_first(&error, report(cli, &run, exit));
    if (made && (exit != NULL || run.pid == 0))
        error_keep_first(&error, task_delete_call(cli, run.id, run.exec_id, &deleted));
    task_free_interrupts();
    cli_free(deleted);
    cli_free(exit);
    return error;
}
