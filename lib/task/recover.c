/* What survives hcsd: containers' documents in the journal, and taking them up again after a restart or a lost connection. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "journal/journal.h"
#include "task/container.h"
#include "task/record.h"

#define RETRY_FIRST_MS 1000u
#define RETRY_MAX_MS   60000u

/* ---- documents ---- */

static struct journal_key key_of(const struct container *container)
{
    return (struct journal_key){container->init.texts->containerd_namespace, container->init.texts->id};
}

struct error *container_try_save(struct container *container)
{
    struct task_texts *texts = container->init.texts;
    struct journal_key key = key_of(container);
    AcquireSRWLockExclusive(&container->journal_lock);
    AcquireSRWLockShared(&container->lock);
    struct record record = {
        .bundle = texts->bundle,
        .stdin_path = texts->stdin_path,
        .stdout_path = texts->stdout_path,
        .stderr_path = texts->stderr_path,
        .scratch = container->scratch ? container->scratch : "",
        .sandbox = container->sandbox ? container->sandbox : "",
        .phase = container->init.phase,
        .terminal = container->init.terminal,
        .isolated = container->isolated,
        .linux_container = container->linux_container,
        .ran = container->init.ran,
        .asked = container->asked,
        .hidden = container->hidden,
        .pid = container->init.pid,
        .exit_status = container->init.exit_status,
        .exited_ns = container->init.exited_ns,
        .instance = container->instance,
        .code_known = container->init.code_known,
        .exit_code = container->init.exit_code,
        .noticed_ns = container->init.noticed_ns,
    };
    if (container->init.session)
        record.session = session_name(container->init.session);
    json_t *body = record_encode(&record);
    ReleaseSRWLockShared(&container->lock);
    struct error *error = container->removed ? NULL : journal_save(container->tasks->journal, &key, body);
    json_decref(body);
    ReleaseSRWLockExclusive(&container->journal_lock);
    return error;
}

void container_log_error(const struct container *container, struct error *error)
{
    if (!error)
        return;
    char *text = error_text(error);
    log_debug("container %s: %s", container->init.texts->id, text);
    free(text);
    error_free(error);
}

void container_save(struct container *container)
{
    container_log_error(container, container_try_save(container));
}

void container_unsave(struct container *container)
{
    struct journal_key key = key_of(container);
    execs_unsave(container);
    AcquireSRWLockExclusive(&container->journal_lock);
    container_log_error(container, journal_remove(container->tasks->journal, &key));
    ReleaseSRWLockExclusive(&container->journal_lock);
}

/* ---- taking up ---- */

static uint64_t pause_ms(unsigned tries)
{
    uint64_t pause = RETRY_FIRST_MS;
    for (unsigned i = 0; i < tries && pause < RETRY_MAX_MS; i++)
        pause *= 2;
    return pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS;
}

static void retry(void *context)
{
    struct container *container = context;
    container_post(container, "reattach", container_reattach_step, NULL);
    container_unref(container);
}

static void retry_later(struct container *container, struct error *error)
{
    if (error) {
        char *text = error_text(error);
        log_debug("container %s: taking it up again: %s", container->init.texts->id, text);
        free(text);
        error_free(error);
    }
    if (timer_set(container->tasks->endings, &container->reattach_timer,
                  clock_ms() + pause_ms(container->reattach_tries++), retry, container))
        container_ref(container);
}

static void system_is_gone(struct container *container, bool ran)
{
    if (ran && !container->hidden && !container->init.code_known)
        event_emit(EVENT_TASK_EXIT_UNKNOWN, container->init.texts->id);
    AcquireSRWLockExclusive(&container->lock);
    container->asked = true; /* nobody is to blame for what happened meanwhile */
    container_system_gone(container, 0);
    ReleaseSRWLockExclusive(&container->lock);
}

struct error *container_reopen_init(struct container *container, struct hcs_system *system)
{
    struct process *init = &container->init;
    struct guard_wait wait = {container->tasks->call_ms, container->ended};
    struct hcs_process *handle;
    struct error *error = hcs_process_open(system, init->pid, &wait, &handle);
    if (error)
        return error;
    AcquireSRWLockExclusive(&container->lock);
    /* A call that has just begun on the old one keeps it: it fails with the connection that is lost. */
    struct hcs_process *old = container->ladder_calls ? NULL : init->handle;
    init->handle = handle;
    ReleaseSRWLockExclusive(&container->lock);
    error_free(hcs_process_close(old));
    if (init->attached)
        process_watch_stdin(init);
    process_ref(init);
    error = hcs_process_on_exit(handle, container_process_exit, init);
    if (error)
        process_unref(init);
    return error;
}

void container_reattach_step(struct container *container, void *argument)
{
    struct tasks *tasks = container->tasks;
    struct process *init = &container->init;
    struct guard_wait wait = {tasks->call_ms, container->ended};
    struct hcs_system *system, *old;
    (void)argument;

    AcquireSRWLockShared(&container->lock);
    bool over = container->system_exited || init->phase == PHASE_STOPPED, busy = container->ladder_calls > 0;
    bool alive = phase_is_alive(init->phase), ran = init->ran, created = init->phase == PHASE_CREATED, paused = false;
    bool known = init->code_known; /* it had ended, and the rest was not done */
    bool unwanted = container->hidden || (container->recovered && tasks->terminate_survivors);
    ReleaseSRWLockShared(&container->lock);
    if (over)
        return;
    if (busy) { /* calls on the old object are just failing */
        retry_later(container, NULL);
        return;
    }
    container_step_phase(container, "HcsOpenComputeSystem");
    struct error *error = hcs_system_open(tasks->compute, init->texts->id, &wait, &system);
    if (error && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        system_is_gone(container, ran);
        return;
    }
    if (error) {
        retry_later(container, error);
        return;
    }
    AcquireSRWLockExclusive(&container->lock);
    old = container->ladder_calls ? NULL : container->system;
    container->system = system;
    ReleaseSRWLockExclusive(&container->lock);
    error_free(hcs_system_close(old));
    container_ref(container);
    error = hcs_system_on_exit(system, container_system_exit, container);
    if (error)
        container_unref(container);
    if (!error && alive && container->isolated) {
        container_step_phase(container, "ask for state");
        error = container_ask_paused(container, system, &paused);
        AcquireSRWLockExclusive(&container->lock);
        if (!error && phase_is_alive(init->phase) && init->phase != PHASE_PAUSING)
            init->phase = paused ? PHASE_PAUSED : PHASE_RUNNING;
        container->init_unopened = paused;
        ReleaseSRWLockExclusive(&container->lock);
    }
    if (!error && alive && !paused && !known) {
        container_step_phase(container, "HcsOpenProcess");
        error = container_reopen_init(container, system);
        if (error && error->kind == ERROR_KIND_NOT_FOUND) {
            error_free(error);
            error = NULL;
            event_emit(EVENT_TASK_EXIT_UNKNOWN, init->texts->id);
            container_end(container, RUNG_SHUTDOWN, TASK_EXIT_UNKNOWN);
        }
    }
    if (!error && alive && !paused)
        error = execs_reopen(container, system);
    if (error) {
        retry_later(container, error);
        return;
    }
    if (known)
        container_end(container, RUNG_SHUTDOWN, init->exit_code);
    container->reattach_tries = 0;
    if (unwanted) {
        AcquireSRWLockExclusive(&container->lock);
        container->asked = container->killed = true;
        ReleaseSRWLockExclusive(&container->lock);
        if (created || container->hidden)
            container_end(container, RUNG_TERMINATE, created ? 1 : TASK_EXIT_UNKNOWN);
        container_raise(container, RUNG_TERMINATE);
    } else
        event_emit(EVENT_TASK_RECOVERED, init->texts->id, phase_name(init->phase));
}

/* Nobody else knows the container yet. */
static void resume_stdio(struct container *container, const char *name)
{
    struct process *init = &container->init;
    init->session = session_resume(container->tasks->relays, name);
    if (!init->session) {
        event_emit(EVENT_TASK_STDIO_GONE, init->texts->id);
        return;
    }
    init->attached = session_attached(init->session);
}

/* NULL: another one has its id. */
static struct container *restore(struct tasks *tasks, const struct journal_document *document,
                                 const struct record *record)
{
    struct container *same;
    struct task_texts *texts = texts_new(document->space, document->id, "", record->bundle, record->stdin_path,
                                         record->stdout_path, record->stderr_path);
    struct container *container = container_new(tasks, texts, record->terminal);
    struct process *init = &container->init;
    container->recovered = true;
    container->asked = record->asked;
    container->isolated = record->isolated;
    container->linux_container = record->linux_container;
    container->scratch = *record->scratch ? str_copy(record->scratch) : NULL;
    container->sandbox = *record->sandbox ? str_copy(record->sandbox) : NULL;
    /* The pid is written as soon as there is one. */
    init->ran = record->ran || record->pid;
    init->pid = record->pid;
    init->code_known = init->exit_seen = record->code_known;
    init->exit_code = record->exit_code;
    init->noticed_ns = record->noticed_ns;
    if (*record->instance)
        snprintf(container->instance, sizeof container->instance, "%s", record->instance);
    /* Nobody was told of a container that was still being created; what there is of it is ended. */
    container->hidden = container->exit_published = record->hidden || record->phase == PHASE_CREATING;
    init->phase = record->phase == PHASE_STOPPED  ? PHASE_STOPPED
                  : !init->ran                    ? PHASE_CREATED
                  : record->phase == PHASE_PAUSED ? PHASE_PAUSED /* until HCS is asked */
                                                  : PHASE_RUNNING;
    if (init->phase == PHASE_STOPPED) {
        init->exit_status = record->exit_status;
        init->exited_ns = record->exited_ns;
        container->exit_published = container->system_exited = true;
    }
    if (*record->session && init->phase != PHASE_STOPPED)
        resume_stdio(container, record->session);
    AcquireSRWLockExclusive(&tasks->lock);
    HASH_FIND_STR(tasks->containers, texts->id, same);
    if (!same)
        HASH_ADD_KEYPTR(hh, tasks->containers, texts->id, strlen(texts->id), container);
    ReleaseSRWLockExclusive(&tasks->lock);
    if (same) {
        event_emit(EVENT_STATE_REFUSED, texts->id, "another namespace has a document of this container id");
        container_unref(container);
        return NULL;
    }
    if (!*record->instance && init->phase != PHASE_STOPPED) /* execs need one */
        container_save(container);
    return container;
}

/* ---- what nobody knows ---- */

/* True: it has ended. Why it has not is told once. */
static bool end_leftover(struct tasks *tasks, const char *id, bool tell)
{
    struct guard_wait wait = {rung_ms(tasks), NULL};
    struct hcs_system *system;
    bool gone = false;
    struct error *error = hcs_system_open(tasks->compute, id, &wait, &system);
    if (error && error->kind == ERROR_KIND_NOT_FOUND) { /* it has just ended by itself */
        error_free(error);
        return true;
    }
    if (!error) {
        error = hcs_system_terminate(system, &wait, &gone);
        if (!error && !gone)
            error = hcs_system_wait_exit(system, &wait, NULL);
        error_keep_first(&error, hcs_system_close(system));
    }
    bool ended = !error;
    if (ended)
        event_emit(EVENT_TASK_ORPHAN_ENDED, id);
    else if (tell) {
        char *text = error_text(error);
        event_emit(EVENT_TASK_TEARDOWN_FAILED, id, text);
        free(text);
    }
    error_free(error);
    return ended;
}

static void sweep_run(void *context);

static void add_unread(struct tasks *tasks, char *id)
{
    tasks->unread = mem_resize_array(tasks->unread, tasks->unread_count + 1, sizeof tasks->unread[0]);
    tasks->unread[tasks->unread_count++] = id;
}

void tasks_holders(struct tasks *tasks, char ***ret_holders, size_t *ret_count)
{
    struct container *container, *next;
    size_t count = 0;
    AcquireSRWLockShared(&tasks->lock);
    char **holders = mem_new_array(HASH_COUNT(tasks->containers) + tasks->unread_count + 1, char *);
    HASH_ITER(hh, tasks->containers, container, next)
    {
        AcquireSRWLockShared(&container->lock);
        if (container->init.phase != PHASE_STOPPED)
            holders[count++] = container_holder(container);
        ReleaseSRWLockShared(&container->lock);
    }
    for (size_t i = 0; i < tasks->unread_count; i++)
        holders[count++] = holder_of(tasks->unread[i]);
    ReleaseSRWLockShared(&tasks->lock);
    *ret_holders = holders;
    *ret_count = count;
}

bool tasks_is_unread(const struct tasks *tasks, const char *id)
{
    for (size_t i = 0; i < tasks->unread_count; i++)
        if (!strcmp(tasks->unread[i], id))
            return true;
    return false;
}

static bool is_known(struct tasks *tasks, const char *id)
{
    struct container *known = NULL;
    if (tasks_is_unread(tasks, id))
        return true;
    AcquireSRWLockShared(&tasks->lock);
    HASH_FIND_STR(tasks->containers, id, known);
    bool closing = tasks->closing;
    ReleaseSRWLockShared(&tasks->lock);
    return known || closing;
}

/* Everything that runs in our name; what nobody knows is ended. *ret_running counts the others, *ret_left what did not end. */
static struct error *look_through(struct tasks *tasks, bool tell, unsigned *ret_running, unsigned *ret_left)
{
    struct guard_wait wait = {tasks->call_ms, NULL};
    char *text = NULL;
    size_t index;
    json_t *entry, *query = json_pack("{s:[s]}", "Owners", tasks->owner);
    char *query_text = json_dumps(query, JSON_COMPACT);
    struct error *error = hcs_enumerate(tasks->compute, query_text, &wait, &text);
    json_t *systems = text ? json_loads(text, 0, NULL) : NULL;
    json_array_foreach(systems, index, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "Id"));
        if (id && tasks->is_machine && tasks->is_machine(tasks->context, id))
            continue; /* a VM, which has its own account */
        if (id && is_known(tasks, id))
            ++*ret_running;
        else if (id && !end_leftover(tasks, id, tell))
            ++*ret_left;
    }
    json_decref(systems);
    free(text);
    json_decref(query);
    free(query_text);
    return error;
}

/* With the tasks' reference that it was begun with. */
static void sweep_fired(void *context)
{
    struct tasks *tasks = context;
    operations_post(tasks->endings, sweep_run, tasks);
}

static void sweep_run(void *context)
{
    struct tasks *tasks = context;
    struct sweep *sweep = &tasks->sweep;
    unsigned running = 0, left = 0;
    atomic_fetch_add(&tasks->in_flight, 1);
    struct error *error = look_through(tasks, sweep->tries == 0, &running, &left);
    if (error) {
        char *why = error_text(error);
        log_debug("looking for containers left over: %s", why);
        free(why);
    }
    AcquireSRWLockExclusive(&tasks->lock);
    bool fresh = sweep->again, unfinished = error || left || clock_ms() < sweep->late_ms;
    bool repeat = (unfinished || fresh) && !tasks->closing;
    bool tell = !error && !fresh && sweep->reconnect;
    uint64_t pause = fresh ? 0 : pause_ms(sweep->tries);
    sweep->tries = unfinished && !fresh ? sweep->tries + 1 : 0;
    sweep->again = false;
    if (tell)
        sweep->reconnect = false;
    if (!repeat)
        sweep->under_way = false;
    ReleaseSRWLockExclusive(&tasks->lock);
    if (tell && tasks->reconnected)
        tasks->reconnected(tasks->context, running);
    atomic_fetch_sub(&tasks->in_flight, 1);
    if (repeat)
        timer_set(tasks->endings, &sweep->timer, clock_ms() + pause, sweep_fired, tasks);
    else
        tasks_unref(tasks);
    error_free(error);
}

static void sweep_begin(struct tasks *tasks, bool reconnect)
{
    AcquireSRWLockExclusive(&tasks->lock);
    bool begin = !tasks->sweep.under_way && !tasks->closing;
    tasks->sweep.again = !begin;
    tasks->sweep.under_way = tasks->sweep.under_way || begin;
    tasks->sweep.reconnect = tasks->sweep.reconnect || reconnect;
    ReleaseSRWLockExclusive(&tasks->lock);
    if (!begin)
        return;
    atomic_fetch_add(&tasks->references, 1);
    operations_post(tasks->endings, sweep_run, tasks);
}

void tasks_sweep(struct tasks *tasks)
{
    sweep_begin(tasks, false);
}

void tasks_reconnect(struct tasks *tasks)
{
    sweep_begin(tasks, true);
}

struct error *tasks_recover(struct tasks *tasks)
{
    struct journal_list list;
    struct error *error = journal_list(tasks->journal, &list);
    if (error)
        return error;
    struct container **restored = mem_new_array(list.count + 1, struct container *);
    for (size_t i = 0; i < list.count; i++) {
        struct record record;
        struct journal_document *document = &list.documents[i];
        error = document->space ? record_decode(document->body, document->id, &record)
                                : error_make(ERROR_KIND_DATA_LOSS, "read journal", document->id,
                                             "the document of this container has no namespace");
        if (error) {
            char *text = error_text(error);
            event_emit(EVENT_STATE_REFUSED, document->id, text);
            free(text);
            error_free(error);
            add_unread(tasks, str_copy(document->id));
            continue;
        }
        /* What was asked of HCS then may be done yet, when nobody looks for it any more. */
        if (record.phase == PHASE_CREATING)
            tasks->sweep.late_ms = clock_ms() + tasks->call_ms;
        restored[i] = restore(tasks, document, &record);
    }
    for (size_t i = 0; i < list.refused_count; i++) {
        char *space, *id;
        if (journal_name_key(list.refused[i], &space, &id)) {
            free(space);
            add_unread(tasks, id);
        }
    }
    error = execs_recover(tasks);
    for (size_t i = 0; i < list.count && !error; i++)
        if (restored[i] && restored[i]->init.phase != PHASE_STOPPED)
            container_post(restored[i], "reattach", container_reattach_step, NULL);
    free(restored);
    journal_list_free(&list);
    if (error)
        return error;
    relays_settle(tasks->relays);
    sweep_begin(tasks, false);
    return NULL;
}
