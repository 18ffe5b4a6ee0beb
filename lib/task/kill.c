/* Kill: what a signal means for whom, and who answers it. */
#include "base/memory.h"
#include "task/container.h"
#include "task/signals.h"

struct signal_run {
    struct container *container;
    struct process *process; /* who is to get it, once its start is over; or an exec that was killed before its start */
    struct pending *pending;
    struct signal_plan plan;
    uint32_t pid; /* of an exec; 0: the init */
};

/* Through a handle of its own: HCS queues calls on one handle, and some images block a signal until they have ended. */
static struct error *signal_exec(struct signal_run *run, const struct guard_wait *wait)
{
    struct hcs_process *process;
    struct error *error = hcs_process_open(run->container->system, run->pid, wait, &process);
    if (error && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error); /* it has just ended: delivered in vain, as it can happen anywhere */
        return NULL;
    }
    if (error)
        return error;
    if (run->plan.action == SIGNAL_TERMINATE)
        error = hcs_process_terminate(process, wait, NULL);
    else {
        char *options = str_format("{\"Signal\":\"%s\"}", run->plan.console);
        error = hcs_process_signal(process, options, wait, NULL);
        free(options);
    }
    error_free(hcs_process_close(process));
    return error;
}

static void run_signal(void *context)
{
    struct signal_run *run = context;
    struct container *container = run->container;
    struct guard_wait wait = {rung_ms(container->tasks), container->ended};
    bool gone = false, finish = false;
    struct error *error = NULL;

    if (!container->system || (!run->pid && run->plan.action == SIGNAL_CONSOLE && !container->init.handle))
        error = error_make(ERROR_KIND_UNAVAILABLE, "kill", container->init.texts->id,
                           "it has not been taken up again yet; try again");
    else if (run->pid)
        error = signal_exec(run, &wait);
    else if (run->plan.action == SIGNAL_SHUTDOWN)
        error = hcs_system_shutdown(container->system, &wait, &gone);
    else {
        char *options = str_format("{\"Signal\":\"%s\"}", run->plan.console);
        error = hcs_process_signal(container->init.handle, options, &wait, NULL);
        free(options);
    }
    AcquireSRWLockExclusive(&container->lock);
    container->ladder_calls--;
    if (gone)
        container_system_gone(container, 0);
    if (container->system_exited && error && error->kind == ERROR_KIND_CANCELLED) {
        error_free(error);
        error = NULL;
    }
    if (container->finish_waits && !container->ladder_calls) {
        container->finish_waits = false;
        finish = true;
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (finish)
        container_finish_post(container);
    if (run->pending)
        pending_answer(run->pending, error);
    else
        error_free(error);
    container_unref(container);
    free(run);
}

/* The lock held. Takes the share of `pending`, which may be NULL: nobody waits for this one. */
static void send_signal(struct container *container, struct process *process, struct signal_plan plan,
                        struct pending *pending)
{
    struct signal_run *run = mem_new(struct signal_run);
    run->container = container_ref(container);
    run->pending = pending;
    run->plan = plan;
    run->pid = process == &container->init ? 0 : process->pid;
    container->ladder_calls++;
    operations_post(container->tasks->endings, run_signal, run);
}

/* On the lane, behind a start that was under way. */
static void step_signal(struct container *container, void *argument)
{
    struct signal_run *run = argument;
    struct process *process = run->process;
    AcquireSRWLockExclusive(&container->lock);
    bool send = container->init.phase == PHASE_RUNNING && process->phase == PHASE_RUNNING;
    if (send)
        send_signal(container, process, run->plan, run->pending);
    ReleaseSRWLockExclusive(&container->lock);
    if (!send)
        pending_answer(run->pending, NULL); /* it ended before the signal could reach it */
    process_unref(process);
    free(run);
}

/* Beside the lane: what it does has nothing to do with this one. */
static void run_stopped(void *context)
{
    struct signal_run *run = context;
    process_shut(run->process);
    exec_save(run->process);
    process_release_waiters(run->process, NULL);
    pending_answer(run->pending, NULL);
    process_unref(run->process);
    free(run);
}

/* For step_signal and run_stopped. */
static struct signal_run *run_later(struct process *process, struct pending *pending, struct signal_plan plan)
{
    struct signal_run *run = mem_new(struct signal_run);
    run->process = process_ref(process);
    run->pending = pending_ref(pending);
    run->plan = plan;
    return run;
}

static const char *signal_call(struct signal_plan plan)
{
    if (plan.action == SIGNAL_SHUTDOWN)
        return "HcsShutdownComputeSystem";
    return plan.action == SIGNAL_TERMINATE ? "HcsTerminateProcess" : "HcsSignalProcess";
}

static struct error *check_signal(const struct process *process, bool init, uint32_t sig, uint32_t os_build,
                                  struct signal_plan *ret_plan)
{
    *ret_plan = signal_plan(sig, init, os_build);
    if (ret_plan->action != SIGNAL_REFUSED)
        return NULL;
    return error_make(ERROR_KIND_FAILED_PRECONDITION, "kill", process->texts->id,
                      "signal %u means nothing to a Windows container; 9, 15 and 6 do%s", sig,
                      os_build >= SIGNAL_CONSOLE_BUILD ? ", and the console events 0, 1, 2 and 5" : "");
}

/* What is left to do once the lock is free. */
enum next { NEXT_NOTHING, NEXT_REPLY, NEXT_END, NEXT_RAISE, NEXT_POST, NEXT_STOPPED };

static struct error *kill_init(struct container *container, uint32_t sig, bool all, task_done done, void *context,
                               enum next *ret_next, struct signal_run **ret_run)
{
    struct process *init = &container->init, *exec, *next;
    struct signal_plan plan;
    struct error *error = phase_check(init->phase, REQUEST_KILL, init->texts->id);
    if (error)
        return error;
    if (init->phase == PHASE_CREATED) { /* any signal ends what has not begun */
        container->asked = container->killed = true;
        pending_add(container, PENDING_END, done, context, NULL, NULL);
        *ret_next = NEXT_END;
        return NULL;
    }
    error = check_signal(init, true, sig, container->tasks->os_build, &plan);
    if (!error && plan.action != SIGNAL_TERMINATE)
        error = phase_check(init->phase, REQUEST_SIGNAL, init->texts->id);
    if (error)
        return error;
    container->asked = true;
    if (plan.action == SIGNAL_TERMINATE) {
        container->killed = true;
        SetEvent(container->cancel);
        *ret_next = NEXT_RAISE;
        if (container->system_exited || (container->accepted && !container->stuck))
            *ret_next = NEXT_REPLY; /* an equal kill is under way */
        else
            pending_add(container, PENDING_KILL, done, context, NULL, NULL);
        return NULL;
    }
    if (init->phase == PHASE_ENDING) {
        *ret_next = NEXT_REPLY;
        return NULL;
    }
    struct pending *pending = pending_add(container, PENDING_KILL, done, context, NULL, NULL);
    pending->call = signal_call(plan);
    if (init->phase == PHASE_STARTING) {
        *ret_run = run_later(init, pending, plan);
        *ret_next = NEXT_POST;
        return NULL;
    }
    if (all)
        HASH_ITER(hh, container->execs, exec, next)
        {
            struct signal_plan exec_plan = signal_plan(sig, false, container->tasks->os_build);
            if (exec->phase == PHASE_RUNNING && exec->handle && exec_plan.action != SIGNAL_REFUSED)
                send_signal(container, exec, exec_plan, NULL);
        }
    send_signal(container, init, plan, pending_ref(pending));
    return NULL;
}

static struct error *kill_exec(struct container *container, struct process *exec, uint32_t sig, task_done done,
                               void *context, enum next *ret_next, struct signal_run **ret_run)
{
    struct signal_plan plan;
    struct error *error = phase_check(exec->phase, REQUEST_KILL, exec->texts->exec_id);
    if (error)
        return error;
    if (exec->phase == PHASE_CREATED) {
        exec_stop(exec, 1);
        struct pending *pending = pending_add(container, PENDING_KILL, done, context, NULL, NULL);
        pending->call = "the journal";
        *ret_run = run_later(exec, pending, (struct signal_plan){0});
        *ret_next = NEXT_STOPPED;
        return NULL;
    }
    error = check_signal(exec, false, sig, container->tasks->os_build, &plan);
    if (!error) /* a paused VM lets none of its processes go */
        error = phase_check(container->init.phase, REQUEST_SIGNAL, exec->texts->id);
    if (error)
        return error;
    bool starting = exec->phase == PHASE_STARTING;
    exec->kill_wanted = exec->kill_wanted || (starting && plan.action == SIGNAL_TERMINATE);
    if (exec->phase == PHASE_ENDING || (starting && exec->kill_wanted)) {
        *ret_next = NEXT_REPLY;
        return NULL;
    }
    if (!starting && !exec->handle) /* whether its pid is still its own is being looked at */
        return error_make(ERROR_KIND_UNAVAILABLE, "kill", exec->texts->exec_id,
                          "it has not been taken up again yet; try again");
    struct pending *pending = pending_add(container, PENDING_KILL, done, context, NULL, NULL);
    pending->call = signal_call(plan);
    if (starting) {
        *ret_run = run_later(exec, pending, plan);
        *ret_next = NEXT_POST;
    } else
        send_signal(container, exec, plan, pending_ref(pending));
    return NULL;
}

void task_kill(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id, uint32_t sig,
               bool all, task_done done, void *context)
{
    struct process *process = NULL;
    struct container *container = NULL;
    struct signal_run *run = NULL;
    struct task_view view;
    enum next next = NEXT_NOTHING;
    struct error *error = NULL;

    if (all && exec_id && *exec_id)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "kill", id, "all cannot be asked of one exec");
    if (!error)
        error = tasks_find(tasks, containerd_namespace, id, exec_id, true, &process);
    if (!error) {
        container = process->container;
        AcquireSRWLockShared(&container->lock);
        bool pod = all && container_is_sandbox(container);
        ReleaseSRWLockShared(&container->lock);
        if (pod)
            pod_kill_workloads(container, sig, &done, &context);
        AcquireSRWLockExclusive(&container->lock);
        error = process == &container->init ? kill_init(container, sig, all, done, context, &next, &run)
                                            : kill_exec(container, process, sig, done, context, &next, &run);
        if (next == NEXT_REPLY)
            process_view(process, &view);
        ReleaseSRWLockExclusive(&container->lock);
    }
    if (error)
        done(context, error, NULL);
    else if (next == NEXT_REPLY) {
        done(context, NULL, &view);
        task_view_free(&view);
    } else if (next == NEXT_END)
        container_end(container, RUNG_TERMINATE, 1);
    else if (next == NEXT_RAISE)
        container_raise(container, RUNG_TERMINATE);
    else if (next == NEXT_POST)
        container_post(container, "kill", step_signal, run);
    else if (next == NEXT_STOPPED)
        operations_post(container->tasks->endings, run_stopped, run);
    if (process)
        process_unref(process);
}
