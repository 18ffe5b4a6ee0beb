/* One stream of a process: copied from the client to the process (stdin) or from the process to the client, one transfer under
 * way at a time, through one buffer that grows to 64 KiB while it is filled.
 *
 * A reader that goes away: output waits, so that the process is held up when its pipe is full, and the pipe is dialled again
 * with growing pauses (200 ms, then half as long again each time, up to 60 s, each shortened or lengthened by up to half: as
 * containerd's shim for Windows does, facts containerd.md 4), so that a containerd that restarts misses nothing. After hold_ms
 * output is read and dropped, so that nobody's absence holds a container up for ever; it is counted, told once, and when the
 * reader is back it gets what comes from then on. Files and loggers do not come back: their output is dropped at once. */
#ifndef HCSD_DAEMON_RELAY_STREAM_H
#define HCSD_DAEMON_RELAY_STREAM_H

#include "daemon/relay/loop.h"
#include "relay/endpoint.h"

enum stream_state {
    STREAM_IDLE, /* not attached */
    STREAM_READING,
    STREAM_WRITING,
    STREAM_AWAY, /* the reader is; nothing is under way */
    STREAM_ENDED,
};

struct stream {
    struct loop_io io; /* first */
    struct loop *loop;
    bool input;
    enum endpoint_kind kind; /* of the client's end */
    const char *path;        /* of a pipe; borrowed */
    HANDLE client, process;
    uint32_t hold_ms;
    struct loop_timer redial;
    uint64_t gone_ms;   /* when the reader went; 0: it is there */
    uint32_t redial_ms; /* the next pause, before chance */
    enum stream_state state;
    bool stopping, finishing, dropping, yielding, told;
    uint8_t *buffer;
    uint32_t capacity, filled, written;
    uint64_t passed, lost; /* bytes */
    uint64_t moves;        /* counts transfers, so that quiet can be told */
    /* The stream has ended, its handles are closed; it is the last that is called. */
    void (*ended)(struct stream *stream);
    void (*losing)(struct stream *stream);
    void *context; /* of whom it calls */
};

/* Both ends are set; ties them to the loop and begins. On failure nothing is taken. */
struct error *stream_attach(struct stream *stream, const char *name) ERROR_MUST_CHECK;
void stream_begin(struct stream *stream); /* after all streams of a session are attached */
/* Ends it: at once, or when the transfer under way has come back. One that is not attached is only closed. */
void stream_stop(struct stream *stream);
/* stdin is to end when what the client has written by now has been passed on. */
void stream_finish(struct stream *stream);
/* Bytes that would be lost if it were stopped now, and those that have been. */
uint64_t stream_lost(const struct stream *stream);
/* Frees the buffer; an ended or idle stream. */
void stream_free(struct stream *stream);

#endif
