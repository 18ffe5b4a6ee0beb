#include "service/run.h"

#include <windows.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/event.h"
#include "base/path.h"
#include "base/process.h"
#include "base/win.h"
#include "daemon/daemon.h"
#include "daemon/folder.h"
#include "daemon/log/console.h"
#include "daemon/log/log.h"
#include "service/entry.h"
#include "service/event_source.h"
#include "service/machine.h"
#include "service/registration.h"

#define LOG_CLOSE_MS     3000
#define CONSOLE_CLOSE_MS 4500 /* the system ends a process 5 s after its console was closed */

static struct {
    const struct service_options *options;
    bool console;
    struct entry *entry;
    struct log *log;
    struct daemon *daemon;
    bool forced;
    HANDLE ended;
    _Atomic unsigned interrupts;
    int exit_code;
} process;

static void exhausted(void *context)
{
    (void)context;
    entry_fail(process.entry);
}

/* What a service that was made with sc.exe alone lacks. */
static void complete_registration(const char *name)
{
    struct error *error = event_source_ensure(name);
    if (error != NULL) {
        char *text = error_text(error);
        event_emit(EVENT_SERVICE_FALLBACK, "an event source of the service's own", text);
        free(text);
        error_free(error);
    }
    error = registration_ensure_preshutdown(name);
    if (error != NULL) {
        char *text = error_text(error);
        event_emit(EVENT_SERVICE_FALLBACK, "a preshutdown time of the service's own", text);
        free(text);
        error_free(error);
    }
}

/* Whoever can put a file beside hcsd.exe becomes SYSTEM: its DLLs are looked for there first. An administrator may know why it
 * is so; hcsd only says it. */
static void check_program_folder(void)
{
    char *program = NULL, *folder = NULL;
    struct error *error = event_source_program(&program);
    if (error == NULL) {
        folder = path_folder(program);
        error = folder_check_programs(folder);
    }
    if (error != NULL) {
        char *text = error_text(error);
        event_emit(EVENT_PROGRAM_FOLDER_OPEN, text);
        free(text);
        error_free(error);
    }
    free(folder);
    free(program);
}

static struct error *work_start(void *context, const struct daemon_progress *progress)
{
    (void)context;
    if (!process.console)
        complete_registration(process.options->service_name);
    progress->step(progress->context);
    struct daemon_options options = {.service = process.options->service_name,
                                     .config_file = process.options->config_file,
                                     .log = process.log,
                                     .exhausted = exhausted};
    check_program_folder();
    struct error *error = machine_check(win_native_machine());
    if (error == NULL)
        error = daemon_start(&options, progress, &process.daemon);
    if (error != NULL) {
        char *text = error_text(error);
        event_emit(EVENT_SERVICE_START_FAILED, text);
        free(text);
        process.exit_code = 1;
    }
    return error;
}

static void work_reload(void *context)
{
    (void)context;
    daemon_reload(process.daemon);
}

static bool work_stop(void *context, enum service_stop why, unsigned milliseconds,
                      const struct daemon_progress *progress)
{
    (void)context;
    if (why == SERVICE_STOP_SHUTDOWN) {
        daemon_leave(process.daemon);
        process.forced = true;
        return true;
    }
    /* What failed never comes: it is not waited for. */
    bool clean = daemon_stop(process.daemon, why == SERVICE_STOP_FAILED ? 0 : milliseconds, progress);
    process.forced = !clean;
    if (!clean || why == SERVICE_STOP_FAILED)
        process.exit_code = 1;
    return clean;
}

static void work_end(void *context)
{
    (void)context;
    /* Who is left, of a start that failed too, may still tell something. */
    if (process.forced || process.daemon == NULL)
        log_flush(process.log, LOG_CLOSE_MS);
    else
        log_close(process.log, LOG_CLOSE_MS);
}

static unsigned preshutdown_ms(void *context)
{
    (void)context;
    return registration_preshutdown_ms(process.options->service_name);
}

static int fail(struct error *error)
{
    char *text = error_text(error);
    fprintf(stderr, "hcsd: %s\n", text);
    free(text);
    error_free(error);
    return 1;
}

static struct error *prepare(const struct service_options *options, bool console,
                             BOOL(WINAPI *set_status)(SERVICE_STATUS_HANDLE, SERVICE_STATUS *))
{
    const struct entry_work work = {.start = work_start, .reload = work_reload, .stop = work_stop, .end = work_end};
    const struct entry_calls calls = {.set_status = set_status, .preshutdown_ms = preshutdown_ms};
    process.options = options;
    process.console = console;
    struct error *error = entry_new(&work, &calls, &process.entry);
    if (error == NULL)
        error = log_open(options->service_name, console, &process.log);
    return error;
}

/* With threads left that have not ended, an orderly end of the process could wait for their locks for ever. */
static int end(bool clean)
{
    if (!clean)
        process_end((uint32_t)process.exit_code, NULL);
    return process.exit_code;
}

/* ---- console ---- */

static BOOL WINAPI console_status(SERVICE_STATUS_HANDLE handle, SERVICE_STATUS *status)
{
    (void)handle;
    (void)status;
    return TRUE;
}

static BOOL WINAPI console_control(DWORD type)
{
    if (atomic_fetch_add(&process.interrupts, 1) > 0 && (type == CTRL_C_EVENT || type == CTRL_BREAK_EVENT))
        process_end(1, "hcsd: interrupted twice, ending at once\n");
    entry_control(type == CTRL_SHUTDOWN_EVENT ? SERVICE_CONTROL_SHUTDOWN : SERVICE_CONTROL_STOP, 0, NULL,
                  process.entry);
    if (type != CTRL_C_EVENT && type != CTRL_BREAK_EVENT)
        WaitForSingleObject(process.ended, CONSOLE_CLOSE_MS); /* the process ends when this returns */
    return TRUE;
}

int run_console(const struct service_options *options)
{
    struct error *error = prepare(options, true, console_status);
    if (error != NULL)
        return fail(error);
    process.ended = CreateEventW(NULL, TRUE, FALSE, NULL);
    SetConsoleCtrlHandler(console_control, TRUE);
    entry_loop(process.entry, NULL);
    SetEvent(process.ended);
    return end(!process.forced);
}

/* ---- service ---- */

static void WINAPI service_main(DWORD count, wchar_t **arguments)
{
    /* What sc.exe start passes on is not looked at: the command line in the registration decides. */
    (void)count;
    (void)arguments;
    wchar_t *name = NULL;
    struct error *error = win_wide(process.options->service_name, &name);
    error_free(error); /* the name is ASCII (options.c) */
    SERVICE_STATUS_HANDLE handle = RegisterServiceCtrlHandlerExW(name, entry_control, process.entry);
    free(name);
    if (handle == NULL) {
        process.exit_code = 1;
        return;
    }
    if (!entry_loop(process.entry, handle))
        process_end((uint32_t)process.exit_code, NULL);
}

int run_service(const struct service_options *options)
{
    static wchar_t empty[] = L""; /* SERVICE_WIN32_OWN_PROCESS: the name in the table is not looked at */
    const SERVICE_TABLE_ENTRYW table[] = {{empty, service_main}, {NULL, NULL}};
    struct error *error = prepare(options, false, SetServiceStatus);
    if (error != NULL)
        return fail(error);
    if (!StartServiceCtrlDispatcherW(table)) {
        DWORD code = GetLastError();
        log_close(process.log, LOG_CLOSE_MS);
        return fail(error_win32(code, "StartServiceCtrlDispatcher", options->service_name,
                                "--run-service is for the service manager; in a console use --console"));
    }
    return end(!process.forced);
}
