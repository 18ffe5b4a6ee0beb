/* One relay process as hcsd sees it: what is asked and answered, and what it says by itself. */
#include "relay/state.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "hcsd_version.h"
#include "journal/journal.h"

/* ---- one relay ---- */

void relay_free(struct relay *relay)
{
    launch_clear(&relay->launch);
    free(relay->listed);
    free(relay->version);
    free(relay->key);
    free(relay);
}

/* The lock held; true: the last one, it is the caller's to free without the lock. */
static bool unreference(struct relay *relay)
{
    return --relay->references == 0;
}

void relay_release(struct relay *relay)
{
    struct relays *relays = relay->relays;
    AcquireSRWLockExclusive(&relays->lock);
    bool last = unreference(relay);
    ReleaseSRWLockExclusive(&relays->lock);
    if (last)
        relay_free(relay);
}

/* The lock held. Takes it out of the list; whether it was in it. */
static bool unlist(struct relay *relay)
{
    for (struct relay **place = &relay->relays->first; *place; place = &(*place)->next)
        if (*place == relay) {
            *place = relay->next;
            return true;
        }
    return false;
}

/* New sessions go to another one; told once. */
static void distrust(struct relay *relay, const struct error *error)
{
    AcquireSRWLockExclusive(&relay->relays->lock);
    bool tell = !relay->told && relay->link;
    relay->told = true;
    relay->trusted = false;
    ReleaseSRWLockExclusive(&relay->relays->lock);
    if (!tell)
        return;
    char *pid = str_format("%lu", (unsigned long)relay->launch.pid), *text = error_text(error);
    event_emit(EVENT_STDIO_RELAY_SILENT, pid, text);
    free(text);
    free(pid);
}

void relay_send(struct relay *relay, const struct relay_message *message)
{
    if (!relay->link)
        return;
    struct error *error = link_send(relay->link, message);
    if (error)
        link_close(relay->link);
    error_free(error);
}

void call_clear(struct call *call)
{
    error_free(call->error);
    free(call->version);
    *call = (struct call){0};
}

struct error *relay_call(struct relay *relay, struct relay_message *message, unsigned milliseconds,
                         struct call *ret_call)
{
    struct relays *relays = relay->relays;
    uint64_t end = clock_ms() + milliseconds;
    struct error *error = NULL;
    AcquireSRWLockExclusive(&relays->lock);
    struct call call = {.next = relay->calls, .tag = ++relays->last_tag};
    relay->calls = &call;
    message->tag = call.tag;
    relay_send(relay, message);
    for (uint64_t now = clock_ms(); !call.answered && relay->link && now < end; now = clock_ms())
        SleepConditionVariableSRW(&relays->changed, &relays->lock, (DWORD)(end - now), 0);
    for (struct call **place = &relay->calls; *place; place = &(*place)->next)
        if (*place == &call) {
            *place = call.next;
            break;
        }
    bool linked = relay->link != NULL;
    ReleaseSRWLockExclusive(&relays->lock);
    if (call.answered) {
        error = call.error;
        call.error = NULL;
    } else if (linked)
        error = error_make(ERROR_KIND_DEADLINE_EXCEEDED, "ask the stdio relay", relay->key,
                           "process %lu has not answered within %u s", (unsigned long)relay->launch.pid,
                           milliseconds / 1000);
    else
        error = error_make(ERROR_KIND_UNAVAILABLE, "ask the stdio relay", relay->key, "process %lu is gone",
                           (unsigned long)relay->launch.pid);
    if (!call.answered && linked)
        distrust(relay, error);
    if (error)
        call_clear(&call);
    else
        *ret_call = call;
    return error;
}

/* ---- what a relay says ---- */

static void take_answer(struct relay *relay, const struct relay_message *message)
{
    if (message->type == RELAY_COUNTS) {
        relay->counted_tag = message->tag;
        relay->held = message->sessions;
        relay->stdin_bytes = message->taken;
        relay->output_bytes = message->passed;
        relay->dropped_bytes = message->lost;
        return;
    }
    struct call *call = relay->calls;
    while (call && call->tag != message->tag)
        call = call->next;
    if (!call) {
        const struct relay_message close = {.type = RELAY_CLOSE, .session = message->session};
        if (message->type == RELAY_OPENED) /* too late: nobody wants it any more */
            relay_send(relay, &close);
        return;
    }
    call->answered = true;
    call->session = message->session;
    call->protocol = message->protocol;
    call->version = str_copy(message->version);
    call->error = message->type == RELAY_FAILED ? relay_unpack_error(message) : NULL;
    WakeAllConditionVariable(&relay->relays->changed);
}

static void take_listed(struct relay *relay, const struct relay_message *message)
{
    relay->listed = mem_resize_array(relay->listed, relay->listed_count + 1, sizeof *relay->listed);
    relay->listed[relay->listed_count++] = (struct listed){message->session, message->state};
}

static void tell_losing(const struct relay *relay, const struct relay_message *message)
{
    char *seconds = str_format("%g", (double)relay->relays->hold_ms / 1000);
    event_emit(EVENT_TASK_OUTPUT_DROPPED, message->id, seconds);
    free(seconds);
}

static void on_message(void *context, const struct relay_message *message)
{
    struct relay *relay = context;
    struct relays *relays = relay->relays;
    void (*stdin_end)(void *) = NULL;
    void (*drained)(void *, uint64_t) = NULL;
    void *argument = NULL;
    struct glance *glances = NULL;
    AcquireSRWLockExclusive(&relays->lock);
    struct session *session = relay->sessions;
    while (session && session->number != message->session)
        session = session->next;
    if (message->type == RELAY_SESSION)
        take_listed(relay, message);
    else if (message->type >= RELAY_WELCOME && message->type < RELAY_STDIN_ENDED)
        take_answer(relay, message);
    else if (message->type == RELAY_STDIN_ENDED && session) {
        session->stdin_ended = true;
        stdin_end = session->on_stdin_end;
        argument = session->stdin_context;
        session->on_stdin_end = NULL;
    } else if (message->type == RELAY_DRAINED && session) {
        drained = session->drained;
        argument = session->drained_context;
        session->drained = NULL;
    }
    if (message->type == RELAY_COUNTS)
        glances = glances_take(relays);
    ReleaseSRWLockExclusive(&relays->lock);
    glances_done(glances);
    if (stdin_end)
        stdin_end(argument);
    if (drained)
        drained(argument, message->lost);
    if (message->type == RELAY_LOSING)
        tell_losing(relay, message);
}

static void tell_lost(struct relay *relay, unsigned sessions)
{
    DWORD code = 0;
    char *pid = str_format("%lu", (unsigned long)relay->launch.pid), *count = str_format("%u", sessions), *why;
    if (WaitForSingleObject(relay->launch.process, 0) == WAIT_OBJECT_0 &&
        GetExitCodeProcess(relay->launch.process, &code))
        why = str_format("it ended with code %lu", code);
    else
        why = str_copy("its control pipe broke");
    event_emit(EVENT_STDIO_RELAY_LOST, pid, why, count);
    free(why);
    free(count);
    free(pid);
}

void relay_unsave(struct relay *relay)
{
    struct journal_key key = {NULL, relay->key};
    error_free(journal_remove(relay->relays->journal, &key)); /* looked at again at the next start */
}

/* Who waits for a drain is not left waiting: what is not known to be lost counts as passed on. */
static void give_up_drains(struct relay *relay)
{
    struct relays *relays = relay->relays;
    for (;;) {
        AcquireSRWLockExclusive(&relays->lock);
        struct session *session = relay->sessions;
        while (session && !session->drained)
            session = session->next;
        void (*drained)(void *, uint64_t) = session ? session->drained : NULL;
        void *context = session ? session->drained_context : NULL;
        if (session)
            session->drained = NULL;
        ReleaseSRWLockExclusive(&relays->lock);
        if (!drained)
            return;
        drained(context, 0);
    }
}

static void on_broken(void *context)
{
    struct relay *relay = context;
    struct relays *relays = relay->relays;
    AcquireSRWLockExclusive(&relays->lock);
    relay->link = NULL;
    relay->trusted = false;
    bool listed = !relays->closing && unlist(relay), tell = listed && (!relay->ending || relay->sessions);
    unsigned sessions = relay->session_count;
    struct glance *glances = glances_take(relays);
    WakeAllConditionVariable(&relays->changed);
    ReleaseSRWLockExclusive(&relays->lock);
    glances_done(glances);
    give_up_drains(relay);
    if (tell)
        tell_lost(relay, sessions);
    if (listed)
        relay_unsave(relay);
    AcquireSRWLockExclusive(&relays->lock);
    if (listed)
        unreference(relay); /* the list's, which is not the last */
    bool last = unreference(relay);
    relays->links--;
    WakeAllConditionVariable(&relays->changed);
    ReleaseSRWLockExclusive(&relays->lock);
    if (last)
        relay_free(relay);
}

/* ---- greeting ---- */

struct relay *relay_new(struct relays *relays, struct launch *launch)
{
    struct relay *relay = mem_new(struct relay);
    relay->references = 1;
    relay->relays = relays;
    relay->launch = *launch;
    *launch = (struct launch){0};
    relay->key = str_format("%lu-%llx", (unsigned long)relay->launch.pid, (unsigned long long)relay->launch.created);
    return relay;
}

static struct error *dial(struct relay *relay)
{
    struct relays *relays = relay->relays;
    const struct link_options options = {.message = on_message, .broken = on_broken, .context = relay};
    struct link *link = NULL;
    HANDLE pipe = NULL;
    struct error *error = launch_dial(&relay->launch, RELAY_ANSWER_MS, &pipe);
    if (!error)
        error = link_open(pipe, &options, &link);
    if (error)
        return error;
    AcquireSRWLockExclusive(&relays->lock);
    relay->link = link;
    relay->references++;
    relays->links++;
    ReleaseSRWLockExclusive(&relays->lock);
    link_begin(link);
    return NULL;
}

struct error *relay_greet(struct relay *relay)
{
    struct relay_message hello = {.type = RELAY_HELLO, .protocol = RELAY_PROTOCOL, .version = HCSD_VERSION};
    struct relay_message list = {.type = RELAY_LIST};
    struct call welcome = {0}, listed = {0};
    struct error *error = dial(relay);
    if (error)
        return error;
    error = relay_call(relay, &hello, RELAY_ANSWER_MS, &welcome);
    if (!error && welcome.protocol < RELAY_PROTOCOL_OLDEST)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "greet the stdio relay", relay->key,
                           "process %lu speaks protocol %u; %u is the oldest that is understood",
                           (unsigned long)relay->launch.pid, welcome.protocol, RELAY_PROTOCOL_OLDEST);
    if (!error) {
        relay->version = welcome.version;
        relay->protocol = welcome.protocol;
        welcome.version = NULL;
        error = relay_call(relay, &list, RELAY_ANSWER_MS, &listed);
    }
    call_clear(&welcome);
    call_clear(&listed);
    if (error) {
        AcquireSRWLockExclusive(&relay->relays->lock);
        relay->ending = true; /* nothing of ours is lost with it */
        if (relay->link)
            link_close(relay->link);
        ReleaseSRWLockExclusive(&relay->relays->lock);
    }
    return error;
}
