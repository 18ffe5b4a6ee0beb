#include "task/container.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

struct task_texts *texts_new(const char *containerd_namespace, const char *id, const char *exec_id, const char *bundle,
                             const char *stdin_path, const char *stdout_path, const char *stderr_path)
{
    const char *from[] = {containerd_namespace, id, exec_id, bundle, stdin_path, stdout_path, stderr_path};
    size_t sizes[7], total = 0;
    for (unsigned i = 0; i < 7; i++) {
        sizes[i] = from[i] ? strlen(from[i]) : 0;
        total += sizes[i] + 1;
    }
    struct task_texts *texts = mem_zero(sizeof *texts + total);
    const char **to[] = {&texts->containerd_namespace, &texts->id,          &texts->exec_id,    &texts->bundle,
                         &texts->stdin_path,           &texts->stdout_path, &texts->stderr_path};
    char *next = texts->data;
    for (unsigned i = 0; i < 7; i++) {
        if (sizes[i])
            memcpy(next, from[i], sizes[i]);
        *to[i] = next;
        next += sizes[i] + 1;
    }
    atomic_init(&texts->references, 1);
    return texts;
}

void texts_release(struct task_texts *texts)
{
    if (texts && atomic_fetch_sub(&texts->references, 1) == 1)
        free(texts);
}

void task_view_free(struct task_view *view)
{
    texts_release(view->texts);
    free(view->stuck);
    *view = (struct task_view){0};
}

void task_views_free(struct task_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        task_view_free(&views[i]);
    free(views);
}

struct container *container_new(struct tasks *tasks, struct task_texts *texts, bool terminal)
{
    struct container *container = mem_new(struct container);
    atomic_init(&container->references, 1);
    InitializeSRWLock(&container->lock);
    InitializeSRWLock(&container->journal_lock);
    snprintf(container->instance, sizeof container->instance, "%llx", (unsigned long long)clock_wall_ns());
    container->tasks = tasks;
    atomic_fetch_add(&tasks->references, 1);
    container->init.container = container;
    container->init.texts = texts;
    container->init.terminal = terminal;
    container->init.exit_status = TASK_EXIT_NONE;
    container->ladder.wait_ms = tasks->stall_ms;
    /* Without them (no memory for a handle) waits go to their bounds. */
    container->cancel = CreateEventW(NULL, TRUE, FALSE, NULL);
    container->ended = CreateEventW(NULL, TRUE, FALSE, NULL);
    return container;
}

struct container *container_ref(struct container *container)
{
    atomic_fetch_add(&container->references, 1);
    return container;
}

struct process *process_ref(struct process *process)
{
    container_ref(process->container);
    if (process != &process->container->init)
        atomic_fetch_add(&process->references, 1);
    return process;
}

static void process_clear(struct process *process);

void process_unref(struct process *process)
{
    struct container *container = process->container;
    if (process != &container->init && atomic_fetch_sub(&process->references, 1) == 1) {
        process_clear(process);
        free(process);
    }
    container_unref(container);
}

static void process_clear(struct process *process)
{
    session_close(process->session);
    texts_release(process->texts);
    free(process->document);
}

void container_unref(struct container *container)
{
    if (!container || atomic_fetch_sub(&container->references, 1) != 1)
        return;
    struct process *exec, *next;
    HASH_ITER(hh, container->execs, exec, next)
    {
        HASH_DEL(container->execs, exec);
        process_clear(exec);
        free(exec);
    }
    process_clear(&container->init);
    if (container->cancel)
        CloseHandle(container->cancel);
    if (container->ended)
        CloseHandle(container->ended);
    free(container->sandbox);
    free(container->scratch);
    free(container->volume);
    free(container->stuck);
    free(container->last_result);
    free(container->left);
    tasks_unref(container->tasks);
    free(container);
}

char *holder_of(const char *id)
{
    return str_format("container %s", id);
}

char *container_holder(const struct container *container)
{
    return holder_of(container->init.texts->id);
}

/* ---- the lane ---- */

static void lane_run(void *context)
{
    struct container *container = context;
    for (;;) {
        AcquireSRWLockExclusive(&container->lock);
        struct step *step = container->first_step;
        if (!step) {
            container->stepping = false;
            container->step_kind = container->step_phase = NULL;
            ReleaseSRWLockExclusive(&container->lock);
            break;
        }
        container->first_step = step->next;
        container->step_kind = step->kind;
        container->step_phase = NULL;
        container->step_since_ms = clock_ms();
        ReleaseSRWLockExclusive(&container->lock);
        step->run(container, step->argument);
        free(step);
    }
    atomic_fetch_sub(&container->tasks->in_flight, 1);
    container_unref(container);
}

static struct error *lane_add(struct container *container, const char *kind, void (*run)(struct container *, void *),
                              void *argument, bool limited)
{
    struct tasks *tasks = container->tasks;
    struct step *step = mem_new(struct step);
    struct error *error = NULL;
    step->kind = kind;
    step->run = run;
    step->argument = argument;
    AcquireSRWLockExclusive(&container->lock);
    bool idle = !container->stepping;
    if (idle && limited)
        error = operations_submit(tasks->requests, lane_run, container);
    if (!error) {
        if (container->first_step)
            container->last_step->next = step;
        else
            container->first_step = step;
        container->last_step = step;
        if (idle) {
            container->stepping = true;
            atomic_fetch_add(&tasks->in_flight, 1);
            container_ref(container);
            if (!limited)
                operations_post(tasks->endings, lane_run, container);
        }
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (error)
        free(step);
    return error;
}

void container_post(struct container *container, const char *kind, void (*run)(struct container *, void *),
                    void *argument)
{
    error_free(lane_add(container, kind, run, argument, false));
}

struct error *container_submit(struct container *container, const char *kind, void (*run)(struct container *, void *),
                               void *argument)
{
    return lane_add(container, kind, run, argument, true);
}

void container_step_phase(struct container *container, const char *phase)
{
    AcquireSRWLockExclusive(&container->lock);
    container->step_phase = phase;
    ReleaseSRWLockExclusive(&container->lock);
}

/* ---- views and events ---- */

void process_view(const struct process *process, struct task_view *ret_view)
{
    struct task_texts *texts = process->texts;
    const struct container *container = process->container;
    atomic_fetch_add_explicit(&texts->references, 1, memory_order_relaxed);
    *ret_view = (struct task_view){
        .containerd_namespace = texts->containerd_namespace,
        .id = texts->id,
        .exec_id = texts->exec_id,
        .bundle = texts->bundle,
        .stdin_path = texts->stdin_path,
        .stdout_path = texts->stdout_path,
        .stderr_path = texts->stderr_path,
        .texts = texts,
        .terminal = process->terminal,
        .status = container->hidden ? TASK_STOPPED : phase_status(process->phase, process->ran),
        .pid = process->ran ? process->pid : 0, /* noted before its start has succeeded */
        .exit_status = process->exit_status,
        .exited_ns = process->exited_ns,
        .stuck = process == &container->init ? str_copy(container->stuck) : NULL,
    };
}

void process_event(struct process *process, const char *topic)
{
    struct container *container = process->container;
    struct task_view view;
    if (!container->tasks->event)
        return;
    AcquireSRWLockShared(&container->lock);
    process_view(process, &view);
    ReleaseSRWLockShared(&container->lock);
    container->tasks->event(container->tasks->context, topic, &view);
    task_view_free(&view);
}

/* ---- waiters ---- */

void process_release_waiters(struct process *process, const struct error *error)
{
    struct container *container = process->container;
    struct tasks *tasks = container->tasks;
    struct task_view view;

    AcquireSRWLockShared(&container->lock);
    process_view(process, &view);
    ReleaseSRWLockShared(&container->lock);
    AcquireSRWLockExclusive(&tasks->wait_lock);
    struct waiter *waiters = process->waiters;
    process->waiters = NULL;
    for (struct waiter *waiter = waiters; waiter; waiter = waiter->next)
        HASH_DEL(tasks->waiters, waiter);
    ReleaseSRWLockExclusive(&tasks->wait_lock);
    while (waiters) {
        struct waiter *waiter = waiters;
        waiters = waiter->next;
        if (error)
            waiter->done(waiter->context, error_copy(error), NULL);
        else
            waiter->done(waiter->context, NULL, &view);
        free(waiter);
    }
    task_view_free(&view);
}

void task_wait(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
               task_done done, void *context, uint64_t *ret_ticket)
{
    struct process *process;
    struct task_view view;

    *ret_ticket = 0;
    struct error *error = tasks_find(tasks, containerd_namespace, id, exec_id, false, &process);
    if (error) {
        done(context, error, NULL);
        return;
    }
    struct container *container = process->container;
    AcquireSRWLockShared(&container->lock);
    bool stopped = process->phase == PHASE_STOPPED;
    if (stopped)
        process_view(process, &view);
    else {
        struct waiter *waiter = mem_new(struct waiter);
        waiter->done = done;
        waiter->context = context;
        waiter->process = process;
        AcquireSRWLockExclusive(&tasks->wait_lock);
        waiter->ticket = ++tasks->last_ticket;
        waiter->next = process->waiters;
        if (waiter->next)
            waiter->next->previous = waiter;
        process->waiters = waiter;
        HASH_ADD(hh, tasks->waiters, ticket, sizeof waiter->ticket, waiter);
        *ret_ticket = waiter->ticket;
        ReleaseSRWLockExclusive(&tasks->wait_lock);
    }
    ReleaseSRWLockShared(&container->lock);
    if (stopped) {
        done(context, NULL, &view);
        task_view_free(&view);
    }
    process_unref(process);
}

bool task_wait_cancel(struct tasks *tasks, uint64_t ticket)
{
    struct waiter *waiter;
    AcquireSRWLockExclusive(&tasks->wait_lock);
    HASH_FIND(hh, tasks->waiters, &ticket, sizeof ticket, waiter);
    if (waiter) {
        HASH_DEL(tasks->waiters, waiter);
        if (waiter->previous)
            waiter->previous->next = waiter->next;
        else
            waiter->process->waiters = waiter->next;
        if (waiter->next)
            waiter->next->previous = waiter->previous;
    }
    ReleaseSRWLockExclusive(&tasks->wait_lock);
    free(waiter);
    return waiter != NULL;
}
