/* Further processes in a running container. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "spec/spec.h"
#include "task/bundle.h"
#include "task/container.h"

#define EXECS_MAX 4096u

struct exec_request {
    struct process *process;
    char *spec;
    size_t spec_size;
    task_done done;
    void *context;
};

static void step_exec_finish(struct container *container, void *argument);

static struct error *prepare(struct process *process, const struct exec_request *request)
{
    struct container *container = process->container;
    const struct task_texts *texts = process->texts;
    const struct task_exec exec = {
        .stdin_path = texts->stdin_path,
        .stdout_path = texts->stdout_path,
        .stderr_path = texts->stderr_path,
        .terminal = process->terminal,
        .spec = request->spec,
        .spec_size = request->spec_size,
    };
    struct bundle *bundle = NULL;
    struct session *session = NULL;
    struct error *error = bundle_load(texts->bundle, &bundle);
    if (!error)
        bundle_set_hosted(bundle, hosted_is(container));
    if (!error)
        error = bundle_exec_document(bundle, &exec, &process->document);
    bundle_free(bundle);
    container_step_phase(container, "stdio");
    if (!error)
        error = process_open_stdio(process, &session);
    AcquireSRWLockExclusive(&container->lock);
    process->session = session;
    if (!error)
        error = phase_check(container->init.phase, REQUEST_EXEC, texts->id);
    if (!error)
        process->phase = PHASE_CREATED;
    ReleaseSRWLockExclusive(&container->lock);
    container_step_phase(container, "journal");
    return error ? error : exec_try_save(process);
}

static void step_exec(struct container *container, void *argument)
{
    struct exec_request *request = argument;
    struct process *process = request->process;
    struct task_view view;
    struct error *error = prepare(process, request);
    if (error) {
        exec_remove(process);
        request->done(request->context, error, NULL);
    } else {
        process_event(process, "/tasks/exec-added");
        AcquireSRWLockShared(&container->lock);
        process_view(process, &view);
        ReleaseSRWLockShared(&container->lock);
        request->done(request->context, NULL, &view);
        task_view_free(&view);
    }
    process_unref(process);
    free(request->spec);
    free(request);
}

/* The lock held: makes the exec and puts it into the container's table. */
static struct error *reserve(struct container *container, const struct task_exec *exec, struct process **ret_process)
{
    const char *bundle = container->init.texts->bundle;
    struct process *same;
    struct error *error = phase_check(container->init.phase, REQUEST_EXEC, exec->id);
    if (error)
        return error;
    HASH_FIND_STR(container->execs, exec->exec_id, same);
    if (same)
        return error_make(ERROR_KIND_ALREADY_EXISTS, "exec", exec->exec_id, "container %s has an exec of this id",
                          exec->id);
    if (HASH_COUNT(container->execs) >= EXECS_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "exec", exec->id,
                          "it has %u execs; delete some that have ended", EXECS_MAX);
    struct process *process = mem_new(struct process);
    atomic_init(&process->references, 1);
    process->container = container;
    process->texts = texts_new(exec->containerd_namespace, exec->id, exec->exec_id, bundle, exec->stdin_path,
                               exec->stdout_path, exec->stderr_path);
    process->terminal = exec->terminal;
    process->exit_status = TASK_EXIT_NONE;
    HASH_ADD_KEYPTR(hh, container->execs, process->texts->exec_id, strlen(process->texts->exec_id), process);
    *ret_process = process_ref(process);
    return NULL;
}

static struct error *check(const struct task_exec *exec)
{
    if (!exec->exec_id || !*exec->exec_id)
        return error_make(ERROR_KIND_ALREADY_EXISTS, "exec", exec->id, "the empty exec id is the init's");
    if (!text_is_identifier(exec->exec_id))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "exec", exec->exec_id,
                          "an id has 1 to 76 characters: letters and digits, joined by single '.', '_' or '-'");
    if (exec->terminal && *exec->stderr_path)
        return error_make(ERROR_KIND_FAILED_PRECONDITION, "exec", exec->exec_id,
                          "a terminal has one output; stderr must be left out");
    if (exec->spec_size > SPEC_SIZE_LIMIT)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "exec", exec->exec_id,
                          "the process object has %zu bytes; %u are possible", exec->spec_size, SPEC_SIZE_LIMIT);
    return NULL;
}

void task_exec(struct tasks *tasks, const struct task_exec *exec, task_done done, void *context)
{
    struct process *init = NULL, *process = NULL;
    struct error *error = check(exec);
    if (!error)
        error = tasks_find(tasks, exec->containerd_namespace, exec->id, NULL, true, &init);
    if (!error) {
        AcquireSRWLockExclusive(&init->container->lock);
        error = reserve(init->container, exec, &process);
        ReleaseSRWLockExclusive(&init->container->lock);
    }
    if (!error) {
        struct exec_request *request = mem_new(struct exec_request);
        *request =
            (struct exec_request){process, str_copy_n(exec->spec ? exec->spec : "", exec->spec ? exec->spec_size : 0),
                                  exec->spec_size, done, context};
        error = container_submit(init->container, "exec", step_exec, request);
        if (error) {
            exec_remove(process);
            process_unref(process);
            free(request->spec);
            free(request);
        }
    }
    if (error)
        done(context, error, NULL);
    if (init)
        process_unref(init);
}

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
    exec->code_known = code != TASK_EXIT_UNKNOWN;
    bool drain = exec->attached;
    container->drains += drain;
    ReleaseSRWLockExclusive(&container->lock);
    if (!drain) {
        step_exec_finish(container, exec);
        return;
    }
    session_drain(exec->session, 1000, container->tasks->drain_ms, output_drained, exec);
    exec_save(exec); /* meanwhile: the code is not to be lost however long the output takes */
}

static void finish(struct process *exec)
{
    struct container *container = exec->container;
    AcquireSRWLockShared(&container->lock);
    bool over = exec->phase == PHASE_STOPPED;
    ReleaseSRWLockShared(&container->lock);
    process_shut(exec); /* also of one that was given up */
    if (over)
        return;
    AcquireSRWLockExclusive(&container->lock);
    bool ran = exec->ran, begun = exec->phase != PHASE_CREATED;
    exec_stop(exec, ran ? exec->exit_code : 1);
    ReleaseSRWLockExclusive(&container->lock);
    if (begun) /* else it goes with its container */
        exec_save(exec);
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

struct process **execs_all(struct container *container, size_t *ret_count)
{
    struct process *exec, *next;
    size_t count = 0;
    AcquireSRWLockShared(&container->lock);
    struct process **execs = mem_new_array(HASH_COUNT(container->execs) + 1, struct process *);
    HASH_ITER(hh, container->execs, exec, next)
    execs[count++] = process_ref(exec);
    ReleaseSRWLockShared(&container->lock);
    *ret_count = count;
    return execs;
}

void execs_give_up(struct container *container)
{
    size_t count;
    struct process **execs = execs_all(container, &count);
    for (size_t i = 0; i < count; i++) {
        struct process *exec = execs[i];
        AcquireSRWLockExclusive(&container->lock);
        bool mine = exec->phase != PHASE_STOPPED, ran = exec->ran;
        if (mine)
            exec_stop(exec, !ran ? 1 : exec->code_known ? exec->exit_code : TASK_EXIT_UNKNOWN);
        ReleaseSRWLockExclusive(&container->lock);
        if (mine && ran)
            process_event(exec, "/tasks/exit");
        if (mine)
            process_release_waiters(exec, NULL);
        process_unref(exec);
    }
    free(execs);
}

void execs_finish(struct container *container)
{
    size_t count;
    struct process **execs = execs_all(container, &count);
    for (size_t i = 0; i < count; i++) {
        finish(execs[i]);
        process_unref(execs[i]);
    }
    free(execs);
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
    process_shut(process);
    exec_unsave(process);
    atomic_fetch_sub(&process->references, 1); /* the table's; the caller has one too */
    return true;
}
