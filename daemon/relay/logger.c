#include "daemon/relay/logger.h"

#include <sddl.h>
#include <stdlib.h>
#include <wchar.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "spec/spec.h"

#define PIPE_BUFFER 65536u
/* The logger runs as whom the relay runs as. */
#define ACCESS      L"D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"

enum end_index { END_OUT, END_ERR, END_WAIT, END_COUNT };
static const char *const pipe_words[END_COUNT] = {"stdout", "stderr", "wait"};

struct logger_pipe {
    struct loop_io io; /* first */
    struct logger *logger;
    HANDLE handle;
    char *name;
    bool connected;
};

struct logger {
    struct loop_work start; /* first */
    struct loop *loop;
    struct loop_timer timer;
    struct logger_pipe pipes[END_COUNT];
    char *image, *line;
    wchar_t *environment;
    bool must_answer, starting, ready, ending, told;
    uint8_t answer;
    HANDLE process, waiter; /* waiter: of RegisterWaitForSingleObject */
    struct loop_io over;    /* posted when the process has ended */
    struct error *error;
    logger_done done;
    void *context;
};

static void settle(struct logger *logger);

static void logger_free(struct logger *logger)
{
    loop_timer_clear(logger->loop, &logger->timer);
    for (unsigned i = 0; i < END_COUNT; i++) {
        win_close(logger->pipes[i].handle);
        free(logger->pipes[i].name);
    }
    win_close(logger->process);
    error_free(logger->error);
    free(logger->environment);
    free(logger->image);
    free(logger->line);
    free(logger);
}

static struct error *failure(struct logger *logger, enum error_kind kind, const char *why)
{
    return error_make(kind, "start logger", logger->image, "%s", why);
}

/* ---- telling ---- */

static void tell(struct logger *logger, struct error *error)
{
    HANDLE ends[2] = {NULL, NULL};
    logger->told = true;
    loop_timer_clear(logger->loop, &logger->timer);
    for (unsigned i = END_OUT; !error && i <= END_ERR; i++) {
        ends[i] = logger->pipes[i].handle;
        logger->pipes[i].handle = NULL;
    }
    win_close(logger->pipes[END_WAIT].handle);
    logger->done(logger->context, error, ends[END_OUT], ends[END_ERR]);
}

/* Whether all that was waited for has come. */
static void look(struct logger *logger)
{
    if (logger->told || logger->ending || logger->starting || !logger->ready)
        return;
    for (unsigned i = END_OUT; i <= END_ERR; i++)
        if (logger->pipes[i].handle && !logger->pipes[i].connected)
            return;
    tell(logger, NULL);
}

static void not_ready(struct loop_timer *timer)
{
    struct logger *logger = (struct logger *)((char *)timer - offsetof(struct logger, timer));
    tell(logger,
         failure(logger, ERROR_KIND_DEADLINE_EXCEEDED,
                 "it did not say within 10 s that it is ready (it must open CONTAINER_STDOUT and CONTAINER_STDERR, "
                 "then connect to CONTAINER_WAIT and close it)"));
}

/* ---- its pipes ---- */

static void wait_read(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct logger_pipe *pipe = (struct logger_pipe *)io;
    struct logger *logger = pipe->logger;
    if (logger->ending) {
        settle(logger);
        return;
    }
    if (logger->told)
        return;
    /* Its end is an answer too, but for binary-v2. */
    if (bytes == 0 && logger->must_answer)
        tell(logger,
             failure(logger, ERROR_KIND_FAILED_PRECONDITION, "it closed CONTAINER_WAIT without writing a byte to it"));
    else if (bytes == 0 && code != ERROR_BROKEN_PIPE && code != ERROR_PIPE_NOT_CONNECTED && code != NO_ERROR)
        tell(logger, error_win32(code, "start logger", logger->image, "CONTAINER_WAIT broke"));
    else {
        logger->ready = true;
        look(logger);
    }
}

static void connected(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct logger_pipe *pipe = (struct logger_pipe *)io;
    struct logger *logger = pipe->logger;
    DWORD value = 0;
    (void)bytes;
    if (logger->ending) {
        settle(logger);
        return;
    }
    if (logger->told)
        return;
    if (code != NO_ERROR && code != ERROR_NO_DATA) { /* NO_DATA: it has come and gone */
        tell(logger, error_win32(code, "start logger", logger->image, "its pipe for %s broke",
                                 pipe_words[pipe - logger->pipes]));
        return;
    }
    pipe->connected = true;
    if (pipe != &logger->pipes[END_WAIT]) {
        look(logger);
        return;
    }
    pipe->io.done = wait_read;
    enum loop_begun begun = loop_read(pipe->handle, &logger->answer, 1, &pipe->io, &value);
    if (begun == LOOP_AT_ONCE)
        wait_read(io, NO_ERROR, value);
    else if (begun == LOOP_FAILED)
        wait_read(io, value, 0);
}

static struct error *pipe_new(struct logger *logger, enum end_index index, const char *id)
{
    static unsigned number;
    struct logger_pipe *pipe = &logger->pipes[index];
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t *wide = NULL;
    DWORD value;
    pipe->logger = logger;
    pipe->name = str_format("\\\\.\\pipe\\binary-%s-%lu-%u-%s", id, GetCurrentProcessId(), number++, pipe_words[index]);
    for (char *at = pipe->name + 9; *at; at++)
        if (*at == '/')
            *at = '-';
    struct error *error = win_wide(pipe->name, &wide);
    if (error)
        return error;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(ACCESS, SDDL_REVISION_1, &descriptor, NULL))
        error = error_win32(GetLastError(), "start logger", logger->image, "no security descriptor");
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = descriptor};
    if (!error) {
        HANDLE handle =
            CreateNamedPipeW(wide,
                             (index == END_WAIT ? PIPE_ACCESS_INBOUND : PIPE_ACCESS_OUTBOUND) | FILE_FLAG_OVERLAPPED |
                                 FILE_FLAG_FIRST_PIPE_INSTANCE,
                             PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, PIPE_BUFFER, PIPE_BUFFER, 0, &attributes);
        if (handle == INVALID_HANDLE_VALUE)
            error = error_win32(GetLastError(), "CreateNamedPipe", pipe->name, NULL);
        else
            pipe->handle = handle;
    }
    LocalFree(descriptor);
    free(wide);
    if (!error)
        error = loop_bind(logger->loop, pipe->handle, pipe->name);
    if (error)
        return error;
    pipe->io.done = connected;
    enum loop_begun begun = loop_connect(pipe->handle, &pipe->io, &value);
    if (begun == LOOP_FAILED)
        return error_win32(value, "ConnectNamedPipe", pipe->name, NULL);
    pipe->connected = begun == LOOP_AT_ONCE;
    return NULL;
}

/* ---- its process ---- */

static wchar_t *environment(const struct logger *logger, const char *containerd_namespace, const char *id)
{
    struct buffer block = {0};
    /* In alphabetical order, as the system keeps them. */
    const char *rows[][2] = {
        {"CONTAINER_ID", id},
        {"CONTAINER_NAMESPACE", containerd_namespace},
        {"CONTAINER_STDERR", logger->pipes[END_ERR].name},
        {"CONTAINER_STDOUT", logger->pipes[END_OUT].name},
        {"CONTAINER_WAIT", logger->pipes[END_WAIT].name},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        wchar_t *wide = NULL;
        char *text = str_format("%s=%s", rows[i][0], rows[i][1] ? rows[i][1] : "");
        struct error *error = win_wide(text, &wide);
        if (!error)
            buffer_add(&block, wide, (wcslen(wide) + 1) * sizeof *wide);
        error_free(error);
        free(wide);
        free(text);
    }
    buffer_add(&block, L"", sizeof(wchar_t));
    return (wchar_t *)block.data;
}

/* On a pool thread. */
static void start_run(struct loop_work *work)
{
    struct logger *logger = (struct logger *)work;
    PROCESS_INFORMATION information = {0};
    STARTUPINFOW startup = {.cb = sizeof startup};
    wchar_t *image = NULL, *line = NULL, folder[MAX_PATH];
    struct error *error = win_wide(logger->image, &image);
    if (!error)
        error = win_wide(logger->line, &line);
    UINT size = GetSystemDirectoryW(folder, MAX_PATH);
    if (!error && !CreateProcessW(image, line, NULL, NULL, FALSE, CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT,
                                  logger->environment, size && size < MAX_PATH ? folder : NULL, &startup, &information))
        error = error_win32(GetLastError(), "start logger", logger->image, NULL);
    if (!error) {
        win_close(information.hThread);
        logger->process = information.hProcess;
    }
    logger->error = error;
    free(image);
    free(line);
}

static void CALLBACK process_signalled(void *context, BOOLEAN timed_out)
{
    struct logger *logger = context;
    (void)timed_out;
    loop_post(logger->loop, &logger->over, NO_ERROR, 0);
}

static void process_over(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct logger *logger = (struct logger *)((char *)io - offsetof(struct logger, over));
    (void)code, (void)bytes;
    UnregisterWaitEx(logger->waiter, NULL);
    logger->waiter = NULL;
    if (logger->ending)
        settle(logger);
    else if (!logger->told) {
        DWORD status = 0;
        GetExitCodeProcess(logger->process, &status);
        tell(logger, error_make(ERROR_KIND_FAILED_PRECONDITION, "start logger", logger->image,
                                "it ended with code %lu before it was ready", status));
    }
}

static void start_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct logger *logger = (struct logger *)io;
    struct error *error = logger->error;
    (void)code, (void)bytes;
    logger->starting = false;
    logger->error = NULL;
    if (!error && !RegisterWaitForSingleObject(&logger->waiter, logger->process, process_signalled, logger, INFINITE,
                                               WT_EXECUTEONLYONCE)) {
        error = error_win32(GetLastError(), "start logger", logger->image, "its end cannot be watched");
        TerminateProcess(logger->process, 1);
    }
    if (logger->ending) {
        error_free(error);
        settle(logger);
    } else if (error)
        tell(logger, error);
    else
        look(logger);
}

struct logger *logger_start(struct loop *loop, const struct endpoint *endpoint, const char *containerd_namespace,
                            const char *id, bool has_stdout, bool has_stderr, logger_done done, void *context)
{
    struct logger *logger = mem_new(struct logger);
    const char **words = mem_new_array(endpoint->argument_count + 1, const char *);
    logger->loop = loop;
    logger->image = str_copy(endpoint->path);
    logger->must_answer = endpoint->must_answer;
    logger->done = done;
    logger->context = context;
    logger->over.done = process_over;
    words[0] = endpoint->path;
    for (size_t i = 0; i < endpoint->argument_count; i++)
        words[i + 1] = endpoint->arguments[i];
    logger->line = spec_escape_args(words, endpoint->argument_count + 1);
    free(words);
    struct error *error = NULL;
    if (has_stdout)
        error = pipe_new(logger, END_OUT, id);
    if (!error && has_stderr)
        error = pipe_new(logger, END_ERR, id);
    if (!error)
        error = pipe_new(logger, END_WAIT, id);
    logger->environment = environment(logger, containerd_namespace, id);
    logger->starting = true;
    logger->start.run = start_run;
    logger->start.io.done = start_done;
    if (!error)
        error = loop_work(loop, &logger->start);
    if (error) {
        logger->error = error;
        loop_post(loop, &logger->start.io, NO_ERROR, 0);
    }
    loop_timer_set(loop, &logger->timer, clock_ms() + LOGGER_READY_MS, not_ready);
    return logger;
}

/* ---- its end ---- */

static void end_late(struct loop_timer *timer)
{
    struct logger *logger = (struct logger *)((char *)timer - offsetof(struct logger, timer));
    TerminateProcess(logger->process, ERROR_PROCESS_ABORTED);
}

/* Frees it when nothing of it is under way any more. */
static void settle(struct logger *logger)
{
    bool flying = logger->starting || logger->waiter;
    for (unsigned i = 0; i < END_COUNT; i++)
        flying = flying || logger->pipes[i].io.flying;
    if (!flying)
        logger_free(logger);
    else if (logger->waiter && !logger->timer.armed)
        loop_timer_set(logger->loop, &logger->timer, clock_ms() + LOGGER_END_MS, end_late);
}

void logger_end(struct logger *logger)
{
    if (!logger)
        return;
    logger->ending = true;
    loop_timer_clear(logger->loop, &logger->timer);
    for (unsigned i = 0; i < END_COUNT; i++)
        if (logger->pipes[i].io.flying && logger->pipes[i].handle)
            CancelIoEx(logger->pipes[i].handle, &logger->pipes[i].io.overlapped);
    for (unsigned i = 0; i < END_COUNT; i++)
        if (!logger->pipes[i].io.flying)
            win_close(logger->pipes[i].handle);
    settle(logger);
}
