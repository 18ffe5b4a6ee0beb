/* Storage calls that a caller waits for. */
#include "daemon/jobs/layers.h"

#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "daemon/jobs/state.h"
#include "daemon/worker/message.h"

/* ---- claims ------------------------------------------------------------------------------------------------------------ */

static struct error *claim(struct jobs *jobs, const char *holder, const char *scratch, enum claim_mode mode,
                           const char *const *parents, size_t count)
{
    struct error *error = scratch == NULL ? NULL : claims_take(jobs->claims, scratch, mode, holder);
    size_t taken = 0;
    if (error != NULL)
        return error;
    while (taken < count && error == NULL) {
        error = claims_take(jobs->claims, parents[taken], CLAIM_USE, holder);
        if (error == NULL)
            taken++;
    }
    if (error == NULL)
        return NULL;
    while (taken > 0)
        claims_release(jobs->claims, parents[--taken], CLAIM_USE, holder);
    if (scratch != NULL)
        claims_release(jobs->claims, scratch, mode, holder);
    return error;
}

static void unclaim(struct jobs *jobs, const char *holder, const char *scratch, enum claim_mode mode,
                    const char *const *parents, size_t count)
{
    if (scratch != NULL)
        claims_release(jobs->claims, scratch, mode, holder);
    for (size_t i = 0; i < count; i++)
        claims_release(jobs->claims, parents[i], CLAIM_USE, holder);
}

struct error *jobs_claim_layers(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                                size_t parent_count)
{
    AcquireSRWLockExclusive(&jobs->lock);
    struct error *error = claim(jobs, holder, scratch, CLAIM_OWN, parents, parent_count);
    ReleaseSRWLockExclusive(&jobs->lock);
    return error;
}

void jobs_unclaim_layers(struct jobs *jobs, const char *holder, const char *scratch, const char *const *parents,
                         size_t parent_count)
{
    AcquireSRWLockExclusive(&jobs->lock);
    unclaim(jobs, holder, scratch, CLAIM_OWN, parents, parent_count);
    ReleaseSRWLockExclusive(&jobs->lock);
}

/* ---- one call ------------------------------------------------------------------------------------------------------------ */

struct call {
    const char *kind; /* NULL: "layer" */
    const char *verb, *layer;
    const char *holder; /* NULL: one is made of the verb */
    enum claim_mode mode;
    bool claimed; /* nothing is to be claimed */
    const char *const *parents;
    size_t parent_count;
    json_t *order;      /* more of its message, or NULL; taken */
    const char *doomed; /* destroy: what the folder is called from then on */
    bool stages;        /* it needs a staging folder */
    const char *makes;  /* the kind of its remains: a layer is made; the claims are theirs */
};

static struct error *check_paths(const struct call *call)
{
    struct error *error = mounts_check_path(call->verb, call->layer, "the layer");
    for (size_t i = 0; i < call->parent_count && error == NULL; i++)
        error = mounts_check_path(call->verb, call->parents[i], "a parent layer");
    return error;
}

/* The claims, which are taken, are the remains' from here on: they end when the layer is made, or when nothing of it is left. */
static void new_making(struct jobs *jobs, const struct call *call, struct job *job, const char *holder, json_t *order)
{
    struct remains *remains = remains_new(jobs, call->makes, job, call->layer, holder);
    remains->parents = mem_new_array(call->parent_count + 1, char *);
    for (size_t i = 0; i < call->parent_count; i++)
        remains->parents[remains->parent_count++] = str_copy(call->parents[i]);
    if (call->stages) {
        remains->staging = path_join(jobs->staging_dir, remains->id);
        json_object_set_new(order, "folder", json_string(remains->staging));
    }
}

/* Its worker is told the verb, waited for, and its end handed out (NULL after an error). */
static struct error *run(struct jobs *jobs, const struct call *call, json_t **ret_end)
{
    json_t *order = call->order != NULL ? call->order : json_object();
    struct error *error = check_paths(call);
    char *holder = call->holder != NULL ? str_copy(call->holder) : NULL;
    bool claimed = false;
    if (error != NULL) {
        json_decref(order);
        free(holder);
        return error;
    }
    AcquireSRWLockExclusive(&jobs->lock);
    if (holder == NULL) /* no two are alike */
        holder = str_format("layer %s %llu", call->verb, (unsigned long long)++jobs->next_number);
    if (jobs->draining)
        error = error_make(ERROR_KIND_UNAVAILABLE, call->verb, call->layer, "hcsd is stopping");
    if (error == NULL && call->kind != NULL && queue_count(jobs->lanes[LANE_EXPORT].queue) >= jobs->queue_limit)
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, call->verb, call->layer,
                           "%u jobs are waiting already (export.queue); try again later", jobs->queue_limit);
    if (error == NULL && !call->claimed) {
        error = claim(jobs, holder, call->layer, call->mode, call->parents, call->parent_count);
        claimed = error == NULL;
    }
    if (error == NULL) {
        struct job *job = mounts_call_new(jobs, call->kind != NULL ? call->kind : "layer", holder, call->layer);
        json_object_set_new(order, "verb", json_string(call->verb));
        json_object_set_new(order, "layer", json_string(call->layer));
        if (json_object_get(order, "parents") == NULL)
            json_object_set_new(order, "parents", mounts_pack_paths(call->parents, call->parent_count));
        if (call->doomed != NULL) {
            struct remains *remains = remains_new(jobs, "destroy", job, "", holder);
            remains->claimed = false;
            remains->staging = str_copy(call->doomed);
        } else if (call->makes != NULL) {
            claimed = false;
            new_making(jobs, call, job, holder, order);
        }
        job->order = json_incref(order);
        mounts_call_run(job);
        if (job->error != NULL)
            error = error_copy(job->error);
        if (job->end != NULL && ret_end != NULL)
            *ret_end = json_incref(job->end);
        job_drop(job);
    }
    if (claimed)
        unclaim(jobs, holder, call->layer, call->mode, call->parents, call->parent_count);
    ReleaseSRWLockExclusive(&jobs->lock);
    json_decref(order);
    free(holder);
    return error;
}

/* ---- the calls ----------------------------------------------------------------------------------------------------------- */

static struct error *scratch_call(struct jobs *jobs, const struct call *call, char **ret_deviation)
{
    json_t *end = NULL;
    struct error *error = run(jobs, call, &end);
    if (error == NULL)
        *ret_deviation = str_copy(message_text(end, "deviation"));
    json_decref(end);
    return error;
}

struct error *jobs_create_scratch(struct jobs *jobs, const char *layer, const char *const *parents, size_t parent_count,
                                  uint64_t bytes, char **ret_deviation)
{
    const struct call call = {.verb = "create_scratch",
                              .layer = layer,
                              .mode = CLAIM_OWN,
                              .parents = parents,
                              .parent_count = parent_count,
                              .order = json_pack("{s:I}", "bytes", (json_int_t)bytes),
                              .makes = "create"};
    return scratch_call(jobs, &call, ret_deviation);
}

struct error *jobs_expand_scratch(struct jobs *jobs, const char *layer, uint64_t bytes, char **ret_deviation)
{
    const struct call call = {
        .verb = "expand", .layer = layer, .mode = CLAIM_OWN, .order = json_pack("{s:I}", "bytes", (json_int_t)bytes)};
    return scratch_call(jobs, &call, ret_deviation);
}

struct error *jobs_layer_exists(struct jobs *jobs, const char *layer, bool *ret_exists)
{
    json_t *end = NULL;
    const struct call call = {.verb = "exists", .layer = layer, .claimed = true};
    struct error *error = run(jobs, &call, &end);
    if (error == NULL)
        *ret_exists = json_is_true(json_object_get(end, "exists"));
    json_decref(end);
    return error;
}

struct error *jobs_layer_mount_path(struct jobs *jobs, const char *layer, char **ret_volume)
{
    json_t *end = NULL;
    const struct call call = {.verb = "mount_path", .layer = layer, .claimed = true};
    struct error *error = run(jobs, &call, &end);
    if (error == NULL)
        *ret_volume = str_copy(message_text(end, "volume"));
    json_decref(end);
    return error;
}

struct error *jobs_process_image(struct jobs *jobs, const char *layer, bool *ret_utility_vm)
{
    json_t *end = NULL;
    const struct call call = {.verb = "process_image", .layer = layer, .mode = CLAIM_OWN};
    struct error *error = run(jobs, &call, &end);
    if (error == NULL)
        *ret_utility_vm = json_is_true(json_object_get(end, "utility_vm"));
    json_decref(end);
    return error;
}

struct error *jobs_destroy_layer(struct jobs *jobs, const char *layer)
{
    struct error *error = mounts_check_path("destroy", layer, "the layer");
    if (error != NULL)
        return error;
    size_t size = strlen(layer);
    while (size > 0 && (layer[size - 1] == '\\' || layer[size - 1] == '/'))
        size--;
    char *doomed = str_format("%.*s" DOOMED_SUFFIX, (int)size, layer);
    AcquireSRWLockShared(&jobs->lock);
    const char *dependant = claims_holder_below(jobs->claims, layer);
    if (dependant != NULL)
        error =
            error_make(ERROR_KIND_FAILED_PRECONDITION, "destroy layer", layer, "the layer is in use by %s", dependant);
    ReleaseSRWLockShared(&jobs->lock);
    const struct call call = {.verb = "destroy",
                              .layer = layer,
                              .mode = CLAIM_DESTROY,
                              .order = json_pack("{s:s}", "doomed", doomed),
                              .doomed = doomed};
    if (error != NULL)
        json_decref(call.order);
    else
        error = run(jobs, &call, NULL);
    free(doomed);
    return error;
}

struct error *jobs_import_archive(struct jobs *jobs, const struct layer_import *import,
                                  struct layer_imported *ret_imported)
{
    json_t *end = NULL;
    struct error *error = mounts_check_path("import", import->input, "the archive");
    if (error != NULL)
        return error;
    const struct call call = {
        .kind = "import",
        .verb = "import",
        .layer = import->layer,
        .mode = CLAIM_OWN,
        .parents = import->parents,
        .parent_count = import->parent_count,
        .order =
            json_pack("{s:s, s:s, s:s}", "input", import->input, "digest", import->digest, "diff_id", import->diff_id),
        .stages = import->parent_count > 0,
        .makes = "import",
    };
    error = run(jobs, &call, &end);
    if (error == NULL) {
        struct layer_imported imported = {
            .digest = str_copy(message_text(end, "digest")),
            .diff_id = str_copy(message_text(end, "diff_id")),
            .size = message_number(end, "size"),
            .entries = message_number(end, "entries"),
            .deviation_total = message_number(end, "deviation_total"),
        };
        message_unpack_deviations(json_object_get(end, "deviations"), &imported.deviations, &imported.deviation_count);
        *ret_imported = imported;
    }
    json_decref(end);
    return error;
}

void layer_imported_clear(struct layer_imported *imported)
{
    free(imported->digest);
    free(imported->diff_id);
    message_free_deviations(imported->deviations, imported->deviation_count);
    *imported = (struct layer_imported){0};
}

struct error *jobs_stage_layers(struct jobs *jobs, const char *holder, const char *scratch, json_t *order,
                                json_t **ret_found)
{
    const struct call call = {.verb = "stage", .layer = scratch, .holder = holder, .claimed = true, .order = order};
    /* The parents are in the order already, and claimed with the scratch. */
    json_t *end = NULL;
    struct error *error = run(jobs, &call, &end);
    if (error == NULL)
        *ret_found = end;
    else
        json_decref(end);
    return error;
}

/* ---- what is mounted ------------------------------------------------------------------------------------------------------ */

static const char *state_of(const struct jobs *jobs, const struct remains *remains)
{
    if (remains->mounted)
        return "mounted";
    for (const struct job *job = jobs->jobs; job != NULL; job = job->next)
        if (job->remains == remains && job->state < JOB_DONE)
            return strcmp(job->kind, "mount") == 0 ? "mounting" : "releasing";
    return "left";
}

void jobs_layers(struct jobs *jobs, struct layer_view **ret_views, size_t *ret_count)
{
    size_t count = 0, at = 0;
    AcquireSRWLockShared(&jobs->lock);
    for (const struct remains *remains = jobs->remains; remains != NULL; remains = remains->next)
        count += strcmp(remains->kind, "mount") == 0;
    struct layer_view *views = mem_new_array(count + 1, struct layer_view);
    for (const struct remains *remains = jobs->remains; remains != NULL; remains = remains->next) {
        if (strcmp(remains->kind, "mount") != 0)
            continue;
        struct layer_view *view = &views[at++];
        view->path = str_copy(remains->layer);
        view->holder = str_copy(remains->holder);
        view->target = str_copy(remains->target != NULL ? remains->target : "");
        view->state = state_of(jobs, remains);
        view->since_ns = remains->since_ns;
        view->parents = mem_new_array(remains->parent_count + 1, char *);
        for (size_t i = 0; i < remains->parent_count; i++)
            view->parents[view->parent_count++] = str_copy(remains->parents[i]);
    }
    ReleaseSRWLockShared(&jobs->lock);
    *ret_views = views;
    *ret_count = count;
}

void layer_views_free(struct layer_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < views[i].parent_count; k++)
            free(views[i].parents[k]);
        free(views[i].parents);
        free(views[i].path);
        free(views[i].holder);
        free(views[i].target);
    }
    free(views);
}
