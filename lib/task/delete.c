/* Delete: what has stopped, what was only created, what is ending (waited for, within a bound), and anything by force. */
#include "base/memory.h"
#include "task/container.h"

struct delete_request {
    struct process *process; /* NULL: the container */
    task_done done;
    void *context;
};

static void reply(struct process *process, const struct delete_request *request)
{
    struct task_view view;
    AcquireSRWLockShared(&process->container->lock);
    process_view(process, &view);
    ReleaseSRWLockShared(&process->container->lock);
    request->done(request->context, NULL, &view);
    task_view_free(&view);
}

static void step_delete(struct container *container, void *argument)
{
    struct delete_request *request = argument;
    if (container->removed)
        request->done(
            request->context,
            error_make(ERROR_KIND_NOT_FOUND, "delete", container->init.texts->id, "somebody else has deleted it"),
            NULL);
    else {
        container_remove(container);
        reply(&container->init, request);
    }
    free(request);
}

static struct error *delete_container(struct container *container, bool force, const char *client, task_done done,
                                      void *context)
{
    enum { NOTHING, STEP, END, RAISE } next = NOTHING;
    struct process *init = &container->init;
    struct error *error = NULL;

    AcquireSRWLockExclusive(&container->lock);
    if (container->stuck && !force)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "delete", init->texts->id,
                           "%s; deleting it by force leaves it to the janitor", container->stuck);
    else if (!force || init->phase == PHASE_CREATING)
        error = phase_check(init->phase, REQUEST_DELETE, init->texts->id);
    if (!error && init->phase == PHASE_STOPPED)
        next = STEP;
    else if (!error) {
        pending_add(container, force ? PENDING_FORCE : PENDING_DELETE, done, context, NULL, client);
        if (init->phase == PHASE_CREATED || force) {
            container->asked = container->killed = true;
            next = init->phase == PHASE_CREATED ? END : RAISE;
            SetEvent(container->cancel);
        }
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (next == STEP) {
        struct delete_request *request = mem_new(struct delete_request);
        *request = (struct delete_request){NULL, done, context};
        container_post(container, "delete", step_delete, request);
    } else if (next == END)
        container_end(container, RUNG_TERMINATE, 0);
    else if (next == RAISE)
        container_raise(container, RUNG_TERMINATE);
    return error;
}

static void step_delete_exec(struct container *container, void *argument)
{
    struct delete_request *request = argument;
    struct process *exec = request->process;
    if (exec_remove(exec)) {
        process_event(exec, "/tasks/delete");
        reply(exec, request);
    } else
        request->done(
            request->context,
            error_make(ERROR_KIND_NOT_FOUND, "delete", container->init.texts->id, "the exec has been deleted already"),
            NULL);
    process_unref(exec);
    free(request);
}

static struct error *delete_exec(struct container *container, struct process *exec, task_done done, void *context)
{
    bool waiters = false;
    AcquireSRWLockExclusive(&container->lock);
    struct error *error = phase_check(exec->phase, REQUEST_DELETE, exec->texts->exec_id);
    if (!error && exec->phase == PHASE_ENDING)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "delete", exec->texts->exec_id,
                           "its output is still being passed on; wait for its exit first");
    if (!error && exec->phase == PHASE_CREATED) {
        exec_stop(exec, 0);
        waiters = true;
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (error)
        return error;
    if (waiters)
        process_release_waiters(exec, NULL);
    struct delete_request *request = mem_new(struct delete_request);
    *request = (struct delete_request){process_ref(exec), done, context};
    container_post(container, "delete", step_delete_exec, request);
    return NULL;
}

void task_delete(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, bool force,
                 const char *client, task_done done, void *context)
{
    struct process *process;
    struct error *error = tasks_find(tasks, containerd_namespace, id, exec_id, true, &process);
    if (error) {
        done(context, error, NULL);
        return;
    }
    struct container *container = process->container;
    error = process == &container->init ? delete_container(container, force, client, done, context)
                                        : delete_exec(container, process, done, context);
    if (error)
        done(context, error, NULL);
    process_unref(process);
}
