/* The verbs of `hcsctl task` that look into a container and change it while it runs. */
#include "cli/output.h"
#include "cli/task.h"

#include <string.h>

#include "base/memory.h"

#include "containerd/runhcs/stats/v1/stats.pb-c.h"
#include "containerd/runhcs/v1/runhcs.pb-c.h"

#define RESOURCES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources"

typedef Containerd__Runhcs__V1__ProcessDetails process_details;
typedef Containerd__Runhcs__Stats__V1__Statistics statistics_message;

/* A call with an empty answer; then `{"id":…}` with --json, and nothing else. */
static struct error *simple_call(struct cli *cli, const char *method, const void *request, unsigned timeout_ms)
{
    void *response = NULL;
    struct error *error = cli_call(cli, method, request, &google__protobuf__empty__descriptor, timeout_ms, &response);
    cli_free(response);
    if (error != NULL || !cli->json)
        return error;
    return output_json(json_pack("{s:s}", "id", cli->arguments.operands[0]));
}

static struct error *task_pause(struct cli *cli)
{
    Containerd__Task__V3__PauseRequest request = CONTAINERD__TASK__V3__PAUSE_REQUEST__INIT;
    request.id = borrowed(cli->arguments.operands[0]);
    return simple_call(cli, "/containerd.task.v3.Task/Pause", &request, CLIENT_NO_LIMIT);
}

static struct error *task_resume(struct cli *cli)
{
    Containerd__Task__V3__ResumeRequest request = CONTAINERD__TASK__V3__RESUME_REQUEST__INIT;
    request.id = borrowed(cli->arguments.operands[0]);
    return simple_call(cli, "/containerd.task.v3.Task/Resume", &request, CLIENT_NO_LIMIT);
}

static struct error *read_size(const char *text, uint32_t *ret_size)
{
    char *end = NULL;
    unsigned long size = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || size > UINT16_MAX)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", text,
                          "columns and rows are whole numbers up to %u", UINT16_MAX);
    *ret_size = (uint32_t)size;
    return NULL;
}

static struct error *task_resize(struct cli *cli)
{
    Containerd__Task__V3__ResizePtyRequest request = CONTAINERD__TASK__V3__RESIZE_PTY_REQUEST__INIT;
    request.id = borrowed(cli->arguments.operands[0]);
    request.exec_id = borrowed(task_exec_id(cli));
    struct error *error = read_size(cli->arguments.operands[1], &request.width);
    if (error == NULL)
        error = read_size(cli->arguments.operands[2], &request.height);
    if (error == NULL)
        error = simple_call(cli, "/containerd.task.v3.Task/ResizePty", &request, CLI_LOOK_MS);
    return error;
}

static struct error *task_close_stdin(struct cli *cli)
{
    Containerd__Task__V3__CloseIORequest request = CONTAINERD__TASK__V3__CLOSE_IOREQUEST__INIT;
    request.id = borrowed(cli->arguments.operands[0]);
    request.exec_id = borrowed(task_exec_id(cli));
    request.stdin = true;
    return simple_call(cli, "/containerd.task.v3.Task/CloseIO", &request, CLI_LOOK_MS);
}

static struct error *task_update(struct cli *cli)
{
    Containerd__Task__V3__UpdateTaskRequest request = CONTAINERD__TASK__V3__UPDATE_TASK_REQUEST__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    static const struct {
        const char *option, *group, *member;
    } rows[] = {{"--memory", "memory", "limit"},
                {"--cpu-count", "cpu", "count"},
                {"--cpu-shares", "cpu", "shares"},
                {"--cpu-maximum", "cpu", "maximum"}};
    json_t *resources = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t value = arguments_number(&cli->arguments, rows[i].option, 0);
        if (value == 0)
            continue;
        json_t *group = json_object_get(resources, rows[i].group);
        if (group == NULL) {
            group = json_object();
            json_object_set_new(resources, rows[i].group, group);
        }
        json_object_set_new(group, rows[i].member, json_integer(value));
    }
    if (json_object_size(resources) == 0) {
        json_decref(resources);
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", cli->arguments.operands[0],
                          "what to change? give --memory, --cpu-count, --cpu-shares or --cpu-maximum");
    }
    char *text = json_dumps(resources, JSON_COMPACT);
    json_decref(resources);
    request.id = borrowed(cli->arguments.operands[0]);
    request.resources = &any;
    any.type_url = borrowed(RESOURCES_TYPE);
    any.value.data = (uint8_t *)text;
    any.value.len = strlen(text);
    struct error *error = simple_call(cli, "/containerd.task.v3.Task/Update", &request, CLIENT_NO_LIMIT);
    free(text);
    return error;
}

/* ---- ps ---- */

static process_details *details_of(const Containerd__V1__Types__ProcessInfo *info)
{
    const Google__Protobuf__Any *any = info->info;
    if (any == NULL || strcmp(any->type_url, containerd__runhcs__v1__process_details__descriptor.name) != 0)
        return NULL;
    return containerd__runhcs__v1__process_details__unpack(NULL, any->value.len, any->value.data);
}

static json_t *process_json(uint32_t pid, const process_details *details)
{
    json_t *json = json_pack("{s:I}", "pid", (json_int_t)pid);
    if (details == NULL)
        return json;
    json_object_update_new(json, json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "exec_id", details->exec_id,
                                           "image", details->image_name, "created_at", format_time(details->created_at),
                                           "user_ns", (json_int_t)(details->user_time_100_ns * 100), "kernel_ns",
                                           (json_int_t)(details->kernel_time_100_ns * 100), "commit_bytes",
                                           (json_int_t)details->memory_commit_bytes, "private_bytes",
                                           (json_int_t)details->memory_working_set_private_bytes, "shared_bytes",
                                           (json_int_t)details->memory_working_set_shared_bytes));
    return json;
}

static struct error *task_ps(struct cli *cli)
{
    static const char *const head[] = {"PID", "EXEC", "CPU", "COMMIT", "IMAGE"};
    const char *id = cli->arguments.operands[0];
    Containerd__Task__V3__PidsRequest request = CONTAINERD__TASK__V3__PIDS_REQUEST__INIT;
    Containerd__Task__V3__PidsResponse *response = NULL;
    request.id = borrowed(id);
    struct error *error = cli_call(cli, "/containerd.task.v3.Task/Pids", &request,
                                   &containerd__task__v3__pids_response__descriptor, CLI_LOOK_MS, &response);
    if (error != NULL)
        return error;
    json_t *json = json_array();
    struct table table = {.columns = sizeof head / sizeof head[0]};
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, head[i]);
    for (size_t i = 0; i < response->n_processes; i++) {
        process_details *details = details_of(response->processes[i]);
        uint64_t ticks = details == NULL ? 0 : details->user_time_100_ns + details->kernel_time_100_ns;
        json_array_append_new(json, process_json(response->processes[i]->pid, details));
        char *pid = str_format("%u", response->processes[i]->pid);
        char *seconds = details == NULL ? str_copy("-") : str_format("%.1f s", (double)ticks / 10000000);
        char *commit = details == NULL ? str_copy("-") : format_bytes(details->memory_commit_bytes);
        table_add(&table, pid);
        table_add(&table, details == NULL || *details->exec_id == 0 ? "-" : details->exec_id);
        table_add(&table, seconds);
        table_add(&table, commit);
        table_add(&table, details == NULL ? "-" : details->image_name);
        free(commit);
        free(seconds);
        free(pid);
        cli_free(details);
    }
    error = cli->json ? output_json(json_pack("{s:s, s:O}", "id", id, "processes", json)) : output_table(&table);
    json_decref(json);
    table_free(&table);
    cli_free(response);
    return error;
}

/* ---- stats ---- */

struct figures {
    const char *kind;
    const void *timestamp, *started;
    uint64_t uptime_ns, total_ns, user_ns, kernel_ns, commit, commit_peak, private_bytes;
    uint64_t read_count, read_bytes, write_count, write_bytes;
};

static bool read_windows(const statistics_message *message, struct figures *figures)
{
    const Containerd__Runhcs__Stats__V1__WindowsContainerStatistics *windows = message->windows;
    if (message->container_case != CONTAINERD__RUNHCS__STATS__V1__STATISTICS__CONTAINER_WINDOWS ||
        windows->processor == NULL || windows->memory == NULL || windows->storage == NULL)
        return false;
    *figures = (struct figures){
        .kind = "windows",
        .timestamp = windows->timestamp,
        .started = windows->container_start_time,
        .uptime_ns = windows->uptime_ns,
        .total_ns = windows->processor->total_runtime_ns,
        .user_ns = windows->processor->runtime_user_ns,
        .kernel_ns = windows->processor->runtime_kernel_ns,
        .commit = windows->memory->memory_usage_commit_bytes,
        .commit_peak = windows->memory->memory_usage_commit_peak_bytes,
        .private_bytes = windows->memory->memory_usage_private_working_set_bytes,
        .read_count = windows->storage->read_count_normalized,
        .read_bytes = windows->storage->read_size_bytes,
        .write_count = windows->storage->write_count_normalized,
        .write_bytes = windows->storage->write_size_bytes,
    };
    return true;
}

static bool read_linux(const statistics_message *message, struct figures *figures)
{
    const Io__Containerd__Cgroups__V1__Metrics *metrics = message->linux_container;
    if (message->container_case != CONTAINERD__RUNHCS__STATS__V1__STATISTICS__CONTAINER_LINUX_CONTAINER ||
        metrics->cpu == NULL || metrics->cpu->usage == NULL || metrics->memory == NULL ||
        metrics->memory->usage == NULL)
        return false;
    *figures = (struct figures){
        .kind = "linux",
        .total_ns = metrics->cpu->usage->total,
        .user_ns = metrics->cpu->usage->user,
        .kernel_ns = metrics->cpu->usage->kernel,
        .commit = metrics->memory->usage->usage,
        .commit_peak = metrics->memory->usage->max,
        .private_bytes = metrics->memory->rss,
    };
    return true;
}

static json_t *figures_json(const char *id, const struct figures *figures)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I, s:I}}", "id",
                     id, "kind", figures->kind, "timestamp", format_time(figures->timestamp), "started_at",
                     format_time(figures->started), "uptime_ns", (json_int_t)figures->uptime_ns, "processor",
                     "total_ns", (json_int_t)figures->total_ns, "user_ns", (json_int_t)figures->user_ns, "kernel_ns",
                     (json_int_t)figures->kernel_ns, "memory", "commit_bytes", (json_int_t)figures->commit,
                     "commit_peak_bytes", (json_int_t)figures->commit_peak, "private_bytes",
                     (json_int_t)figures->private_bytes, "storage", "read_count", (json_int_t)figures->read_count,
                     "read_bytes", (json_int_t)figures->read_bytes, "write_count", (json_int_t)figures->write_count,
                     "write_bytes", (json_int_t)figures->write_bytes);
}

static struct error *output_figures(const struct figures *figures)
{
    char *commit = format_bytes(figures->commit), *peak = format_bytes(figures->commit_peak),
         *private_bytes = format_bytes(figures->private_bytes), *read = format_bytes(figures->read_bytes),
         *written = format_bytes(figures->write_bytes);
    struct error *error =
        output_text("up         %.1f s\nprocessor  %.1f s (user %.1f s, kernel %.1f s)\nmemory     %s (peak %s, "
                    "private %s)\nstorage    %s read, %s written\n",
                    (double)figures->uptime_ns / 1e9, (double)figures->total_ns / 1e9, (double)figures->user_ns / 1e9,
                    (double)figures->kernel_ns / 1e9, commit, peak, private_bytes, read, written);
    free(commit);
    free(peak);
    free(private_bytes);
    free(read);
    free(written);
    return error;
}

static struct error *task_stats(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    Containerd__Task__V3__StatsRequest request = CONTAINERD__TASK__V3__STATS_REQUEST__INIT;
    Containerd__Task__V3__StatsResponse *response = NULL;
    statistics_message *message = NULL;
    struct figures figures;
    request.id = borrowed(id);
    struct error *error = cli_call(cli, "/containerd.task.v3.Task/Stats", &request,
                                   &containerd__task__v3__stats_response__descriptor, CLI_LOOK_MS, &response);
    if (error != NULL)
        return error;
    const Google__Protobuf__Any *any = response->stats;
    if (any != NULL && strcmp(any->type_url, containerd__runhcs__stats__v1__statistics__descriptor.name) == 0)
        message = containerd__runhcs__stats__v1__statistics__unpack(NULL, any->value.len, any->value.data);
    if (message == NULL || (!read_windows(message, &figures) && !read_linux(message, &figures)))
        error = error_make(ERROR_KIND_INTERNAL, "read statistics", id, "hcsd sent statistics of an unknown type");
    else
        error = cli->json ? output_json(figures_json(id, &figures)) : output_figures(&figures);
    cli_free(message);
    cli_free(response);
    return error;
}

const struct command task_control_commands[] = {
    {
        .noun = "task",
        .verb = "exec",
        .operands = "ID EXECID -- COMMAND…",
        .operand_count = 2,
        .takes_more = true,
        .summary = "Run a further process in a container",
        .details =
            "Shows its output and says at the end what it exited with. Ctrl-C kills it; a second one leaves it alone.",
        .example = "hcsctl task exec web look -- cmd /c dir C:\\\nhcsctl task exec -i -t web shell -- powershell",
        .options = {{"--interactive", "-i", OPTION_FLAG, NULL, "give it hcsctl's input", false, 0, 0, NULL},
                    {"--tty", "-t", OPTION_FLAG, NULL, "on a terminal", false, 0, 0, NULL},
                    {"--detach", "-d", OPTION_FLAG, NULL, "start it and go", false, 0, 0, NULL},
                    {"--cwd", NULL, OPTION_TEXT, "DIR", "working directory [the container's]", false, 0, 0, NULL},
                    {"--user", "-u", OPTION_TEXT, "NAME", "user in the container", false, 0, 0, NULL},
                    {"--env", "-e", OPTION_LIST, "NAME=VALUE", "environment; may be given again", false, 0, 0, NULL}},
        .run = task_exec,
    },
    {
        .noun = "task",
        .verb = "ps",
        .operands = "ID",
        .operand_count = 1,
        .summary = "List a container's processes",
        .details = "",
        .example = "hcsctl task ps web",
        .run = task_ps,
    },
    {
        .noun = "task",
        .verb = "stats",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Show what a container uses",
        .details = "",
        .example = "hcsctl task stats web",
        .run = task_stats,
    },
    {
        .noun = "task",
        .verb = "pause",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Pause a container",
        .details = "Only one that is isolated in a VM can be paused.",
        .example = "hcsctl task pause web",
        .run = task_pause,
    },
    {
        .noun = "task",
        .verb = "resume",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Let a paused container go on",
        .details = "",
        .example = "hcsctl task resume web",
        .run = task_resume,
    },
    {
        .noun = "task",
        .verb = "update",
        .operands = "ID",
        .operand_count = 1,
        .summary = "Change a container's limits",
        .details = "Only one of the --cpu options can be given.",
        .example = "hcsctl task update --memory 1073741824 web",
        .options = {{"--memory", NULL, OPTION_NUMBER, "BYTES", "most memory", false, 1, INT64_MAX, NULL},
                    {"--cpu-count", NULL, OPTION_NUMBER, "N", "processors", false, 1, INT32_MAX, NULL},
                    {"--cpu-shares", NULL, OPTION_NUMBER, "N", "weight, 1 to 10000", false, 1, 10000, NULL},
                    {"--cpu-maximum", NULL, OPTION_NUMBER, "N", "percent times 100, 1 to 10000", false, 1, 10000,
                     NULL}},
        .run = task_update,
    },
    {
        .noun = "task",
        .verb = "resize",
        .operands = "ID COLUMNS ROWS",
        .operand_count = 3,
        .summary = "Set the size of a terminal",
        .details = "",
        .example = "hcsctl task resize web 120 40",
        .options = {TASK_EXEC_OPTION},
        .run = task_resize,
    },
    {
        .noun = "task",
        .verb = "close-stdin",
        .operands = "ID",
        .operand_count = 1,
        .summary = "End a process's input",
        .details = "",
        .example = "hcsctl task close-stdin web",
        .options = {TASK_EXEC_OPTION},
        .run = task_close_stdin,
    },
    {0},
};
