/* hcsd.exe: the service, its registration, its console mode and its workers. */
#include <windows.h>

#include <stdarg.h>
#include <string.h>

#include "base/event.h"
#include "base/file.h"
#include "base/harden.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/config_file.h"
#include "daemon/log/console.h"
#include "daemon/log/log.h"
#include "daemon/rpc/pipe_access.h"
#include "daemon/worker/worker.h"
#include "hcsd_version.h"
#include "probe/probe.h"
#include "service/machine.h"
#include "service/options.h"
#include "service/purge.h"
#include "service/registration.h"
#include "service/run.h"

#define EVENT_MS 3000 /* for the event log to take an event */

static void print(DWORD handle, const char *format, ...) ERROR_PRINTF(2, 3);
static void print(DWORD handle, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    console_write(GetStdHandle(handle), text, strlen(text));
    free(text);
}

static int fail(struct error *error)
{
    char *text = error_text(error);
    print(STD_ERROR_HANDLE, "hcsd: %s\n", text);
    free(text);
    error_free(error);
    return 1;
}

static int check_config(const char *file)
{
    struct config_list problems = {0};
    struct config *config = NULL;
    struct error *error = config_file_read(file, false, &problems, &config);
    for (size_t i = 0; i < problems.count; i++)
        print(STD_ERROR_HANDLE, "hcsd: %s: %s\n", file, problems.items[i]);
    if (error != NULL && problems.count != 0) {
        config_list_free(&problems);
        error_free(error);
        return 1;
    }
    char *sddl = NULL;
    if (error == NULL) /* what only this machine knows: who its users and groups are */
        error = pipe_access_sddl((const char *const *)config->pipe_access.items, config->pipe_access.count, &sddl);
    free(sddl);
    config_free(config);
    if (error != NULL)
        return fail(error);
    print(STD_OUTPUT_HANDLE, "%s: good\n", file);
    return 0;
}

static void lacking(void *context, const char *feature, const char *consequence)
{
    (void)context;
    print(STD_OUTPUT_HANDLE, "This Windows lacks: %s. It goes on without: %s.\n", feature, consequence);
}

static int register_service(const struct service_options *options)
{
    struct registration registration = {
        .name = options->service_name,
        .config_file = options->config_file,
        .delayed_start = options->delayed_start,
        .required_privileges = options->required_privileges,
        .lacking = lacking,
    };
    struct error *error = machine_check(win_native_machine());
    if (error == NULL)
        error = registration_add(&registration);
    if (error != NULL)
        return fail(error);
    print(STD_OUTPUT_HANDLE, "Service %s is registered. Start it with: sc.exe start %s\n", options->service_name,
          options->service_name);
    return 0;
}

/* An uninstall's messages reach nobody: its failure goes to the event log too. */
static int fail_uninstall(const struct service_options *options, enum event_id event, struct error *error)
{
    struct log *log = NULL;
    error_free(log_open(options->service_name, false, &log));
    char *text = error_text(error);
    event_emit(event, text);
    free(text);
    log_close(log, EVENT_MS);
    return fail(error);
}

static int unregister_service(const struct service_options *options)
{
    struct purge *purge = NULL;
    char *config_file = NULL;
    bool own = true;
    struct error *error = NULL;
    if (options->if_own)
        error = registration_is_own(options->service_name, &own);
    if (error == NULL && !own) {
        print(STD_OUTPUT_HANDLE, "Service %s is not this program's; it was left alone.\n", options->service_name);
        return 0;
    }
    if (error == NULL && options->purge)
        error = registration_config_file(options->service_name, &config_file);
    if (error == NULL && options->purge)
        error = purge_open(config_file, &purge);
    if (error == NULL && options->purge)
        error = purge_check(purge);
    if (error == NULL && options->purge)
        error = registration_stop(options->service_name);
    /* Again: a container may have come until it stopped. */
    if (error == NULL && options->purge)
        error = purge_check(purge);
    int code = 0;
    if (error != NULL) {
        code = fail_uninstall(options, EVENT_UNINSTALL_REFUSED, error);
        goto out;
    }
    /* What resists here must not keep the service: it is told, and an administrator can remove it. */
    if (options->purge && (error = purge_run(purge)) != NULL)
        fail_uninstall(options, EVENT_UNINSTALL_LEFT, error);
    error = registration_remove(options->service_name);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND && options->purge) {
        error_free(error);
        error = NULL;
    }
    if (error != NULL)
        code = fail(error);
    else
        print(STD_OUTPUT_HANDLE, "Service %s is gone%s.\n", options->service_name,
              options->purge ? ", with its state and configuration" : "; its configuration and state stay");
out:
    purge_free(purge);
    free(config_file);
    return code;
}

static int probe_host(const struct service_options *options)
{
    char *file = NULL;
    struct config *config = NULL;
    struct probe_report report = {0};
    struct buffer json = {0};
    struct error *error = NULL;
    if (options->config_file == NULL)
        error = config_file_path(&file);
    if (error == NULL)
        error = config_file_read(file != NULL ? file : options->config_file, true, NULL, &config);
    if (error == NULL) {
        struct probe_options probe = {
            .service = options->service_name,
            .pipe = config->pipe,
            .state_dir = config->state_dir,
            .staging_dir = config->staging_dir,
            .hcs_library = config->hcs_library,
            .owner = "hcsd",
            .layers = options->layers,
            .layer_count = options->layer_count,
        };
        probe_run(&probe, &report);
        probe_json(&report, &json);
        print(STD_OUTPUT_HANDLE, "%s\n", (char *)json.data);
    }
    buffer_free(&json);
    probe_report_free(&report);
    config_free(config);
    free(file);
    return error != NULL ? fail(error) : 0;
}

static int done(struct error *error)
{
    return error != NULL ? fail(error) : 0;
}

static int run(const struct service_options *options)
{
    switch (options->action) {
    case SERVICE_ACTION_HELP:
        print(STD_OUTPUT_HANDLE, "%s", service_help);
        return 0;
    case SERVICE_ACTION_VERSION:
        print(STD_OUTPUT_HANDLE, "hcsd %s\n", HCSD_VERSION);
        return 0;
    case SERVICE_ACTION_CHECK_CONFIG:
        return check_config(options->config_file);
    case SERVICE_ACTION_REGISTER:
        return register_service(options);
    case SERVICE_ACTION_UNREGISTER:
        return unregister_service(options);
    case SERVICE_ACTION_PROBE:
        return probe_host(options);
    case SERVICE_ACTION_STOP:
        return done(registration_stop(options->service_name));
    case SERVICE_ACTION_RESTORE:
        return done(registration_restore(options->service_name));
    case SERVICE_ACTION_CONSOLE:
        return run_console(options);
    case SERVICE_ACTION_RUN:
        return run_service(options);
    }
    return 1;
}

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
    harden_process(SEM_FAILCRITICALERRORS);
    if (worker_wanted(argc, argv))
        return worker_main(argc, argv);

    const char **arguments = mem_new_array((size_t)argc, const char *);
    for (int i = 1; i < argc; i++)
        arguments[i - 1] = win_text(argv[i]);
    struct service_options options;
    char *config_file = NULL;
    struct error *error = service_options_parse(argc - 1, arguments, &options);
    /* Services run in System32: what a relative path means is known only now. */
    if (error == NULL && options.config_file != NULL) {
        error = file_absolute(options.config_file, &config_file);
        options.config_file = config_file;
    }
    return error != NULL ? fail(error) : run(&options);
}
