#include "daemon/rpc/pipe_stream.h"

#include <windows.h>

#include <stdatomic.h>

#include "base/memory.h"

struct pipe_stream {
    atomic_int references; /* the owner's, one per operation in flight, one per function that runs */
    SRWLOCK lock;          /* handle, down */
    HANDLE handle;
    bool down;
    bool skip;       /* an operation that succeeds at once queues no completion */
    bool connecting; /* what the operation on `read` is */
    TP_IO *io;
    OVERLAPPED read, write;
    _Atomic uint64_t write_since; /* GetTickCount64 when the write in flight was queued; 0: none */
    const struct pipe_stream_handler *handler;
    void *context;
};

static void unref(struct pipe_stream *stream)
{
    if (atomic_fetch_sub(&stream->references, 1) != 1)
        return;
    CloseThreadpoolIo(stream->io);
    stream->handler->closed(stream->context); /* whoever may still look at the stream lets go of it in there */
    free(stream);
}

static void CALLBACK on_io(TP_CALLBACK_INSTANCE *instance, void *context, void *overlapped, ULONG error, ULONG_PTR size,
                           TP_IO *io)
{
    (void)instance, (void)io;
    struct pipe_stream *stream = context;
    enum pipe_operation operation = PIPE_WRITE;
    if (overlapped == &stream->read)
        operation = stream->connecting ? PIPE_CONNECT : PIPE_READ;
    else
        atomic_store(&stream->write_since, 0);
    stream->handler->done(stream->context, operation, error, (uint32_t)size);
    unref(stream);
}

struct pipe_stream *pipe_stream_open(void *handle, void *environment, const struct pipe_stream_handler *handler,
                                     void *context)
{
    struct pipe_stream *stream = mem_new(struct pipe_stream);
    stream->handle = handle;
    stream->handler = handler;
    stream->context = context;
    stream->io = CreateThreadpoolIo(handle, on_io, stream, environment);
    if (stream->io == NULL) {
        DWORD code = GetLastError();
        CloseHandle(handle);
        free(stream);
        SetLastError(code);
        return NULL;
    }
    stream->skip = SetFileCompletionNotificationModes(handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                                                  FILE_SKIP_SET_EVENT_ON_HANDLE);
    InitializeSRWLock(&stream->lock);
    atomic_init(&stream->references, 1);
    return stream;
}

void pipe_stream_set_handler(struct pipe_stream *stream, const struct pipe_stream_handler *handler, void *context)
{
    stream->handler = handler;
    stream->context = context;
}

static uint32_t start(struct pipe_stream *stream, enum pipe_operation operation, void *buffer, uint32_t size,
                      uint32_t *ret_size)
{
    OVERLAPPED *overlapped = operation == PIPE_WRITE ? &stream->write : &stream->read;
    /* One for the operation, one for this function: once it is queued, the completion may let go of everything. */
    atomic_fetch_add(&stream->references, 2);
    AcquireSRWLockExclusive(&stream->lock);
    DWORD code = ERROR_OPERATION_ABORTED;
    bool queued = false;
    if (!stream->down) {
        *overlapped = (OVERLAPPED){0};
        if (operation == PIPE_WRITE)
            atomic_store(&stream->write_since, GetTickCount64());
        else
            stream->connecting = operation == PIPE_CONNECT;
        StartThreadpoolIo(stream->io);
        BOOL done;
        if (operation == PIPE_CONNECT)
            done = ConnectNamedPipe(stream->handle, overlapped);
        else if (operation == PIPE_READ)
            done = ReadFile(stream->handle, buffer, size, NULL, overlapped);
        else
            done = WriteFile(stream->handle, buffer, size, NULL, overlapped);
        code = done ? ERROR_SUCCESS : GetLastError();
        queued = code == ERROR_IO_PENDING || (done && !stream->skip);
        if (!queued) {
            CancelThreadpoolIo(stream->io);
            if (operation == PIPE_WRITE)
                atomic_store(&stream->write_since, 0);
            *ret_size = (uint32_t)overlapped->InternalHigh;
        }
    }
    ReleaseSRWLockExclusive(&stream->lock);
    if (queued && operation == PIPE_WRITE && stream->handler->writing != NULL)
        stream->handler->writing(stream->context);
    if (!queued)
        atomic_fetch_sub(&stream->references, 1);
    unref(stream);
    return queued ? ERROR_IO_PENDING : code;
}

uint32_t pipe_stream_connect(struct pipe_stream *stream)
{
    uint32_t size, code = start(stream, PIPE_CONNECT, NULL, 0, &size);
    return code == ERROR_PIPE_CONNECTED ? ERROR_SUCCESS : code;
}

uint32_t pipe_stream_read(struct pipe_stream *stream, void *buffer, uint32_t size, uint32_t *ret_size)
{
    return start(stream, PIPE_READ, buffer, size, ret_size);
}

uint32_t pipe_stream_write(struct pipe_stream *stream, const void *data, uint32_t size, uint32_t *ret_size)
{
    return start(stream, PIPE_WRITE, (void *)data, size, ret_size);
}

uint64_t pipe_stream_write_age_ms(const struct pipe_stream *stream)
{
    uint64_t since = atomic_load(&stream->write_since);
    if (since == 0)
        return 0;
    uint64_t now = GetTickCount64();
    return now > since ? now - since : 1;
}

bool pipe_stream_with_handle(struct pipe_stream *stream, void (*use)(void *handle, void *context), void *context)
{
    AcquireSRWLockExclusive(&stream->lock);
    bool open = !stream->down;
    if (open)
        use(stream->handle, context);
    ReleaseSRWLockExclusive(&stream->lock);
    return open;
}

bool pipe_stream_is_down(struct pipe_stream *stream)
{
    AcquireSRWLockShared(&stream->lock);
    bool down = stream->down;
    ReleaseSRWLockShared(&stream->lock);
    return down;
}

/* Not DisconnectNamedPipe: that would throw away what the peer has not read yet. */
void pipe_stream_shutdown(struct pipe_stream *stream)
{
    AcquireSRWLockExclusive(&stream->lock);
    if (!stream->down) {
        stream->down = true;
        CancelIoEx(stream->handle, NULL);
        CloseHandle(stream->handle);
    }
    ReleaseSRWLockExclusive(&stream->lock);
}

void pipe_stream_close(struct pipe_stream *stream)
{
    pipe_stream_shutdown(stream);
    unref(stream);
}
