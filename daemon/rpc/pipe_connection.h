/* The inside of the listener and its connections, for pipe_listener.c, which accepts them, and pipe_connection.c, which counts
 * and names them and takes their access away. Private to these two. */
#ifndef HCSD_DAEMON_RPC_PIPE_CONNECTION_H
#define HCSD_DAEMON_RPC_PIPE_CONNECTION_H

#include "daemon/rpc/pipe_listener.h"

#include <windows.h>

#include <stdatomic.h>

#include "daemon/rpc/pipe_access.h"
#include "daemon/rpc/pipe_pool.h"
#include "daemon/rpc/refusals.h"

#define CALL_BUCKETS 256u

enum state { LISTENING, HANDSHAKE, SERVED };

struct pipe_connection {
    atomic_int references;                /* the stream's, and those handed out */
    unsigned user_bucket, process_bucket; /* where its calls are counted */
    struct pipe_listener *listener;
    struct pipe_stream *stream;
    struct pipe_identity identity;
    uint64_t number;
    unsigned slot;
    /* Guarded by the listener's lock. */
    enum state state;
    uint64_t deadline; /* of the handshake, clock_ms */
    bool timed_out, dropped;
    struct pipe_connection *next, *previous;
    /* Used by one thread at a time. */
    uint8_t *first;
    unsigned first_size;
};

struct pipe_listener {
    struct pipe_listener_options options;
    char *pipe_text;
    wchar_t *pipe;
    SRWLOCK access_lock; /* `access`; taken before `lock`. Changing it takes both */
    struct pipe_access access;
    struct pipe_pool *pool;
    HANDLE anchor; /* holds the name and takes no client; NULL where that does not work, once others hold it */
    bool held;     /* the anchor takes no client */
    TP_TIMER *timer;
    _Atomic uint64_t timer_due; /* clock_ms; 0: not armed. Written under the lock */
    void (*serve)(void *context, struct pipe_connection *connection, const uint8_t *first, size_t size);
    void *serve_context;
    SRWLOCK lock; /* everything below */
    bool stopping;
    void (*stopped)(void *context);
    void *stopped_context;
    struct pipe_connection *all;
    struct pipe_connection **slots; /* accepted clients */
    unsigned listening, handshakes, served;
    unsigned inside;            /* callbacks that still need the listener */
    CONDITION_VARIABLE changed; /* `all` or `inside` went down */
    uint64_t retry_at;          /* when to make instances again; 0: none failed */
    uint64_t last_number, accepted;
    /* Calls under way by user and by user and process, also of connections that are closed already. Who shares a bucket by
     * chance shares a limit. */
    _Atomic unsigned user_calls[CALL_BUCKETS], process_calls[CALL_BUCKETS];
    struct refusals refusals;
};

/* Where its calls are counted; its identity is known. */
void pipe_connection_find_buckets(struct pipe_connection *connection);

/* Changes the access to the pipe and shuts the connections down that have it no longer; *ret_dropped are these, with a
 * reference each. The caller frees the array. */
struct error *pipe_connections_set_access(struct pipe_listener *listener, const char *sddl,
                                          struct pipe_connection ***ret_dropped, size_t *ret_count) ERROR_MUST_CHECK;

#endif
