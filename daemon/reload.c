#include "daemon/parts.h"

#include "base/buffer.h"
#include "base/event.h"
#include "daemon/config_file.h"
#include "daemon/folder.h"
#include "daemon/rpc/grpc_server.h"
#include "hcs/guard.h"
#include "relay/relays.h"
#include "uvm/machines.h"

struct jobs_options jobs_numbers(const struct config *config)
{
    return (struct jobs_options){
        .workers = config->export_workers,
        .queue = config->export_queue,
        .stall_seconds = config->watchdog_stall_seconds,
        .destroy_seconds = config->watchdog_destroy_seconds,
        .call_seconds = config->hcs_call_seconds,
    };
}

struct tasks_options tasks_numbers(const struct config *config)
{
    return (struct tasks_options){
        .call_seconds = config->hcs_call_seconds,
        .kill_answer_seconds = config->kill_answer_seconds,
        .drain_seconds = config->stdio_drain_seconds,
        .stall_seconds = config->watchdog_stall_seconds,
    };
}

/* "a: 1 -> 2; b: 3 -> 4", or "nothing". The caller frees it. */
static char *list_text(const struct config_list *list)
{
    struct buffer text = {0};
    buffer_add_text(&text, list->count == 0 ? "nothing" : "");
    for (size_t i = 0; i < list->count; i++)
        buffer_add_format(&text, "%s%s", i == 0 ? "" : "; ", list->items[i]);
    return (char *)text.data;
}

/* Who may use the pipe, the first of what a reload changes: a member that is not known makes the file a bad one. *ret_kept names
 * the key when this system does not let it be changed. */
static struct error *take_access(struct daemon *daemon, const struct config *config, const char **ret_kept)
{
    const struct config_list *members = &config->pipe_access;
    if (config_names_equal(members, &daemon->config->pipe_access))
        return NULL;
    struct error *error = rpc_server_set_access(daemon->server, (const char *const *)members->items, members->count);
    if (error == NULL || error->kind == ERROR_KIND_INVALID_ARGUMENT)
        return error;
    char *text = error_text(error);
    event_emit(EVENT_SERVICE_FALLBACK, "a change of pipe_access while the pipe is open", text);
    free(text);
    error_free(error);
    *ret_kept = "pipe_access";
    return NULL;
}

void daemon_reload(struct daemon *daemon)
{
    struct config *config = NULL;
    const char *kept = NULL;
    struct error *error = folder_check_file(daemon->config_file);
    if (error == NULL)
        error = config_file_read(daemon->config_file, daemon->options.config_file == NULL, NULL, &config);
    if (error == NULL)
        error = take_access(daemon, config, &kept);
    if (error != NULL) {
        config_free(config);
        char *text = error_text(error);
        event_emit(EVENT_CONFIG_REJECTED, text);
        free(text);
        error_free(error);
        return;
    }
    struct config_list live = {0}, waiting = {0};
    config_compare(daemon->config, config, kept, &live, &waiting);
    config_take_live(daemon->config, config, kept);
    config_free(config);
    config = daemon->config;
    struct jobs_options jobs = jobs_numbers(config);
    struct tasks_options tasks = tasks_numbers(config);
    guard_set_bounds(daemon->guard, config->hcs_call_seconds * 1000, config->hcs_max_lost_calls);
    jobs_set_limits(daemon->jobs, &jobs);
    machines_set_bounds(daemon->machines, config->hcs_call_seconds * 1000, config->watchdog_stall_seconds * 1000);
    tasks_set_bounds(daemon->tasks, &tasks);
    relays_set_hold(daemon->relays, config->stdio_drain_seconds * 1000);
    char *now = list_text(&live), *later = list_text(&waiting);
    event_emit(EVENT_CONFIG_RELOADED, now, later);
    free(later);
    free(now);
    config_list_free(&waiting);
    config_list_free(&live);
}
