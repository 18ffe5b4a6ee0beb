/* Pausing and resuming: for containers in a VM only. Steps on the lane; a kill breaks them off. */
#include "base/memory.h"
#include "task/container.h"
#include "task/properties.h"

struct pause_request {
    bool pause; /* false: resume */
    task_done done;
    void *context;
};

static struct error *check_isolated(const struct container *container, const char *operation)
{
    if (container->isolated)
        return NULL;
    return error_make(ERROR_KIND_UNIMPLEMENTED, operation, container->init.texts->id,
                      "Windows cannot pause a container with process isolation, only one in a VM (windows.hyperv)");
}

struct error *container_ask_paused(struct container *container, struct hcs_system *system, bool *ret_paused)
{
    struct guard_wait wait = {rung_ms(container->tasks), container->cancel};
    char *text;
    struct error *error = hcs_system_properties(system, "{}", &wait, &text);
    if (error)
        return error;
    *ret_paused = properties_paused(text);
    free(text);
    return NULL;
}

/* A pause or resume failed. What is true now is HCS's to say; what it does not say is as it was. */
static void settle(struct container *container, bool was_paused)
{
    bool paused = was_paused;
    container_step_phase(container, "ask for state");
    struct error *error = container_ask_paused(container, container->system, &paused);
    AcquireSRWLockExclusive(&container->lock);
    if (phase_is_alive(container->init.phase))
        container->init.phase = paused ? PHASE_PAUSED : PHASE_RUNNING;
    container->pause_doubt = error != NULL;
    ReleaseSRWLockExclusive(&container->lock);
    error_free(error);
}

/* The init of a container that was taken up again while it was paused: a paused VM answers nothing about its processes. */
static struct error *open_init(struct container *container)
{
    AcquireSRWLockExclusive(&container->lock);
    bool open = container->init_unopened && container->init.phase == PHASE_RUNNING;
    container->init_unopened = false;
    ReleaseSRWLockExclusive(&container->lock);
    if (!open)
        return NULL;
    container_step_phase(container, "HcsOpenProcess");
    struct error *error = container_reopen_init(container, container->system);
    if (!error)
        error = execs_reopen(container, container->system);
    if (error)
        container_post(container, "reattach", container_reattach_step, NULL); /* it knows all cases */
    error_free(error);
    return NULL;
}

static struct error *change(struct container *container, bool pause)
{
    struct guard_wait wait = {container->tasks->call_ms, container->cancel};
    AcquireSRWLockShared(&container->lock);
    struct hcs_system *system = container->system;
    bool still = container->init.phase == (pause ? PHASE_PAUSING : PHASE_PAUSED) ||
                 (!pause && container->pause_doubt && container->init.phase == PHASE_RUNNING);
    ReleaseSRWLockShared(&container->lock);
    const char *operation = pause ? "pause" : "resume", *id = container->init.texts->id;
    if (!still)
        return error_make(ERROR_KIND_FAILED_PRECONDITION, operation, id, "its state has changed meanwhile");
    if (!system) {
        AcquireSRWLockExclusive(&container->lock);
        if (container->init.phase == PHASE_PAUSING)
            container->init.phase = PHASE_RUNNING;
        ReleaseSRWLockExclusive(&container->lock);
        return error_make(ERROR_KIND_UNAVAILABLE, operation, id, "it has not been taken up again yet; try again");
    }
    container_step_phase(container, pause ? "HcsPauseComputeSystem" : "HcsResumeComputeSystem");
    struct error *error = pause ? hcs_system_pause(system, &wait) : hcs_system_resume(system, &wait);
    if (error) {
        settle(container, !pause);
        return error;
    }
    AcquireSRWLockExclusive(&container->lock);
    bool alive = phase_is_alive(container->init.phase);
    if (alive)
        container->init.phase = pause ? PHASE_PAUSED : PHASE_RUNNING;
    container->pause_doubt = false;
    ReleaseSRWLockExclusive(&container->lock);
    if (!alive) /* killed at the last moment */
        return error_make(ERROR_KIND_ABORTED, operation, id, "it is ending");
    return pause ? NULL : open_init(container);
}

static void step_change(struct container *container, void *argument)
{
    struct pause_request *request = argument;
    struct task_view view;
    struct error *error = change(container, request->pause);
    if (error)
        request->done(request->context, error, NULL);
    else {
        container_step_phase(container, "journal");
        container_save(container);
        process_event(&container->init, request->pause ? "/tasks/paused" : "/tasks/resumed");
        AcquireSRWLockShared(&container->lock);
        process_view(&container->init, &view);
        ReleaseSRWLockShared(&container->lock);
        request->done(request->context, NULL, &view);
        task_view_free(&view);
    }
    free(request);
}

static void submit(struct tasks *tasks, const char *containerd_namespace, const char *id, bool pause, task_done done,
                   void *context)
{
    struct process *init;
    struct error *error = tasks_find(tasks, containerd_namespace, id, NULL, true, &init);
    if (error) {
        done(context, error, NULL);
        return;
    }
    struct container *container = init->container;
    AcquireSRWLockExclusive(&container->lock);
    error = check_isolated(container, pause ? "pause" : "resume");
    if (!error && !(!pause && container->pause_doubt && init->phase == PHASE_RUNNING))
        error = phase_check(init->phase, pause ? REQUEST_PAUSE : REQUEST_RESUME, id);
    if (!error && pause)
        init->phase = PHASE_PAUSING;
    ReleaseSRWLockExclusive(&container->lock);
    if (!error) {
        struct pause_request *request = mem_new(struct pause_request);
        *request = (struct pause_request){pause, done, context};
        error = container_submit(container, pause ? "pause" : "resume", step_change, request);
        if (error) {
            free(request);
            AcquireSRWLockExclusive(&container->lock);
            if (pause && init->phase == PHASE_PAUSING)
                init->phase = PHASE_RUNNING;
            ReleaseSRWLockExclusive(&container->lock);
        }
    }
    if (error)
        done(context, error, NULL);
    process_unref(init);
}

void task_pause(struct tasks *tasks, const char *containerd_namespace, const char *id, task_done done, void *context)
{
    submit(tasks, containerd_namespace, id, true, done, context);
}

void task_resume(struct tasks *tasks, const char *containerd_namespace, const char *id, task_done done, void *context)
{
    submit(tasks, containerd_namespace, id, false, done, context);
}
