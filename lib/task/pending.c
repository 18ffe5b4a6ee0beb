/* Requests that are answered when the container gets somewhere, and after kill.answer_seconds at the latest. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "task/container.h"

static void pending_release(struct pending *pending)
{
    if (atomic_fetch_sub(&pending->references, 1) != 1)
        return;
    atomic_fetch_sub(&pending->container->tasks->in_flight, 1);
    container_unref(pending->container);
    error_free(pending->error);
    free(pending->client);
    free(pending);
}

static void answer(struct pending *pending, struct error *error)
{
    struct task_view view;
    struct container *container = pending->container;
    if (error) {
        pending->done(pending->context, error, NULL);
        return;
    }
    AcquireSRWLockShared(&container->lock);
    process_view(&container->init, &view);
    ReleaseSRWLockShared(&container->lock);
    pending->done(pending->context, NULL, &view);
    task_view_free(&view);
}

/* The lock held. */
static bool unlink_pending(struct pending *pending)
{
    for (struct pending **link = &pending->container->pendings; *link; link = &(*link)->next)
        if (*link == pending) {
            *link = pending->next;
            return true;
        }
    return false;
}

/* What hangs, for an answer that comes too early for the end. */
static struct error *still_ending(struct pending *pending, enum error_kind kind, const char *operation)
{
    struct container *container = pending->container;
    AcquireSRWLockShared(&container->lock);
    const char *call = pending->call ? pending->call : rung_call(container->ladder.rung);
    const char *phase = container->step_phase ? container->step_phase : "the end of its process";
    double seconds = (double)container->tasks->answer_ms / 1000;
    struct error *error = container->last_result && !pending->call
                              ? error_make(kind, *call ? call : operation, container->init.texts->id,
                                           "%s: it has not ended within %g s (%s); hcsd goes on trying", operation,
                                           seconds, container->last_result)
                              : error_make(kind, *call ? call : operation, container->init.texts->id,
                                           "%s: it has not ended within %g s, it waits for %s; hcsd goes on", operation,
                                           seconds, *call ? call : phase);
    ReleaseSRWLockShared(&container->lock);
    return error;
}

/* Writes the journal, which the timers do not wait for. */
static void force(void *context)
{
    struct pending *pending = context;
    struct container *container = pending->container;
    if (!container_force(container, pending->client))
        container_post(container, "delete", container_remove_step, NULL);
    answer(pending, NULL);
    pending_release(pending);
}

/* On the timers' thread: nothing here blocks. */
static void at_bound(void *context)
{
    struct pending *pending = context;
    struct container *container = pending->container;

    AcquireSRWLockExclusive(&container->lock);
    bool linked = unlink_pending(pending);
    ReleaseSRWLockExclusive(&container->lock);
    if (linked) {
        switch (pending->kind) {
        case PENDING_KILL:
            answer(pending, still_ending(pending, ERROR_KIND_DEADLINE_EXCEEDED, "kill"));
            break;
        case PENDING_END:
            answer(pending,
                   pending->error ? pending->error : still_ending(pending, ERROR_KIND_DEADLINE_EXCEEDED, "kill"));
            pending->error = NULL;
            break;
        case PENDING_DELETE:
            answer(pending, still_ending(pending, ERROR_KIND_FAILED_PRECONDITION, "delete"));
            break;
        case PENDING_FORCE:
            operations_post(container->tasks->endings, force, pending_ref(pending));
            break;
        }
        pending_release(pending);
    }
    pending_release(pending);
}

struct pending *pending_add(struct container *container, enum pending_kind kind, task_done done, void *context,
                            struct error *error, const char *client)
{
    struct tasks *tasks = container->tasks;
    struct pending *pending = mem_new(struct pending);
    atomic_init(&pending->references, 2);
    atomic_fetch_add(&tasks->in_flight, 1);
    pending->container = container_ref(container);
    pending->kind = kind;
    pending->done = done;
    pending->context = context;
    pending->error = error;
    pending->client = str_copy(client);
    struct pending **link = &container->pendings;
    while (*link)
        link = &(*link)->next;
    *link = pending;
    timer_set(tasks->endings, &pending->timer, clock_ms() + tasks->answer_ms, at_bound, pending);
    return pending;
}

struct pending *pending_ref(struct pending *pending)
{
    atomic_fetch_add(&pending->references, 1);
    return pending;
}

/* The lock held: takes those of `kinds` (a bit each) out of the list. */
static struct pending *take(struct container *container, unsigned kinds)
{
    struct pending *taken = NULL, **end = &taken;
    for (struct pending **link = &container->pendings; *link;) {
        struct pending *pending = *link;
        if (kinds & 1u << pending->kind) {
            *link = pending->next;
            pending->next = NULL;
            *end = pending;
            end = &pending->next;
        } else
            link = &pending->next;
    }
    return taken;
}

static void drop(struct pending *pending)
{
    if (timer_clear(pending->container->tasks->endings, &pending->timer))
        pending_release(pending);
    pending_release(pending);
}

void pending_answer(struct pending *pending, struct error *error)
{
    AcquireSRWLockExclusive(&pending->container->lock);
    bool linked = unlink_pending(pending);
    ReleaseSRWLockExclusive(&pending->container->lock);
    if (linked) {
        answer(pending, error);
        drop(pending);
    } else
        error_free(error);
    pending_release(pending);
}

void pendings_accept(struct container *container)
{
    AcquireSRWLockExclusive(&container->lock);
    struct pending *pending = take(container, 1u << PENDING_KILL);
    ReleaseSRWLockExclusive(&container->lock);
    while (pending) {
        struct pending *next = pending->next;
        answer(pending, NULL);
        drop(pending);
        pending = next;
    }
}

void pendings_finish(struct container *container)
{
    bool removed = false;
    AcquireSRWLockExclusive(&container->lock);
    struct pending *pending = take(container, ~0u);
    ReleaseSRWLockExclusive(&container->lock);
    while (pending) {
        struct pending *next = pending->next;
        struct error *error = pending->error;
        pending->error = NULL;
        if (pending->kind == PENDING_DELETE || pending->kind == PENDING_FORCE) {
            if (removed)
                error = error_make(ERROR_KIND_NOT_FOUND, "delete", container->init.texts->id,
                                   "somebody else has deleted it");
            else
                container_remove(container);
            removed = true;
        }
        answer(pending, error);
        drop(pending);
        pending = next;
    }
}

void pendings_abandon(struct container *container)
{
    AcquireSRWLockExclusive(&container->lock);
    struct pending *pending = take(container, ~0u);
    ReleaseSRWLockExclusive(&container->lock);
    while (pending) {
        struct pending *next = pending->next;
        struct error *error = pending->error;
        pending->error = NULL;
        answer(pending, error ? error
                              : error_make(ERROR_KIND_UNAVAILABLE, "wait", container->init.texts->id,
                                           "hcsd is stopping; ask again once it is back"));
        drop(pending);
        pending = next;
    }
}
