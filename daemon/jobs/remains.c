/* What a job may leave behind, and its document in the journal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

#define DOCUMENT_KIND    "remains"
#define DOCUMENT_VERSION 1
#define ID_SIZE          8

/* Letters that are the same in any case, and no digits that look like some. */
static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";

static void make_id(struct jobs *jobs, char id[16])
{
    uint64_t number = ++jobs->next_number;
    snprintf(id, 16, "e%s%c%c%c%c", jobs->life, letters[number >> 15 & 31], letters[number >> 10 & 31],
             letters[number >> 5 & 31], letters[number & 31]);
}

struct remains *remains_new(struct jobs *jobs, const char *kind, struct job *job, const char *layer, const char *holder)
{
    struct remains *remains = mem_new(struct remains);
    make_id(jobs, remains->id);
    remains->kind = str_copy(kind);
    remains->job = str_copy(job->id);
    remains->layer = str_copy(layer);
    remains->holder = str_copy(holder);
    remains->made_id = str_copy("");
    remains->since_ns = clock_wall_ns();
    remains->next_ms = WATCH_NEVER;
    remains->next = jobs->remains;
    jobs->remains = remains;
    remains->claimed = true;
    job->remains = remains;
    return remains;
}

void remains_free(struct remains *remains)
{
    for (size_t i = 0; i < remains->parent_count; i++)
        free(remains->parents[i]);
    free(remains->parents);
    free(remains->kind);
    free(remains->job);
    free(remains->holder);
    free(remains->layer);
    free(remains->made_id);
    free(remains->target);
    free(remains->staging);
    free(remains->output);
    free(remains);
}

bool remains_has_layer(const struct remains *remains)
{
    return remains->activated || remains->making;
}

bool remains_is_empty(const struct remains *remains)
{
    return !remains_has_layer(remains) && remains->staging == NULL && remains->output == NULL;
}

void remains_unclaim(struct jobs *jobs, struct remains *remains)
{
    if (!remains->claimed)
        return;
    remains->claimed = false;
    claims_release(jobs->claims, remains->layer, CLAIM_OWN, remains->holder);
    for (size_t i = 0; i < remains->parent_count; i++)
        claims_release(jobs->claims, remains->parents[i], CLAIM_USE, remains->holder);
}

void remains_settle(struct jobs *jobs, struct remains *remains)
{
    remains_unclaim(jobs, remains);
    for (struct remains **place = &jobs->remains; *place != NULL; place = &(*place)->next) {
        if (*place == remains) {
            *place = remains->next;
            break;
        }
    }
    if (!remains->journalled) {
        remains_free(remains);
        return;
    }
    remains->next = jobs->settled;
    jobs->settled = remains;
}

/* ---- the document ---------------------------------------------------------------------------------------------- */

static json_t *optional(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static json_t *pack(const struct remains *remains)
{
    json_t *parents = json_array();
    for (size_t i = 0; i < remains->parent_count; i++)
        json_array_append_new(parents, json_string(remains->parents[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:b, s:s, s:I, s:o, s:o, s:o, s:I, s:b, s:I, s:I, s:I, s:i}",
                     "kind", remains->kind, "job", remains->job, "holder", remains->holder, "layer", remains->layer,
                     "parents", parents, "activated", remains->activated, "mounted", remains->mounted, "making",
                     remains->making, "made_id", remains->made_id, "made_ns", (json_int_t)remains->made_ns, "target",
                     optional(remains->target), "staging", optional(remains->staging), "output",
                     optional(remains->output), "output_pid", (json_int_t)remains->output_pid, "quarantined",
                     remains->quarantined, "since_ns", (json_int_t)remains->since_ns, "worker_pid",
                     (json_int_t)remains->worker_pid, "worker_created", (json_int_t)remains->worker_created, "tries",
                     (int)remains->tries);
}

struct error *remains_sync(struct jobs *jobs, struct remains *remains)
{
    AcquireSRWLockExclusive(&jobs->lock);
    json_t *body = pack(remains);
    remains->journalled = true;
    ReleaseSRWLockExclusive(&jobs->lock);
    if (body == NULL)
        return error_make(ERROR_KIND_INTERNAL, "journal", remains->id, "a path is no UTF-8");
    struct journal_key key = {NULL, remains->id};
    struct error *error = journal_save(jobs->journal, &key, body);
    json_decref(body);
    return error;
}

struct error *remains_forget(struct jobs *jobs, struct remains *remains)
{
    struct journal_key key = {NULL, remains->id};
    struct error *error = journal_remove(jobs->journal, &key);
    if (error == NULL) {
        AcquireSRWLockExclusive(&jobs->lock);
        remains->journalled = false;
        ReleaseSRWLockExclusive(&jobs->lock);
    }
    return error;
}

void remains_flush(struct jobs *jobs)
{
    for (;;) {
        AcquireSRWLockExclusive(&jobs->lock);
        struct remains *remains = jobs->settled;
        if (remains != NULL)
            jobs->settled = remains->next;
        ReleaseSRWLockExclusive(&jobs->lock);
        if (remains == NULL)
            return;
        struct journal_key key = {NULL, remains->id};
        struct error *error = journal_remove(jobs->journal, &key);
        /* Found again at the next start, where there is then nothing to take down. */
        if (error != NULL)
            log_debug("remains %s: %s", remains->id, error->message);
        error_free(error);
        remains_free(remains);
    }
}

static char *optional_text(const json_t *body, const char *field)
{
    return str_copy(json_string_value(json_object_get(body, field)));
}

/* A staging folder is only ever one below the staging root that is named like the document, or a layer that was renamed to be
 * destroyed: nothing else is removed on a document's word, but half a layer whose folder the worker knows again (work_make.c). */
static bool is_own_folder(const struct jobs *jobs, const char *id, const char *staging)
{
    size_t size = strlen(staging), tail = sizeof DOOMED_SUFFIX - 1;
    if (size > tail && strcmp(staging + size - tail, DOOMED_SUFFIX) == 0)
        return true;
    char *expected = path_join(jobs->staging_dir, id);
    bool same = strcmp(expected, staging) == 0;
    free(expected);
    return same;
}

static struct remains *unpack(struct jobs *jobs, const struct journal_document *document)
{
    const json_t *body = document->body, *parents = json_object_get(body, "parents");
    if (strlen(document->id) != ID_SIZE)
        return NULL;
    struct remains *remains = mem_new(struct remains);
    snprintf(remains->id, sizeof remains->id, "%s", document->id);
    remains->kind = str_copy(message_text(body, "kind"));
    remains->job = str_copy(message_text(body, "job"));
    remains->holder = str_copy(message_text(body, "holder"));
    remains->layer = str_copy(message_text(body, "layer"));
    remains->parents = mem_new_array(json_array_size(parents) + 1, char *);
    for (size_t i = 0; i < json_array_size(parents); i++)
        if (json_is_string(json_array_get(parents, i)))
            remains->parents[remains->parent_count++] = str_copy(json_string_value(json_array_get(parents, i)));
    remains->activated = json_is_true(json_object_get(body, "activated"));
    remains->mounted = json_is_true(json_object_get(body, "mounted"));
    remains->making = json_is_true(json_object_get(body, "making"));
    remains->made_id = str_copy(message_text(body, "made_id"));
    remains->made_ns = json_integer_value(json_object_get(body, "made_ns"));
    remains->target = optional_text(body, "target");
    remains->staging = optional_text(body, "staging");
    remains->output = optional_text(body, "output");
    remains->output_pid = (uint32_t)message_number(body, "output_pid");
    remains->quarantined = json_is_true(json_object_get(body, "quarantined"));
    remains->since_ns = json_integer_value(json_object_get(body, "since_ns"));
    remains->worker_pid = (uint32_t)message_number(body, "worker_pid");
    remains->worker_created = message_number(body, "worker_created");
    remains->journalled = true;
    remains->recovered = true;
    remains->next_ms = WATCH_NEVER;
    if (remains->staging != NULL && !is_own_folder(jobs, remains->id, remains->staging)) {
        log_debug("remains %s: %s is not below the staging folder; it is left alone", remains->id, remains->staging);
        free(remains->staging);
        remains->staging = NULL;
    }
    return remains;
}

/* One owner per layer: of two that tell of the same layer the older one was settled, and only its document is still there, for
 * hcsd was killed before it was removed or the disk refused that. On its word a layer would be taken away from who has it now. */
static void forget_older(struct jobs *jobs)
{
    for (struct remains *remains = jobs->remains; remains != NULL; remains = remains->next)
        for (struct remains *other = jobs->remains; other != NULL && remains_has_layer(remains); other = other->next)
            if (remains_has_layer(other) && other->since_ns > remains->since_ns &&
                claims_same_layer(other->layer, remains->layer))
                remains->activated = remains->mounted = remains->making = false;
}

/* Its owner's claims hold again from the start, before anybody can ask. */
static void claim_again(struct jobs *jobs, struct remains *remains)
{
    if (!remains_has_layer(remains))
        return;
    remains->claimed = true;
    error_free(claims_take(jobs->claims, remains->layer, CLAIM_OWN, remains->holder));
    for (size_t i = 0; i < remains->parent_count; i++)
        error_free(claims_take(jobs->claims, remains->parents[i], CLAIM_USE, remains->holder));
}

/* What cannot be read may tell of folders that are another hcsd's business. */
static void keep_refused(struct jobs *jobs, const struct journal_list *list)
{
    jobs->kept_folders = json_array();
    for (size_t i = 0; i < list->refused_count; i++)
        if (strlen(list->refused[i]) >= ID_SIZE)
            json_array_append_new(jobs->kept_folders, json_stringn(list->refused[i], ID_SIZE));
}

struct remains *remains_adopt(struct jobs *jobs, const char *folder)
{
    struct remains *remains = mem_new(struct remains);
    snprintf(remains->id, sizeof remains->id, "%.8s", folder);
    remains->kind = str_copy("sweep");
    remains->job = str_copy("");
    remains->layer = str_copy("");
    remains->holder = str_copy("hcsd");
    remains->made_id = str_copy("");
    remains->staging = path_join(jobs->staging_dir, remains->id);
    remains->since_ns = clock_wall_ns();
    remains->next_ms = WATCH_NEVER;
    remains->next = jobs->remains;
    jobs->remains = remains;
    return remains;
}

static bool life_is_taken(const struct jobs *jobs)
{
    for (const struct remains *remains = jobs->remains; remains != NULL; remains = remains->next)
        if (strncmp(remains->id + 1, jobs->life, 3) == 0)
            return true;
    return false;
}

static void choose_life(struct jobs *jobs)
{
    uint64_t number = (uint64_t)clock_wall_ns() / 1000003 + GetCurrentProcessId();
    do {
        for (size_t i = 0; i < 3; i++)
            jobs->life[i] = letters[number >> 5 * i & 31];
        number += 7919;
    } while (life_is_taken(jobs));
}

struct error *remains_open(struct jobs *jobs, const char *state_dir)
{
    struct journal_list list = {0};
    char *folder = path_join(state_dir, "jobs");
    struct error *error = journal_open(folder, DOCUMENT_KIND, DOCUMENT_VERSION, &jobs->journal);
    free(folder);
    if (error == NULL)
        error = journal_list(jobs->journal, &list);
    if (error != NULL)
        return error;
    for (size_t i = 0; i < list.count; i++) {
        struct remains *remains = unpack(jobs, &list.documents[i]);
        if (remains == NULL)
            continue;
        remains->next = jobs->remains;
        jobs->remains = remains;
    }
    forget_older(jobs);
    for (struct remains *remains = jobs->remains; remains != NULL; remains = remains->next)
        claim_again(jobs, remains);
    keep_refused(jobs, &list);
    journal_list_free(&list);
    choose_life(jobs);
    error = journal_reserve(jobs->journal);
    if (error != NULL)
        log_debug("the journal has no reserve for a full disk: %s", error->message);
    error_free(error);
    return NULL;
}
