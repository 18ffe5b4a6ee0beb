/* What changes a container or a process without changing its phase: limits, the console's size, the end of stdin. Steps on the
 * lane: a handle of the lane stays open while they use it. */
#include "base/memory.h"
#include "spec/update.h"
#include "task/container.h"

struct control_request {
    struct process *process;
    uint16_t width, height;
    struct spec_update update;
    task_done done;
    void *context;
};

static void finish(struct control_request *request, struct error *error)
{
    struct process *process = request->process;
    struct task_view view;
    if (error)
        request->done(request->context, error, NULL);
    else {
        AcquireSRWLockShared(&process->container->lock);
        process_view(process, &view);
        ReleaseSRWLockShared(&process->container->lock);
        request->done(request->context, NULL, &view);
        task_view_free(&view);
    }
    process_unref(process);
    spec_update_free(&request->update);
    free(request);
}

/* Takes the process. */
static void submit(struct process *process, const char *kind, void (*run)(struct container *, void *),
                   const struct control_request *from)
{
    struct control_request *request = mem_new(struct control_request);
    *request = *from;
    request->process = process;
    struct error *error = container_submit(process->container, kind, run, request);
    if (error)
        finish(request, error);
}

/* ---- resize ---- */

static void step_resize(struct container *container, void *argument)
{
    struct control_request *request = argument;
    struct guard_wait wait = {rung_ms(container->tasks), container->ended};
    struct process *process = request->process;
    AcquireSRWLockShared(&container->lock);
    bool runs = process->phase == PHASE_RUNNING && container->init.phase == PHASE_RUNNING && process->handle;
    ReleaseSRWLockShared(&container->lock);
    container_step_phase(container, "HcsModifyProcess");
    struct error *error = runs ? hcs_process_resize(process->handle, request->width, request->height, &wait) : NULL;
    AcquireSRWLockShared(&container->lock);
    bool over = container->system_exited || process->exit_seen || process->phase != PHASE_RUNNING;
    ReleaseSRWLockShared(&container->lock);
    if (error && over) { /* it ended under the call: then there is nothing to resize */
        error_free(error);
        error = NULL;
    }
    finish(request, error);
}

void task_resize(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                 uint32_t width, uint32_t height, task_done done, void *context)
{
    struct process *process = NULL;
    struct error *error = tasks_find(tasks, containerd_namespace, id, exec_id, true, &process);
    const char *object = exec_id && *exec_id ? exec_id : id;
    if (!error && !process->terminal)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "resize", object, "it has no terminal");
    if (!error && (width > UINT16_MAX || height > UINT16_MAX))
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "resize", object,
                           "a console has at most %u columns and rows, not %u by %u", UINT16_MAX, width, height);
    if (error) {
        done(context, error, NULL);
        if (process)
            process_unref(process);
        return;
    }
    submit(process, "resize", step_resize,
           &(struct control_request){
               .width = (uint16_t)width, .height = (uint16_t)height, .done = done, .context = context});
}

/* ---- stdin ---- */

static void step_close_stdin(struct container *container, void *argument)
{
    struct control_request *request = argument;
    struct process *process = request->process;
    struct guard_wait wait = {rung_ms(container->tasks), container->ended};
    AcquireSRWLockShared(&container->lock);
    struct session *session = process->session;
    bool bare = !session && process->handle && process->phase == PHASE_RUNNING;
    ReleaseSRWLockShared(&container->lock);
    /* The relay passes on what it has, and its end is told to HCS then. */
    if (session)
        session_close_stdin(session);
    else if (bare) {
        container_step_phase(container, "HcsModifyProcess");
        error_free(hcs_process_close_stdin(process->handle, &wait));
    }
    finish(request, NULL);
}

void task_close_stdin(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                      task_done done, void *context)
{
    struct process *process;
    struct error *error = tasks_find(tasks, containerd_namespace, id, exec_id, true, &process);
    if (error)
        done(context, error, NULL);
    else
        submit(process, "close-stdin", step_close_stdin, &(struct control_request){.done = done, .context = context});
}

/* ---- update ---- */

static struct error *send_updates(struct container *container, struct spec_update *update)
{
    struct guard_wait wait = {container->tasks->call_ms, container->ended};
    AcquireSRWLockShared(&container->lock);
    struct hcs_system *system = container->system;
    struct error *error = phase_check(container->init.phase, REQUEST_CONTROL, container->init.texts->id);
    ReleaseSRWLockShared(&container->lock);
    if (!error && !system)
        error = error_make(ERROR_KIND_UNAVAILABLE, "update", container->init.texts->id,
                           "it has not been taken up again yet; try again");
    container_step_phase(container, "HcsModifyComputeSystem");
    for (size_t i = 0; i < update->count && !error; i++) {
        error = hcs_system_modify(system, update->requests[i], &wait);
        error = i ? error_wrap(error, "%s (%s was changed already)", update->what[i], update->what[0])
                  : error_wrap(error, "%s", update->what[i]);
    }
    return error;
}

static void step_update(struct container *container, void *argument)
{
    struct control_request *request = argument;
    finish(request, send_updates(container, &request->update));
}

void task_update(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *type_url,
                 const char *value, size_t value_size, task_done done, void *context)
{
    struct process *init = NULL;
    struct control_request request = {.done = done, .context = context};
    struct error *error = tasks_find(tasks, containerd_namespace, id, NULL, true, &init);
    if (!error)
        error = spec_render_update(type_url, value, value_size, tasks->os_build,
                                   GetActiveProcessorCount(ALL_PROCESSOR_GROUPS), &request.update);
    error = error && init ? error_wrap(error, "container %s", id) : error;
    if (!error && request.update.count && init->container->isolated)
        error = error_make(ERROR_KIND_UNIMPLEMENTED, "update", id,
                           "a container in a VM that is described by an HCS v1 document cannot be changed");
    if (!error) {
        AcquireSRWLockShared(&init->container->lock);
        error = phase_check(init->phase, REQUEST_CONTROL, id);
        ReleaseSRWLockShared(&init->container->lock);
    }
    if (!error) {
        submit(init, "update", step_update, &request);
        return;
    }
    spec_update_free(&request.update);
    if (init)
        process_unref(init);
    done(context, error, NULL);
}
