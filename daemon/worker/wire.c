#include "daemon/worker/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/win.h"

#define HEADER_SIZE 8
#define AHEAD_SIZE  4096 /* most messages are smaller */

struct wire {
    HANDLE pipe;
    SRWLOCK write_lock; /* one frame at a time */
    OVERLAPPED write, read;
    bool reading;              /* wire_read_begin was called: `read` is under way, or `waiting` */
    bool waiting;              /* the next frame has begun in `ahead` already */
    uint8_t ahead[AHEAD_SIZE]; /* what was read and is no frame's yet: a header and what came with it */
    size_t ahead_begin, ahead_end;
    uint8_t *payload; /* NULL: the header is not there yet */
    size_t want, got;
    uint32_t type;
};

static HANDLE event_new(void)
{
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (event == NULL)
        abort(); /* as when memory is gone */
    return event;
}

struct wire *wire_new(HANDLE pipe)
{
    struct wire *wire = mem_new(struct wire);
    wire->pipe = pipe;
    InitializeSRWLock(&wire->write_lock);
    wire->write.hEvent = event_new();
    wire->read.hEvent = event_new();
    return wire;
}

void wire_free(struct wire *wire)
{
    if (wire == NULL)
        return;
    if (wire->reading && !wire->waiting) {
        DWORD count;
        CancelIoEx(wire->pipe, &wire->read);
        GetOverlappedResult(wire->pipe, &wire->read, &count, TRUE);
    }
    win_close(wire->pipe);
    win_close(wire->write.hEvent);
    win_close(wire->read.hEvent);
    free(wire->payload);
    free(wire);
}

static struct error *pipe_error(DWORD code, const char *operation)
{
    struct error *error = error_win32(code, operation, NULL, NULL);
    if (code == ERROR_BROKEN_PIPE || code == ERROR_NO_DATA || code == ERROR_PIPE_NOT_CONNECTED)
        error = error_set_kind(error, ERROR_KIND_UNAVAILABLE);
    return error;
}

static struct error *write_all(struct wire *wire, const uint8_t *data, size_t size, uint32_t milliseconds)
{
    while (size > 0) {
        DWORD count = 0;
        /* The write itself resets the event. Most end at once: then there is nothing to wait for. */
        bool pending = !WriteFile(wire->pipe, data, (DWORD)size, NULL, &wire->write);
        if (pending && GetLastError() != ERROR_IO_PENDING)
            return pipe_error(GetLastError(), "write to the worker's pipe");
        bool late = pending && WaitForSingleObject(wire->write.hEvent, milliseconds) == WAIT_TIMEOUT;
        if (late)
            CancelIoEx(wire->pipe, &wire->write);
        if (!GetOverlappedResult(wire->pipe, &wire->write, &count, TRUE)) {
            DWORD code = GetLastError();
            if (!late || code != ERROR_OPERATION_ABORTED)
                return pipe_error(code, "write to the worker's pipe");
            return error_make(ERROR_KIND_DEADLINE_EXCEEDED, "write to the worker's pipe", NULL,
                              "the other end has not read for %u ms", (unsigned)milliseconds);
        }
        data += count;
        size -= count;
    }
    return NULL;
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* In one piece where it is small: each write wakes the reader. */
static struct error *write_frame(struct wire *wire, enum wire_type type, const void *data, size_t size,
                                 uint32_t milliseconds)
{
    uint8_t frame[AHEAD_SIZE];
    size_t along = size <= sizeof frame - HEADER_SIZE ? size : 0;
    put_u32(frame, (uint32_t)size);
    put_u32(frame + 4, type);
    memcpy(frame + HEADER_SIZE, data, along);
    struct error *error = write_all(wire, frame, HEADER_SIZE + along, milliseconds);
    if (error == NULL && along < size)
        error = write_all(wire, data, size, milliseconds);
    return error;
}

struct error *wire_write(struct wire *wire, enum wire_type type, const void *data, size_t size, uint32_t milliseconds)
{
    if (size > (type == WIRE_JSON ? WIRE_JSON_MAX : WIRE_DATA_MAX))
        return error_make(ERROR_KIND_INTERNAL, "write to the worker's pipe", NULL, "a message of %zu bytes is too long",
                          size);
    AcquireSRWLockExclusive(&wire->write_lock);
    struct error *error = write_frame(wire, type, data, size, milliseconds);
    ReleaseSRWLockExclusive(&wire->write_lock);
    return error;
}

struct error *wire_write_json(struct wire *wire, json_t *message, uint32_t milliseconds)
{
    char *text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (text == NULL)
        return error_make(ERROR_KIND_INTERNAL, "write to the worker's pipe", NULL, "the message is no JSON");
    struct error *error = wire_write(wire, WIRE_JSON, text, strlen(text), milliseconds);
    free(text);
    return error;
}

void wire_write_last(struct wire *wire, const char *text)
{
    if (!TryAcquireSRWLockExclusive(&wire->write_lock))
        return;
    error_free(write_frame(wire, WIRE_JSON, text, strlen(text), 200));
    ReleaseSRWLockExclusive(&wire->write_lock);
}

struct error *wire_read_begin(struct wire *wire)
{
    if (wire->reading)
        return NULL;
    size_t held = wire->ahead_end - wire->ahead_begin;
    wire->waiting = wire->payload == NULL && held >= HEADER_SIZE;
    if (wire->waiting) {
        SetEvent(wire->read.hEvent);
        wire->reading = true;
        return NULL;
    }
    memmove(wire->ahead, wire->ahead + wire->ahead_begin, held);
    wire->ahead_begin = 0;
    wire->ahead_end = held;
    uint8_t *target = wire->payload != NULL ? wire->payload + wire->got : wire->ahead + held;
    size_t room = wire->payload != NULL ? wire->want - wire->got : AHEAD_SIZE - held;
    /* The read itself resets the event. */
    if (!ReadFile(wire->pipe, target, (DWORD)room, NULL, &wire->read) && GetLastError() != ERROR_IO_PENDING)
        return pipe_error(GetLastError(), "read from the worker's pipe");
    wire->reading = true;
    return NULL;
}

HANDLE wire_read_event(struct wire *wire)
{
    return wire->read.hEvent;
}

static struct error *take_header(struct wire *wire)
{
    const uint8_t *header = wire->ahead + wire->ahead_begin;
    uint32_t size = get_u32(header);
    wire->type = get_u32(header + 4);
    if ((wire->type != WIRE_JSON && wire->type != WIRE_DATA) ||
        size > (wire->type == WIRE_JSON ? WIRE_JSON_MAX : WIRE_DATA_MAX))
        return error_make(ERROR_KIND_DATA_LOSS, "read from the worker's pipe", NULL,
                          "a frame of type %u with %u bytes is none of ours", (unsigned)wire->type, (unsigned)size);
    wire->ahead_begin += HEADER_SIZE;
    size_t held = wire->ahead_end - wire->ahead_begin;
    wire->payload = mem_zero((size_t)size + 1);
    wire->want = size;
    wire->got = held < size ? held : size;
    memcpy(wire->payload, wire->ahead + wire->ahead_begin, wire->got);
    wire->ahead_begin += wire->got;
    return NULL;
}

struct error *wire_read_end(struct wire *wire, bool *ret_whole, struct wire_frame *ret_frame)
{
    *ret_whole = false;
    if (!wire->reading)
        return NULL;
    DWORD count = 0;
    if (!wire->waiting && !GetOverlappedResult(wire->pipe, &wire->read, &count, FALSE)) {
        if (GetLastError() == ERROR_IO_INCOMPLETE)
            return NULL;
        wire->reading = false;
        return pipe_error(GetLastError(), "read from the worker's pipe");
    }
    wire->reading = false;
    if (!wire->waiting && count == 0)
        return pipe_error(ERROR_BROKEN_PIPE, "read from the worker's pipe");
    if (wire->payload != NULL)
        wire->got += count;
    else
        wire->ahead_end += count;
    if (wire->payload == NULL && wire->ahead_end - wire->ahead_begin >= HEADER_SIZE) {
        struct error *error = take_header(wire);
        if (error != NULL)
            return error;
    }
    if (wire->payload != NULL && wire->got == wire->want) {
        *ret_frame = (struct wire_frame){.type = (enum wire_type)wire->type, .data = wire->payload, .size = wire->want};
        *ret_whole = true;
        wire->payload = NULL;
    }
    return NULL;
}

struct error *wire_frame_json(const struct wire_frame *frame, json_t **ret_message)
{
    json_error_t where;
    json_t *message = frame->type != WIRE_JSON ? NULL : json_loadb((const char *)frame->data, frame->size, 0, &where);
    if (!json_is_object(message)) {
        json_decref(message);
        return error_make(ERROR_KIND_DATA_LOSS, "read from the worker's pipe", NULL, "a message is no JSON object");
    }
    *ret_message = message;
    return NULL;
}
