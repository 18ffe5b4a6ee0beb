/* What survives hcsd of execs: a document for each, and taking them up again with their container.
 *
 * The order of a start is: "starting" is written, HcsCreateProcess, its pid is written, the relay gets its pipes. So wherever
 * hcsd dies, nothing is run twice, and what is known to run is found again; of what was recorded as starting without a pid
 * nobody can know whether it ran: it counts as ended with an unknown code. An exit is written before it is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "journal/journal.h"
#include "task/container.h"
#include "task/properties.h"
#include "task/record.h"

#define JOURNALLED_MAX 65536u
/* HCS's clock and ours may tick apart by so much. */
#define CLOCK_SLACK_NS 2000000000ll

/* ---- documents ---- */

/* The lock held. */
static json_t *encode(const struct process *exec)
{
    const struct task_texts *texts = exec->texts;
    bool created = exec->phase == PHASE_CREATED;
    json_t *document = created && exec->document ? json_loads(exec->document, 0, NULL) : NULL;
    bool over = exec->phase == PHASE_STOPPED;
    const struct exec_record record = {
        .containerd_namespace = texts->containerd_namespace,
        .id = texts->id,
        .instance = exec->container->instance,
        .exec_id = texts->exec_id,
        .stdin_path = texts->stdin_path,
        .stdout_path = texts->stdout_path,
        .stderr_path = texts->stderr_path,
        .session = exec->session ? session_name(exec->session) : NULL,
        .document = document,
        .phase = exec->phase,
        .terminal = exec->terminal,
        .pid = exec->pid,
        .begun_ns = exec->begun_ns,
        .started_ns = exec->started_ns,
        .code_known = over || exec->code_known,
        .exit_code = over ? exec->exit_status : exec->exit_code,
        .exited_ns = over ? exec->exited_ns : exec->noticed_ns,
    };
    json_t *body = exec_record_encode(&record);
    json_decref(document);
    return body;
}

static struct error *number_exec(struct process *exec)
{
    struct tasks *tasks = exec->container->tasks;
    if (atomic_fetch_add(&tasks->execs_journalled, 1) >= JOURNALLED_MAX) {
        atomic_fetch_sub(&tasks->execs_journalled, 1);
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "exec", exec->texts->id,
                          "there are %u execs; delete some that have ended", JOURNALLED_MAX);
    }
    exec->number = atomic_fetch_add(&tasks->last_exec, 1) + 1;
    return NULL;
}

static void name_of(uint64_t number, char name[24])
{
    snprintf(name, 24, "%llu", (unsigned long long)number);
}

struct error *exec_try_save(struct process *exec)
{
    struct container *container = exec->container;
    struct error *error = NULL;
    AcquireSRWLockExclusive(&container->journal_lock);
    if (!exec->forgotten && !exec->number)
        error = number_exec(exec);
    if (!error && !exec->forgotten) {
        char name[24];
        struct journal_key key = {NULL, name};
        name_of(exec->number, name);
        AcquireSRWLockShared(&container->lock);
        json_t *body = encode(exec);
        ReleaseSRWLockShared(&container->lock);
        error = journal_save(container->tasks->exec_journal, &key, body);
        json_decref(body);
    }
    ReleaseSRWLockExclusive(&container->journal_lock);
    return error;
}

void exec_save(struct process *exec)
{
    container_log_error(exec->container, exec_try_save(exec));
}

static struct error *forget(struct tasks *tasks, uint64_t number)
{
    char name[24];
    struct journal_key key = {NULL, name};
    name_of(number, name);
    return journal_remove(tasks->exec_journal, &key);
}

void exec_unsave(struct process *exec)
{
    struct container *container = exec->container;
    AcquireSRWLockExclusive(&container->journal_lock);
    uint64_t number = exec->number;
    exec->number = 0;
    exec->forgotten = true;
    if (number) {
        atomic_fetch_sub(&container->tasks->execs_journalled, 1);
        container_log_error(container, forget(container->tasks, number));
    }
    ReleaseSRWLockExclusive(&container->journal_lock);
}

void execs_unsave(struct container *container)
{
    size_t count;
    struct process **execs = execs_all(container, &count);
    for (size_t i = 0; i < count; i++) {
        exec_unsave(execs[i]);
        process_unref(execs[i]);
    }
    free(execs);
}

/* ---- after a restart ---- */

/* What it is to be given to start it. Without its stdio there is nobody at the other end of any pipe. */
static char *document_of(const struct exec_record *record, bool stdio)
{
    json_t *document = json_copy(record->document);
    static const char *const pipes[] = {"CreateStdInPipe", "CreateStdOutPipe", "CreateStdErrPipe"};
    for (size_t i = 0; !stdio && i < sizeof pipes / sizeof pipes[0]; i++)
        json_object_del(document, pipes[i]);
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    return text;
}

static enum phase phase_now(const struct exec_record *record, enum phase container)
{
    bool over = container == PHASE_STOPPED || record->phase == PHASE_STOPPED;
    if (!over && record->phase == PHASE_CREATED && phase_is_alive(container))
        return PHASE_CREATED;
    return !over && record->pid ? PHASE_RUNNING : PHASE_STOPPED;
}

static void resume_stdio(struct process *exec, const char *name)
{
    struct relays *relays = exec->container->tasks->relays;
    exec->session = session_resume(relays, name);
    exec->attached = exec->session && session_attached(exec->session);
    if (exec->session && !exec->attached && exec->phase == PHASE_RUNNING) {
        session_close(exec->session); /* hcsd had its pipes when it died */
        exec->session = NULL;
    }
    if (exec->session)
        return;
    char *id = str_format("%s/%s", exec->texts->id, exec->texts->exec_id);
    event_emit(EVENT_TASK_STDIO_GONE, id);
    free(id);
}

/* Nobody else knows the container yet. */
static void restore(struct container *container, uint64_t number, const struct exec_record *record)
{
    struct process *exec = mem_new(struct process);
    atomic_init(&exec->references, 1);
    exec->container = container;
    exec->texts = texts_new(record->containerd_namespace, record->id, record->exec_id, container->init.texts->bundle,
                            record->stdin_path, record->stdout_path, record->stderr_path);
    exec->number = number;
    atomic_fetch_add(&container->tasks->execs_journalled, 1);
    exec->terminal = record->terminal;
    exec->phase = phase_now(record, container->init.phase);
    exec->pid = record->pid;
    exec->ran = record->pid != 0;
    exec->begun_ns = record->begun_ns;
    exec->started_ns = record->started_ns;
    exec->code_known = record->code_known;
    exec->exit_code = record->exit_code;
    exec->noticed_ns = record->exited_ns;
    exec->exit_status = TASK_EXIT_NONE;
    if (*record->session && exec->phase != PHASE_STOPPED)
        resume_stdio(exec, record->session);
    if (exec->phase == PHASE_CREATED)
        exec->document = document_of(record, exec->session != NULL);
    HASH_ADD_KEYPTR(hh, container->execs, exec->texts->exec_id, strlen(exec->texts->exec_id), exec);
    if (exec->phase != PHASE_STOPPED)
        return;
    exec_stop(exec, record->code_known ? record->exit_code : record->phase == PHASE_CREATED ? 1 : TASK_EXIT_UNKNOWN);
    if (record->phase != PHASE_STOPPED)
        exec_save(exec);
}

/* The container that it belongs to, or NULL. */
static struct container *owner(struct tasks *tasks, const struct exec_record *record)
{
    struct container *container;
    struct process *same = NULL;
    HASH_FIND_STR(tasks->containers, record->id, container);
    if (!container || container->hidden || strcmp(container->instance, record->instance) != 0 ||
        strcmp(container->init.texts->containerd_namespace, record->containerd_namespace) != 0)
        return NULL;
    HASH_FIND_STR(container->execs, record->exec_id, same);
    return same ? NULL : container; /* the younger of the two is the one that was not deleted */
}

static uint64_t number_of(const char *id)
{
    return strtoull(id, NULL, 10);
}

static int youngest_first(const void *a, const void *b)
{
    uint64_t left = number_of(((const struct journal_document *)a)->id);
    uint64_t right = number_of(((const struct journal_document *)b)->id);
    return left < right ? 1 : left > right ? -1 : 0;
}

static void note_number(struct tasks *tasks, uint64_t number)
{
    if (number > atomic_load(&tasks->last_exec))
        atomic_store(&tasks->last_exec, number);
}

struct error *execs_recover(struct tasks *tasks)
{
    struct journal_list list;
    struct error *error = journal_list(tasks->exec_journal, &list);
    if (error)
        return error;
    qsort(list.documents, list.count, sizeof *list.documents, youngest_first);
    for (size_t i = 0; i < list.count; i++) {
        const struct journal_document *document = &list.documents[i];
        struct exec_record record;
        note_number(tasks, number_of(document->id));
        error = exec_record_decode(document->body, document->id, &record);
        if (error) {
            char *text = error_text(error);
            event_emit(EVENT_STATE_REFUSED, document->id, text);
            free(text);
            error_free(error);
            continue;
        }
        struct container *container = owner(tasks, &record);
        if (container)
            restore(container, number_of(document->id), &record);
        else if (!tasks_is_unread(tasks, record.id)) /* its container was deleted when hcsd died */
            error_free(forget(tasks, number_of(document->id)));
    }
    for (size_t i = 0; i < list.refused_count; i++) {
        char *space, *id;
        if (journal_name_key(list.refused[i], &space, &id)) {
            note_number(tasks, number_of(id));
            free(space);
            free(id);
        }
    }
    journal_list_free(&list);
    return NULL;
}

/* ---- with their container, after a restart or a lost connection ---- */

/* Its pid may have gone to another process since; both times are of the clock as it was then. */
static bool is_another(const struct process *exec, const struct task_process_view *processes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (processes[i].pid == exec->pid)
            return processes[i].created_ns && exec->begun_ns &&
                   (processes[i].created_ns < exec->begun_ns - CLOCK_SLACK_NS ||
                    processes[i].created_ns > exec->started_ns + CLOCK_SLACK_NS);
    return false;
}

/* Whether asking again may bring another answer; else the process is not there as far as HCS is concerned. */
static bool is_passing(const struct error *error)
{
    return error->kind == ERROR_KIND_UNAVAILABLE || error->kind == ERROR_KIND_DEADLINE_EXCEEDED ||
           error->kind == ERROR_KIND_CANCELLED || error->kind == ERROR_KIND_RESOURCE_EXHAUSTED;
}

/* `another`: what has its pid is not it. It may have ended since: then its exit code is not known. */
static struct error *reopen(struct container *container, struct hcs_system *system, struct process *exec, bool another)
{
    struct guard_wait wait = {container->tasks->call_ms, container->ended};
    struct hcs_process *handle = NULL;
    struct error *error = another ? NULL : hcs_process_open(system, exec->pid, &wait, &handle);
    if (error && is_passing(error))
        return error;
    container_log_error(container, error);
    AcquireSRWLockExclusive(&container->lock);
    struct hcs_process *old = container->ladder_calls ? NULL : exec->handle;
    exec->handle = handle;
    ReleaseSRWLockExclusive(&container->lock);
    error_free(hcs_process_close(old));
    if (!handle) {
        event_emit(EVENT_EXEC_EXIT_UNKNOWN, exec->texts->exec_id, exec->texts->id);
        exec_exited(exec);
        return NULL;
    }
    if (exec->attached)
        process_watch_stdin(exec);
    process_ref(exec);
    error = hcs_process_on_exit(handle, container_process_exit, exec);
    if (error)
        process_unref(exec);
    return error;
}

struct error *execs_reopen(struct container *container, struct hcs_system *system)
{
    struct guard_wait wait = {container->tasks->call_ms, container->ended};
    struct task_process_view *processes = NULL;
    size_t count, running = 0, process_count = 0;
    struct process **execs = execs_all(container, &count);
    struct error *error = NULL;
    for (size_t i = 0; i < count; i++) {
        AcquireSRWLockShared(&container->lock);
        bool runs = execs[i]->phase == PHASE_RUNNING, ended = execs[i]->code_known;
        ReleaseSRWLockShared(&container->lock);
        if (runs && ended)
            exec_exited(execs[i]); /* what is left to do is to pass its output on, and to tell */
        if (runs && !ended)
            execs[running++] = execs[i];
        else
            process_unref(execs[i]);
    }
    /* A VM has a clock of its own. */
    if (running && !container->isolated) {
        char *text = NULL;
        container_step_phase(container, "ask for processes");
        error = hcs_system_properties(system, PROPERTIES_PROCESSES, &wait, &text);
        if (!error)
            error = properties_processes(text, container->init.texts->id, 0, &processes, &process_count);
        free(text);
        if (error && !is_passing(error)) { /* then the pid has to do */
            container_log_error(container, error);
            error = NULL;
        }
    }
    container_step_phase(container, "HcsOpenProcess");
    for (size_t i = 0; i < running; i++) {
        if (!error)
            error = reopen(container, system, execs[i], is_another(execs[i], processes, process_count));
        process_unref(execs[i]);
    }
    task_processes_free(processes, process_count);
    free(execs);
    return error;
}
