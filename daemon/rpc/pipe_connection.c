#include "daemon/rpc/pipe_connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/text.h"

/* ---- its life ---- */

void pipe_connection_unref(struct pipe_connection *connection)
{
    if (connection == NULL || atomic_fetch_sub(&connection->references, 1) != 1)
        return;
    pipe_identity_free(&connection->identity);
    free(connection->first);
    free(connection);
}

struct pipe_connection *pipe_listener_find(struct pipe_listener *listener, uint64_t number, unsigned slot)
{
    struct pipe_connection *connection = NULL;
    AcquireSRWLockShared(&listener->lock);
    if (slot < listener->options.max_connections)
        connection = listener->slots[slot];
    if (connection != NULL && (connection->number != number || connection->state != SERVED))
        connection = NULL;
    if (connection != NULL)
        atomic_fetch_add(&connection->references, 1);
    ReleaseSRWLockShared(&listener->lock);
    return connection;
}

/* ---- its calls ---- */

/* FNV-1a of the SID, and of the pid behind it. */
void pipe_connection_find_buckets(struct pipe_connection *connection)
{
    uint32_t value = 2166136261u;
    for (const char *at = connection->identity.sid; *at != 0; at++)
        value = (value ^ (unsigned char)*at) * 16777619u;
    connection->user_bucket = value % CALL_BUCKETS;
    for (uint32_t pid = connection->identity.pid; pid != 0; pid >>= 8)
        value = (value ^ (pid & 255)) * 16777619u;
    connection->process_bucket = value % CALL_BUCKETS;
}

void pipe_connection_call_begun(struct pipe_connection *connection)
{
    atomic_fetch_add(&connection->listener->user_calls[connection->user_bucket], 1);
    atomic_fetch_add(&connection->listener->process_calls[connection->process_bucket], 1);
}

void pipe_connection_call_ended(struct pipe_connection *connection)
{
    atomic_fetch_sub(&connection->listener->user_calls[connection->user_bucket], 1);
    atomic_fetch_sub(&connection->listener->process_calls[connection->process_bucket], 1);
}

void pipe_connection_count_calls(const struct pipe_connection *connection, unsigned *ret_user, unsigned *ret_process)
{
    *ret_user = atomic_load(&connection->listener->user_calls[connection->user_bucket]);
    *ret_process = atomic_load(&connection->listener->process_calls[connection->process_bucket]);
}

/* ---- its conduct ---- */

void pipe_listener_refused(struct pipe_listener *listener, const struct pipe_identity *identity, unsigned offences,
                           const char *why)
{
    unsigned silent = 0;
    AcquireSRWLockExclusive(&listener->lock);
    uint64_t now = clock_ms(); /* in here: it must not go back */
    bool say = refusals_add(&listener->refusals, now, &silent);
    if (offences > 0 && !listener->options.any_conduct)
        offences_add(&listener->offences, identity->pid, offences, now);
    ReleaseSRWLockExclusive(&listener->lock);

    char *client =
        str_format("pid %" PRIu32 ", %s", identity->pid, identity->user != NULL ? identity->user : "user not known");
    if (say) {
        char *reason =
            silent == 0 ? str_copy(why) : str_format("%s (%u more were refused before, unsaid)", why, silent);
        event_emit(EVENT_CLIENT_REFUSED, reason, client);
        free(reason);
    } else {
        log_debug("client refused: %s; %s", why, client);
    }
    free(client);
}

void pipe_connection_refused(struct pipe_connection *connection, unsigned offences, const char *why)
{
    pipe_listener_refused(connection->listener, &connection->identity, offences, why);
}

void pipe_connection_gone(struct pipe_connection *connection)
{
    struct pipe_listener *listener = connection->listener;
    AcquireSRWLockExclusive(&listener->lock);
    if (!listener->options.any_conduct)
        offences_add(&listener->offences, connection->identity.pid, 1, clock_ms());
    ReleaseSRWLockExclusive(&listener->lock);
}

void pipe_connection_broke_rules(struct pipe_connection *connection, const char *why)
{
    struct pipe_listener *listener = connection->listener;
    AcquireSRWLockShared(&listener->lock);
    bool stopping = listener->stopping;
    ReleaseSRWLockShared(&listener->lock);
    if (!stopping)
        pipe_connection_refused(connection, 1, why);
}

void pipe_connection_drop_process(struct pipe_connection *connection, const char *why)
{
    struct pipe_listener *listener = connection->listener;
    bool dropped = false;
    AcquireSRWLockExclusive(&listener->lock);
    for (struct pipe_connection *other = listener->all; other != NULL; other = other->next) {
        if (other->state != SERVED || other->dropped || other->identity.pid != connection->identity.pid ||
            strcmp(other->identity.sid, connection->identity.sid) != 0)
            continue;
        other->dropped = dropped = true;
        pipe_stream_shutdown(other->stream);
    }
    ReleaseSRWLockExclusive(&listener->lock);
    if (dropped)
        pipe_connection_refused(connection, OFFENCES_MOST + 1, why);
}

/* ---- access ---- */

struct change {
    const struct pipe_access *access;
    struct error *error;
};
static void apply(void *handle, void *context)
{
    struct change *change = context;
    change->error = pipe_access_apply(change->access, handle);
}

/* Every instance is as good as another. Without one nothing has to be changed: the next is the name's first. */
static struct error *apply_locked(const struct pipe_listener *listener, const struct pipe_access *access)
{
    struct change change = {.access = access};
    bool done = listener->anchor != NULL;
    if (done)
        apply(listener->anchor, &change);
    for (struct pipe_connection *connection = listener->all; connection != NULL && !done; connection = connection->next)
        done = pipe_stream_with_handle(connection->stream, apply, &change);
    return change.error;
}

/* Those who may not use the pipe, with a reference each. */
static size_t drop_locked(struct pipe_listener *listener, struct pipe_connection **ret_dropped)
{
    size_t count = 0;
    for (struct pipe_connection *connection = listener->all; connection != NULL; connection = connection->next) {
        if (connection->state != SERVED || connection->dropped ||
            pipe_access_allows(&listener->access, connection->identity.token))
            continue;
        connection->dropped = true;
        pipe_stream_shutdown(connection->stream);
        atomic_fetch_add(&connection->references, 1);
        ret_dropped[count++] = connection;
    }
    return count;
}

struct error *pipe_listener_set_access(struct pipe_listener *listener, const char *sddl)
{
    struct pipe_access access = {0};
    struct pipe_connection **dropped = NULL;
    size_t count = 0;
    struct error *error = pipe_access_parse(sddl, &access);
    if (error != NULL)
        return error;
    AcquireSRWLockExclusive(&listener->access_lock);
    AcquireSRWLockExclusive(&listener->lock);
    error = apply_locked(listener, &access);
    if (error == NULL) {
        struct pipe_access before = listener->access;
        listener->access = access;
        access = before;
        dropped = mem_new_array(listener->served + 1, struct pipe_connection *);
        count = drop_locked(listener, dropped);
    }
    ReleaseSRWLockExclusive(&listener->lock);
    ReleaseSRWLockExclusive(&listener->access_lock);
    pipe_access_free(&access);
    for (size_t i = 0; i < count; i++) {
        pipe_connection_refused(dropped[i], 0, PIPE_NO_ACCESS);
        pipe_connection_unref(dropped[i]);
    }
    free(dropped);
    return error;
}

/* ---- telling ---- */

uint64_t pipe_connection_number(const struct pipe_connection *connection)
{
    return connection->number;
}

const struct pipe_identity *pipe_connection_identity(const struct pipe_connection *connection)
{
    return &connection->identity;
}

struct pipe_stream *pipe_connection_stream(struct pipe_connection *connection)
{
    return connection->stream;
}

void pipe_connection_run_last(struct pipe_connection *connection, void (*run)(void *context), void *context)
{
    pipe_pool_run_last(connection->listener->pool, run, context);
}

void pipe_connection_peer(const struct pipe_connection *connection, char peer[PIPE_PEER_SIZE])
{
    snprintf(peer, PIPE_PEER_SIZE, "npipe:conn=%" PRIu64 ";pid=%" PRIu32 ";slot=%u", connection->number,
             connection->identity.pid, connection->slot);
}

bool pipe_peer_parse(const char *peer, uint64_t *ret_number, unsigned *ret_slot)
{
    static const char start[] = "npipe:conn=", slot[] = ";slot=";
    const char *at = strstr(peer, slot);
    if (strncmp(peer, start, sizeof start - 1) != 0 || at == NULL)
        return false;
    *ret_number = strtoull(peer + sizeof start - 1, NULL, 10);
    *ret_slot = (unsigned)strtoul(at + sizeof slot - 1, NULL, 10);
    return true;
}
