/* The end of a container: its exit code, the rest of its output, its system, its layers, and then the latch.
 *
 * Every stretch is a step on the lane; what is waited for in between (output, the system's exit) costs no thread. */
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "task/container.h"

/* A pipe that nothing comes out of for so long after the exit is held by somebody else. */
#define QUIET_MS    1000u
/* HCS can lose an exit notification, and gives those of process and system in any order. */
#define EXIT_LAG_MS 1000u

static void step_system(struct container *container, void *argument);
static void step_rest(struct container *container, void *argument);
static void step_finish(struct container *container, void *argument);

/* ---- what comes in from HCS ---- */

static void step_system_over(struct container *container, void *argument)
{
    (void)argument;
    AcquireSRWLockExclusive(&container->lock);
    enum phase phase = container->init.phase;
    bool waiting = container->waiting_for_system;
    bool expected = container->asked || container->init.exit_seen;
    char *stuck = container->stuck;
    container->waiting_for_system = false;
    container->stuck = NULL;
    ReleaseSRWLockExclusive(&container->lock);
    if (timer_clear(container->tasks->endings, &container->ladder_timer))
        container_unref(container);
    if (stuck)
        event_emit(EVENT_TASK_UNSTUCK, container->init.texts->id, stuck);
    free(stuck);
    if (phase == PHASE_ENDING && waiting)
        step_rest(container, NULL);
    else if (phase == PHASE_CREATED || phase_is_alive(phase)) {
        if (!expected) {
            char *status = str_format("status 0x%08X", container->system_status);
            event_emit(EVENT_TASK_EXITED_UNEXPECTEDLY, container->init.texts->id, status);
            free(status);
        }
        container_end(container, RUNG_TERMINATE, phase == PHASE_CREATED ? 1 : TASK_EXIT_UNKNOWN);
    }
}

void container_system_gone(struct container *container, uint32_t status)
{
    if (container->system_exited)
        return;
    container->system_exited = true;
    container->system_status = status;
    SetEvent(container->cancel);
    SetEvent(container->ended);
    /* The lane's lock is this one: another thread puts the step there. */
    container_ref(container);
    operations_post(container->tasks->endings, container_system_over_post, container);
}

void container_system_over_post(void *context)
{
    struct container *container = context;
    container_post(container, "reap", step_system_over, NULL);
    container_unref(container);
}

void container_system_exit(void *context, const struct hcs_exit *exit)
{
    struct container *container = context;
    if (exit->reason == HCS_EXIT_EXITED) {
        AcquireSRWLockExclusive(&container->lock);
        container_system_gone(container, exit->status);
        ReleaseSRWLockExclusive(&container->lock);
    } else if (exit->reason == HCS_EXIT_DISCONNECTED)
        container_post(container, "reattach", container_reattach_step, NULL);
    container_unref(container);
}

void container_process_exit(void *context, const struct hcs_exit *exit)
{
    struct process *process = context;
    struct container *container = process->container;
    if (exit->reason == HCS_EXIT_EXITED) {
        AcquireSRWLockExclusive(&container->lock);
        process->exit_seen = true;
        process->noticed_ns = exit->wall_ns;
        ReleaseSRWLockExclusive(&container->lock);
        if (process == &container->init)
            container_end(container, RUNG_SHUTDOWN, TASK_EXIT_UNKNOWN);
        else
            exec_exited(process);
    }
    process_unref(process);
}

/* ---- the steps ---- */

uint32_t process_exit_code(struct process *process)
{
    struct guard_wait lag = {EXIT_LAG_MS, NULL}, wait = {rung_ms(process->container->tasks), NULL};
    struct hcs_process_properties properties;
    if (process->code_known)
        return process->exit_code;
    if (!process->handle)
        return TASK_EXIT_UNKNOWN;
    if (!hcs_process_has_exited(process->handle, NULL))
        error_free(hcs_process_wait_exit(process->handle, &lag, NULL));
    struct error *error = hcs_process_properties(process->handle, &wait, &properties);
    if (!error)
        return properties.exit_code_known ? properties.exit_code : TASK_EXIT_UNKNOWN;
    char *text = error_text(error);
    log_debug("container %s: exit code: %s", process->texts->id, text);
    free(text);
    error_free(error);
    return TASK_EXIT_UNKNOWN;
}

static void output_drained(void *context, uint64_t lost)
{
    struct container *container = context;
    (void)lost; /* counted when the rest is */
    container_post(container, "reap", step_system, NULL);
    container_unref(container);
}

/* The init is over, or will never be. */
static void step_process(struct container *container, void *argument)
{
    struct process *init = &container->init;
    (void)argument;
    if (init->ran) {
        container_step_phase(container, "exit code");
        uint32_t code = process_exit_code(init);
        AcquireSRWLockExclusive(&container->lock);
        container->exit_code = init->exit_code = code;
        init->code_known = code != TASK_EXIT_UNKNOWN;
        if (init->noticed_ns)
            container->exit_noticed_ns = init->noticed_ns;
        ReleaseSRWLockExclusive(&container->lock);
        container_step_phase(container, "journal");
        container_save(container); /* the code is not to be lost however long the rest takes */
    }
    container->drain_end_ms = clock_ms() + container->tasks->drain_ms;
    if (init->attached) {
        container_step_phase(container, "output");
        container_ref(container);
        session_drain(init->session, QUIET_MS, container->tasks->drain_ms, output_drained, container);
    } else
        step_system(container, NULL);
}

static void step_system(struct container *container, void *argument)
{
    (void)argument;
    container_step_phase(container, "system");
    AcquireSRWLockExclusive(&container->lock);
    bool gone = container->system_exited;
    bool gently = container->init.ran && !container->killed;
    container->waiting_for_system = !gone;
    ReleaseSRWLockExclusive(&container->lock);
    if (gone)
        step_rest(container, NULL);
    else
        container_raise(container, gently ? RUNG_SHUTDOWN : RUNG_TERMINATE);
}

static void rest_drained(void *context, uint64_t lost)
{
    struct process *process = context;
    struct container *container = process->container;
    AcquireSRWLockExclusive(&container->lock);
    process->lost = lost;
    bool last = --container->drains == 0;
    ReleaseSRWLockExclusive(&container->lock);
    if (last)
        container_finish_post(container);
    process_unref(process);
}

static void drain_rest(struct process *process, unsigned milliseconds)
{
    AcquireSRWLockExclusive(&process->container->lock);
    bool drain = process->attached;
    process->container->drains += drain;
    ReleaseSRWLockExclusive(&process->container->lock);
    if (drain)
        session_drain(process->session, 0, milliseconds, rest_drained, process_ref(process));
}

/* The system is gone, so all pipes have come to their end: what is in them is passed on. Execs that ended before pass on theirs
 * already. */
static void step_rest(struct container *container, void *argument)
{
    (void)argument;
    AcquireSRWLockExclusive(&container->lock);
    bool again = container->ending_rest;
    container->ending_rest = true;
    container->drains++; /* this step's own */
    ReleaseSRWLockExclusive(&container->lock);
    container_step_phase(container, "rest of output");
    uint64_t now = clock_ms();
    unsigned left = container->drain_end_ms > now ? (unsigned)(container->drain_end_ms - now) : 0;
    if (left < QUIET_MS)
        left = QUIET_MS;
    if (!again) {
        drain_rest(&container->init, left);
        size_t count;
        struct process **execs = execs_all(container, &count);
        for (size_t i = 0; i < count; i++) {
            struct process *exec = execs[i];
            AcquireSRWLockExclusive(&container->lock);
            bool mine = exec->phase == PHASE_RUNNING;
            if (mine)
                exec->phase = PHASE_ENDING;
            ReleaseSRWLockExclusive(&container->lock);
            if (mine) {
                uint32_t code = process_exit_code(exec);
                AcquireSRWLockExclusive(&container->lock);
                exec->exit_code = code;
                exec->code_known = code != TASK_EXIT_UNKNOWN;
                ReleaseSRWLockExclusive(&container->lock);
                drain_rest(exec, left);
            }
            process_unref(exec);
        }
        free(execs);
    }
    AcquireSRWLockExclusive(&container->lock);
    bool last = --container->drains == 0 && !again;
    ReleaseSRWLockExclusive(&container->lock);
    if (last)
        step_finish(container, NULL);
}

void container_call_over(struct container *container)
{
    AcquireSRWLockExclusive(&container->lock);
    bool finish = --container->ladder_calls == 0 && container->finish_waits;
    if (finish)
        container->finish_waits = false;
    ReleaseSRWLockExclusive(&container->lock);
    if (finish)
        container_finish_post(container);
}

void container_finish_post(struct container *container)
{
    container_post(container, "reap", step_finish, NULL);
}

static void tell_lost_output(struct process *process)
{
    struct container *container = process->container;
    if (!process->lost)
        return;
    char *seconds = str_format("%g", (double)container->tasks->drain_ms / 1000);
    char *bytes = str_format("%llu", (unsigned long long)process->lost);
    event_emit(EVENT_TASK_OUTPUT_LOST, container->init.texts->id, seconds, bytes);
    free(seconds);
    free(bytes);
}

static void let_go(struct process *process, bool leave)
{
    struct container *container = process->container;
    AcquireSRWLockExclusive(&container->lock);
    struct session *session = process->session;
    struct hcs_process *handle = process->handle;
    process->session = NULL;
    process->handle = NULL;
    process->attached = false;
    ReleaseSRWLockExclusive(&container->lock);
    bool draining = leave ? session_leave(session) : session_close(session);
    if (draining && process != &container->init)
        process_unref(process); /* the drain's */
    struct error *error = hcs_process_close(handle);
    if (error) {
        char *text = error_text(error);
        log_debug("container %s: closing a process: %s", process->texts->id, text);
        free(text);
        error_free(error);
    }
}

void process_shut(struct process *process)
{
    tell_lost_output(process);
    let_go(process, false);
}

void process_leave(struct process *process)
{
    let_go(process, true);
}

/* Every step is tried; the first error is told. */
static void take_down(struct container *container)
{
    struct tasks *tasks = container->tasks;
    AcquireSRWLockExclusive(&container->lock);
    struct hcs_system *system = container->system;
    container->system = NULL;
    ReleaseSRWLockExclusive(&container->lock);
    container_step_phase(container, "close");
    struct error *first = hcs_system_close(system);
    if (container->scratch && tasks->release_layers) {
        container_step_phase(container, "release layers");
        char *holder = container_holder(container);
        error_keep_first(&first, tasks->release_layers(tasks->context, holder, container->scratch));
        free(holder);
    }
    if (!first)
        return;
    char *text = error_text(first);
    event_emit(EVENT_TASK_TEARDOWN_FAILED, container->init.texts->id, text);
    free(text);
    error_free(first);
}

static void step_finish(struct container *container, void *argument)
{
    struct process *init = &container->init;
    (void)argument;

    AcquireSRWLockExclusive(&container->lock);
    container->finish_waits = container->ladder_calls > 0;
    bool wait = container->finish_waits || init->phase == PHASE_STOPPED;
    ReleaseSRWLockExclusive(&container->lock);
    if (wait)
        return;
    execs_finish(container);
    process_shut(init);
    take_down(container);

    AcquireSRWLockExclusive(&container->lock);
    bool hidden = container->hidden, publish = !container->exit_published;
    init->phase = PHASE_STOPPED;
    container->exit_published = true;
    if (publish) {
        init->exit_status = container->exit_code;
        init->exited_ns = container->exit_noticed_ns;
    }
    ReleaseSRWLockExclusive(&container->lock);
    container_step_phase(container, "journal");
    if (!hidden)
        container_save(container);
    if (publish) {
        process_event(init, "/tasks/exit");
        process_release_waiters(init, NULL);
    }
    if (hidden)
        container_remove(container);
    pendings_finish(container);
}

void container_end(struct container *container, enum rung rung, uint32_t code)
{
    AcquireSRWLockExclusive(&container->lock);
    bool begin = container->init.phase < PHASE_ENDING;
    if (begin) {
        container->init.phase = PHASE_ENDING;
        container->exit_code = code;
        container->exit_noticed_ns = clock_wall_ns();
        if (rung >= RUNG_TERMINATE)
            container->killed = true;
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (begin)
        container_post(container, "reap", step_process, NULL);
}

bool container_force(struct container *container, const char *client)
{
    struct process *init = &container->init;
    AcquireSRWLockExclusive(&container->lock);
    bool hide = !container->hidden && init->phase != PHASE_STOPPED;
    bool publish = hide && !container->exit_published;
    char *reason = NULL;
    if (hide) {
        if (!container->stuck)
            container->stuck = str_copy("it has not ended yet");
        reason = str_copy(container->stuck);
        container->hidden = true;
        container->exit_published = true;
        /* The init may be over, its code known, and only the system be in the way. */
        bool over = init->phase == PHASE_ENDING;
        init->exit_status = over || !init->ran ? container->exit_code : TASK_EXIT_UNKNOWN;
        init->exited_ns = over ? container->exit_noticed_ns : clock_wall_ns();
    }
    ReleaseSRWLockExclusive(&container->lock);
    if (!hide)
        return false;
    container_save(container);
    event_emit(EVENT_TASK_FORCE_DELETED, init->texts->id, client ? client : "", reason);
    execs_give_up(container);
    if (publish)
        process_event(init, "/tasks/exit");
    process_event(init, "/tasks/delete");
    process_release_waiters(init, NULL);
    free(reason);
    return true;
}

void container_remove_step(struct container *container, void *argument)
{
    (void)argument;
    if (!container->removed)
        container_remove(container);
}

void container_remove(struct container *container)
{
    container_unsave(container);
    tasks_forget(container);
    if (!container->hidden)
        process_event(&container->init, "/tasks/delete");
}
