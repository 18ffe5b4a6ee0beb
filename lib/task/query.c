/* What is asked of HCS about a container: its processes and what it uses. Beside the lane, so that a step that hangs does not
 * keep the answer back. */
#include <string.h>

#include "base/memory.h"
#include "task/container.h"
#include "task/properties.h"

struct query {
    struct process *init;
    uint32_t fallback;
    task_processes_done processes_done; /* one of the two */
    task_statistics_done statistics_done;
    void *context;
};

static struct error *has_ended(const struct container *container)
{
    return error_make(ERROR_KIND_NOT_FOUND, "query", container->init.texts->id, "it has ended");
}

/* *ret_text is NULL when it has not been taken up again yet, or is paused: HCS would ask the guest, which does not answer, and a call
 * that never returns costs a thread. */
static struct error *ask(struct container *container, const char *what, char **ret_text)
{
    struct guard_wait wait = {rung_ms(container->tasks), container->ended};
    AcquireSRWLockShared(&container->lock);
    bool deaf = container->init.phase == PHASE_PAUSING || container->init.phase == PHASE_PAUSED;
    struct hcs_system *system = deaf ? NULL : container->system;
    ReleaseSRWLockShared(&container->lock);
    *ret_text = NULL;
    return system ? hcs_system_properties(system, what, &wait, ret_text) : NULL;
}

static bool is_over(struct container *container)
{
    AcquireSRWLockShared(&container->lock);
    bool over = container->init.phase == PHASE_STOPPED || container->system_exited;
    ReleaseSRWLockShared(&container->lock);
    return over;
}

/* Takes the error: what a container that has just ended answers is that it has ended (invalid handle, cancelled, …). */
static struct error *judge(struct container *container, struct error *error)
{
    if (!is_over(container))
        return error;
    error_free(error);
    return has_ended(container);
}

/* Says which of them are ours. The texts of execs are kept alive by *ret_texts. */
static void name_processes(struct container *container, struct task_process_view *processes, size_t count,
                           struct task_texts **texts)
{
    struct process *exec, *next;
    size_t named = 0;
    AcquireSRWLockShared(&container->lock);
    for (size_t i = 0; i < count; i++) {
        struct process *found = processes[i].pid == container->init.pid ? &container->init : NULL;
        HASH_ITER(hh, container->execs, exec, next)
        if (!found && exec->pid == processes[i].pid && exec->phase == PHASE_RUNNING)
            found = exec;
        if (!found)
            continue;
        atomic_fetch_add_explicit(&found->texts->references, 1, memory_order_relaxed);
        texts[named++] = found->texts;
        processes[i].exec_id = found == &container->init ? found->texts->id : found->texts->exec_id;
    }
    ReleaseSRWLockShared(&container->lock);
}

static void run_processes(void *context)
{
    struct query *query = context;
    struct container *container = query->init->container;
    struct task_process_view *processes = NULL;
    size_t count = 0;
    char *text;
    struct error *error = ask(container, PROPERTIES_PROCESSES, &text);
    if (!error && text)
        error = properties_processes(text, container->init.texts->id, 1, &processes, &count);
    error = judge(container, error);
    if (!error && !processes)
        processes = mem_new_array(1, struct task_process_view);
    struct task_texts **texts = mem_new_array(count + 1, struct task_texts *);
    if (!error && !count) {
        AcquireSRWLockShared(&container->lock);
        uint32_t pid = container->init.pid;
        ReleaseSRWLockShared(&container->lock);
        processes[count++] = (struct task_process_view){
            .pid = pid ? pid : query->fallback, .exec_id = container->init.texts->id, .image = str_copy("")};
    } else if (!error)
        name_processes(container, processes, count, texts);
    container_call_over(container);
    query->processes_done(query->context, error, error ? NULL : processes, error ? 0 : count);
    for (size_t i = 0; texts[i]; i++)
        texts_release(texts[i]);
    free(texts);
    task_processes_free(processes, count);
    free(text);
    process_unref(query->init);
    free(query);
}

static void run_statistics(void *context)
{
    struct query *query = context;
    struct container *container = query->init->container;
    struct task_statistics statistics = {0};
    char *text;
    struct error *error = ask(container, PROPERTIES_STATISTICS, &text);
    if (!error && !text)
        error = error_make(ERROR_KIND_NOT_FOUND, "query", container->init.texts->id,
                           "there are no figures while it is paused, or being taken up again");
    if (!error)
        error = properties_statistics(text, container->init.texts->id, &statistics);
    error = judge(container, error);
    statistics.linux_container = container->linux_container;
    container_call_over(container);
    query->statistics_done(query->context, error, error ? NULL : &statistics);
    free(text);
    process_unref(query->init);
    free(query);
}

/* Takes the query unless it fails. */
static struct error *submit(struct tasks *tasks, const char *containerd_namespace, const char *id,
                            void (*run)(void *context), struct query *query)
{
    struct error *error = tasks_find(tasks, containerd_namespace, id, NULL, false, &query->init);
    if (error)
        return error;
    struct container *container = query->init->container;
    AcquireSRWLockExclusive(&container->lock);
    if (container->init.phase == PHASE_STOPPED)
        error = has_ended(container);
    else {
        container->ladder_calls++;
        error = operations_submit(tasks->endings, run, query);
        if (error)
            container->ladder_calls--;
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (error)
        process_unref(query->init);
    return error;
}

void task_processes(struct tasks *tasks, const char *containerd_namespace, const char *id, uint32_t fallback,
                    task_processes_done done, void *context)
{
    struct query *query = mem_new(struct query);
    *query = (struct query){.fallback = fallback, .processes_done = done, .context = context};
    struct error *error = submit(tasks, containerd_namespace, id, run_processes, query);
    if (error) {
        free(query);
        done(context, error, NULL, 0);
    }
}

void task_statistics(struct tasks *tasks, const char *containerd_namespace, const char *id, task_statistics_done done,
                     void *context)
{
    struct query *query = mem_new(struct query);
    *query = (struct query){.statistics_done = done, .context = context};
    struct error *error = submit(tasks, containerd_namespace, id, run_statistics, query);
    if (error) {
        free(query);
        done(context, error, NULL);
    }
}
