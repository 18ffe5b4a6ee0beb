#include "daemon/services/host_probe.h"

#include <windows.h>

#include <stdatomic.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/jobs/process.h"

#define REPORT_MAX (1u << 20)

struct host_probe {
    atomic_int references; /* who has started it, and the wait */
    HANDLE job, process, file, wait;
    DWORD bound_ms;
    atomic_bool cancelled;
    void (*done)(void *context, struct error *error, char *report);
    void *context;
};

static atomic_bool running; /* one at a time in this process */

void host_probe_free(struct host_probe *probe)
{
    if (probe == NULL || atomic_fetch_sub(&probe->references, 1) != 1)
        return;
    if (probe->wait != NULL)
        UnregisterWaitEx(probe->wait, NULL); /* from its own callback, too */
    win_close(probe->job);
    win_close(probe->process);
    win_close(probe->file);
    free(probe);
}

void host_probe_cancel(struct host_probe *probe)
{
    atomic_store(&probe->cancelled, true);
    TerminateJobObject(probe->job, ERROR_CANCELLED);
}

static struct error *read_report(struct host_probe *probe, char **ret_report)
{
    LARGE_INTEGER size = {0};
    OVERLAPPED at = {0};
    DWORD count = 0, code = 0;
    GetExitCodeProcess(probe->process, &code);
    if (!GetFileSizeEx(probe->file, &size) || size.QuadPart == 0 || size.QuadPart > REPORT_MAX)
        return error_make(
            ERROR_KIND_INTERNAL, "probe the host", NULL,
            "its process has ended with code %lu and without a report; run hcsd.exe --probe-host in a console", code);
    char *text = mem_zero((size_t)size.QuadPart + 1);
    if (!ReadFile(probe->file, text, (DWORD)size.QuadPart, &count, &at)) {
        struct error *error = error_win32(GetLastError(), "read the probe's report", NULL, NULL);
        free(text);
        return error;
    }
    *ret_report = text;
    return NULL;
}

static void CALLBACK ended(void *context, BOOLEAN timed_out)
{
    struct host_probe *probe = context;
    struct error *error = NULL;
    char *report = NULL;
    if (timed_out) {
        TerminateJobObject(probe->job, ERROR_TIMEOUT);
        error = error_make(ERROR_KIND_DEADLINE_EXCEEDED, "probe the host", NULL,
                           "a check has not ended within %lu seconds; run hcsd.exe --probe-host in a console",
                           probe->bound_ms / 1000);
    } else if (atomic_load(&probe->cancelled)) {
        error = error_make(ERROR_KIND_CANCELLED, "probe the host", NULL, "its caller has gone, or hcsd is stopping");
    } else {
        error = read_report(probe, &report);
    }
    atomic_store(&running, false);
    probe->done(probe->context, error, report);
    host_probe_free(probe);
}

/* A file for the report that the child inherits and that goes with its last handle. */
static struct error *make_file(const char *folder, HANDLE *ret_file)
{
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    char *name = str_format("host-probe-%lu.json", GetCurrentProcessId()), *path = path_join(folder, name);
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error == NULL) {
        *ret_file = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE | DELETE, FILE_SHARE_DELETE, &inherited,
                                CREATE_ALWAYS, FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL);
        if (*ret_file == INVALID_HANDLE_VALUE)
            error = error_win32(GetLastError(), "make the probe's report", path, NULL);
    }
    free(wide);
    free(path);
    free(name);
    return error;
}

/* " --layer "DIR"" for each. What would end the quotes early cannot stand in a path. */
static struct error *add_layers(const struct host_probe_options *options, struct buffer *line)
{
    if (options->layer_count > HOST_PROBE_LAYERS)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "probe the host", "layers", "more than %d", HOST_PROBE_LAYERS);
    for (size_t i = 0; i < options->layer_count; i++) {
        const char *layer = options->layers[i];
        size_t size = strlen(layer);
        if (!path_is_absolute(layer) || strchr(layer, '"') != NULL)
            return error_make(ERROR_KIND_INVALID_ARGUMENT, "probe the host", layer, "it is no absolute path");
        while (size > 3 && layer[size - 1] == '\\')
            size--;
        buffer_add_format(line, " --layer \"%.*s%s\"", (int)size, layer, layer[size - 1] == '\\' ? "." : "");
    }
    return NULL;
}

static struct error *spawn(struct host_probe *probe, const struct host_probe_options *options)
{
    wchar_t image[1024], *line = NULL;
    STARTUPINFOEXW startup = {.StartupInfo = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES}};
    PROCESS_INFORMATION process = {0};
    SIZE_T size = 0;
    DWORD count = GetModuleFileNameW(NULL, image, ARRAYSIZE(image));
    if (count == 0 || count >= ARRAYSIZE(image))
        return error_win32(ERROR_FILENAME_EXCED_RANGE, "GetModuleFileName", "hcsd.exe", NULL);
    struct buffer text = {0};
    buffer_add_format(&text, "\"%ls\" --probe-host --service-name %s --config \"%s\"", image, options->service,
                      options->config_file);
    struct error *error = add_layers(options, &text);
    if (error == NULL)
        error = win_wide((char *)text.data, &line);
    buffer_free(&text);
    if (error != NULL)
        return error;
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    startup.lpAttributeList = mem_zero(size);
    startup.StartupInfo.hStdOutput = startup.StartupInfo.hStdError = probe->file;
    /* Nothing but the report's file: two creations at once would otherwise give each other's handles away. */
    if (!InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size) ||
        !UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &probe->file,
                                   sizeof probe->file, NULL, NULL) ||
        !CreateProcessW(image, line, NULL, NULL, TRUE,
                        CREATE_SUSPENDED | CREATE_NO_WINDOW | EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                        &startup.StartupInfo, &process))
        error = error_win32(GetLastError(), "start the probe", "hcsd.exe", NULL);
    DeleteProcThreadAttributeList(startup.lpAttributeList);
    free(startup.lpAttributeList);
    free(line);
    if (error != NULL)
        return error;
    probe->process = process.hProcess;
    if (!AssignProcessToJobObject(probe->job, process.hProcess)) {
        error = error_win32(GetLastError(), "AssignProcessToJobObject", "the probe", NULL);
        TerminateProcess(process.hProcess, 1);
    } else {
        ResumeThread(process.hThread);
    }
    CloseHandle(process.hThread);
    return error;
}

struct error *host_probe_start(const struct host_probe_options *options,
                               void (*done)(void *context, struct error *error, char *report), void *context,
                               struct host_probe **ret_probe)
{
    if (atomic_exchange(&running, true))
        return error_make(ERROR_KIND_FAILED_PRECONDITION, "probe the host", NULL,
                          "a probe runs already; ask again later");
    struct host_probe *probe = mem_new(struct host_probe);
    probe->done = done;
    probe->bound_ms = options->layer_count != 0 ? HOST_PROBE_LAYER_MS : HOST_PROBE_MS;
    probe->context = context;
    atomic_init(&probe->references, 1);
    struct error *error = process_job_new(&probe->job);
    if (error == NULL)
        error = make_file(options->folder, &probe->file);
    if (error == NULL)
        error = spawn(probe, options);
    if (error == NULL) {
        *ret_probe = probe; /* before it can end */
        atomic_fetch_add(&probe->references, 1);
        if (!RegisterWaitForSingleObject(&probe->wait, probe->process, ended, probe, probe->bound_ms,
                                         WT_EXECUTEONLYONCE | WT_EXECUTELONGFUNCTION)) {
            error = error_win32(GetLastError(), "RegisterWaitForSingleObject", "the probe", NULL);
            atomic_fetch_sub(&probe->references, 1);
            TerminateJobObject(probe->job, 1);
        }
    }
    if (error != NULL) {
        atomic_store(&running, false);
        host_probe_free(probe);
    }
    return error;
}
