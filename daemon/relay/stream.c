#include "daemon/relay/stream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/relay/dial.h"

#define BUFFER_FIRST  4096u
#define BUFFER_MAX    65536u
#define ROUNDS        32 /* transfers in one go, before others get their turn */
#define REDIAL_MS     200u
#define REDIAL_MAX_MS 60000u

static void go(struct stream *stream);

static bool unsent(const struct stream *stream)
{
    return stream->written < stream->filled;
}

static void drop(struct stream *stream)
{
    stream->lost += stream->filled - stream->written;
    stream->written = stream->filled;
}

static void end(struct stream *stream)
{
    loop_timer_clear(stream->loop, &stream->redial);
    if (!stream->input)
        drop(stream);
    stream->filled = stream->written = 0;
    stream->state = STREAM_ENDED;
    win_close(stream->client);
    win_close(stream->process);
    free(stream->buffer);
    stream->buffer = NULL;
    stream->capacity = 0;
    stream->ended(stream);
}

/* ---- a reader that is away ---- */

/* Bytes of chance; no secret. */
static uint32_t chance(void)
{
    static uint32_t state;
    if (!state)
        state = (uint32_t)clock_wall_ns() | 1;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void redial_due(struct loop_timer *timer);

static void redial_later(struct stream *stream)
{
    uint64_t now = clock_ms(), hold_end = stream->gone_ms + stream->hold_ms;
    uint64_t due = now + stream->redial_ms / 2 + chance() % (stream->redial_ms + 1);
    stream->redial_ms = stream->redial_ms * 3 / 2 < REDIAL_MAX_MS ? stream->redial_ms * 3 / 2 : REDIAL_MAX_MS;
    if (!stream->dropping && hold_end < due)
        due = hold_end > now ? hold_end : now;
    loop_timer_set(stream->loop, &stream->redial, due, redial_due);
}

/* Nobody takes it. */
static void lose(struct stream *stream)
{
    drop(stream);
    if (!stream->told) {
        stream->told = true;
        stream->losing(stream);
    }
}

static void redial_due(struct loop_timer *timer)
{
    struct stream *stream = (struct stream *)((char *)timer - offsetof(struct stream, redial));
    HANDLE handle = NULL;
    DWORD code;
    struct error *error = dial_pipe(stream->path, false, &handle, &code);
    if (!error)
        error = loop_bind(stream->loop, handle, stream->path);
    if (error) {
        error_free(error);
        win_close(handle);
        bool held_enough = !stream->dropping && clock_ms() >= stream->gone_ms + stream->hold_ms;
        stream->dropping = stream->dropping || held_enough;
        redial_later(stream);
        if (held_enough) {
            lose(stream);
            go(stream);
        }
        return;
    }
    stream->client = handle;
    stream->gone_ms = 0;
    stream->dropping = stream->told = false;
    if (stream->state == STREAM_AWAY)
        go(stream);
}

/* What was written at last did not arrive, or only `bytes` of it. True: the stream goes on. */
static bool reader_failed(struct stream *stream, DWORD code)
{
    bool gone = code == ERROR_NO_DATA || code == ERROR_PIPE_NOT_CONNECTED || code == ERROR_BROKEN_PIPE;
    win_close(stream->client);
    if (stream->kind != ENDPOINT_PIPE || !gone) {
        stream->dropping = true;
        return true;
    }
    stream->gone_ms = clock_ms();
    stream->redial_ms = REDIAL_MS;
    stream->state = STREAM_AWAY;
    redial_later(stream);
    return false;
}

/* ---- copying ---- */

static void transfer_done(struct loop_io *io, DWORD code, DWORD bytes);

static void grow(struct stream *stream)
{
    if (stream->capacity && (stream->filled < stream->capacity || stream->capacity == BUFFER_MAX))
        return;
    uint32_t capacity = stream->capacity ? stream->capacity * 4 : BUFFER_FIRST;
    free(stream->buffer);
    stream->buffer = mem_zero(capacity);
    stream->capacity = capacity;
}

/* Takes what a transfer gave; false: there is nothing more to do for now. */
static bool took(struct stream *stream, DWORD code, DWORD bytes)
{
    stream->moves++;
    if (stream->state == STREAM_READING) {
        /* Nothing read is the end, as it is for every client of this ABI. */
        if ((code == NO_ERROR || code == ERROR_MORE_DATA) && bytes)
            stream->filled = bytes;
        else
            stream->stopping = true;
        return true;
    }
    stream->written += bytes;
    stream->passed += bytes;
    if (code == NO_ERROR)
        return true;
    if (stream->input || stream->stopping) {
        stream->stopping = true;
        return true;
    }
    return reader_failed(stream, code);
}

/* Starts the next transfer of a stream that has none under way, or ends it. */
static void go(struct stream *stream)
{
    for (unsigned round = 0;; round++) {
        if (stream->stopping) {
            end(stream);
            return;
        }
        if (unsent(stream) && stream->dropping)
            lose(stream);
        if (round == ROUNDS) {
            stream->yielding = true;
            loop_post(stream->loop, &stream->io, NO_ERROR, 0);
            return;
        }
        bool writing = unsent(stream);
        DWORD value = 0, waiting = 0;
        if (stream->finishing && !writing &&
            (!PeekNamedPipe(stream->client, NULL, 0, NULL, &waiting, NULL) || !waiting)) {
            end(stream);
            return;
        }
        enum loop_begun begun;
        stream->state = writing ? STREAM_WRITING : STREAM_READING;
        if (writing)
            begun = loop_write(stream->input ? stream->process : stream->client, stream->buffer + stream->written,
                               stream->filled - stream->written, stream->kind == ENDPOINT_FILE && !stream->input,
                               &stream->io, &value);
        else {
            grow(stream);
            stream->filled = stream->written = 0;
            begun = loop_read(stream->input ? stream->client : stream->process, stream->buffer, stream->capacity,
                              &stream->io, &value);
        }
        if (begun == LOOP_PENDING)
            return;
        if (!took(stream, begun == LOOP_FAILED ? value : NO_ERROR, begun == LOOP_FAILED ? 0 : value))
            return;
    }
}

static void transfer_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct stream *stream = (struct stream *)io;
    if (stream->yielding)
        stream->yielding = false;
    else if (!took(stream, code, bytes))
        return;
    go(stream);
}

struct error *stream_attach(struct stream *stream, const char *name)
{
    struct error *error = loop_bind(stream->loop, stream->process, name);
    if (!error && stream->kind != ENDPOINT_LOGGER) /* whose pipes have been waited at */
        error = loop_bind(stream->loop, stream->client, name);
    return error;
}

void stream_begin(struct stream *stream)
{
    stream->io.done = transfer_done;
    go(stream);
}

void stream_stop(struct stream *stream)
{
    if (stream->state == STREAM_IDLE) {
        win_close(stream->client);
        win_close(stream->process);
        return;
    }
    if (stream->state == STREAM_ENDED || stream->stopping)
        return;
    stream->stopping = true;
    if (!stream->io.flying)
        end(stream);
    else if (!stream->yielding) {
        bool to_client = (stream->state == STREAM_WRITING) != stream->input;
        CancelIoEx(to_client ? stream->client : stream->process, &stream->io.overlapped);
    }
}

void stream_finish(struct stream *stream)
{
    stream->finishing = true;
    if (stream->state == STREAM_IDLE)
        stream_stop(stream);
    else if (stream->state == STREAM_READING && stream->io.flying && !stream->yielding)
        CancelIoEx(stream->client, &stream->io.overlapped); /* there is nothing, or it comes all the same */
}

uint64_t stream_lost(const struct stream *stream)
{
    DWORD waiting = 0;
    uint64_t lost = stream->lost;
    if (stream->input || stream->state == STREAM_IDLE || stream->state == STREAM_ENDED)
        return lost;
    lost += stream->filled - stream->written;
    if (PeekNamedPipe(stream->process, NULL, 0, NULL, &waiting, NULL))
        lost += waiting;
    return lost;
}

void stream_free(struct stream *stream)
{
    free(stream->buffer);
    stream->buffer = NULL;
}
