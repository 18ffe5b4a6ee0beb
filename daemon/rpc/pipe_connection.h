/* The inside of the listener and its connections, for pipe_listener.c, which accepts them, and pipe_connection.c, which counts,
 * judges and names them and takes their access away. Private to these two. */
#ifndef HCSD_DAEMON_RPC_PIPE_CONNECTION_H
#define HCSD_DAEMON_RPC_PIPE_CONNECTION_H

#include "daemon/rpc/pipe_listener.h"

#include <windows.h>

#include <stdatomic.h>

#include "daemon/rpc/offences.h"
#include "daemon/rpc/pipe_access.h"
#include "daemon/rpc/pipe_pool.h"
#include "daemon/rpc/refusals.h"

#define CALL_BUCKETS   256u
#define PIPE_NO_ACCESS "its user may not use the pipe"

enum state {
    LISTENING,
    HELD, /* its process has misbehaved too often: nothing is read, the timer closes it. No slot */
    HANDSHAKE,
    SERVED,
};

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
    uint64_t deadline; /* of HELD and HANDSHAKE, clock_ms */
    bool timed_out, dropped;
    struct pipe_connection *next, *previous;
    struct pipe_connection *next_due; /* the timer's: to be closed */
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
    HANDLE anchor;  /* holds the name and takes no client; NULL where that does not work, once others hold it */
    bool name_held; /* the anchor takes no client */
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
    unsigned listening, held, handshakes, served;
    unsigned inside;            /* callbacks that still need the listener */
    CONDITION_VARIABLE changed; /* `all` or `inside` went down */
    uint64_t retry_at;          /* when to make instances again; 0: none failed */
    uint64_t last_number, accepted;
    /* Calls under way by user and by user and process, also of connections that are closed already. Who shares a bucket by
     * chance shares a limit. */
    _Atomic unsigned user_calls[CALL_BUCKETS], process_calls[CALL_BUCKETS];
    struct refusals refusals;
    struct offences offences;
};

/* Counts a refusal, and tells the operator unless many are told. `offences`: how many it counts for; none where somebody else may be
 * to blame. */
void pipe_connection_refused(struct pipe_connection *connection, unsigned offences, const char *why);
void pipe_listener_refused(struct pipe_listener *listener, const struct pipe_identity *identity, unsigned offences,
                           const char *why);
/* It came and went without a word: no refusal, but nothing to be done too often either. */
void pipe_connection_gone(struct pipe_connection *connection);

/* Where its calls are counted; its identity is known. */
void pipe_connection_find_buckets(struct pipe_connection *connection);

#endif
