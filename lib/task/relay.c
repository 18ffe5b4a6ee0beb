#include "task/relay.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "task/endpoint.h"

#define BUFFER_FIRST 4096u
#define BUFFER_MAX   65536u
#define STREAM_COUNT 3

enum stream_state { STREAM_IDLE, STREAM_READING, STREAM_WRITING, STREAM_ENDED };

struct end {
    HANDLE handle; /* NULL: none */
    PTP_IO io;
    bool file; /* written at its end */
};

/* At most one transfer is under way per stream: a read, then writes until all of it has gone. */
struct stream {
    struct relay *relay;
    OVERLAPPED overlapped;
    struct end client, process;
    enum stream_state state;
    bool attached, stopping, dropping;
    uint8_t *buffer;
    uint32_t capacity, filled, written;
    uint64_t lost;
};

struct relay {
    _Atomic unsigned references; /* the owner, each stream under way, an armed timer */
    SRWLOCK lock;
    struct operations *timers;
    struct stream streams[STREAM_COUNT]; /* stdin, stdout, stderr */
    uint64_t transfers;                  /* counts, so that quiet can be told */
    void (*stdin_ended)(void *context);
    void *stdin_context;
    /* The drain under way. */
    void (*drained)(void *context, uint64_t lost);
    void *drained_context;
    struct timer timer;
    uint64_t drain_end_ms, quiet_transfers;
    unsigned quiet_ms;
};

static const char *const stream_names[STREAM_COUNT] = {"stdin", "stdout", "stderr"};

static void unreference(struct relay *relay)
{
    if (atomic_fetch_sub(&relay->references, 1) != 1)
        return;
    for (unsigned i = 0; i < STREAM_COUNT; i++)
        free(relay->streams[i].buffer);
    free(relay);
}

static void end_close(struct end *end)
{
    if (end->io)
        CloseThreadpoolIo(end->io);
    if (end->handle)
        CloseHandle(end->handle);
    *end = (struct end){0};
}

static bool is_input(const struct stream *stream)
{
    return stream == &stream->relay->streams[0];
}

static struct end *source(struct stream *stream)
{
    return is_input(stream) ? &stream->client : &stream->process;
}

static struct end *target(struct stream *stream)
{
    return is_input(stream) ? &stream->process : &stream->client;
}

/* What callbacks are due once the lock is free. */
struct due {
    void (*stdin_ended)(void *context);
    void *stdin_context;
    void (*drained)(void *context, uint64_t lost);
    void *drained_context;
    uint64_t lost;
    unsigned references;
};

static void due_run(struct relay *relay, const struct due *due)
{
    if (due->stdin_ended)
        due->stdin_ended(due->stdin_context);
    if (due->drained)
        due->drained(due->drained_context, due->lost);
    for (unsigned i = 0; i < due->references; i++)
        unreference(relay);
}

static uint64_t lost_bytes(struct relay *relay)
{
    uint64_t lost = 0;
    for (unsigned i = 1; i < STREAM_COUNT; i++) {
        struct stream *stream = &relay->streams[i];
        lost += stream->lost;
        if (stream->state == STREAM_WRITING)
            lost += stream->filled - stream->written;
        DWORD waiting = 0;
        if (stream->attached && stream->process.handle &&
            PeekNamedPipe(stream->process.handle, NULL, 0, NULL, &waiting, NULL))
            lost += waiting;
    }
    return lost;
}

static bool output_ended(struct relay *relay)
{
    for (unsigned i = 1; i < STREAM_COUNT; i++)
        if (relay->streams[i].attached && relay->streams[i].state != STREAM_ENDED)
            return false;
    return true;
}

static bool output_quiet(struct relay *relay)
{
    for (unsigned i = 1; i < STREAM_COUNT; i++)
        if (relay->streams[i].attached && relay->streams[i].state == STREAM_WRITING)
            return false;
    return true;
}

static void drain_finish(struct relay *relay, struct due *due)
{
    if (!relay->drained)
        return;
    due->drained = relay->drained;
    due->drained_context = relay->drained_context;
    due->lost = lost_bytes(relay);
    relay->drained = NULL;
    if (timer_clear(relay->timers, &relay->timer))
        due->references++;
}

static void stream_end(struct stream *stream, struct due *due)
{
    struct relay *relay = stream->relay;
    bool stdin_done = is_input(stream) && stream->process.handle;
    stream->state = STREAM_ENDED;
    if (!is_input(stream) && stream->written < stream->filled)
        stream->lost += stream->filled - stream->written;
    stream->filled = stream->written = 0;
    end_close(&stream->client);
    end_close(&stream->process);
    due->references++;
    if (stdin_done && relay->stdin_ended) {
        due->stdin_ended = relay->stdin_ended;
        due->stdin_context = relay->stdin_context;
        relay->stdin_ended = NULL;
    }
    if (relay->drained && output_ended(relay))
        drain_finish(relay, due);
}

/* Starts the next transfer of a stream that has none under way, or ends it. */
static void stream_go(struct stream *stream, struct due *due)
{
    for (;;) {
        if (stream->stopping) {
            stream_end(stream, due);
            return;
        }
        bool writing = stream->written < stream->filled;
        if (writing && stream->dropping) {
            stream->lost += stream->filled - stream->written;
            stream->written = stream->filled;
            continue;
        }
        if (!writing && stream->filled == stream->capacity && stream->capacity < BUFFER_MAX) {
            uint32_t capacity = stream->capacity ? stream->capacity * 4 : BUFFER_FIRST;
            free(stream->buffer);
            stream->buffer = mem_zero(capacity);
            stream->capacity = capacity;
        }
        struct end *end = writing ? target(stream) : source(stream);
        stream->state = writing ? STREAM_WRITING : STREAM_READING;
        if (!writing)
            stream->filled = stream->written = 0;
        stream->overlapped = (OVERLAPPED){0};
        if (end->file)
            stream->overlapped.Offset = stream->overlapped.OffsetHigh = 0xFFFFFFFFu;
        StartThreadpoolIo(end->io);
        BOOL begun = writing ? WriteFile(end->handle, stream->buffer + stream->written,
                                         stream->filled - stream->written, NULL, &stream->overlapped)
                             : ReadFile(end->handle, stream->buffer, stream->capacity, NULL, &stream->overlapped);
        DWORD code = begun ? ERROR_IO_PENDING : GetLastError();
        if (code == ERROR_IO_PENDING)
            return;
        CancelThreadpoolIo(end->io);
        if (writing && !is_input(stream)) {
            stream->dropping = true;
            continue;
        }
        stream_end(stream, due);
        return;
    }
}

static VOID CALLBACK transfer_done(PTP_CALLBACK_INSTANCE instance, PVOID context, PVOID overlapped, ULONG result,
                                   ULONG_PTR bytes, PTP_IO io)
{
    (void)instance, (void)overlapped, (void)io;
    struct stream *stream = context;
    struct relay *relay = stream->relay;
    struct due due = {0};
    AcquireSRWLockExclusive(&relay->lock);
    relay->transfers++;
    if (stream->state == STREAM_READING) {
        /* Nothing read is the end, as it is for every client of this ABI. */
        if (result == NO_ERROR && bytes)
            stream->filled = (uint32_t)bytes;
        else if (result != ERROR_MORE_DATA)
            stream->stopping = true;
        else
            stream->filled = (uint32_t)bytes;
    } else if (result == NO_ERROR)
        stream->written += (uint32_t)bytes;
    else if (is_input(stream))
        stream->stopping = true;
    else
        stream->dropping = true;
    stream_go(stream, &due);
    ReleaseSRWLockExclusive(&relay->lock);
    due_run(relay, &due);
}

static struct error *open_pipe(const char *path, bool input, HANDLE *ret_handle)
{
    struct error *error = NULL;
    uint64_t end = clock_ms() + RELAY_DIAL_MS;
    char16_t *wide = text_to_utf16(path, NULL);
    if (!wide)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "open pipe", path, "the name is not UTF-8");
    for (;;) {
        HANDLE handle = CreateFileW((PCWSTR)wide, input ? GENERIC_READ : GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                                    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        if (handle != INVALID_HANDLE_VALUE) {
            if (GetFileType(handle) == FILE_TYPE_PIPE) {
                *ret_handle = handle;
                break;
            }
            CloseHandle(handle);
            error = error_make(ERROR_KIND_INVALID_ARGUMENT, "open pipe", path, "this is no pipe");
            break;
        }
        DWORD code = GetLastError();
        uint64_t now = clock_ms();
        if (code != ERROR_PIPE_BUSY || now >= end) {
            error = error_win32(code, "open pipe", path, "the client must serve the pipe before it calls");
            break;
        }
        WaitNamedPipeW((PCWSTR)wide, (DWORD)(end - now));
    }
    free(wide);
    return error;
}

static struct error *open_file(const char *path, HANDLE *ret_handle)
{
    char16_t *wide = text_to_utf16(path, NULL);
    HANDLE handle = CreateFileW((PCWSTR)wide, FILE_APPEND_DATA | SYNCHRONIZE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                                OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OVERLAPPED, NULL);
    struct error *error = NULL;
    if (handle == INVALID_HANDLE_VALUE)
        error = error_win32(GetLastError(), "open log file", path, NULL);
    else if (GetFileType(handle) != FILE_TYPE_DISK) {
        CloseHandle(handle);
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "open log file", path, "this is no file");
    } else
        *ret_handle = handle;
    free(wide);
    return error;
}

struct error *relay_dial(struct operations *timers, const char *stdin_path, const char *stdout_path,
                         const char *stderr_path, struct relay **ret_relay)
{
    const char *paths[STREAM_COUNT] = {stdin_path, stdout_path, stderr_path};
    enum endpoint_kind kinds[STREAM_COUNT] = {ENDPOINT_NONE, ENDPOINT_NONE, ENDPOINT_NONE};
    char *names[STREAM_COUNT] = {NULL, NULL, NULL};
    struct error *error = NULL;
    struct relay *relay = mem_new(struct relay);

    atomic_init(&relay->references, 1);
    InitializeSRWLock(&relay->lock);
    relay->timers = timers;
    for (unsigned i = 0; i < STREAM_COUNT; i++)
        relay->streams[i].relay = relay;
    /* All names are judged before the first is opened: whoever listens must not see half a dial for a bad request. */
    for (unsigned i = 0; !error && i < STREAM_COUNT; i++)
        error = endpoint_parse(paths[i], stream_names[i], &kinds[i], &names[i]);
    for (unsigned i = 0; !error && i < STREAM_COUNT; i++) {
        struct end *end = &relay->streams[i].client;
        end->file = kinds[i] == ENDPOINT_FILE;
        if (kinds[i] == ENDPOINT_PIPE)
            error = error_wrap(open_pipe(names[i], i == 0, &end->handle), "%s", stream_names[i]);
        else if (kinds[i] == ENDPOINT_FILE)
            error = error_wrap(open_file(names[i], &end->handle), "%s", stream_names[i]);
    }
    for (unsigned i = 0; i < STREAM_COUNT; i++)
        free(names[i]);
    if (error)
        relay_close(relay);
    else
        *ret_relay = relay;
    return error;
}

static struct error *end_bind(struct end *end, struct stream *stream, const char *name)
{
    end->io = CreateThreadpoolIo(end->handle, transfer_done, stream, NULL);
    if (end->io)
        return NULL;
    return error_win32(GetLastError(), "CreateThreadpoolIo", name, "the pipe cannot be used asynchronously");
}

struct error *relay_attach(struct relay *relay, HANDLE process_stdin, HANDLE process_stdout, HANDLE process_stderr,
                           void (*stdin_ended)(void *context), void *context)
{
    HANDLE handles[STREAM_COUNT] = {process_stdin, process_stdout, process_stderr};
    struct error *error = NULL;
    struct due due = {0};

    AcquireSRWLockExclusive(&relay->lock);
    relay->stdin_ended = stdin_ended;
    relay->stdin_context = context;
    for (unsigned i = 0; i < STREAM_COUNT; i++) {
        struct stream *stream = &relay->streams[i];
        stream->process.handle = handles[i];
        if (!handles[i] || !stream->client.handle)
            end_close(&stream->process);
        else if (!error)
            error = end_bind(&stream->process, stream, stream_names[i]);
        if (!error && stream->process.handle)
            error = end_bind(&stream->client, stream, stream_names[i]);
    }
    for (unsigned i = 0; i < STREAM_COUNT; i++) {
        struct stream *stream = &relay->streams[i];
        if (error)
            end_close(&stream->process);
        else if (stream->process.handle) {
            stream->attached = true;
            atomic_fetch_add(&relay->references, 1);
            stream_go(stream, &due);
        }
    }
    ReleaseSRWLockExclusive(&relay->lock);
    due_run(relay, &due);
    return error;
}

static void stream_stop(struct stream *stream)
{
    if (!stream->attached || stream->state == STREAM_ENDED || stream->stopping)
        return;
    stream->stopping = true;
    struct end *end = stream->state == STREAM_WRITING ? target(stream) : source(stream);
    CancelIoEx(end->handle, &stream->overlapped);
}

void relay_close_stdin(struct relay *relay)
{
    AcquireSRWLockExclusive(&relay->lock);
    stream_stop(&relay->streams[0]);
    ReleaseSRWLockExclusive(&relay->lock);
}

static void drain_timer(void *context)
{
    struct relay *relay = context;
    struct due due = {.references = 1};
    AcquireSRWLockExclusive(&relay->lock);
    uint64_t now = clock_ms();
    if (relay->drained) {
        bool quiet = relay->quiet_ms && relay->transfers == relay->quiet_transfers && output_quiet(relay);
        if (quiet || now >= relay->drain_end_ms)
            drain_finish(relay, &due);
        else {
            uint64_t next = relay->quiet_ms ? now + relay->quiet_ms : relay->drain_end_ms;
            relay->quiet_transfers = relay->transfers;
            if (timer_set(relay->timers, &relay->timer, next < relay->drain_end_ms ? next : relay->drain_end_ms,
                          drain_timer, relay))
                due.references--;
        }
    }
    ReleaseSRWLockExclusive(&relay->lock);
    due_run(relay, &due);
}

void relay_drain(struct relay *relay, unsigned quiet_ms, unsigned milliseconds,
                 void (*drained)(void *context, uint64_t lost), void *context)
{
    struct due due = {0};
    AcquireSRWLockExclusive(&relay->lock);
    relay->drained = drained;
    relay->drained_context = context;
    relay->quiet_ms = quiet_ms;
    if (output_ended(relay)) {
        drain_finish(relay, &due);
    } else {
        uint64_t now = clock_ms();
        relay->drain_end_ms = now + milliseconds;
        relay->quiet_transfers = relay->transfers;
        uint64_t first = quiet_ms && quiet_ms < milliseconds ? now + quiet_ms : relay->drain_end_ms;
        if (timer_set(relay->timers, &relay->timer, first, drain_timer, relay))
            atomic_fetch_add(&relay->references, 1);
    }
    ReleaseSRWLockExclusive(&relay->lock);
    due_run(relay, &due);
}

bool relay_close(struct relay *relay)
{
    if (!relay)
        return false;
    struct due due = {.references = 1};
    AcquireSRWLockExclusive(&relay->lock);
    bool taken_back = relay->drained != NULL;
    relay->drained = NULL;
    relay->stdin_ended = NULL;
    if (timer_clear(relay->timers, &relay->timer))
        due.references++;
    for (unsigned i = 0; i < STREAM_COUNT; i++) {
        struct stream *stream = &relay->streams[i];
        if (stream->attached)
            stream_stop(stream);
        else
            end_close(&stream->client);
    }
    ReleaseSRWLockExclusive(&relay->lock);
    due_run(relay, &due);
    return taken_back;
}
