#include "daemon/relay/session.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/relay/dial.h"
#include "daemon/relay/logger.h"
#include "daemon/relay/stream.h"

struct session {
    struct session *next, *previous;
    struct sessions *sessions;
    uint64_t number;
    char *containerd_namespace, *id;
    struct endpoint endpoints[RELAY_STREAMS];
    struct stream streams[RELAY_STREAMS];
    unsigned flying; /* streams that have begun and not ended */
    bool attached, released, closing, stdin_ended;
    /* While it is being opened. */
    bool opening;
    unsigned next_end; /* of the endpoints, in the order stdin, stdout, stderr */
    uint64_t open_tag;
    struct dial *dial;
    struct logger *logger; /* and as long as it runs */
    /* The drain under way. */
    bool draining;
    uint64_t drain_end_ms, quiet_moves;
    uint32_t quiet_ms;
    struct loop_timer drain_timer;
};

struct sessions {
    struct sessions_options options;
    struct session *first;
    size_t count;
    uint64_t last_number;
    uint64_t taken, passed, lost; /* bytes of sessions that are no more */
};

static const char *const stream_names[RELAY_STREAMS] = {"stdin", "stdout", "stderr"};

struct sessions *sessions_new(const struct sessions_options *options)
{
    struct sessions *sessions = mem_new(struct sessions);
    sessions->options = *options;
    return sessions;
}

size_t sessions_count(const struct sessions *sessions)
{
    return sessions->count;
}

static void tell(struct session *session, const struct relay_message *message)
{
    session->sessions->options.send(session->sessions->options.context, message);
}

static void send_error(struct sessions *sessions, uint64_t tag, struct error *error)
{
    struct relay_message message = {.tag = tag};
    relay_pack_error(error, &message);
    if (tag)
        sessions->options.send(sessions->options.context, &message);
    error_free(error);
}

static uint64_t passed_bytes(const struct session *session)
{
    return session->streams[1].passed + session->streams[2].passed;
}

static uint64_t lost_bytes(const struct session *session)
{
    return stream_lost(&session->streams[1]) + stream_lost(&session->streams[2]);
}

static void session_free(struct session *session)
{
    struct sessions *sessions = session->sessions;
    loop_timer_clear(sessions->options.loop, &session->drain_timer);
    if (session->previous)
        session->previous->next = session->next;
    else
        sessions->first = session->next;
    if (session->next)
        session->next->previous = session->previous;
    sessions->count--;
    sessions->taken += session->streams[0].passed;
    sessions->passed += passed_bytes(session);
    sessions->lost += lost_bytes(session);
    for (unsigned i = 0; i < RELAY_STREAMS; i++) {
        stream_free(&session->streams[i]);
        endpoint_clear(&session->endpoints[i]);
    }
    free(session->containerd_namespace);
    free(session->id);
    free(session);
    if (!sessions->count)
        sessions->options.emptied(sessions->options.context);
}

/* ---- output: totals, draining ---- */

static bool output_ended(const struct session *session)
{
    for (unsigned i = 1; i < RELAY_STREAMS; i++)
        if (session->streams[i].state != STREAM_IDLE && session->streams[i].state != STREAM_ENDED)
            return false;
    return true;
}

static bool output_waits(const struct session *session)
{
    for (unsigned i = 1; i < RELAY_STREAMS; i++)
        if (session->streams[i].state == STREAM_WRITING || session->streams[i].state == STREAM_AWAY)
            return true;
    return false;
}

bool sessions_hold(const struct sessions *sessions)
{
    for (const struct session *session = sessions->first; session; session = session->next)
        if (session->attached && !output_ended(session))
            return true;
    return false;
}

static uint64_t moves(const struct session *session)
{
    return session->streams[1].moves + session->streams[2].moves;
}

static void drained(struct session *session)
{
    const struct relay_message message = {.type = RELAY_DRAINED,
                                          .session = session->number,
                                          .passed = passed_bytes(session),
                                          .lost = lost_bytes(session)};
    session->draining = false;
    loop_timer_clear(session->sessions->options.loop, &session->drain_timer);
    tell(session, &message);
}

static void drain_look(struct loop_timer *timer)
{
    struct session *session = (struct session *)((char *)timer - offsetof(struct session, drain_timer));
    uint64_t now = clock_ms(), next = session->drain_end_ms;
    bool quiet = session->quiet_ms && moves(session) == session->quiet_moves && !output_waits(session);
    if (quiet || now >= session->drain_end_ms) {
        drained(session);
        return;
    }
    session->quiet_moves = moves(session);
    if (session->quiet_ms && now + session->quiet_ms < next)
        next = now + session->quiet_ms;
    loop_timer_set(session->sessions->options.loop, timer, next, drain_look);
}

static void drain(struct session *session, uint32_t quiet_ms, uint32_t milliseconds)
{
    uint64_t now = clock_ms();
    session->draining = true;
    session->quiet_ms = quiet_ms;
    session->drain_end_ms = now + milliseconds;
    session->quiet_moves = moves(session);
    if (output_ended(session)) {
        drained(session);
        return;
    }
    uint64_t first = quiet_ms && quiet_ms < milliseconds ? now + quiet_ms : session->drain_end_ms;
    loop_timer_set(session->sessions->options.loop, &session->drain_timer, first, drain_look);
}

/* ---- closing ---- */

/* Its streams have ended: what else it has is let go. */
static void finish(struct session *session)
{
    logger_end(session->logger);
    session->logger = NULL;
    if (session->closing || session->released)
        session_free(session);
}

static void close_session(struct session *session)
{
    session->closing = true;
    session->draining = false;
    loop_timer_clear(session->sessions->options.loop, &session->drain_timer);
    dial_cancel(session->dial);
    session->dial = NULL;
    session->opening = false;
    session->flying++; /* streams may end in here, and must not free it */
    for (unsigned i = 0; i < RELAY_STREAMS; i++)
        stream_stop(&session->streams[i]);
    if (!--session->flying)
        finish(session);
}

/* ---- streams ---- */

static void stream_over(struct stream *stream)
{
    struct session *session = stream->context;
    if (stream->input) {
        session->stdin_ended = true;
        const struct relay_message message = {.type = RELAY_STDIN_ENDED, .session = session->number};
        if (!session->closing)
            tell(session, &message);
    }
    if (session->draining && output_ended(session))
        drained(session);
    if (!--session->flying)
        finish(session);
    else if (session->released && !session->closing && output_ended(session))
        close_session(session); /* its client's stdin alone does not keep it */
}

static void stream_losing(struct stream *stream)
{
    struct session *session = stream->context;
    const struct relay_message message = {
        .type = RELAY_LOSING, .session = session->number, .id = session->id, .lost = lost_bytes(session)};
    tell(session, &message);
}

/* ---- opening ---- */

static void open_next(struct session *session);

static void open_failed(struct session *session, struct error *error)
{
    if (session->next_end < RELAY_STREAMS)
        error = error_wrap(error, "%s", stream_names[session->next_end]);
    send_error(session->sessions, session->open_tag, error);
    close_session(session);
}

static void end_opened(void *context, struct error *error, HANDLE handle)
{
    struct session *session = context;
    session->dial = NULL;
    if (error) {
        open_failed(session, error);
        return;
    }
    session->streams[session->next_end++].client = handle;
    open_next(session);
}

static void logger_ready(void *context, struct error *error, HANDLE out, HANDLE err)
{
    struct session *session = context;
    if (error) {
        open_failed(session, error);
        return;
    }
    session->streams[1].client = out;
    session->streams[2].client = err;
    session->next_end = RELAY_STREAMS;
    open_next(session);
}

static void open_next(struct session *session)
{
    struct loop *loop = session->sessions->options.loop;
    while (session->next_end < RELAY_STREAMS && session->endpoints[session->next_end].kind == ENDPOINT_NONE)
        session->next_end++;
    if (session->next_end == RELAY_STREAMS) {
        const struct relay_message message = {
            .type = RELAY_OPENED, .tag = session->open_tag, .session = session->number};
        session->opening = false;
        tell(session, &message);
        return;
    }
    const struct endpoint *endpoint = &session->endpoints[session->next_end];
    if (endpoint->kind == ENDPOINT_LOGGER)
        session->logger = logger_start(loop, endpoint, session->containerd_namespace, session->id,
                                       session->endpoints[1].kind != ENDPOINT_NONE,
                                       session->endpoints[2].kind != ENDPOINT_NONE, logger_ready, session);
    else
        session->dial = dial_begin(loop, endpoint, session->next_end == 0, end_opened, session);
}

static void session_open(struct sessions *sessions, const struct relay_message *message)
{
    struct session *session = mem_new(struct session);
    struct error *error = endpoint_parse_all(message->paths, session->endpoints);
    if (!error && sessions->count >= SESSIONS_MAX)
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "open stdio", message->id,
                           "the stdio relay has %zu sessions already", sessions->count);
    if (error) {
        for (unsigned i = 0; i < RELAY_STREAMS; i++)
            endpoint_clear(&session->endpoints[i]);
        free(session);
        send_error(sessions, message->tag, error);
        return;
    }
    session->sessions = sessions;
    session->number = ++sessions->last_number;
    session->containerd_namespace = str_copy(message->containerd_namespace);
    session->id = str_copy(message->id);
    session->opening = true;
    session->open_tag = message->tag;
    for (unsigned i = 0; i < RELAY_STREAMS; i++) {
        struct stream *stream = &session->streams[i];
        stream->loop = sessions->options.loop;
        stream->input = i == 0;
        stream->kind = session->endpoints[i].kind;
        stream->path = session->endpoints[i].path;
        stream->hold_ms = message->hold_ms;
        stream->ended = stream_over;
        stream->losing = stream_losing;
        stream->context = session;
    }
    session->next = sessions->first;
    if (session->next)
        session->next->previous = session;
    sessions->first = session;
    sessions->count++;
    open_next(session);
}

/* ---- attaching ---- */

static struct error *attach(struct session *session)
{
    struct error *error = NULL;
    for (unsigned i = 0; i < RELAY_STREAMS; i++) {
        struct stream *stream = &session->streams[i];
        if (!stream->client || !stream->process) {
            win_close(stream->client);
            win_close(stream->process);
        } else if (!error)
            error = stream_attach(stream, stream_names[i]);
    }
    return error;
}

static void session_attach(struct sessions *sessions, struct session *session, const struct relay_message *message)
{
    struct error *error = NULL;
    if (!session || session->attached || session->opening) {
        for (unsigned i = 0; i < RELAY_STREAMS; i++) {
            HANDLE handle = (HANDLE)(uintptr_t)message->handles[i];
            win_close(handle);
        }
        send_error(sessions, message->tag,
                   error_make(session ? ERROR_KIND_FAILED_PRECONDITION : ERROR_KIND_NOT_FOUND, "attach stdio",
                              session ? session->id : NULL,
                              session ? "a process has this stdio already" : "the stdio relay has no such session"));
        return;
    }
    for (unsigned i = 0; i < RELAY_STREAMS; i++)
        session->streams[i].process = (HANDLE)(uintptr_t)message->handles[i];
    error = attach(session);
    if (error) {
        send_error(sessions, message->tag, error);
        close_session(session);
        return;
    }
    const struct relay_message done = {.type = RELAY_DONE, .tag = message->tag};
    session->attached = true;
    sessions->options.send(sessions->options.context, &done);
    session->flying++;                                         /* a stream may end at once */
    if (message->handles[0] && !session->streams[0].process) { /* stdin was closed before there was a process */
        const struct relay_message ended = {.type = RELAY_STDIN_ENDED, .session = session->number};
        session->stdin_ended = true;
        tell(session, &ended);
    }
    for (unsigned i = 0; i < RELAY_STREAMS; i++)
        if (session->streams[i].process) {
            session->flying++;
            stream_begin(&session->streams[i]);
        }
    if (!--session->flying)
        finish(session);
}

/* ---- messages ---- */

static void list(struct sessions *sessions, uint64_t tag)
{
    for (struct session *session = sessions->first; session; session = session->next) {
        if (session->released || session->closing || session->opening)
            continue;
        const struct relay_message message = {
            .type = RELAY_SESSION,
            .tag = tag,
            .session = session->number,
            .id = session->id,
            .state = (session->attached ? RELAY_STATE_ATTACHED : 0) |
                     (session->stdin_ended ? RELAY_STATE_STDIN_ENDED : 0) |
                     (session->attached && output_ended(session) ? RELAY_STATE_ENDED : 0),
            .passed = passed_bytes(session),
            .lost = lost_bytes(session),
        };
        tell(session, &message);
    }
    const struct relay_message done = {.type = RELAY_DONE, .tag = tag};
    sessions->options.send(sessions->options.context, &done);
}

static void tell_counts(struct sessions *sessions, uint64_t tag)
{
    struct relay_message counts = {.type = RELAY_COUNTS,
                                   .tag = tag,
                                   .sessions = (uint32_t)sessions->count,
                                   .taken = sessions->taken,
                                   .passed = sessions->passed,
                                   .lost = sessions->lost};
    for (const struct session *session = sessions->first; session; session = session->next) {
        counts.taken += session->streams[0].passed;
        counts.passed += passed_bytes(session);
        counts.lost += session->streams[1].lost + session->streams[2].lost; /* what waits is not lost */
    }
    sessions->options.send(sessions->options.context, &counts);
}

static void release(struct session *session)
{
    session->released = true;
    session->draining = false;
    loop_timer_clear(session->sessions->options.loop, &session->drain_timer);
    if (!session->attached)
        close_session(session);
    else if (!session->flying)
        finish(session);
    else if (output_ended(session))
        close_session(session);
}

void sessions_message(struct sessions *sessions, const struct relay_message *message)
{
    struct session *session = sessions->first;
    while (session && (session->number != message->session || session->closing))
        session = session->next;
    if (message->type == RELAY_OPEN)
        session_open(sessions, message);
    else if (message->type == RELAY_ATTACH)
        session_attach(sessions, session, message);
    else if (message->type == RELAY_LIST)
        list(sessions, message->tag);
    else if (message->type == RELAY_COUNT)
        tell_counts(sessions, message->tag);
    else if (!session)
        return; /* it is over, and what was asked for has come about */
    else if (message->type == RELAY_CLOSE_STDIN)
        stream_finish(&session->streams[0]);
    else if (message->type == RELAY_DRAIN)
        drain(session, message->quiet_ms, message->milliseconds);
    else if (message->type == RELAY_CLOSE)
        close_session(session);
    else if (message->type == RELAY_RELEASE)
        release(session);
}

void sessions_abandon(struct sessions *sessions)
{
    struct session *next;
    for (struct session *session = sessions->first; session; session = next) {
        next = session->next;
        session->draining = false;
        loop_timer_clear(sessions->options.loop, &session->drain_timer);
        if (session->opening)
            close_session(session);
    }
}
