#include "emu.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "process.h"

#define EXIT_BROKEN_PIPE ((uint32_t)ERROR_BROKEN_PIPE)
#define CHUNK            65536u
#define STEP_LIMIT       64

static const char pattern[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-\n";

enum step_kind { STEP_EXIT, STEP_SLEEP, STEP_ECHO, STEP_PRINT, STEP_ERROR, STEP_WRITE };

static const char *const step_names[] = {
    [STEP_EXIT] = "exit",   [STEP_SLEEP] = "sleep", [STEP_ECHO] = "echo",
    [STEP_PRINT] = "print", [STEP_ERROR] = "error", [STEP_WRITE] = "write",
};

struct step {
    enum step_kind kind;
    char *text;      /* of print and error, with its line end */
    uint64_t number; /* exit code, milliseconds, bytes */
};

struct emu {
    struct process *process;
    struct step steps[STEP_LIMIT];
    unsigned count;
    unsigned current;
    bool ending;
    uint32_t exit_code;
    PTP_TIMER timer;
    PTP_IO io[STDIO_COUNT];
    HANDLE pipe[STDIO_COUNT];
    OVERLAPPED overlapped[STDIO_COUNT];
    unsigned flying; /* transfers whose completion will come */
    uint8_t *data;   /* what is written, or was read */
    uint32_t size;
    uint32_t offset;
    uint64_t left; /* of a write step */
};

static void emu_step(struct emu *emu);

bool emu_is_command(const char *command)
{
    if (*command == '"')
        command++;
    return strncmp(command, "emu:", 4) == 0;
}

static bool step_parse(char *text, struct step *ret_step)
{
    struct step step = {0};
    size_t length;
    char *argument;
    char *end = NULL;
    size_t kind = 0;

    while (*text == ' ')
        text++;
    if (strncmp(text, "emu:", 4) == 0)
        text += 4;
    length = strcspn(text, " ");
    argument = text + length + (text[length] == ' ');
    while (kind < sizeof step_names / sizeof step_names[0] &&
           (strncmp(text, step_names[kind], length) != 0 || step_names[kind][length] != 0))
        kind++;
    if (kind == sizeof step_names / sizeof step_names[0])
        return false;
    step.kind = (enum step_kind)kind;
    if (step.kind == STEP_SLEEP) {
        step.number = (uint64_t)(strtod(argument, &end) * 1000.0);
    } else if (step.kind == STEP_EXIT || step.kind == STEP_WRITE) {
        step.number = strtoull(argument, &end, 0);
    } else if (step.kind == STEP_PRINT || step.kind == STEP_ERROR) {
        step.text = str_format("%s\n", argument);
    }
    while (end != NULL && *end == ' ')
        end++;
    if (end != NULL && (end == argument || *end != 0))
        return false;
    *ret_step = step;
    return true;
}

struct error *emu_new(struct process *process, const char *command_line, struct emu **ret_emu)
{
    struct emu *emu = mem_new(struct emu);
    char *copy = str_copy(command_line + (*command_line == '"'));
    size_t length = strlen(copy);
    char *rest = copy;
    struct error *error = NULL;

    emu->process = process;
    if (length > 0 && copy[length - 1] == '"')
        copy[length - 1] = 0;
    while (rest != NULL && error == NULL) {
        char *end = strchr(rest, ';');
        if (end != NULL)
            *end++ = 0;
        if (emu->count == STEP_LIMIT || !step_parse(rest, &emu->steps[emu->count]))
            error = error_win32(ERROR_FILE_NOT_FOUND, "HcsCreateProcess", command_line,
                                "the emulator has no command \"%s\"", rest);
        if (error == NULL)
            emu->count++;
        rest = end;
    }
    free(copy);
    if (error != NULL) {
        emu_free(emu);
        return error;
    }
    *ret_emu = emu;
    return NULL;
}

void emu_free(struct emu *emu)
{
    if (emu == NULL)
        return;
    if (emu->timer != NULL)
        CloseThreadpoolTimer(emu->timer);
    for (int i = 0; i < STDIO_COUNT; i++) {
        if (emu->pipe[i] != NULL)
            CloseHandle(emu->pipe[i]);
        if (emu->io[i] != NULL)
            CloseThreadpoolIo(emu->io[i]);
    }
    for (unsigned i = 0; i < emu->count; i++)
        free(emu->steps[i].text);
    free(emu->data);
    free(emu);
}

/* Tells the end and frees, when no callback can come any more. */
static void CALLBACK emu_reap(PTP_CALLBACK_INSTANCE instance, void *context)
{
    struct emu *emu = context;
    struct process *process = emu->process;
    uint32_t code = emu->exit_code;

    (void)instance;
    SetThreadpoolTimer(emu->timer, NULL, 0, 0);
    WaitForThreadpoolTimerCallbacks(emu->timer, TRUE);
    emu_free(emu);
    EnterCriticalSection(&broker.lock);
    process_emu_ended(process, code);
    LeaveCriticalSection(&broker.lock);
}

/* Has it reaped once nothing is in flight any more. */
static void emu_settle(struct emu *emu)
{
    if (!emu->ending || emu->flying > 0)
        return;
    if (!TrySubmitThreadpoolCallback(emu_reap, emu, NULL))
        abort();
}

void emu_end(struct emu *emu, uint32_t code)
{
    if (emu->ending)
        return;
    emu->ending = true;
    emu->exit_code = code;
    for (int i = 0; i < STDIO_COUNT; i++)
        if (emu->pipe[i] != NULL)
            CancelIoEx(emu->pipe[i], NULL);
    emu_settle(emu);
}

static void CALLBACK timer_ticked(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    struct emu *emu = context;

    (void)instance;
    (void)timer;
    EnterCriticalSection(&broker.lock);
    if (!emu->ending) {
        emu->current++;
        emu_step(emu);
    }
    LeaveCriticalSection(&broker.lock);
}

/* Starts one transfer; false when the pipe is broken. */
static bool emu_transfer(struct emu *emu, enum stdio_stream stream)
{
    BOOL done;

    emu->overlapped[stream] = (OVERLAPPED){0};
    emu->flying++;
    StartThreadpoolIo(emu->io[stream]);
    if (stream == STDIO_IN)
        done = ReadFile(emu->pipe[stream], emu->data, CHUNK, NULL, &emu->overlapped[stream]);
    else
        done = WriteFile(emu->pipe[stream], emu->data + emu->offset, emu->size - emu->offset, NULL,
                         &emu->overlapped[stream]);
    if (done || GetLastError() == ERROR_IO_PENDING)
        return true;
    CancelThreadpoolIo(emu->io[stream]);
    emu->flying--;
    return false;
}

/* Writes data[offset, size) to `stream`; without a pipe it is gone already. */
static void emu_write(struct emu *emu, enum stdio_stream stream)
{
    if (emu->pipe[stream] == NULL) {
        emu->left = 0;
        emu->current++;
        emu_step(emu);
    } else if (!emu_transfer(emu, stream)) {
        emu_end(emu, EXIT_BROKEN_PIPE);
    }
}

static void emu_read(struct emu *emu)
{
    if (emu->pipe[STDIO_IN] != NULL && emu_transfer(emu, STDIO_IN))
        return;
    emu->current++;
    emu_step(emu);
}

static void emu_sleep(struct emu *emu, uint64_t milliseconds)
{
    int64_t due = -(int64_t)(milliseconds * 10000);
    FILETIME time = {.dwLowDateTime = (DWORD)due, .dwHighDateTime = (DWORD)(due >> 32)};
    SetThreadpoolTimer(emu->timer, &time, 0, 0);
}

static void emu_step(struct emu *emu)
{
    const struct step *step = &emu->steps[emu->current];

    if (emu->current >= emu->count) {
        emu_end(emu, 0);
        return;
    }
    if (emu->data == NULL && (step->kind == STEP_WRITE || step->kind == STEP_ECHO || step->text != NULL))
        emu->data = mem_zero(CHUNK);
    emu->offset = 0;
    switch (step->kind) {
    case STEP_EXIT:
        emu_end(emu, (uint32_t)step->number);
        break;
    case STEP_SLEEP:
        emu_sleep(emu, step->number);
        break;
    case STEP_ECHO:
        emu_read(emu);
        break;
    case STEP_PRINT:
    case STEP_ERROR:
        emu->size = (uint32_t)strlen(step->text);
        if (emu->size > CHUNK)
            emu->size = CHUNK;
        memcpy(emu->data, step->text, emu->size);
        emu_write(emu, step->kind == STEP_PRINT ? STDIO_OUT : STDIO_ERR);
        break;
    case STEP_WRITE:
        for (uint32_t i = 0; i < CHUNK; i++)
            emu->data[i] = (uint8_t)pattern[i % 64];
        emu->left = step->number;
        emu->size = emu->left < CHUNK ? (uint32_t)emu->left : CHUNK;
        emu_write(emu, STDIO_OUT);
        break;
    }
}

/* A part of the data was written. */
static void emu_written(struct emu *emu, ULONG_PTR bytes)
{
    const struct step *step = &emu->steps[emu->current];
    enum stdio_stream stream = step->kind == STEP_ERROR ? STDIO_ERR : STDIO_OUT;

    emu->offset += (uint32_t)bytes;
    if (step->kind == STEP_WRITE)
        emu->left -= bytes;
    if (emu->offset < emu->size) {
        emu_write(emu, stream);
    } else if (step->kind == STEP_ECHO) {
        emu_read(emu);
    } else if (step->kind == STEP_WRITE && emu->left > 0) {
        emu->offset = 0;
        emu->size = emu->left < CHUNK ? (uint32_t)emu->left : CHUNK;
        emu_write(emu, stream);
    } else {
        emu->current++;
        emu_step(emu);
    }
}

static void CALLBACK io_completed(PTP_CALLBACK_INSTANCE instance, void *context, void *overlapped, ULONG result,
                                  ULONG_PTR bytes, PTP_IO io)
{
    struct emu *emu = context;

    (void)instance;
    (void)io;
    EnterCriticalSection(&broker.lock);
    emu->flying--;
    if (emu->ending) {
        emu_settle(emu);
    } else if (overlapped == &emu->overlapped[STDIO_IN]) {
        if (result != NO_ERROR || bytes == 0) { /* stdin's end */
            emu->current++;
            emu_step(emu);
        } else {
            emu->offset = 0;
            emu->size = (uint32_t)bytes;
            if (emu->pipe[STDIO_OUT] != NULL) {
                emu_write(emu, STDIO_OUT);
            } else {
                emu_read(emu);
            }
        }
    } else if (result != NO_ERROR) {
        emu_end(emu, EXIT_BROKEN_PIPE);
    } else {
        emu_written(emu, bytes);
    }
    LeaveCriticalSection(&broker.lock);
}

void emu_start(struct emu *emu)
{
    struct stdio *stdio = &emu->process->stdio;

    emu->timer = CreateThreadpoolTimer(timer_ticked, emu, NULL);
    for (int i = 0; i < STDIO_COUNT; i++) {
        emu->pipe[i] = stdio->child[i];
        stdio->child[i] = NULL;
        if (emu->pipe[i] != NULL)
            emu->io[i] = CreateThreadpoolIo(emu->pipe[i], io_completed, emu, NULL);
    }
    emu_step(emu);
}
