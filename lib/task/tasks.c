/* The registry, and what is asked of it without waiting for anything. */
#include "hcs/storage.h" /* before all else: windows.h */

#include "task/tasks.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "base/win.h"
#include "journal/journal.h"
#include "task/container.h"
#include "task/record.h"

#define THREADS 64u
#define QUEUE   4096u

struct error *tasks_open(const struct tasks_options *options, struct tasks **ret_tasks)
{
    struct tasks *tasks = mem_new(struct tasks);
    struct error *error = NULL;

    atomic_init(&tasks->references, 1);
    tasks->compute = options->compute;
    tasks->guard = options->guard;
    tasks->relays = options->relays;
    tasks->owner = str_copy(options->owner);
    tasks_set_bounds(tasks, options);
    tasks->linux_boot_files = str_copy(options->linux_boot_files);
    tasks->terminate_survivors = options->terminate_survivors;
    tasks->os_build = win_build();
    tasks->mount_layers = options->mount_layers;
    tasks->release_layers = options->release_layers;
    tasks->mount_in_vm = options->mount_in_vm;
    tasks->is_machine = options->is_machine;
    tasks->event = options->event;
    tasks->reconnected = options->reconnected;
    tasks->context = options->context;
    InitializeSRWLock(&tasks->lock);
    InitializeSRWLock(&tasks->wait_lock);
    tasks->requests = operations_open("container requests", THREADS, QUEUE);
    tasks->endings = operations_open("container ends", THREADS, QUEUE);
    char *execs = path_join(options->state_dir, "execs");
    error = journal_open(options->state_dir, "task", RECORD_VERSION, &tasks->journal);
    if (!error)
        error = journal_open(execs, "exec", EXEC_RECORD_VERSION, &tasks->exec_journal);
    free(execs);
    if (!error)
        error = storage_new(options->library, options->guard, NULL, &tasks->storage);
    if (!error)
        error = tasks_recover(tasks);
    if (error)
        tasks_close(tasks, 1000);
    else
        *ret_tasks = tasks;
    return error;
}

void tasks_set_bounds(struct tasks *tasks, const struct tasks_options *options)
{
    tasks->call_ms = options->call_seconds * 1000;
    tasks->answer_ms = options->kill_answer_seconds * 1000;
    tasks->drain_ms = options->drain_seconds * 1000;
    tasks->stall_ms = options->stall_seconds * 1000;
}

void tasks_drain(struct tasks *tasks)
{
    AcquireSRWLockExclusive(&tasks->lock);
    tasks->draining = true;
    ReleaseSRWLockExclusive(&tasks->lock);
}

unsigned tasks_in_flight(struct tasks *tasks)
{
    return atomic_load(&tasks->in_flight);
}

size_t tasks_count(struct tasks *tasks)
{
    AcquireSRWLockShared(&tasks->lock);
    size_t count = HASH_COUNT(tasks->containers);
    ReleaseSRWLockShared(&tasks->lock);
    return count;
}

/* References to all containers; the array is the caller's to free. */
static struct container **all(struct tasks *tasks, size_t *ret_count)
{
    struct container *container, *next;
    size_t count = 0;
    AcquireSRWLockShared(&tasks->lock);
    struct container **containers = mem_new_array(HASH_COUNT(tasks->containers) + 1, struct container *);
    HASH_ITER(hh, tasks->containers, container, next)
    containers[count++] = container_ref(container);
    ReleaseSRWLockShared(&tasks->lock);
    *ret_count = count;
    return containers;
}

static void release_waiters(struct container *container, const struct error *error)
{
    size_t count;
    struct process **execs = execs_all(container, &count);
    process_release_waiters(&container->init, error);
    for (size_t i = 0; i < count; i++) {
        process_release_waiters(execs[i], error);
        process_unref(execs[i]);
    }
    free(execs);
}

/* What still runs after this leaves the objects it uses in memory: the process is about to end. */
static void let_go(struct container *container, const struct error *error)
{
    struct tasks *tasks = container->tasks;
    pendings_abandon(container);
    release_waiters(container, error);
    if (timer_clear(tasks->endings, &container->ladder_timer))
        container_unref(container);
    if (timer_clear(tasks->endings, &container->reattach_timer))
        container_unref(container);
}

static void close_handles(struct container *container)
{
    size_t count;
    struct process **execs = execs_all(container, &count);
    for (size_t i = 0; i < count; i++) {
        process_leave(execs[i]);
        process_unref(execs[i]);
    }
    free(execs);
    process_leave(&container->init);
    AcquireSRWLockExclusive(&container->lock);
    struct hcs_system *system = container->system;
    container->system = NULL;
    ReleaseSRWLockExclusive(&container->lock);
    error_free(hcs_system_close(system));
}

void tasks_end_waits(struct tasks *tasks)
{
    size_t count;
    struct error *error = error_make(ERROR_KIND_UNAVAILABLE, "wait", NULL,
                                     "hcsd is stopping; the container goes on running: wait again when hcsd is back");
    struct container **containers = all(tasks, &count);
    for (size_t i = 0; i < count; i++) {
        release_waiters(containers[i], error);
        container_unref(containers[i]);
    }
    free(containers);
    error_free(error);
}

bool tasks_close(struct tasks *tasks, unsigned milliseconds)
{
    size_t count;
    if (!tasks)
        return true;
    AcquireSRWLockExclusive(&tasks->lock);
    tasks->draining = tasks->closing = true;
    ReleaseSRWLockExclusive(&tasks->lock);
    uint64_t end = clock_ms() + milliseconds;
    struct error *error =
        error_make(ERROR_KIND_UNAVAILABLE, "wait", NULL, "hcsd is stopping; ask again once it is back");
    struct container **containers = all(tasks, &count);
    for (size_t i = 0; i < count; i++)
        let_go(containers[i], error);
    error_free(error);
    if (timer_clear(tasks->endings, &tasks->sweep.timer))
        tasks_unref(tasks);
    bool ended = operations_close(tasks->requests, milliseconds);
    uint64_t now = clock_ms();
    ended = operations_close(tasks->endings, now < end ? (unsigned)(end - now) : 1) && ended;
    for (size_t i = 0; i < count; i++) {
        if (ended) {
            close_handles(containers[i]);
            tasks_forget(containers[i]);
        }
        container_unref(containers[i]);
    }
    free(containers);
    tasks_unref(tasks);
    return ended;
}

void tasks_unref(struct tasks *tasks)
{
    if (atomic_fetch_sub(&tasks->references, 1) != 1)
        return;
    operations_free(tasks->requests);
    operations_free(tasks->endings);
    journal_free(tasks->journal);
    journal_free(tasks->exec_journal);
    storage_free(tasks->storage);
    for (size_t i = 0; i < tasks->unread_count; i++)
        free(tasks->unread[i]);
    free(tasks->unread);
    free(tasks->owner);
    free(tasks->linux_boot_files);
    free(tasks);
}

struct error *tasks_find(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                         bool creating, struct process **ret_process)
{
    struct container *container;
    struct process *process = NULL;
    bool found = false;
    AcquireSRWLockShared(&tasks->lock);
    HASH_FIND_STR(tasks->containers, id, container);
    if (container && !strcmp(container->init.texts->containerd_namespace, containerd_namespace)) {
        AcquireSRWLockShared(&container->lock);
        found = !container->hidden && (creating || container->init.phase != PHASE_CREATING);
        if (found && (!exec_id || !*exec_id))
            process = &container->init;
        else if (found)
            HASH_FIND_STR(container->execs, exec_id, process);
        if (process)
            process_ref(process);
        ReleaseSRWLockShared(&container->lock);
    }
    ReleaseSRWLockShared(&tasks->lock);
    if (process) {
        *ret_process = process;
        return NULL;
    }
    if (found)
        return error_make(ERROR_KIND_NOT_FOUND, "look up exec", exec_id, "container %s has no exec of this id", id);
    return error_make(ERROR_KIND_NOT_FOUND, "look up container", id, "namespace %s has no container of this id",
                      containerd_namespace);
}

void tasks_forget(struct container *container)
{
    struct tasks *tasks = container->tasks;
    AcquireSRWLockExclusive(&tasks->lock);
    bool present = !container->removed;
    container->removed = true;
    if (present)
        HASH_DEL(tasks->containers, container);
    ReleaseSRWLockExclusive(&tasks->lock);
    if (present)
        container_unref(container);
}

struct error *task_state(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                         struct task_view *ret_view)
{
    struct process *process;
    struct error *error = tasks_find(tasks, containerd_namespace, id, exec_id, false, &process);
    if (error)
        return error;
    AcquireSRWLockShared(&process->container->lock);
    process_view(process, ret_view);
    ReleaseSRWLockShared(&process->container->lock);
    process_unref(process);
    return NULL;
}

static int by_id(const void *a, const void *b)
{
    const struct task_view *left = a, *right = b;
    int order = strcmp(left->id, right->id);
    return order ? order : strcmp(left->containerd_namespace, right->containerd_namespace);
}

void task_list(struct tasks *tasks, const char *containerd_namespace, struct task_view **ret_views, size_t *ret_count)
{
    struct container *container, *next;
    size_t count = 0;
    AcquireSRWLockShared(&tasks->lock);
    struct task_view *views = mem_new_array(HASH_COUNT(tasks->containers) + 1, struct task_view);
    HASH_ITER(hh, tasks->containers, container, next)
    {
        if (containerd_namespace && strcmp(container->init.texts->containerd_namespace, containerd_namespace))
            continue;
        AcquireSRWLockShared(&container->lock);
        if ((!container->hidden || !containerd_namespace) && container->init.phase != PHASE_CREATING)
            process_view(&container->init, &views[count++]);
        ReleaseSRWLockShared(&container->lock);
    }
    ReleaseSRWLockShared(&tasks->lock);
    qsort(views, count, sizeof *views, by_id);
    *ret_views = views;
    *ret_count = count;
}

/* ---- for diag ---- */

void tasks_operations(struct tasks *tasks, struct task_operation_view **ret_views, size_t *ret_count)
{
    size_t container_count, count = 0;
    struct container **containers = all(tasks, &container_count);
    struct task_operation_view *views = mem_new_array(2 * container_count + 1, struct task_operation_view);
    uint64_t now = clock_ms();
    for (size_t i = 0; i < container_count; i++) {
        struct container *container = containers[i];
        AcquireSRWLockShared(&container->lock);
        const struct ladder *ladder = &container->ladder;
        bool climbing = ladder->rung != RUNG_NONE && !container->system_exited;
        if (container->stepping && container->step_kind) {
            struct task_operation_view *view = &views[count++];
            snprintf(view->kind, sizeof view->kind, "%s", container->step_kind);
            view->object = str_copy(container->init.texts->id);
            view->phase = container->step_phase ? container->step_phase : "";
            view->age_seconds = (double)(now - container->step_since_ms) / 1000;
            view->step = str_copy(climbing ? rung_name(ladder->rung) : "");
        }
        if (climbing) {
            struct task_operation_view *view = &views[count++];
            snprintf(view->kind, sizeof view->kind, "%s", "kill");
            view->object = str_copy(container->init.texts->id);
            view->phase = container->stuck ? "stuck" : "wait for exit";
            view->age_seconds = (double)(now - ladder->begun_ms) / 1000;
            view->step = str_copy(rung_name(ladder->rung));
            const char *why = container->stuck ? container->stuck : container->last_result;
            view->evidence = container->left
                                 ? str_format("%s; processes left: %s", why ? why : "no answer", container->left)
                                 : str_copy(why);
        }
        ReleaseSRWLockShared(&container->lock);
        container_unref(container);
    }
    free(containers);
    *ret_views = views;
    *ret_count = count;
}

void task_operation_views_free(struct task_operation_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(views[i].object);
        free(views[i].step);
        free(views[i].evidence);
    }
    free(views);
}
