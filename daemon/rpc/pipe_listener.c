#include "daemon/rpc/pipe_connection.h"

#include <windows.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/rpc/opening.h"
#include "daemon/rpc/pipe_name.h"
#include "daemon/rpc/refusals.h"

/* Instances that wait for a client, so that a burst of them is not told "busy". */
#define BACKLOG   4u
#define RETRY_MS  1000u
#define CLOSE_MS  5000u

/* How long a client is held whose process has misbehaved too often, and how many are at a time. While so many are held nobody else
 * is let in, which is what slows a flood down: to 128 connections a second, of which newcomers get their part. */
#define HELD_MS   250u
#define HELD_MAX  32u

#define FIRST_MAX 4096u /* more than the opening, so that it comes in one read */

static void listen_more(struct pipe_listener *listener);
static void release(struct pipe_listener *listener);

static void ask_pid(void *handle, void *context)
{
    ULONG pid;
    if (GetNamedPipeClientProcessId(handle, &pid))
        *(uint32_t *)context = pid;
}

/* ---- the timer ---- */

static void timer_arm_locked(struct pipe_listener *listener, uint64_t due)
{
    uint64_t armed = atomic_load(&listener->timer_due);
    if (armed != 0 && armed <= due)
        return;
    atomic_store(&listener->timer_due, due);
    uint64_t now = clock_ms();
    int64_t relative = -(int64_t)((due > now ? due - now : 1) * 10000);
    FILETIME when = {(DWORD)relative, (DWORD)(relative >> 32)};
    SetThreadpoolTimer(listener->timer, &when, 0, 100);
}

static void CALLBACK on_timer(TP_CALLBACK_INSTANCE *instance, void *context, TP_TIMER *timer)
{
    (void)instance, (void)timer;
    struct pipe_listener *listener = context;
    uint64_t next = UINT64_MAX;
    struct pipe_connection *held = NULL;
    bool retry = false;
    AcquireSRWLockExclusive(&listener->lock);
    listener->inside++;
    /* First: a write that begins during the search arms the timer again. */
    atomic_store(&listener->timer_due, 0);
    uint64_t now = clock_ms();
    for (struct pipe_connection *connection = listener->all; connection != NULL; connection = connection->next) {
        uint64_t due = UINT64_MAX;
        if (connection->state == HELD) {
            if (connection->timed_out)
                continue; /* closed by the timer's last turn, which may not be over */
            if (listener->stopping || connection->deadline <= now) {
                connection->timed_out = true;
                connection->next_due = held;
                held = connection;
            } else if (connection->deadline < next) {
                next = connection->deadline;
            }
            continue;
        }
        if (connection->state == HANDSHAKE) {
            due = connection->deadline;
            connection->timed_out = connection->timed_out || due <= now;
        } else if (connection->state == SERVED) {
            uint64_t age = pipe_stream_write_age_ms(connection->stream);
            if (age > 0)
                due = now + (age < listener->options.stall_ms ? listener->options.stall_ms - age : 0);
        }
        if (due <= now)
            pipe_stream_shutdown(connection->stream);
        else if (due < next)
            next = due;
    }
    if (listener->retry_at != 0 && !listener->stopping) {
        retry = listener->retry_at <= now;
        if (retry)
            listener->retry_at = 0;
        else if (listener->retry_at < next)
            next = listener->retry_at;
    }
    if (next != UINT64_MAX)
        timer_arm_locked(listener, next);
    ReleaseSRWLockExclusive(&listener->lock);
    /* Nobody else closes these: nothing is under way for them. */
    retry = retry || held != NULL;
    for (struct pipe_connection *following; held != NULL; held = following) {
        following = held->next_due;
        pipe_stream_close(held->stream);
    }
    if (retry)
        listen_more(listener);
    release(listener);
}

void pipe_connection_writing(struct pipe_connection *connection)
{
    struct pipe_listener *listener = connection->listener;
    /* When armed it fires within the longer of stall_ms and handshake_ms, looks at every write, and is armed again for what
     * it finds. */
    if (atomic_load(&listener->timer_due) != 0)
        return;
    AcquireSRWLockExclusive(&listener->lock);
    timer_arm_locked(listener, clock_ms() + listener->options.stall_ms);
    ReleaseSRWLockExclusive(&listener->lock);
}

/* ---- connections ---- */

static bool idle_locked(const struct pipe_listener *listener)
{
    return listener->stopping && listener->listening == 0 && listener->held == 0 && listener->handshakes == 0 &&
           listener->inside == 0;
}

static void hold(struct pipe_listener *listener)
{
    AcquireSRWLockExclusive(&listener->lock);
    listener->inside++;
    ReleaseSRWLockExclusive(&listener->lock);
}

/* The last thing done with the listener: it may be gone afterwards. */
static void release(struct pipe_listener *listener)
{
    AcquireSRWLockExclusive(&listener->lock);
    listener->inside--;
    void (*stopped)(void *) = idle_locked(listener) ? listener->stopped : NULL;
    void *context = listener->stopped_context;
    if (stopped != NULL)
        listener->stopped = NULL;
    WakeAllConditionVariable(&listener->changed);
    ReleaseSRWLockExclusive(&listener->lock);
    if (stopped != NULL)
        stopped(context);
}

/* Out of the table: from here on only those who hold a reference know of it. */
void pipe_connection_closed(struct pipe_connection *connection)
{
    struct pipe_listener *listener = connection->listener;
    AcquireSRWLockExclusive(&listener->lock);
    listener->inside++;
    *(connection->previous != NULL ? &connection->previous->next : &listener->all) = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    switch (connection->state) {
    case LISTENING:
        listener->listening--;
        break;
    case HELD:
        listener->held--;
        break;
    case HANDSHAKE:
        listener->handshakes--;
        break;
    case SERVED:
        listener->served--;
        break;
    }
    if (connection->state == HANDSHAKE || connection->state == SERVED)
        listener->slots[connection->slot] = NULL;
    ReleaseSRWLockExclusive(&listener->lock);
    pipe_connection_unref(connection);
    release(listener);
}

/* Whether one more of this user or process is too many, and which. */
static const char *too_many_locked(const struct pipe_listener *listener, const struct pipe_connection *connection)
{
    unsigned user = 0, process = 0;
    unsigned calls = listener->options.max_process_calls;
    if (calls != 0 && atomic_load(&listener->process_calls[connection->process_bucket]) > calls)
        return "its process has too many calls under way";
    for (const struct pipe_connection *other = listener->all; other != NULL; other = other->next) {
        if (other->state != SERVED || strcmp(other->identity.sid, connection->identity.sid) != 0)
            continue;
        user++;
        process += other->identity.pid == connection->identity.pid;
    }
    if (process >= listener->options.max_process_connections)
        return "its process has too many connections open";
    return user >= listener->options.max_user_connections ? "its user has too many connections open" : NULL;
}

struct identify {
    struct pipe_identity identity;
    struct error *error;
};
static void identify(void *handle, void *context)
{
    struct identify *identify = context;
    identify->error = pipe_identity_take(handle, &identify->identity);
}

/* The opening has arrived. Returns false when the connection is to be closed. */
static bool handshake_end(struct pipe_connection *connection)
{
    struct pipe_listener *listener = connection->listener;
    struct identify result = {0};
    if (!pipe_stream_with_handle(connection->stream, identify, &result))
        return false; /* shut down meanwhile */
    if (result.error != NULL) {
        char *text = error_text(result.error);
        pipe_connection_refused(connection, 1, text);
        free(text);
        error_free(result.error);
        return false;
    }
    connection->identity = result.identity;
    pipe_identity_look_up(&connection->identity);
    pipe_connection_find_buckets(connection);

    AcquireSRWLockExclusive(&listener->lock);
    const char *why = pipe_access_allows(&listener->access, connection->identity.token)
                          ? too_many_locked(listener, connection)
                          : PIPE_NO_ACCESS;
    bool serve = why == NULL && !listener->stopping && !connection->timed_out;
    if (serve) {
        connection->state = SERVED;
        listener->handshakes--;
        listener->served++;
    }
    ReleaseSRWLockExclusive(&listener->lock);
    if (why != NULL)
        pipe_connection_refused(connection, 1, why);
    if (!serve)
        return false;
    uint8_t *first = connection->first;
    connection->first = NULL;
    listener->serve(listener->serve_context, connection, first, connection->first_size);
    free(first);
    return true;
}

/* Goes on with a read's result. Returns false when the connection is to be closed. */
static bool handshake_step(struct pipe_connection *connection, uint32_t code, uint32_t size)
{
    for (;;) {
        if (code == ERROR_IO_PENDING)
            return true;
        if (code != ERROR_SUCCESS) {
            AcquireSRWLockShared(&connection->listener->lock);
            bool silent = connection->timed_out;
            ReleaseSRWLockShared(&connection->listener->lock);
            if (silent)
                pipe_connection_refused(connection, 1, "it connected and did not begin to speak HTTP/2 in time");
            else
                pipe_connection_gone(connection);
            return false;
        }
        connection->first_size += size;
        switch (opening_check(connection->first, connection->first_size)) {
        case OPENING_NO_HTTP2:
            pipe_connection_refused(connection, 1, "it does not speak gRPC (HTTP/2 with prior knowledge)");
            return false;
        case OPENING_NO_SETTINGS:
            pipe_connection_refused(connection, 1,
                                    "it does not speak HTTP/2 as gRPC does (no SETTINGS frame after the preface)");
            return false;
        case OPENING_WHOLE:
            return handshake_end(connection);
        case OPENING_MORE:
            break;
        }
        code = pipe_stream_read(connection->stream, connection->first + connection->first_size,
                                FIRST_MAX - connection->first_size, &size);
    }
}

/* Whether its process has misbehaved too often; then nobody but the timer may touch the connection any more. */
static bool hold_back(struct pipe_connection *connection)
{
    struct pipe_listener *listener = connection->listener;
    uint32_t pid = connection->identity.pid;
    uint64_t now = clock_ms();
    AcquireSRWLockExclusive(&listener->lock);
    bool held = !listener->stopping && offences_are_too_many(&listener->offences, pid, now);
    if (held) {
        connection->state = HELD;
        connection->deadline = now + HELD_MS;
        listener->listening--;
        listener->held++;
        timer_arm_locked(listener, connection->deadline);
    }
    ReleaseSRWLockExclusive(&listener->lock);
    if (held)
        pipe_listener_refused(
            listener, &(struct pipe_identity){.pid = pid}, 0,
            "its process has broken the rules too often of late; it is let in again after some seconds");
    return held;
}

/* A client is there, or never will be. Returns false when the connection is to be closed; *ret_held: the timer closes it. */
static bool admit(struct pipe_connection *connection, uint32_t code, bool *ret_held)
{
    struct pipe_listener *listener = connection->listener;
    if (code != ERROR_SUCCESS)
        return false; /* ERROR_NO_DATA: came and went; ERROR_OPERATION_ABORTED: stopping */
    pipe_stream_with_handle(connection->stream, ask_pid, &connection->identity.pid);
    if (hold_back(connection)) {
        *ret_held = true;
        return true;
    }
    const char *why = NULL;
    AcquireSRWLockExclusive(&listener->lock);
    unsigned slot = 0;
    if (listener->handshakes + listener->served >= listener->options.max_connections)
        why = "too many connections are open";
    else if (listener->handshakes >= listener->options.max_handshakes)
        why = "too many clients are connecting";
    bool stopping = listener->stopping;
    if (why == NULL && !stopping) {
        while (listener->slots[slot] != NULL)
            slot++;
        listener->slots[slot] = connection;
        connection->slot = slot;
        connection->number = ++listener->last_number;
        connection->state = HANDSHAKE;
        connection->deadline = clock_ms() + listener->options.handshake_ms;
        listener->listening--;
        listener->handshakes++;
        listener->accepted++;
        timer_arm_locked(listener, connection->deadline);
    }
    ReleaseSRWLockExclusive(&listener->lock);
    if (why != NULL)
        pipe_connection_refused(connection, 0, why);
    return why == NULL && !stopping;
}

/* Returns false when the connection is to be closed. */
static bool handshake_begin(struct pipe_connection *connection)
{
    connection->first = mem_zero(FIRST_MAX);
    uint32_t size = 0;
    uint32_t code = pipe_stream_read(connection->stream, connection->first, FIRST_MAX, &size);
    return handshake_step(connection, code, size);
}

static void on_done(void *context, enum pipe_operation operation, uint32_t code, uint32_t size)
{
    struct pipe_connection *connection = context;
    struct pipe_listener *listener = connection->listener;
    hold(listener);
    bool held = false;
    bool keep = operation == PIPE_CONNECT ? admit(connection, code, &held) : handshake_step(connection, code, size);
    if (!keep)
        pipe_stream_close(connection->stream);
    if (operation == PIPE_CONNECT) {
        /* First the next clients: the look-up of an account's name may hold up the handshake. */
        listen_more(listener);
        if (keep && !held && !handshake_begin(connection))
            pipe_stream_close(connection->stream);
    }
    release(listener);
}

static void on_closed(void *context)
{
    pipe_connection_closed(context);
}

static const struct pipe_stream_handler handshake_handler = {on_done, NULL, on_closed};

/* ---- listening ---- */

/* One more instance, counted already. NULL: no resources. */
static struct pipe_connection *instance_new(struct pipe_listener *listener)
{
    AcquireSRWLockShared(&listener->access_lock);
    HANDLE handle = pipe_name_instance(listener->pipe, listener->access.descriptor, false);
    ReleaseSRWLockShared(&listener->access_lock);
    if (handle == INVALID_HANDLE_VALUE)
        return NULL;
    struct pipe_connection *connection = mem_new(struct pipe_connection);
    connection->listener = listener;
    atomic_init(&connection->references, 1);
    connection->stream =
        pipe_stream_open(handle, pipe_pool_environment(listener->pool), &handshake_handler, connection);
    if (connection->stream == NULL) {
        free(connection);
        return NULL;
    }
    return connection;
}

/* Only by those who hold the listener. */
static void listen_more(struct pipe_listener *listener)
{
    for (;;) {
        AcquireSRWLockExclusive(&listener->lock);
        bool wanted = !listener->stopping && listener->listening < BACKLOG && listener->held < HELD_MAX &&
                      listener->retry_at == 0;
        listener->listening += wanted;
        ReleaseSRWLockExclusive(&listener->lock);
        if (!wanted)
            return;
        struct pipe_connection *connection = instance_new(listener);
        DWORD code = GetLastError();
        AcquireSRWLockExclusive(&listener->lock);
        bool stopping = listener->stopping;
        if (connection == NULL) {
            listener->listening--;
            listener->retry_at = clock_ms() + RETRY_MS;
            timer_arm_locked(listener, listener->retry_at);
        } else {
            connection->next = listener->all;
            if (listener->all != NULL)
                listener->all->previous = connection;
            listener->all = connection;
        }
        ReleaseSRWLockExclusive(&listener->lock);
        if (connection == NULL) {
            log_debug("pipe instance: Win32 error %lu; trying again in a second", code);
            return;
        }
        /* Stopping came in between and has not seen this one. */
        code = stopping ? ERROR_OPERATION_ABORTED : pipe_stream_connect(connection->stream);
        bool held = false;
        if (code != ERROR_IO_PENDING && !(admit(connection, code, &held) && (held || handshake_begin(connection))))
            pipe_stream_close(connection->stream);
    }
}

/* ---- the listener ---- */

struct error *pipe_listener_open(const struct pipe_listener_options *options, struct pipe_listener **ret_listener)
{
    struct pipe_listener *listener = mem_new(struct pipe_listener);
    struct pipe_listener_options *own = &listener->options;
    *own = *options;
    own->handshake_ms = own->handshake_ms != 0 ? own->handshake_ms : 10000;
    own->stall_ms = own->stall_ms != 0 ? own->stall_ms : 30000;
    own->max_connections = own->max_connections != 0 ? own->max_connections : 256;
    own->max_connections = own->max_connections < 4096 ? own->max_connections : 4096;
    own->max_user_connections = own->max_user_connections != 0 ? own->max_user_connections : 192;
    own->max_process_connections = own->max_process_connections != 0 ? own->max_process_connections : 64;
    own->max_handshakes = own->max_handshakes != 0 ? own->max_handshakes : 64;
    InitializeSRWLock(&listener->access_lock);
    InitializeSRWLock(&listener->lock);
    InitializeConditionVariable(&listener->changed);
    refusals_init(&listener->refusals, clock_ms());
    listener->slots = mem_new_array(own->max_connections, struct pipe_connection *);

    HANDLE handle = NULL;
    struct error *error = win_wide(options->pipe, &listener->pipe);
    if (error == NULL)
        error = pipe_access_parse(options->sddl, &listener->access);
    if (error == NULL)
        error = pipe_name_hold(listener->pipe, listener->access.descriptor, &handle, &listener->name_held);
    if (error == NULL)
        error = pipe_pool_open(&listener->pool);
    if (error == NULL && (listener->timer = CreateThreadpoolTimer(on_timer, listener, NULL)) == NULL)
        error = error_win32(GetLastError(), "CreateThreadpoolTimer", NULL, NULL);
    listener->anchor = handle;
    if (error != NULL) {
        pipe_listener_close(listener);
        return error;
    }
    if (!listener->name_held)
        event_emit(EVENT_SERVICE_FALLBACK, "a pipe instance that holds the name and takes no client",
                   "the name is held only as long as an instance waits for clients or serves one.");
    own->pipe = listener->pipe_text = str_copy(options->pipe);
    own->sddl = NULL;
    *ret_listener = listener;
    return NULL;
}

void pipe_listener_start(struct pipe_listener *listener,
                         void (*serve)(void *context, struct pipe_connection *connection, const uint8_t *first,
                                       size_t size),
                         void *context)
{
    listener->serve = serve;
    listener->serve_context = context;
    hold(listener);
    listen_more(listener);
    if (!listener->name_held) {
        /* Whoever came to it so far waits in vain, and is told so by its end. */
        AcquireSRWLockExclusive(&listener->lock);
        win_close(listener->anchor);
        ReleaseSRWLockExclusive(&listener->lock);
    }
    release(listener);
}

void pipe_listener_stop(struct pipe_listener *listener, void (*stopped)(void *context), void *context)
{
    AcquireSRWLockExclusive(&listener->lock);
    listener->inside++;
    listener->stopping = true;
    listener->stopped = stopped;
    listener->stopped_context = context;
    for (struct pipe_connection *connection = listener->all; connection != NULL; connection = connection->next)
        if (connection->state == LISTENING || connection->state == HANDSHAKE)
            pipe_stream_shutdown(connection->stream);
    if (listener->held > 0)
        timer_arm_locked(listener, clock_ms());
    if (listener->anchor != NULL)
        CloseHandle(listener->anchor);
    listener->anchor = NULL;
    ReleaseSRWLockExclusive(&listener->lock);
    release(listener);
}

void pipe_listener_close(struct pipe_listener *listener)
{
    if (listener == NULL)
        return;
    /* Streams end when the completions of what was cancelled have arrived: after gRPC has let go of them. */
    uint64_t end = clock_ms() + CLOSE_MS, now;
    AcquireSRWLockExclusive(&listener->lock);
    listener->stopping = true;
    while ((listener->all != NULL || listener->inside > 0) && (now = clock_ms()) < end)
        SleepConditionVariableSRW(&listener->changed, &listener->lock, (DWORD)(end - now), 0);
    bool busy = listener->all != NULL || listener->inside > 0;
    ReleaseSRWLockExclusive(&listener->lock);
    if (busy)
        return; /* still in use: it stays in memory */
    if (listener->timer != NULL) {
        SetThreadpoolTimer(listener->timer, NULL, 0, 0);
        WaitForThreadpoolTimerCallbacks(listener->timer, TRUE);
        CloseThreadpoolTimer(listener->timer);
    }
    if (listener->anchor != NULL)
        CloseHandle(listener->anchor);
    pipe_pool_close(listener->pool);
    pipe_access_free(&listener->access);
    free(listener->slots);
    free(listener->pipe);
    free(listener->pipe_text);
    free(listener);
}

unsigned pipe_listener_abort(struct pipe_listener *listener, uint64_t milliseconds)
{
    unsigned count = 0;
    AcquireSRWLockExclusive(&listener->lock);
    for (struct pipe_connection *connection = listener->all; connection != NULL; connection = connection->next) {
        if (connection->state != SERVED)
            continue;
        uint64_t age = pipe_stream_write_age_ms(connection->stream);
        if (milliseconds != PIPE_LISTENER_ABORT_ALL && (age == 0 || age < milliseconds))
            continue;
        pipe_stream_shutdown(connection->stream);
        count++;
    }
    ReleaseSRWLockExclusive(&listener->lock);
    return count;
}

void pipe_listener_count(struct pipe_listener *listener, struct pipe_listener_counters *ret_counters)
{
    AcquireSRWLockShared(&listener->lock);
    *ret_counters = (struct pipe_listener_counters){listener->accepted, listener->refusals.count, listener->handshakes,
                                                    listener->served};
    ReleaseSRWLockShared(&listener->lock);
}
