#include "daemon/daemon.h"

#include <windows.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/config.h"
#include "daemon/folder.h"
#include "hcsd_version.h"

#define CONFIG_SIZE_MAX (1u << 20)

struct daemon {
    struct daemon_options options;
    char *config_file;
    struct config *config; /* in use since the start */
    struct config *latest; /* as read last; differs from the above where a key waits for the next start */
};

/* ---- configuration ---- */

struct error *daemon_config_path(char **ret_path)
{
    char *data = NULL;
    struct error *error = folder_program_data(&data);
    if (error == NULL)
        *ret_path = path_join(data, "hcsd\\config.json");
    free(data);
    return error;
}

struct error *daemon_read_config(const char *file, bool optional, struct config_list *ret_problems, struct config **ret_config)
{
    struct buffer text = {0};
    struct config_list problems = {0};
    char *data = NULL;
    struct config *config = NULL;
    struct error *error = folder_program_data(&data);
    if (error != NULL)
        return error;
    error = file_read(file, CONFIG_SIZE_MAX, &text);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND && optional) {
        error_free(error);
        error = NULL;
        config = config_defaults(data);
    } else if (error == NULL) {
        config = config_parse((const char *)text.data, text.size, data, &problems);
        if (config == NULL)
            error = config_error(file, &problems);
    }
    if (error == NULL)
        *ret_config = config;
    if (ret_problems != NULL)
        *ret_problems = problems;
    else
        config_list_free(&problems);
    buffer_free(&text);
    free(data);
    return error;
}

void daemon_reload(struct daemon *daemon)
{
    struct config *config = NULL;
    struct error *error =
        daemon_read_config(daemon->config_file, daemon->options.config_file == NULL, NULL, &config);
    if (error != NULL) {
        char *text = error_text(error);
        event_emit(EVENT_CONFIG_REJECTED, text);
        free(text);
        error_free(error);
        return;
    }
    struct config_list changes = {0};
    struct buffer text = {0};
    buffer_add_text(&text, "");
    config_compare(daemon->latest, config, &changes);
    for (size_t i = 0; i < changes.count; i++)
        buffer_add_format(&text, "%s%s", i == 0 ? "" : "; ", changes.items[i]);
    buffer_add_text(&text, changes.count == 0 ? "nothing" : " (in use from the next start on)");
    event_emit(EVENT_CONFIG_RELOADED, (const char *)text.data);
    buffer_free(&text);
    config_list_free(&changes);
    config_free(daemon->latest);
    daemon->latest = config;
}

/* ---- opening and closing ---- */

/* The folder above the defaults holds the configuration that SYSTEM obeys, so nobody else may put a file there. */
static struct error *secure_folders(const struct daemon *daemon)
{
    char *data = NULL, *base = NULL;
    struct error *error = folder_program_data(&data);
    if (error == NULL) {
        base = path_join(data, "hcsd");
        error = folder_secure(base, FOLDER_OTHERS_READ);
    }
    if (error == NULL)
        error = folder_secure(daemon->config->state_dir, FOLDER_PRIVATE);
    if (error == NULL)
        error = folder_secure(daemon->config->staging_dir, FOLDER_PRIVATE);
    free(base);
    free(data);
    return error;
}

static bool close_all(struct daemon *daemon)
{
    config_free(daemon->latest);
    config_free(daemon->config);
    free(daemon->config_file);
    free(daemon);
    return true;
}

struct error *daemon_start(const struct daemon_options *options, const struct daemon_progress *progress,
                           struct daemon **ret_daemon)
{
    struct daemon *daemon = mem_new(struct daemon);
    struct error *error = NULL;
    daemon->options = *options;
    daemon->config_file = str_copy(options->config_file);
    if (daemon->config_file == NULL)
        error = daemon_config_path(&daemon->config_file);
    if (error == NULL)
        error = daemon_read_config(daemon->config_file, options->config_file == NULL, NULL, &daemon->config);
    if (error == NULL)
        error = daemon_read_config(daemon->config_file, options->config_file == NULL, NULL, &daemon->latest);
    if (error == NULL)
        error = secure_folders(daemon);
    progress->step(progress->context);
    if (error == NULL) {
        char *folder = path_join(daemon->config->state_dir, "log");
        error = log_add_file(options->log, folder);
        free(folder);
    }
    if (error != NULL) {
        close_all(daemon);
        return error;
    }
    event_emit(EVENT_SERVICE_STARTED, HCSD_VERSION, daemon->config->pipe, daemon->config->state_dir);
    *ret_daemon = daemon;
    return NULL;
}

bool daemon_stop(struct daemon *daemon, unsigned milliseconds, const struct daemon_progress *progress)
{
    uint64_t begin = clock_ms();
    (void)milliseconds;
    progress->step(progress->context);
    bool clean = close_all(daemon);
    char *seconds = str_format("%.1f", (double)(clock_ms() - begin) / 1000);
    event_emit(EVENT_SERVICE_STOPPED, seconds, "0");
    free(seconds);
    return clean;
}
