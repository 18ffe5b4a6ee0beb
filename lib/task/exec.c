/* Further processes in a running container. */
#include "base/clock.h"
#include "base/memory.h"
#include "task/container.h"

static void step_exec_finish(struct container *container, void *argument);

void exec_stop(struct process *process, uint32_t code)
{
    process->phase = PHASE_STOPPED;
    process->exit_status = code;
    process->exited_ns = process->noticed_ns ? process->noticed_ns : clock_wall_ns();
}

static void output_drained(void *context, uint64_t lost)
{
    struct process *exec = context;
    struct container *container = exec->container;
    AcquireSRWLockExclusive(&container->lock);
    exec->lost = lost;
    bool last = --container->drains == 0 && container->ending_rest;
    ReleaseSRWLockExclusive(&container->lock);
    container_post(container, "reap", step_exec_finish, exec);
    if (last)
        container_finish_post(container);
}

/* Its exit is told when its output is out. */
static void step_exec_over(struct container *container, void *argument)
{
    struct process *exec = argument;
    AcquireSRWLockExclusive(&container->lock);
    bool begin = exec->phase == PHASE_RUNNING;
    if (begin)
        exec->phase = PHASE_ENDING;
    ReleaseSRWLockExclusive(&container->lock);
    if (!begin) {
        process_unref(exec);
        return;
    }
    uint32_t code = process_exit_code(exec);
    AcquireSRWLockExclusive(&container->lock);
    exec->exit_code = code;
    bool drain = exec->attached;
    container->drains += drain;
    ReleaseSRWLockExclusive(&container->lock);
    if (drain)
        relay_drain(exec->relay, 1000, container->tasks->drain_ms, output_drained, exec);
    else
        step_exec_finish(container, exec);
}

static void finish(struct process *exec)
{
    struct container *container = exec->container;
    AcquireSRWLockShared(&container->lock);
    bool over = exec->phase == PHASE_STOPPED;
    ReleaseSRWLockShared(&container->lock);
    if (over)
        return;
    process_close(exec);
    AcquireSRWLockExclusive(&container->lock);
    bool ran = exec->ran;
    exec_stop(exec, ran ? exec->exit_code : 1);
    ReleaseSRWLockExclusive(&container->lock);
    if (ran)
        process_event(exec, "/tasks/exit");
    process_release_waiters(exec, NULL);
}

static void step_exec_finish(struct container *container, void *argument)
{
    struct process *exec = argument;
    (void)container;
    finish(exec);
    process_unref(exec);
}

void exec_exited(struct process *process)
{
    container_post(process->container, "reap", step_exec_over, process_ref(process));
}

void exec_start_failed(struct process *process)
{
    finish(process);
}

void execs_finish(struct container *container)
{
    struct process *exec, *next;
    HASH_ITER(hh, container->execs, exec, next)
    finish(exec);
}

bool exec_remove(struct process *process)
{
    struct container *container = process->container;
    struct process *present = NULL;
    AcquireSRWLockExclusive(&container->lock);
    HASH_FIND_STR(container->execs, process->texts->exec_id, present);
    if (present == process)
        HASH_DEL(container->execs, process);
    ReleaseSRWLockExclusive(&container->lock);
    if (present != process)
        return false;
    process_close(process);
    atomic_fetch_sub(&process->references, 1); /* the table's; the caller has one too */
    return true;
}
