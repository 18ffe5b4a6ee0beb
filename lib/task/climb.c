/* Climbing the kill ladder of a container: makes the calls that ladder.c asks for, each on an operation thread, beside the
 * container's lane. */
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "task/container.h"

struct rung_run {
    struct container *container;
    enum rung rung;
};

static void ladder_time(void *context);
static void run_rung(void *context);

/* ---- the calls ---- */

struct error *system_end_by_id(struct tasks *tasks, const char *id, const struct guard_wait *wait, bool *ret_gone)
{
    struct hcs_system *fresh;
    struct error *error = hcs_system_open(tasks->compute, id, wait, &fresh);
    if (error && error->kind == ERROR_KIND_NOT_FOUND) {
        *ret_gone = true;
        error_free(error);
        return NULL;
    }
    if (error)
        return error;
    error = hcs_system_terminate(fresh, wait, ret_gone);
    error_free(hcs_system_close(fresh));
    return error;
}

/* Remembers the pids as evidence; *ret_list is the parsed array. */
static struct error *list_processes(struct container *container, struct hcs_system *system,
                                    const struct guard_wait *wait, json_t **ret_properties)
{
    char *text;
    struct error *error = hcs_system_properties(system, "{\"PropertyTypes\":[\"ProcessList\"]}", wait, &text);
    if (error)
        return error;
    json_t *properties = json_loads(text, 0, NULL), *entry;
    size_t index;
    char *left = str_copy("");
    json_array_foreach(json_object_get(properties, "ProcessList"), index, entry)
    {
        if (index == 32)
            break;
        char *more = str_format("%s%s%lld", left, index ? ", " : "",
                                (long long)json_integer_value(json_object_get(entry, "ProcessId")));
        free(left);
        left = more;
    }
    free(text);
    AcquireSRWLockExclusive(&container->lock);
    free(container->left);
    container->left = left;
    ReleaseSRWLockExclusive(&container->lock);
    *ret_properties = properties;
    return NULL;
}

static struct error *terminate_processes(struct container *container, const struct guard_wait *wait, bool *ret_gone)
{
    struct hcs_system *fresh;
    json_t *properties = NULL, *entry;
    size_t index;
    struct error *first = hcs_system_open(container->tasks->compute, container->init.texts->id, wait, &fresh);
    if (first) {
        *ret_gone = first->kind == ERROR_KIND_NOT_FOUND;
        if (*ret_gone) {
            error_free(first);
            first = NULL;
        }
        return first;
    }
    first = list_processes(container, fresh, wait, &properties);
    json_array_foreach(json_object_get(properties, "ProcessList"), index, entry)
    {
        struct hcs_process *process;
        struct error *error =
            hcs_process_open(fresh, (uint32_t)json_integer_value(json_object_get(entry, "ProcessId")), wait, &process);
        if (error && error->kind == ERROR_KIND_NOT_FOUND) {
            error_free(error);
            continue;
        }
        if (!error) {
            error = hcs_process_terminate(process, wait, NULL);
            error_free(hcs_process_close(process));
        }
        error_keep_first(&first, error);
        /* With the service hanging each further call would cost a thread of the guard. */
        if (first && (first->kind == ERROR_KIND_DEADLINE_EXCEEDED || first->kind == ERROR_KIND_CANCELLED))
            break;
    }
    json_decref(properties);
    error_free(hcs_system_close(fresh));
    return first;
}

static struct error *make_call(struct container *container, enum rung rung, const struct guard_wait *wait,
                               bool *ret_gone)
{
    switch (rung) {
    case RUNG_SHUTDOWN:
        return container->system ? hcs_system_shutdown(container->system, wait, ret_gone) : NULL;
    case RUNG_TERMINATE:
        if (container->system)
            return hcs_system_terminate(container->system, wait, ret_gone);
        /* fall through */
    case RUNG_FRESH:
        return system_end_by_id(container->tasks, container->init.texts->id, wait, ret_gone);
    case RUNG_PROCESSES:
        return terminate_processes(container, wait, ret_gone);
    default:
        return NULL;
    }
}

/* ---- deciding ---- */

/* The lock held: sets the alarm and counts the call that is about to be made. */
static void prepare(struct container *container, enum rung next)
{
    if (timer_set(container->tasks->endings, &container->ladder_timer, container->ladder.due_ms, ladder_time,
                  container))
        container_ref(container);
    if (next != RUNG_NONE && next != RUNG_STUCK)
        container->ladder_calls++;
}

static void report_stuck(struct container *container)
{
    char time[40];
    clock_format_rfc3339(clock_wall_ns(), time);
    AcquireSRWLockExclusive(&container->lock);
    bool first = !container->stuck;
    if (first)
        container->stuck = str_format("every way to end it was tried without success (%s), since %s",
                                      container->last_result ? container->last_result : "no call has come back", time);
    char *stuck = str_copy(container->stuck), *left = str_copy(container->left ? container->left : "not known");
    ReleaseSRWLockExclusive(&container->lock);
    if (first)
        event_emit(EVENT_TASK_STUCK, container->init.texts->id, stuck, left);
    free(stuck);
    free(left);
}

/* Without the lock: does what was decided. `why` is why the rung before was left (NULL: it was not). */
static void act(struct container *container, enum rung next, const char *why)
{
    if (next == RUNG_NONE)
        return;
    if (why)
        event_emit(EVENT_KILL_ESCALATED, container->init.texts->id, why, rung_name(next));
    if (next == RUNG_STUCK) {
        report_stuck(container);
        return;
    }
    struct rung_run *run = mem_new(struct rung_run);
    run->container = container_ref(container);
    run->rung = next;
    operations_post(container->tasks->endings, run_rung, run);
}

static void run_rung(void *context)
{
    struct rung_run *run = context;
    struct container *container = run->container;
    struct guard_wait wait = {rung_ms(container->tasks), container->ended};
    bool gone = false;
    struct error *error = make_call(container, run->rung, &wait, &gone);
    char *text = error ? error_text(error) : NULL;
    enum rung next = RUNG_NONE;
    bool accepted = false, finish = false;

    AcquireSRWLockExclusive(&container->lock);
    container->ladder_calls--;
    if (container->finish_waits && !container->ladder_calls) {
        container->finish_waits = false;
        finish = true;
    }
    if (!container->system_exited) {
        free(container->last_result);
        container->last_result = error ? str_copy(text) : str_format("%s was accepted", rung_call(run->rung));
        if (gone)
            container_system_gone(container, 0);
        else {
            uint64_t now = clock_ms();
            accepted = !error && run->rung >= RUNG_TERMINATE;
            next = error && error->kind == ERROR_KIND_DEADLINE_EXCEEDED
                       ? ladder_lost(&container->ladder, run->rung, now)
                       : ladder_returned(&container->ladder, run->rung, !error, now);
            prepare(container, next);
        }
        accepted = accepted || gone;
        if (accepted)
            container->accepted = true;
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (accepted)
        pendings_accept(container);
    act(container, next, text);
    if (finish)
        container_finish_post(container);
    free(text);
    error_free(error);
    container_unref(container);
    free(run);
}

/* "web", or "web/…" for one of its processes; "web2" is another's. */
static bool is_of(const char *object, const char *id)
{
    size_t length = strlen(id);
    return object && !strncmp(object, id, length) && (object[length] == '\0' || object[length] == '/');
}

/* What was lost may have come back since: then it may be made again. */
static void free_rungs(struct container *container)
{
    struct guard_list list;
    bool out = false;
    guard_list_stuck(container->tasks->guard, &list);
    for (size_t i = 0; i < list.count; i++)
        out = out || is_of(list.records[i].object, container->init.texts->id);
    guard_list_free(&list);
    if (!out)
        for (enum rung rung = RUNG_SHUTDOWN; rung < RUNG_STUCK; rung++)
            ladder_freed(&container->ladder, rung);
}

static void ladder_time(void *context)
{
    struct container *container = context;
    char *why = NULL;
    enum rung next = RUNG_NONE;

    AcquireSRWLockExclusive(&container->lock);
    if (!container->system_exited && container->ladder.rung != RUNG_NONE) {
        if (container->ladder.rung == RUNG_STUCK && !container->ladder_calls)
            free_rungs(container);
        enum rung before = container->ladder.rung;
        next = ladder_tick(&container->ladder, clock_ms());
        if (next != RUNG_NONE && container->ladder.rounds <= (next == RUNG_STUCK))
            why = str_format("it is still there %g s after: %s", (double)container->ladder.wait_ms / 1000,
                             rung_name(before));
        prepare(container, next);
    }
    ReleaseSRWLockExclusive(&container->lock);
    act(container, next, why);
    free(why);
    container_unref(container);
}

void container_raise(struct container *container, enum rung rung)
{
    enum rung next = RUNG_NONE;
    AcquireSRWLockExclusive(&container->lock);
    if (!container->system_exited && container->init.phase != PHASE_STOPPED) {
        enum rung before = container->ladder.rung;
        next = ladder_raise(&container->ladder, rung, clock_ms());
        if (container->ladder.rung != before)
            prepare(container, next);
    }
    ReleaseSRWLockExclusive(&container->lock);
    act(container, next, NULL);
}
