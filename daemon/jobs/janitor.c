/* Taking down what jobs left: at once, after growing pauses, and at every start.
 *
 * First a fresh worker cleans (releases the layer, removes the folder). What resists is quarantined and destroyed
 * (DestroyLayer); what resists that too is tried again later, by turns, until it is gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

/* ---- workers that do not die ------------------------------------------------------------------------------------- */

/* On a thread of the system's wait pool. */
static void CALLBACK zombie_gone(void *context, BOOLEAN timed_out)
{
    struct zombie *zombie = context;
    struct jobs *jobs = zombie->jobs;
    char pid[16];
    (void)timed_out;
    snprintf(pid, sizeof pid, "%u", (unsigned)zombie->process.pid);
    AcquireSRWLockExclusive(&jobs->lock);
    zombie->gone = true;
    for (struct remains *remains = jobs->remains; remains != NULL; remains = remains->next) {
        if (remains->zombie != zombie)
            continue;
        remains->zombie = NULL;
        remains->next_ms = clock_ms();
    }
    event_emit(EVENT_WORKER_GONE, pid);
    watchdog_kick(jobs);
    ReleaseSRWLockExclusive(&jobs->lock);
}

struct zombie *janitor_add_zombie(struct jobs *jobs, struct process *process, const char *object)
{
    struct zombie *zombie = mem_new(struct zombie);
    zombie->jobs = jobs;
    zombie->process = *process;
    zombie->object = str_copy(object);
    process->handle = NULL;
    zombie->next = jobs->zombies;
    jobs->zombies = zombie;
    char pid[16];
    snprintf(pid, sizeof pid, "%u", (unsigned)zombie->process.pid);
    event_emit(EVENT_WORKER_ABANDONED, pid, object);
    if (!RegisterWaitForSingleObject(&zombie->wait, zombie->process.handle, zombie_gone, zombie, INFINITE,
                                     WT_EXECUTEONLYONCE))
        log_debug("the end of worker %s cannot be waited for", pid);
    return zombie;
}

/* ---- the cleaning -------------------------------------------------------------------------------------------------- */

/* Only a staging folder goes to DestroyLayer, and only one that nothing depends on. */
static const char *dependant(struct jobs *jobs, const struct remains *remains)
{
    return remains->staging == NULL ? NULL : claims_holder_below(jobs->claims, remains->staging);
}

/* Without knowing which folder its maker made: one that was made while it can have been at it. */
static void order_unmaking(const struct jobs *jobs, const struct remains *remains, json_t *order)
{
    uint64_t longest_ms = jobs->limits.ms[WATCH_CALL] + 4 * jobs->limits.ms[WATCH_STALL];
    json_object_set_new(order, "made", json_string(remains->layer));
    json_object_set_new(order, "made_id", json_string(remains->made_id));
    json_object_set_new(order, "made_since_ns", json_integer(remains->made_ns));
    json_object_set_new(order, "made_until_ns", json_integer(remains->made_ns + (int64_t)longest_ms * 1000000));
    json_object_set_new(order, "by_entry", json_boolean(remains->tries % 2 != 0));
}

static void start_cleaner(struct jobs *jobs, struct remains *remains)
{
    /* By turns, so that a call that hangs does not keep the other way from being tried. */
    bool destroy = remains->quarantined && remains->staging != NULL && remains->tries % 2 == 0;
    const char *holder = destroy ? dependant(jobs, remains) : NULL;
    if (holder != NULL) {
        log_debug("quarantined folder %s is not destroyed: %s depends on it", remains->staging, holder);
        destroy = false;
    }
    struct job *job = job_new(jobs, destroy ? "destroy" : "clean", LANE_CLEAN,
                              remains->staging != NULL ? remains->staging : remains->layer);
    job->order = json_pack(
        "{s:s, s:s, s:s, s:s, s:I}", "target", remains->activated && remains->target != NULL ? remains->target : "",
        "layer", remains->activated ? remains->layer : "", "folder", remains->staging != NULL ? remains->staging : "",
        "output", remains->output != NULL ? remains->output : "", "pid", (json_int_t)remains->output_pid);
    if (remains->making)
        order_unmaking(jobs, remains, job->order);
    job->client = str_copy("hcsd");
    job->remains = remains;
    remains->cleaner = job;
    remains->next_ms = WATCH_NEVER;
    pool_submit(job);
}

/* The janitor's from here: also the name that others are told when they ask for the layer. */
static void rename_holder(struct jobs *jobs, struct remains *remains)
{
    if (!remains->claimed || strncmp(remains->holder, "hcsd", 4) == 0)
        return;
    char *holder = str_format("hcsd, which is taking down what %s left", remains->holder);
    claims_release(jobs->claims, remains->layer, CLAIM_OWN, remains->holder);
    error_free(claims_take(jobs->claims, remains->layer, CLAIM_OWN, holder));
    for (size_t i = 0; i < remains->parent_count; i++) {
        claims_release(jobs->claims, remains->parents[i], CLAIM_USE, remains->holder);
        error_free(claims_take(jobs->claims, remains->parents[i], CLAIM_USE, holder));
    }
    free(remains->holder);
    remains->holder = holder;
}

static void quarantine(struct remains *remains, const char *reason)
{
    if (remains->quarantined || remains->staging == NULL)
        return;
    remains->quarantined = true;
    remains->tries = 0;
    if (remains->waiter != NULL)
        remains->waiter->step = watch_action_name(WATCH_QUARANTINE);
    event_emit(EVENT_STAGING_QUARANTINED, remains->staging, reason);
}

/* Whoever waits hears of it. With nothing left this is the end of the remains. */
static void resolve(struct jobs *jobs, struct remains *remains, const char *outcome,
                    const struct export_deviation *left, size_t count)
{
    struct job *waiter = remains->waiter;
    bool released = !remains->activated;
    remains->waiter = NULL;
    if (remains_is_empty(remains))
        remains_settle(jobs, remains);
    if (waiter != NULL)
        supervise_remains_done(waiter, outcome, released, left, count);
}

void janitor_take(struct jobs *jobs, struct remains *remains, const char *reason)
{
    remains->mounted = false;
    if (remains_has_layer(remains))
        rename_holder(jobs, remains);
    else
        remains_unclaim(jobs, remains);
    if (reason != NULL)
        quarantine(remains, reason);
    if (remains_is_empty(remains)) {
        resolve(jobs, remains, "done", NULL, 0);
    } else if (remains->zombie != NULL) {
        /* Whoever may be in the folder is still there. */
        resolve(jobs, remains, "quarantined", NULL, 0);
    } else {
        start_cleaner(jobs, remains);
    }
}

/* ---- what came of it ------------------------------------------------------------------------------------------------- */

struct outcome {
    bool released, removed, unmade;
    char *release_reason, *remove_reason, *unmake_reason;
    uint64_t left_total;
    struct export_deviation *left;
    size_t count;
    const char *how, *unmake_how;
};

static void read_outcome(struct outcome *outcome, struct job *cleaner, const char *lost)
{
    const json_t *end = cleaner->end;
    if (lost != NULL) {
        const char *why = cleaner->kill_error != NULL ? cleaner->kill_error->message
                          : cleaner->failure != NULL  ? cleaner->failure->message
                                                      : lost;
        outcome->release_reason = str_copy(why);
        outcome->remove_reason = str_copy(why);
        outcome->unmake_reason = str_copy(why);
        return;
    }
    struct error *release_error = message_unpack_error(json_object_get(end, "release_error"));
    struct error *remove_error = message_unpack_error(json_object_get(end, "remove_error"));
    struct error *unmake_error = message_unpack_error(json_object_get(end, "unmake_error"));
    message_unpack_deviations(json_object_get(end, "left"), &outcome->left, &outcome->count);
    outcome->unmade = unmake_error == NULL;
    outcome->unmake_how = message_text(end, "unmake_how");
    outcome->left_total = message_number(end, "left_total");
    outcome->released = release_error == NULL;
    outcome->removed = remove_error == NULL && outcome->left_total == 0;
    outcome->how = message_text(end, "how");
    if (release_error != NULL)
        outcome->release_reason = error_text(release_error);
    if (unmake_error != NULL)
        outcome->unmake_reason = error_text(unmake_error);
    char *call = remove_error != NULL ? error_text(remove_error) : NULL;
    if (outcome->count > 0)
        outcome->remove_reason = str_format("%s%s%s: %s", call != NULL ? call : "", call != NULL ? "; left: " : "",
                                            outcome->left[0].path, outcome->left[0].detail);
    else
        outcome->remove_reason = str_copy(call);
    free(call);
    error_free(release_error);
    error_free(remove_error);
    error_free(unmake_error);
}

static void free_outcome(struct outcome *outcome)
{
    free(outcome->release_reason);
    free(outcome->remove_reason);
    free(outcome->unmake_reason);
    message_free_deviations(outcome->left, outcome->count);
}

static void tell_swept(struct jobs *jobs)
{
    char folders[16], layers[16], stay[16];
    if (jobs->sweeping > 0 || jobs->swept_folders + jobs->swept_layers + jobs->swept_stay == 0)
        return;
    snprintf(folders, sizeof folders, "%u", jobs->swept_folders);
    snprintf(layers, sizeof layers, "%u", jobs->swept_layers);
    snprintf(stay, sizeof stay, "%u", jobs->swept_stay);
    event_emit(EVENT_JANITOR_SWEPT, folders, layers, stay);
    jobs->swept_folders = jobs->swept_layers = jobs->swept_stay = 0;
}

static void count_swept(struct jobs *jobs, struct remains *remains, bool folder_gone, bool layer_gone)
{
    if (!remains->first_sweep)
        return;
    remains->first_sweep = false;
    jobs->swept_folders += folder_gone;
    jobs->swept_layers += layer_gone;
    jobs->swept_stay += remains_is_empty(remains) ? 0 : 1;
    jobs->sweeping--;
    tell_swept(jobs);
}

static void tell_layer(struct remains *remains, const struct outcome *outcome)
{
    if (outcome->released && remains->release_told)
        event_emit(EVENT_LAYER_RELEASED, remains->layer, "a retry succeeded");
    if (!outcome->released && !remains->release_told) {
        event_emit(EVENT_LAYER_RELEASE_FAILED, remains->layer, outcome->release_reason);
        remains->release_told = true;
    }
}

static void tell_half_layer(struct remains *remains, const struct outcome *outcome)
{
    if (outcome->unmade) {
        event_emit(EVENT_LAYER_UNMADE, remains->layer, outcome->unmake_how);
    } else if (!remains->making_told) {
        event_emit(EVENT_LAYER_HALF_MADE, remains->layer, outcome->unmake_reason);
        remains->making_told = true;
    }
}

/* What is to be done with the document, before the next cleaner, which is due at next_ms. */
enum document { DOCUMENT_SETTLED, DOCUMENT_WRITE, DOCUMENT_FORGET };

/* Locked. Later: the janitor's next try. */
static void try_later(struct jobs *jobs, struct remains *remains, const struct outcome *outcome)
{
    remains->next_ms = clock_ms() + watch_pause_ms(remains->tries, jobs->limits.ms[WATCH_STALL]);
    remains->tries++;
    if (remains->waiter != NULL)
        remains->waiter->step = watch_action_name(WATCH_JANITOR);
    resolve(jobs, remains, "quarantined", outcome->left, outcome->count);
}

/* Locked. */
static enum document take_outcome(struct jobs *jobs, struct remains *remains, struct job *cleaner,
                                  const struct outcome *outcome)
{
    bool had_folder = remains->staging != NULL, had_layer = remains_has_layer(remains), had_half = remains->making;
    bool destroyed = strcmp(cleaner->kind, "destroy") == 0;
    if (remains->activated)
        tell_layer(remains, outcome);
    if (had_half)
        tell_half_layer(remains, outcome);
    if (outcome->released)
        remains->activated = false;
    if (outcome->unmade)
        remains->making = false;
    if (!remains_has_layer(remains) && !had_half)
        remains_unclaim(jobs, remains);
    if (outcome->removed) {
        if (remains->quarantined && had_folder)
            event_emit(EVENT_QUARANTINE_DESTROYED, remains->staging, outcome->how);
        free(remains->staging);
        free(remains->output);
        remains->staging = remains->output = NULL;
    }
    count_swept(jobs, remains, had_folder && outcome->removed, had_layer && !remains_has_layer(remains));
    if (remains_is_empty(remains) && had_half)
        return DOCUMENT_FORGET;
    if (remains_is_empty(remains)) {
        resolve(jobs, remains, "done", outcome->left, outcome->count);
        return DOCUMENT_SETTLED;
    }
    if (remains->zombie != NULL) {
        resolve(jobs, remains, "quarantined", outcome->left, outcome->count);
        return DOCUMENT_WRITE;
    }
    if (remains->staging != NULL && !remains->quarantined && !jobs->closing) {
        quarantine(remains, outcome->remove_reason != NULL ? outcome->remove_reason : "it could not be removed");
        remains->next_ms = clock_ms();
        return DOCUMENT_WRITE;
    }
    if (remains->staging != NULL && destroyed) {
        char total[24];
        snprintf(total, sizeof total, "%llu", (unsigned long long)outcome->left_total);
        event_emit(EVENT_QUARANTINE_REMAINS, remains->staging, outcome->left_total > 0 ? total : "?",
                   outcome->remove_reason != NULL ? outcome->remove_reason : "");
    }
    try_later(jobs, remains, outcome);
    return DOCUMENT_WRITE;
}

/* Unlocked. */
static void bring_up_to_date(struct jobs *jobs, struct remains *remains, enum document what,
                             const struct outcome *outcome)
{
    struct error *error = what == DOCUMENT_FORGET ? remains_forget(jobs, remains) : remains_sync(jobs, remains);
    AcquireSRWLockExclusive(&jobs->lock);
    remains->writing = false;
    if (what == DOCUMENT_FORGET && error == NULL) {
        resolve(jobs, remains, "done", NULL, 0);
    } else if (what == DOCUMENT_FORGET) {
        remains->making = true;
        try_later(jobs, remains, outcome);
    }
    ReleaseSRWLockExclusive(&jobs->lock);
    if (error != NULL)
        log_debug("remains could not be journalled: %s", error->message);
    error_free(error);
}

void janitor_done(struct job *cleaner, const char *lost)
{
    struct jobs *jobs = cleaner->jobs;
    struct remains *remains = cleaner->remains;
    struct outcome outcome = {.how = "", .unmake_how = ""};
    AcquireSRWLockExclusive(&jobs->lock);
    read_outcome(&outcome, cleaner, lost);
    cleaner->remains = NULL;
    remains->cleaner = NULL;
    bool clean = lost == NULL && outcome.released && outcome.removed && outcome.unmade;
    job_note(cleaner, "%s",
             clean                           ? "done"
             : outcome.remove_reason != NULL ? outcome.remove_reason
             : outcome.unmake_reason != NULL ? outcome.unmake_reason
                                             : "not released");
    job_end(cleaner, clean ? JOB_DONE : JOB_FAILED, NULL);
    watch_end(&cleaner->watch);
    enum document document = take_outcome(jobs, remains, cleaner, &outcome);
    if (document != DOCUMENT_SETTLED)
        remains->writing = true;
    ReleaseSRWLockExclusive(&jobs->lock);
    if (document != DOCUMENT_SETTLED)
        bring_up_to_date(jobs, remains, document, &outcome);
    watchdog_kick(jobs);
    free_outcome(&outcome);
}

uint64_t janitor_tick(struct jobs *jobs, uint64_t now_ms)
{
    uint64_t next = WATCH_NEVER;
    for (struct remains *remains = jobs->remains; remains != NULL; remains = remains->next) {
        if (remains->next_ms == WATCH_NEVER || remains->cleaner != NULL || remains->writing)
            continue;
        if (now_ms >= remains->next_ms && !jobs->closing)
            start_cleaner(jobs, remains);
        else if (remains->next_ms < next)
            next = remains->next_ms;
    }
    return next;
}

/* ---- at start ---------------------------------------------------------------------------------------------------------- */

static struct zombie *zombie_of(struct jobs *jobs, const struct remains *remains)
{
    HANDLE handle = NULL;
    for (struct zombie *zombie = jobs->zombies; zombie != NULL; zombie = zombie->next)
        if (zombie->process.pid == remains->worker_pid && zombie->process.created == remains->worker_created)
            return zombie;
    if (remains->worker_pid == 0 || !process_find(remains->worker_pid, remains->worker_created, &handle))
        return NULL;
    struct process process = {.handle = handle, .pid = remains->worker_pid, .created = remains->worker_created};
    return janitor_add_zombie(jobs, &process, remains->staging != NULL ? remains->staging : remains->layer);
}

/* What the journal tells of an earlier life, then the staging folders that no document tells of. */
void janitor_sweep(struct jobs *jobs)
{
    json_t *keep = jobs->kept_folders;
    for (struct remains *remains = jobs->remains, *next; remains != NULL; remains = next) {
        next = remains->next;
        json_array_append_new(keep, json_string(remains->id));
        if (remains->mounted)
            continue;
        if (remains_has_layer(remains))
            rename_holder(jobs, remains);
        remains->first_sweep = true;
        jobs->sweeping++;
        if (remains_is_empty(remains)) {
            count_swept(jobs, remains, false, false);
            remains_settle(jobs, remains);
        } else if ((remains->zombie = zombie_of(jobs, remains)) == NULL) {
            start_cleaner(jobs, remains);
        } else {
            count_swept(jobs, remains, false, false);
        }
    }
    struct job *job = job_new(jobs, "sweep", LANE_EXPORT, jobs->staging_dir);
    job->client = str_copy("hcsd");
    job->order = json_pack("{s:s, s:s, s:O}", "root", jobs->staging_dir, "life", jobs->life, "keep", keep);
    jobs->sweeping++;
    pool_submit(job);
}

void janitor_swept(struct job *sweep)
{
    struct jobs *jobs = sweep->jobs;
    AcquireSRWLockExclusive(&jobs->lock);
    const json_t *stays = json_object_get(sweep->end, "stays");
    jobs->swept_folders += (unsigned)message_number(sweep->end, "removed");
    jobs->swept_stay += (unsigned)json_array_size(stays);
    for (size_t i = 0; i < json_array_size(stays) && !jobs->closing; i++) {
        const char *name = json_string_value(json_array_get(stays, i));
        if (name != NULL)
            janitor_take(jobs, remains_adopt(jobs, name), "it is of an earlier life of hcsd and could not be removed");
    }
    jobs->sweeping--;
    tell_swept(jobs);
    job_end(sweep, sweep->end != NULL ? JOB_DONE : JOB_FAILED, NULL);
    watch_end(&sweep->watch);
    ReleaseSRWLockExclusive(&jobs->lock);
}

void janitor_close(struct jobs *jobs)
{
    while (jobs->zombies != NULL) {
        struct zombie *zombie = jobs->zombies;
        jobs->zombies = zombie->next;
        if (zombie->wait != NULL)
            UnregisterWaitEx(zombie->wait, INVALID_HANDLE_VALUE);
        process_close(&zombie->process);
        free(zombie->object);
        free(zombie);
    }
    remains_flush(jobs);
    while (jobs->remains != NULL) {
        struct remains *remains = jobs->remains;
        jobs->remains = remains->next;
        remains_free(remains);
    }
}
