/* Starting: the system, then its init process. */
#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "task/bundle.h"
#include "task/container.h"

struct start_request {
    struct process *process;
    task_done done;
    void *context;
};

static void step_close_stdin(struct container *container, void *argument)
{
    struct process *process = argument;
    struct guard_wait wait = {rung_ms(container->tasks), container->ended};
    if (process->handle)
        error_free(hcs_process_close_stdin(process->handle, &wait));
    process_unref(process);
}

/* The session is closed before the process is freed, and never calls after that. */
static void stdin_ended(void *context)
{
    struct process *process = process_ref(context);
    container_post(process->container, "close-stdin", step_close_stdin, process);
}

void process_watch_stdin(struct process *process)
{
    session_on_stdin_end(process->session, stdin_ended, process);
}

struct error *process_open_stdio(const struct process *process, struct session **ret_session)
{
    const struct task_texts *texts = process->texts;
    char *id = str_format("%s%s%s", texts->id, *texts->exec_id ? "/" : "", texts->exec_id);
    const struct session_request request = {
        .containerd_namespace = texts->containerd_namespace,
        .id = id,
        .stdin_path = texts->stdin_path,
        .stdout_path = texts->stdout_path,
        .stderr_path = texts->stderr_path,
    };
    struct error *error = session_open(process->container->tasks->relays, &request, ret_session);
    free(id);
    return error;
}

static struct error *killed_meanwhile(struct container *container)
{
    return error_make(ERROR_KIND_ABORTED, "start", container->init.texts->id,
                      "it was killed while it was being started");
}

static struct error *document_again(struct process *process)
{
    const struct task_texts *texts = process->texts;
    const struct task_create create = {
        .id = texts->id,
        .bundle = texts->bundle,
        /* The relay holds what was dialled; without it there is nobody at the other end. */
        .stdin_path = process->session ? texts->stdin_path : "",
        .stdout_path = process->session ? texts->stdout_path : "",
        .stderr_path = process->session ? texts->stderr_path : "",
        .terminal = process->terminal,
    };
    struct bundle *bundle = NULL;
    struct error *error = bundle_load(texts->bundle, &bundle);
    if (!error)
        bundle_set_hosted(bundle, hosted_is(process->container));
    if (!error)
        error = bundle_process_document(bundle, &create, &process->document);
    bundle_free(bundle);
    return error;
}

/* Makes the process, notes its pid, gives its pipes to the relay, and says so. Once this has succeeded the exit will be told. */
static struct error *process_launch(struct process *process, const char *topic)
{
    struct container *container = process->container;
    struct guard_wait wait = {container->tasks->call_ms, container->cancel};
    struct hcs_process *handle = NULL;
    struct hcs_pipes pipes = {0};
    struct error *error = NULL;

    if (!process->document) /* it was taken up again before its start */
        error = document_again(process);
    if (!error && process != &container->init) {
        container_step_phase(container, "journal");
        error = exec_try_save(process); /* so that it is not started a second time, whatever happens */
    }
    container_step_phase(container, "HcsCreateProcess");
    process->begun_ns = clock_wall_ns();
    if (!error)
        error = hcs_process_create(container->system, process->document, &wait, &handle, &pipes);
    if (error)
        return error;
    /* Its pid is written before anything else, or nobody would find it again. */
    free(process->document);
    process->document = NULL;
    AcquireSRWLockExclusive(&container->lock);
    process->started_ns = clock_wall_ns();
    process->pid = hcs_process_pid(handle);
    ReleaseSRWLockExclusive(&container->lock);
    container_step_phase(container, "journal");
    if (process == &container->init)
        container_save(container);
    else
        exec_save(process);

    struct session *session = process->session;
    if (session) {
        container_step_phase(container, "stdio");
        error = session_attach(session, pipes.in, pipes.out, pipes.error);
        pipes = (struct hcs_pipes){0};
        if (!error)
            process_watch_stdin(process);
    }
    hcs_pipes_close(&pipes);

    AcquireSRWLockExclusive(&container->lock);
    if (!error && process->phase != PHASE_STARTING)
        error = killed_meanwhile(container);
    if (!error) {
        process->handle = handle;
        process->attached = session != NULL;
        process->ran = true;
        process->phase = PHASE_RUNNING;
    } else
        process->pid = 0;
    ReleaseSRWLockExclusive(&container->lock);
    if (error) {
        struct guard_wait bound = {rung_ms(container->tasks), NULL};
        error_free(hcs_process_terminate(handle, &bound, NULL));
        error_free(hcs_process_close(handle));
        return error;
    }
    process_event(process, topic);

    /* Only now: the exit must not overtake the start. */
    process_ref(process);
    error = hcs_process_on_exit(handle, container_process_exit, process);
    if (!error && process->kill_wanted) {
        struct guard_wait bound = {rung_ms(container->tasks), container->ended};
        error_free(hcs_process_terminate(handle, &bound, NULL));
    }
    if (error) {
        process_unref(process);
        error = error_wrap(error, "its end could not be watched, so it is ended");
        error_free(hcs_process_terminate(handle, NULL, NULL));
    }
    return error;
}

static void start_failed(struct process *process, struct start_request *request, struct error *error)
{
    struct container *container = process->container;
    char *text = error_text(error);
    event_emit(EVENT_TASK_START_FAILED, container->init.texts->id, text);
    free(text);
    if (process != &container->init) {
        exec_start_failed(process);
        request->done(request->context, error, NULL);
        return;
    }
    AcquireSRWLockExclusive(&container->lock);
    uint32_t code = container->killed ? 1 : TASK_EXIT_NOT_STARTED;
    bool over = process->phase == PHASE_STOPPED;
    if (!over)
        pending_add(container, PENDING_END, request->done, request->context, error, NULL);
    ReleaseSRWLockExclusive(&container->lock);
    if (over)
        request->done(request->context, error, NULL);
    container_end(container, RUNG_TERMINATE, code);
}

static void step_start(struct container *container, void *argument)
{
    struct start_request *request = argument;
    struct process *process = request->process;
    struct guard_wait wait = {container->tasks->call_ms, container->cancel};
    bool init = process == &container->init;
    struct error *error = NULL;
    struct task_view view;

    AcquireSRWLockExclusive(&container->lock);
    bool early = !container->system && process->phase == PHASE_STARTING;
    if (early)
        process->phase = PHASE_CREATED;
    else if (process->phase != PHASE_STARTING || container->killed || container->system_exited)
        error = killed_meanwhile(container);
    ReleaseSRWLockExclusive(&container->lock);
    if (early) {
        request->done(request->context,
                      error_make(ERROR_KIND_UNAVAILABLE, "start", container->init.texts->id,
                                 "it has not been taken up again yet; try again"),
                      NULL);
        process_unref(process);
        free(request);
        return;
    }
    if (!error && init) {
        container_step_phase(container, "HcsStartComputeSystem");
        error = hcs_system_start(container->system, &wait);
    }
    if (!error)
        error = process_launch(process, init ? "/tasks/start" : "/tasks/exec-started");
    if (error && container->killed && error->kind == ERROR_KIND_CANCELLED) {
        error_free(error);
        error = killed_meanwhile(container);
    }
    if (error)
        start_failed(process, request, error);
    else {
        AcquireSRWLockShared(&container->lock);
        process_view(process, &view);
        ReleaseSRWLockShared(&container->lock);
        request->done(request->context, NULL, &view);
        task_view_free(&view);
    }
    process_unref(process);
    free(request);
}

void task_start(struct tasks *tasks, const char *containerd_namespace, const char *id, const char *exec_id,
                task_done done, void *context)
{
    struct process *process;
    struct error *error = tasks_find(tasks, containerd_namespace, id, exec_id, true, &process);
    if (error) {
        done(context, error, NULL);
        return;
    }
    struct container *container = process->container;
    AcquireSRWLockExclusive(&container->lock);
    error = phase_check(process->phase, REQUEST_START, id);
    if (!error && process != &container->init)
        error = phase_check(container->init.phase, REQUEST_EXEC, id);
    if (!error)
        process->phase = PHASE_STARTING;
    ReleaseSRWLockExclusive(&container->lock);
    if (!error) {
        struct start_request *request = mem_new(struct start_request);
        *request = (struct start_request){process_ref(process), done, context};
        error = container_submit(container, "start", step_start, request);
        if (error) {
            process_unref(process);
            free(request);
            AcquireSRWLockExclusive(&container->lock);
            if (process->phase == PHASE_STARTING)
                process->phase = PHASE_CREATED;
            ReleaseSRWLockExclusive(&container->lock);
        }
    }
    if (error)
        done(context, error, NULL);
    process_unref(process);
}
