/* A server with a service made for tests, and the counters that tests look at. Messages are borrowed from
 * containerd.task.v3: StateRequest in, StateResponse out. */
#ifndef HCSD_TESTS_RPC_FIXTURE_H
#define HCSD_TESTS_RPC_FIXTURE_H

#include <windows.h>

#include "base/error.h"
#include "base/event.h"
#include "daemon/rpc/grpc_server.h"

/* Fields of these names are in the messages. */
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr
#include "containerd/task/v3/shim.pb-c.h"

/* "test.Echo":
 *   Echo     answers with the caller: id = the request's, bundle = namespace, stdin = SID, stdout = user, pid, exec_id =
 *            the request's
 *   Fail     fails with an HRESULT on the object `id`, and HCS events
 *   Later    as Echo, from another thread
 *   Hold     is answered when the client is gone; fixture.gone counts
 *   Keep     is kept in fixture.kept until fixture_release
 *   Stream   sends `id` (a number) messages of `exec_id` (a number) bytes each in `bundle`, the index in pid
 *   Talk     bidi: answers each message as Echo does, ends after the client's last
 *   Missing  has no handler */
#define ECHO "/test.Echo/"

struct fixture {
    char pipe[64]; /* \\.\pipe\… of this test alone */
    struct rpc_server *server;
    HANDLE gone_event; /* auto-reset: one more Hold was told */
    HANDLE held_event; /* auto-reset: one more Hold or Keep has begun */
    LONG gone, streams_ended, streams_lost;
};
extern struct fixture fixture;

/* Opens and starts; the numbers of `options` count, the rest is filled in. */
struct error *fixture_open(struct rpc_server_options options);
/* Ends calls that Keep kept. */
void fixture_release(void);
/* Closes the server; returns what rpc_server_close does. */
unsigned fixture_close(unsigned milliseconds);

/* Events since fixture_open, as text; wait until one with this id has come, at most ten seconds. */
bool fixture_event_wait(enum event_id id);
char *fixture_event_last(void); /* free() */
unsigned fixture_event_count(enum event_id id);

#endif
