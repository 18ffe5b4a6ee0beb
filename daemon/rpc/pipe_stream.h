/* One connected end of a named pipe: overlapped connect, read and write, whose completions arrive on the process's thread
 * pool, or on another. Knows nothing of gRPC. At most one read (or connect) and one write are in flight at a time.
 *
 * An operation either ends at once, and its result is returned, or returns ERROR_IO_PENDING, and `done` is called later
 * from a thread of the pool, never from inside a function of this header. Thread-safe; nothing here blocks. */
#ifndef HCSD_DAEMON_RPC_PIPE_STREAM_H
#define HCSD_DAEMON_RPC_PIPE_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pipe_stream;

enum pipe_operation { PIPE_CONNECT, PIPE_READ, PIPE_WRITE };

struct pipe_stream_handler {
    /* `error` is a Win32 code; a stream that was shut down gives ERROR_OPERATION_ABORTED. */
    void (*done)(void *context, enum pipe_operation operation, uint32_t error, uint32_t size);
    /* May be NULL. A write is going to wait: called from inside pipe_stream_write, and the stream is not closed meanwhile. */
    void (*writing)(void *context);
    /* The owner has closed the stream and no operation is left: the last call, from any thread, maybe from inside
     * pipe_stream_close. */
    void (*closed)(void *context);
};

/* The size of the pipe's buffers, one for each direction. */
#define PIPE_STREAM_CHUNK 65536u

/* Takes `handle` (a HANDLE opened with FILE_FLAG_OVERLAPPED), also on failure. Returns NULL when the system has no
 * resources (GetLastError tells). `handler` must stay; it and `context` can be replaced while nothing is in flight.
 * `environment` (a PTP_CALLBACK_ENVIRON) says whose threads completions arrive on; NULL: the process's pool. */
struct pipe_stream *pipe_stream_open(void *handle, void *environment, const struct pipe_stream_handler *handler,
                                     void *context);
void pipe_stream_set_handler(struct pipe_stream *stream, const struct pipe_stream_handler *handler, void *context);

/* Server side: waits for a client. ERROR_PIPE_CONNECTED counts as success and is returned as 0. */
uint32_t pipe_stream_connect(struct pipe_stream *stream);
/* The end of the stream is an error (ERROR_BROKEN_PIPE); success with 0 bytes is a peer's empty write: read on. */
uint32_t pipe_stream_read(struct pipe_stream *stream, void *buffer, uint32_t size, uint32_t *ret_size);
uint32_t pipe_stream_write(struct pipe_stream *stream, const void *data, uint32_t size, uint32_t *ret_size);

/* Milliseconds that the write in flight has been waiting; 0 when none is. */
uint64_t pipe_stream_write_age_ms(const struct pipe_stream *stream);

/* Calls `use` with the handle, unless it is closed (then returns false). The handle stays open meanwhile, and so does the
 * lock that every operation takes: for quick calls on the handle only. */
bool pipe_stream_with_handle(struct pipe_stream *stream, void (*use)(void *handle, void *context), void *context);

bool pipe_stream_is_down(struct pipe_stream *stream);
/* Ends every operation with an error and closes the handle, so that the peer sees the end after what was written. */
void pipe_stream_shutdown(struct pipe_stream *stream);
/* Shuts down and drops the owner's hold; `closed` follows. */
void pipe_stream_close(struct pipe_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
