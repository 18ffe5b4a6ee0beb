/* The relays that there are: journalled, found again, started on demand, let go when they have nothing to hold. */
#include "relay/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "hcsd_version.h"
#include "journal/journal.h"

#define DOCUMENT_KIND    "relay"
#define DOCUMENT_VERSION 1
#define IDLE_MS          60000u
#define CLOSE_MS         5000u

static void log_error(const char *what, struct error *error)
{
    if (!error)
        return;
    char *text = error_text(error);
    log_debug("stdio relay: %s: %s", what, text);
    free(text);
    error_free(error);
}

/* ---- the journal ---- */

static struct error *save(const struct relay *relay)
{
    struct journal_key key = {NULL, relay->key};
    char created[20];
    snprintf(created, sizeof created, "%llx", (unsigned long long)relay->launch.created);
    json_t *body = json_pack("{s:I, s:s, s:s, s:s}", "pid", (json_int_t)relay->launch.pid, "created", created, "pipe",
                             relay->launch.pipe, "version", relay->version);
    struct error *error = journal_save(relay->relays->journal, &key, body);
    json_decref(body);
    return error;
}

static bool find_again(const struct journal_document *document, struct launch *ret_launch)
{
    json_int_t pid = 0;
    const char *created = NULL, *pipe = NULL;
    if (json_unpack(document->body, "{s:I, s:s, s:s}", "pid", &pid, "created", &created, "pipe", &pipe) || pid <= 0 ||
        pid > UINT32_MAX)
        return false;
    return launch_find((uint32_t)pid, strtoull(created, NULL, 16), pipe, ret_launch);
}

/* The lock held. */
static void enlist(struct relays *relays, struct relay *relay)
{
    relay->references++;
    relay->next = relays->first;
    relays->first = relay;
    relay->idle_ms = clock_ms();
    relays_arm(relays);
}

static void take_up(struct relays *relays, const struct journal_document *document)
{
    struct launch launch = {0};
    if (!find_again(document, &launch)) {
        struct journal_key key = {NULL, document->id};
        log_error("forget one that has ended", journal_remove(relays->journal, &key));
        return;
    }
    struct relay *relay = relay_new(relays, &launch);
    struct error *error = relay_greet(relay);
    char *pid = str_format("%lu", (unsigned long)relay->launch.pid);
    if (error) { /* stays journalled: the next hcsd tries again */
        char *text = error_text(error);
        event_emit(EVENT_STDIO_RELAY_SILENT, pid, text);
        free(text);
        error_free(error);
    } else {
        char *count = str_format("%zu", relay->listed_count);
        AcquireSRWLockExclusive(&relays->lock);
        relay->trusted = relay->link && strcmp(relay->version, relays->version) == 0;
        if (relay->link)
            enlist(relays, relay);
        ReleaseSRWLockExclusive(&relays->lock);
        event_emit(EVENT_STDIO_RELAY_FOUND, pid, relay->version, count);
        free(count);
    }
    free(pid);
    relay_release(relay);
}

/* ---- starting ---- */

static struct error *start(struct relays *relays, struct relay **ret_relay)
{
    struct launch launch = {0};
    struct error *error = launch_start(relays->image, RELAY_ANSWER_MS, &launch);
    if (error)
        return error;
    struct relay *relay = relay_new(relays, &launch);
    error = relay_greet(relay);
    if (!error)
        error = save(relay);
    if (error) {
        TerminateProcess(relay->launch.process, ERROR_PROCESS_ABORTED); /* nobody would find it again */
        relay_release(relay);
    } else
        *ret_relay = relay;
    return error;
}

struct error *relay_acquire(struct relays *relays, struct relay **ret_relay)
{
    uint64_t end = clock_ms() + RELAY_START_MS;
    struct error *error = NULL;
    struct relay *found = NULL;
    AcquireSRWLockExclusive(&relays->lock);
    for (;;) {
        for (found = relays->first; found && !(found->trusted && found->link && !found->ending); found = found->next)
            ;
        uint64_t now = clock_ms();
        if (found || relays->closing || !relays->starting || now >= end)
            break;
        SleepConditionVariableSRW(&relays->changed, &relays->lock, (DWORD)(end - now), 0);
    }
    if (found)
        found->references++;
    bool mine = !found && !relays->starting && !relays->closing;
    relays->starting = relays->starting || mine;
    ReleaseSRWLockExclusive(&relays->lock);
    if (mine)
        error = start(relays, &found);
    else if (!found)
        error = error_make(ERROR_KIND_UNAVAILABLE, "start the stdio relay", relays->image,
                           "it is still being started; try again");
    if (mine) {
        AcquireSRWLockExclusive(&relays->lock);
        relays->starting = false;
        if (!error && found->link) {
            found->trusted = true;
            enlist(relays, found);
        }
        WakeAllConditionVariable(&relays->changed);
        ReleaseSRWLockExclusive(&relays->lock);
    }
    if (!error)
        *ret_relay = found;
    return error;
}

/* ---- what relays have counted; the lock held ---- */

/* One that does not answer is asked once, not again each time that somebody looks. */
static void ask_for_counts(struct relay *relay)
{
    struct relay_message message = {.type = RELAY_COUNT};
    if (!relay->link || relay->protocol < 2 || relay->asked_tag != relay->counted_tag)
        return;
    message.tag = relay->asked_tag = ++relay->relays->last_tag;
    relay_send(relay, &message);
}

static bool answers(const struct relay *relay)
{
    return relay->link && relay->counted_tag && relay->asked_tag == relay->counted_tag;
}

struct glance *glances_take(struct relays *relays)
{
    struct glance *taken = NULL;
    uint64_t now = clock_ms();
    bool due = false;
    for (const struct relay *relay = relays->first; relay && !relays->closing; relay = relay->next)
        due = due || (relay->link && relay->asked_tag != relay->counted_tag);
    for (struct glance **link = &relays->glances; *link;) {
        struct glance *glance = *link;
        if (due && glance->end_ms > now)
            link = &glance->next;
        else {
            *link = glance->next;
            glance->next = taken;
            taken = glance;
        }
    }
    return taken;
}

void glances_done(struct glance *glances)
{
    while (glances) {
        struct glance *glance = glances;
        glances = glance->next;
        glance->done(glance->context);
        free(glance);
    }
}

/* ---- the timer: relays that have nothing to do, drains that nobody answers ---- */

static bool is_idle(const struct relay *relay)
{
    return relay->link && !relay->ending && !relay->sessions && !relay->listed_count && relay->references == 2;
}

void relays_arm(struct relays *relays)
{
    uint64_t now = clock_ms(), due = UINT64_MAX;
    for (const struct relay *relay = relays->first; relay; relay = relay->next) {
        if (is_idle(relay) && relay->idle_ms + relays->idle_ms < due)
            due = relay->idle_ms + relays->idle_ms;
        for (const struct session *session = relay->sessions; session; session = session->next)
            if (session->drained && session->drain_late_ms < due)
                due = session->drain_late_ms;
    }
    for (const struct glance *glance = relays->glances; glance; glance = glance->next)
        if (glance->end_ms < due)
            due = glance->end_ms;
    if (due == UINT64_MAX || relays->closing)
        return;
    ULARGE_INTEGER relative = {.QuadPart = (ULONGLONG)(-(LONGLONG)((due > now ? due - now : 0) * 10000 + 10000))};
    FILETIME time = {.dwLowDateTime = relative.LowPart, .dwHighDateTime = relative.HighPart};
    SetThreadpoolTimer(relays->timer, &time, 0, 0);
}

/* The lock held: takes one drain that is overdue. */
static bool take_overdue(struct relays *relays, void (**ret_drained)(void *, uint64_t), void **ret_context)
{
    uint64_t now = clock_ms();
    for (struct relay *relay = relays->first; relay; relay = relay->next)
        for (struct session *session = relay->sessions; session; session = session->next)
            if (session->drained && session->drain_late_ms <= now) {
                *ret_drained = session->drained;
                *ret_context = session->drained_context;
                session->drained = NULL;
                relay->trusted = false;
                return true;
            }
    return false;
}

static void CALLBACK timer_due(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    struct relays *relays = context;
    void (*drained)(void *, uint64_t);
    void *argument;
    (void)instance, (void)timer;
    AcquireSRWLockExclusive(&relays->lock);
    while (take_overdue(relays, &drained, &argument)) {
        ReleaseSRWLockExclusive(&relays->lock);
        log_debug("stdio relay: a drain was not answered");
        drained(argument, 0);
        AcquireSRWLockExclusive(&relays->lock);
    }
    uint64_t now = clock_ms();
    for (struct relay *relay = relays->first; relay; relay = relay->next)
        if (is_idle(relay) && relay->idle_ms + relays->idle_ms <= now) {
            const struct relay_message message = {.type = RELAY_END};
            relay->ending = true;
            relay_send(relay, &message);
        }
    struct glance *glances = glances_take(relays);
    relays_arm(relays);
    ReleaseSRWLockExclusive(&relays->lock);
    glances_done(glances);
}

/* ---- opening and closing ---- */

struct error *relays_open(const struct relays_options *options, struct relays **ret_relays)
{
    struct relays *relays = mem_new(struct relays);
    struct journal_list list = {0};
    struct error *error = NULL;
    InitializeSRWLock(&relays->lock);
    InitializeConditionVariable(&relays->changed);
    relays->version = str_copy(options->version ? options->version : HCSD_VERSION);
    relays->hold_ms = options->hold_ms;
    relays->idle_ms = options->idle_ms ? options->idle_ms : IDLE_MS;
    relays->timer = CreateThreadpoolTimer(timer_due, relays, NULL);
    if (!relays->timer)
        error = error_win32(GetLastError(), "CreateThreadpoolTimer", "stdio relay", NULL);
    if (!error && options->image)
        relays->image = str_copy(options->image);
    else if (!error)
        error = launch_image(relays->version, &relays->image);
    if (!error)
        error = journal_open(options->state_dir, DOCUMENT_KIND, DOCUMENT_VERSION, &relays->journal);
    if (!error)
        error = journal_list(relays->journal, &list);
    for (size_t i = 0; !error && i < list.count; i++)
        take_up(relays, &list.documents[i]);
    journal_list_free(&list);
    if (error)
        relays_close(relays);
    else
        *ret_relays = relays;
    return error;
}

void relays_settle(struct relays *relays)
{
    AcquireSRWLockExclusive(&relays->lock);
    for (struct relay *relay = relays->first; relay; relay = relay->next) {
        for (size_t i = 0; i < relay->listed_count; i++) {
            const struct listed *listed = &relay->listed[i];
            const struct relay_message message = {
                .type = listed->state & RELAY_STATE_ATTACHED ? RELAY_RELEASE : RELAY_CLOSE, .session = listed->number};
            if (listed->number)
                relay_send(relay, &message);
        }
        relay->listed_count = 0;
        relay->idle_ms = clock_ms();
    }
    relays_arm(relays);
    ReleaseSRWLockExclusive(&relays->lock);
}

void relays_set_hold(struct relays *relays, uint32_t hold_ms)
{
    relays->hold_ms = hold_ms;
}

bool relays_close(struct relays *relays)
{
    if (!relays)
        return true;
    uint64_t end = clock_ms() + CLOSE_MS;
    AcquireSRWLockExclusive(&relays->lock);
    relays->closing = true;
    for (struct relay *relay = relays->first; relay; relay = relay->next)
        if (relay->link)
            link_close(relay->link);
    struct glance *glances = glances_take(relays);
    WakeAllConditionVariable(&relays->changed);
    ReleaseSRWLockExclusive(&relays->lock);
    glances_done(glances);
    AcquireSRWLockExclusive(&relays->lock);
    for (uint64_t now = clock_ms(); relays->links && now < end; now = clock_ms())
        SleepConditionVariableSRW(&relays->changed, &relays->lock, (DWORD)(end - now), 0);
    bool all = !relays->links, kept = false;
    struct relay *list = relays->first;
    relays->first = NULL;
    ReleaseSRWLockExclusive(&relays->lock);
    if (relays->timer) {
        SetThreadpoolTimer(relays->timer, NULL, 0, 0);
        WaitForThreadpoolTimerCallbacks(relays->timer, TRUE);
        CloseThreadpoolTimer(relays->timer);
    }
    while (list) {
        struct relay *relay = list;
        list = relay->next;
        kept = kept || relay->references != 1;
        relay_release(relay);
    }
    if (!all || kept) /* somebody still uses it: the process is about to end */
        return false;
    journal_free(relays->journal);
    free(relays->image);
    free(relays->version);
    free(relays);
    return true;
}

void relays_count(struct relays *relays, struct relays_counters *ret_counters)
{
    struct relays_counters counters = {0};
    AcquireSRWLockShared(&relays->lock);
    for (const struct relay *relay = relays->first; relay; relay = relay->next) {
        counters.relays++;
        counters.sessions += relay->session_count;
    }
    ReleaseSRWLockShared(&relays->lock);
    *ret_counters = counters;
}

/* ---- for diag ---- */

void relays_glance(struct relays *relays, void (*done)(void *context), void *context)
{
    struct glance *glance = mem_new(struct glance);
    *glance = (struct glance){.end_ms = clock_ms() + RELAY_GLANCE_MS, .done = done, .context = context};
    AcquireSRWLockExclusive(&relays->lock);
    for (struct relay *relay = relays->first; relay; relay = relay->next)
        ask_for_counts(relay);
    glance->next = relays->glances;
    relays->glances = glance;
    struct glance *over = glances_take(relays);
    relays_arm(relays);
    ReleaseSRWLockExclusive(&relays->lock);
    glances_done(over);
}

void relays_view(struct relays *relays, struct relay_view **ret_views, size_t *ret_count)
{
    size_t count = 0;
    AcquireSRWLockShared(&relays->lock);
    for (const struct relay *relay = relays->first; relay; relay = relay->next)
        count++;
    struct relay_view *views = mem_new_array(count + 1, struct relay_view), *view = views;
    for (const struct relay *relay = relays->first; relay; relay = relay->next)
        *view++ = (struct relay_view){
            .pid = relay->launch.pid,
            .version = str_copy(relay->version),
            .sessions = relay->counted_tag ? relay->held : relay->session_count,
            .stdin_bytes = relay->stdin_bytes,
            .output_bytes = relay->output_bytes,
            .dropped_bytes = relay->dropped_bytes,
            .answers = answers(relay),
        };
    ReleaseSRWLockShared(&relays->lock);
    *ret_views = views;
    *ret_count = count;
}

void relay_views_free(struct relay_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(views[i].version);
    free(views);
}
