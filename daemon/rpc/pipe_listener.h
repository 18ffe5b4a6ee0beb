/* The server's side of the pipe: holds the name, accepts clients, and hands on those whose first bytes and identity are
 * known. Knows HTTP/2's opening bytes, nothing more of what is spoken.
 *
 * A client has `handshake_ms` from its connection for HTTP/2's preface and the header of its SETTINGS frame (RFC 9113, 3.4);
 * then its identity is taken from its token, once, and asked again whether it may use the pipe: access may have changed
 * since it opened it. Whoever fails any of it is disconnected, with the event CLIENT_REFUSED
 * (at most 5 in a burst and one every 12 s; the next says how many were passed over). A client that goes away by itself is
 * no event.
 *
 * A process that breaks these rules, those of HTTP/2 or a limit, or comes and goes without a word, more often than offences.h lets it,
 * is not served for a while: its connections are held for 250 ms, unread, and closed; and nobody is let in while 32 are
 * held, so that a flood is slowed down to 128 connections a second.
 *
 * Thread-safe. Nothing here blocks but pipe_listener_open (security lookups) and pipe_listener_close. There is one timer,
 * armed only while a client is held or a handshake or a write is in flight. Lock order: listener, then stream. */
#ifndef HCSD_DAEMON_RPC_PIPE_LISTENER_H
#define HCSD_DAEMON_RPC_PIPE_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"
#include "daemon/rpc/pipe_identity.h"
#include "daemon/rpc/pipe_stream.h"

struct pipe_listener;
struct pipe_connection;

struct pipe_listener_options {
    const char *pipe; /* \\.\pipe\NAME */
    const char *sddl; /* from pipe_access_sddl */
    /* 0 means the default, in brackets. */
    unsigned handshake_ms;            /* [10,000] */
    unsigned stall_ms;                /* [30,000] a write that waits longer ends its connection */
    unsigned max_connections;         /* [256] all clients together, at most 4,096 */
    unsigned max_user_connections;    /* [192] of one SID */
    unsigned max_process_connections; /* [64] of one SID and pid */
    unsigned max_handshakes;          /* [64] clients not yet identified */
    unsigned max_process_calls;       /* [none] whoever has more under way gets no further connection */
    bool any_conduct;                 /* nobody is held for having broken rules too often */
};

/* Makes the name ours: creates the first instance and keeps one that takes no client until pipe_listener_close, so that
 * nobody else can become the name's first. Clients are told "busy" (231) until pipe_listener_start. FAILED_PRECONDITION
 * when the name is held already; the message says by which process, where that can be found out. */
struct error *pipe_listener_open(const struct pipe_listener_options *options,
                                 struct pipe_listener **ret_listener) ERROR_MUST_CHECK;

/* `serve` takes over the stream of an identified client, with what was read of it so far; it sets a handler of its own, and
 * calls pipe_connection_closed from that handler's `closed`. It is called on a thread of the listener's pool (pipe_pool.h), and so
 * is that handler. */
void pipe_listener_start(struct pipe_listener *listener,
                         void (*serve)(void *context, struct pipe_connection *connection, const uint8_t *first,
                                       size_t size),
                         void *context);

/* Takes no more clients and drops those not yet identified; `stopped` is called once when they are gone and the name is
 * free but for connections that are served. */
void pipe_listener_stop(struct pipe_listener *listener, void (*stopped)(void *context), void *context);

/* Only after `stopped` (or when never started), with every connection's stream closed or closing. Waits until the last has
 * ended, at most 5 s; if one does not, the listener stays in memory. Takes NULL. */
void pipe_listener_close(struct pipe_listener *listener);

/* From here on `sddl` (from pipe_access_sddl) says who may use the pipe. Clients that may not any more are disconnected, each
 * with the event CLIENT_REFUSED. On failure nothing has changed. */
struct error *pipe_listener_set_access(struct pipe_listener *listener, const char *sddl) ERROR_MUST_CHECK;

/* Shuts down served connections whose write has waited for at least `milliseconds`; ABORT_ALL: every one. Returns how
 * many. */
#define PIPE_LISTENER_ABORT_ALL UINT64_MAX
unsigned pipe_listener_abort(struct pipe_listener *listener, uint64_t milliseconds);

struct pipe_listener_counters {
    uint64_t accepted, refused;
    unsigned handshakes, served;
};
void pipe_listener_count(struct pipe_listener *listener, struct pipe_listener_counters *ret_counters);

/* A connection by the number and slot that pipe_connection_peer names; a reference, or NULL when it is gone. */
struct pipe_connection *pipe_listener_find(struct pipe_listener *listener, uint64_t number, unsigned slot);
void pipe_connection_unref(struct pipe_connection *connection);

/* Calls of a connection, counted for its user and its process until they are over, also when the connection is closed. */
void pipe_connection_call_begun(struct pipe_connection *connection);
void pipe_connection_call_ended(struct pipe_connection *connection);
void pipe_connection_count_calls(const struct pipe_connection *connection, unsigned *ret_user, unsigned *ret_process);
/* Its client did what the protocol does not allow, and its connection is being closed for it. */
void pipe_connection_broke_rules(struct pipe_connection *connection, const char *why);
/* Shuts all connections of the connection's user and process down, with one event CLIENT_REFUSED. */
void pipe_connection_drop_process(struct pipe_connection *connection, const char *why);

uint64_t pipe_connection_number(const struct pipe_connection *connection);
/* Valid from `serve` on, for as long as the connection is referenced. */
const struct pipe_identity *pipe_connection_identity(const struct pipe_connection *connection);
struct pipe_stream *pipe_connection_stream(struct pipe_connection *connection);
/* Runs it on a thread that serves clients, behind everything that waits for one. */
void pipe_connection_run_last(struct pipe_connection *connection, void (*run)(void *context), void *context);

/* "npipe:conn=7;pid=12;slot=3", and back. */
#define PIPE_PEER_SIZE 80
void pipe_connection_peer(const struct pipe_connection *connection, char peer[PIPE_PEER_SIZE]);
bool pipe_peer_parse(const char *peer, uint64_t *ret_number, unsigned *ret_slot);

/* The server is about to wait for a write: keeps the watch on it. Costs one load when the watch is on. */
void pipe_connection_writing(struct pipe_connection *connection);
/* The stream is closed: drops the hold that `serve` was given. */
void pipe_connection_closed(struct pipe_connection *connection);

#ifdef __cplusplus
}
#endif

#endif
