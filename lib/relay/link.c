#include "relay/link.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"

#define PIECE 4096u

struct link {
    HANDLE pipe;
    PTP_IO io;
    SRWLOCK lock;
    struct link_options options;
    OVERLAPPED read, write;
    bool reading, writing, breaking;
    uint8_t piece[PIECE];
    struct buffer received;       /* of the reading thread */
    struct buffer queue, sending; /* under the lock */
    size_t sent;
};

/* The lock held: whoever has a transfer under way finishes. */
static void begin_breaking(struct link *link)
{
    if (link->breaking)
        return;
    link->breaking = true;
    CancelIoEx(link->pipe, NULL);
}

static void finish(struct link *link)
{
    void (*broken)(void *context) = link->options.broken;
    void *context = link->options.context;
    CloseThreadpoolIo(link->io);
    CloseHandle(link->pipe);
    buffer_free(&link->received);
    buffer_free(&link->queue);
    buffer_free(&link->sending);
    free(link);
    broken(context);
}

/* ---- writing; the lock held ---- */

static void write_next(struct link *link)
{
    if (link->writing || link->breaking)
        return;
    if (link->sent == link->sending.size) {
        struct buffer empty = link->sending;
        buffer_clear(&empty);
        link->sending = link->queue;
        link->queue = empty;
        link->sent = 0;
        if (!link->sending.size)
            return;
    }
    link->write = (OVERLAPPED){0};
    link->writing = true;
    StartThreadpoolIo(link->io);
    if (WriteFile(link->pipe, link->sending.data + link->sent, (DWORD)(link->sending.size - link->sent), NULL,
                  &link->write) ||
        GetLastError() == ERROR_IO_PENDING)
        return;
    CancelThreadpoolIo(link->io);
    link->writing = false;
    begin_breaking(link);
}

struct error *link_send(struct link *link, const struct relay_message *message)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&link->lock);
    if (link->breaking)
        error = error_make(ERROR_KIND_UNAVAILABLE, "ask the stdio relay", NULL, "its pipe is broken");
    else if (link->queue.size > LINK_QUEUE_MAX)
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "ask the stdio relay", NULL, "it does not read");
    if (!error)
        error = relay_encode(message, &link->queue);
    if (!error)
        write_next(link);
    ReleaseSRWLockExclusive(&link->lock);
    return error;
}

/* ---- reading ---- */

/* False: the relay does not keep the rules. */
static bool take_all(struct link *link)
{
    size_t at = 0, size;
    bool good = true;
    while (good) {
        struct relay_message message;
        struct error *error = relay_frame(link->received.data + at, link->received.size - at, &size);
        if (!error && !size)
            break;
        if (!error)
            error = relay_decode(link->received.data + at, size, &message);
        good = !error;
        error_free(error);
        if (good)
            link->options.message(link->options.context, &message);
        at += size;
    }
    if (good)
        buffer_drop(&link->received, at);
    return good;
}

/* The lock held. */
static void read_next(struct link *link)
{
    if (link->breaking)
        return;
    link->read = (OVERLAPPED){0};
    link->reading = true;
    StartThreadpoolIo(link->io);
    if (ReadFile(link->pipe, link->piece, PIECE, NULL, &link->read) || GetLastError() == ERROR_IO_PENDING)
        return;
    CancelThreadpoolIo(link->io);
    link->reading = false;
    begin_breaking(link);
}

static void CALLBACK transfer_done(PTP_CALLBACK_INSTANCE instance, PVOID context, PVOID overlapped, ULONG result,
                                   ULONG_PTR bytes, PTP_IO io)
{
    struct link *link = context;
    (void)instance, (void)io;
    bool good = result == NO_ERROR;
    if (overlapped == &link->read && good && bytes) {
        buffer_add(&link->received, link->piece, (size_t)bytes);
        good = take_all(link);
    }
    AcquireSRWLockExclusive(&link->lock);
    if (overlapped == &link->read)
        link->reading = false;
    else {
        link->writing = false;
        link->sent += (size_t)bytes;
    }
    if (!good)
        begin_breaking(link);
    else if (overlapped == &link->read)
        read_next(link);
    else
        write_next(link);
    bool over = link->breaking && !link->reading && !link->writing;
    ReleaseSRWLockExclusive(&link->lock);
    if (over)
        finish(link);
}

/* Breaks before it began to read: nobody else would finish. */
static void CALLBACK finish_later(PTP_CALLBACK_INSTANCE instance, void *context)
{
    (void)instance;
    finish(context);
}

struct error *link_open(HANDLE pipe, const struct link_options *options, struct link **ret_link)
{
    struct link *link = mem_new(struct link);
    link->pipe = pipe;
    link->options = *options;
    InitializeSRWLock(&link->lock);
    link->io = CreateThreadpoolIo(pipe, transfer_done, link, NULL);
    if (!link->io) {
        struct error *error = error_win32(GetLastError(), "CreateThreadpoolIo", "stdio relay", NULL);
        CloseHandle(pipe);
        free(link);
        return error;
    }
    *ret_link = link;
    return NULL;
}

void link_begin(struct link *link)
{
    AcquireSRWLockExclusive(&link->lock);
    read_next(link);
    bool over = link->breaking && !link->reading && !link->writing;
    ReleaseSRWLockExclusive(&link->lock);
    if (over && !TrySubmitThreadpoolCallback(finish_later, link, NULL))
        finish(link);
}

void link_close(struct link *link)
{
    AcquireSRWLockExclusive(&link->lock);
    begin_breaking(link);
    ReleaseSRWLockExclusive(&link->lock);
}
