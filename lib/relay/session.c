/* The stdio of one process, as hcsd sees it. */
#include "relay/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"

/* ---- the relay's list; the lock held ---- */

void relay_add_session(struct relay *relay, struct session *session)
{
    session->relay = relay;
    session->next = relay->sessions;
    if (session->next)
        session->next->previous = session;
    relay->sessions = session;
    relay->session_count++;
    relay->references++;
}

void relay_remove_session(struct relay *relay, struct session *session)
{
    if (session->previous)
        session->previous->next = session->next;
    else
        relay->sessions = session->next;
    if (session->next)
        session->next->previous = session->previous;
    relay->session_count--;
    relay->idle_ms = clock_ms();
}

/* ---- opening ---- */

static struct session *session_new(const struct relay *relay, const char *id, uint64_t number)
{
    struct session *session = mem_new(struct session);
    session->id = str_copy(id);
    session->number = number;
    session->name = str_format("%s#%llu", relay->key, (unsigned long long)number);
    return session;
}

static bool given(const char *path)
{
    return path && *path;
}

struct error *session_open(struct relays *relays, const struct session_request *request, struct session **ret_session)
{
    struct relay *relay = NULL;
    struct call opened = {0};
    *ret_session = NULL;
    if (!given(request->stdin_path) && !given(request->stdout_path) && !given(request->stderr_path))
        return NULL;
    struct relay_message message = {
        .type = RELAY_OPEN,
        .containerd_namespace = request->containerd_namespace,
        .id = request->id,
        .paths = {request->stdin_path, request->stdout_path, request->stderr_path},
        .hold_ms = relays->hold_ms,
    };
    /* What the relay would refuse anyway starts none. */
    struct endpoint endpoints[RELAY_STREAMS];
    struct error *error = endpoint_parse_all(message.paths, endpoints);
    if (error)
        return error;
    for (unsigned i = 0; i < RELAY_STREAMS; i++)
        endpoint_clear(&endpoints[i]);
    error = relay_acquire(relays, &relay);
    if (error)
        return error;
    error = relay_call(relay, &message, RELAY_OPEN_MS, &opened);
    if (!error) {
        struct session *session = session_new(relay, request->id, opened.session);
        AcquireSRWLockExclusive(&relays->lock);
        relay_add_session(relay, session);
        ReleaseSRWLockExclusive(&relays->lock);
        *ret_session = session;
    }
    call_clear(&opened);
    relay_release(relay);
    return error;
}

const char *session_name(const struct session *session)
{
    return session->name;
}

bool session_attached(const struct session *session)
{
    return session->attached;
}

struct session *session_resume(struct relays *relays, const char *name)
{
    struct session *session = NULL;
    size_t key_size = strcspn(name, "#");
    if (!name[key_size])
        return NULL;
    uint64_t number = strtoull(name + key_size + 1, NULL, 10);
    AcquireSRWLockExclusive(&relays->lock);
    struct relay *relay = relays->first;
    while (relay && (strlen(relay->key) != key_size || strncmp(relay->key, name, key_size) != 0))
        relay = relay->next;
    for (size_t i = 0; relay && relay->link && number && i < relay->listed_count; i++)
        if (relay->listed[i].number == number) {
            session = session_new(relay, "", number);
            session->attached = relay->listed[i].state & RELAY_STATE_ATTACHED;
            session->stdin_ended = relay->listed[i].state & RELAY_STATE_STDIN_ENDED;
            relay->listed[i].number = 0; /* taken */
            relay_add_session(relay, session);
            break;
        }
    ReleaseSRWLockExclusive(&relays->lock);
    return session;
}

/* ---- attaching ---- */

static struct error *give(struct relay *relay, HANDLE handle, const char *id, uint64_t *ret_theirs)
{
    HANDLE theirs = NULL;
    if (!DuplicateHandle(GetCurrentProcess(), handle, relay->launch.process, &theirs, 0, FALSE, DUPLICATE_SAME_ACCESS))
        return error_set_kind(error_win32(GetLastError(), "attach stdio", id, "the stdio relay does not take the pipe"),
                              ERROR_KIND_UNAVAILABLE);
    *ret_theirs = (uint64_t)(uintptr_t)theirs;
    return NULL;
}

struct error *session_attach(struct session *session, HANDLE process_stdin, HANDLE process_stdout,
                             HANDLE process_stderr)
{
    HANDLE handles[RELAY_STREAMS] = {process_stdin, process_stdout, process_stderr};
    struct relay *relay = session->relay;
    struct relay_message message = {.type = RELAY_ATTACH, .session = session->number};
    struct call attached = {0};
    struct error *error = NULL;
    for (unsigned i = 0; i < RELAY_STREAMS; i++) {
        if (handles[i] && !error)
            error = give(relay, handles[i], session->id, &message.handles[i]);
        win_close(handles[i]);
    }
    if (error) /* those that it has got are closed in it */
        for (unsigned i = 0; i < RELAY_STREAMS; i++)
            if (message.handles[i])
                DuplicateHandle(relay->launch.process, (HANDLE)(uintptr_t)message.handles[i], NULL, NULL, 0, FALSE,
                                DUPLICATE_CLOSE_SOURCE);
    if (!error)
        error = relay_call(relay, &message, RELAY_ANSWER_MS, &attached);
    if (!error)
        session->attached = true;
    call_clear(&attached);
    return error;
}

/* ---- stdin, drains ---- */

static void ask(struct session *session, const struct relay_message *message)
{
    struct relays *relays = session->relay->relays;
    AcquireSRWLockExclusive(&relays->lock);
    relay_send(session->relay, message);
    ReleaseSRWLockExclusive(&relays->lock);
}

void session_on_stdin_end(struct session *session, void (*ended)(void *context), void *context)
{
    struct relays *relays = session->relay->relays;
    AcquireSRWLockExclusive(&relays->lock);
    bool already = session->stdin_ended;
    if (!already) {
        session->on_stdin_end = ended;
        session->stdin_context = context;
    }
    ReleaseSRWLockExclusive(&relays->lock);
    if (already)
        ended(context);
}

void session_close_stdin(struct session *session)
{
    const struct relay_message message = {.type = RELAY_CLOSE_STDIN, .session = session->number};
    ask(session, &message);
}

void session_drain(struct session *session, unsigned quiet_ms, unsigned milliseconds,
                   void (*drained)(void *context, uint64_t lost), void *context)
{
    struct relays *relays = session->relay->relays;
    const struct relay_message message = {
        .type = RELAY_DRAIN, .session = session->number, .quiet_ms = quiet_ms, .milliseconds = milliseconds};
    AcquireSRWLockExclusive(&relays->lock);
    bool gone = !session->relay->link;
    if (!gone) {
        session->drained = drained;
        session->drained_context = context;
        session->drain_late_ms = clock_ms() + milliseconds + RELAY_ANSWER_MS;
        relay_send(session->relay, &message);
        relays_arm(relays);
    }
    ReleaseSRWLockExclusive(&relays->lock);
    if (gone)
        drained(context, 0);
}

/* ---- closing ---- */

static bool let_go(struct session *session, bool close)
{
    if (!session)
        return false;
    struct relay *relay = session->relay;
    struct relays *relays = relay->relays;
    const struct relay_message message = {.type = RELAY_CLOSE, .session = session->number};
    AcquireSRWLockExclusive(&relays->lock);
    bool taken_back = session->drained != NULL;
    if (close)
        relay_send(relay, &message);
    relay_remove_session(relay, session);
    ReleaseSRWLockExclusive(&relays->lock);
    relay_release(relay);
    AcquireSRWLockExclusive(&relays->lock);
    relays_arm(relays);
    ReleaseSRWLockExclusive(&relays->lock);
    free(session->id);
    free(session->name);
    free(session);
    return taken_back;
}

bool session_close(struct session *session)
{
    return let_go(session, true);
}

bool session_leave(struct session *session)
{
    return let_go(session, false);
}
