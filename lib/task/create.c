/* Creating: reserve the id, read the bundle, dial the client's pipes, mount the layers, make the system. What fails is undone. */
#include <string.h>

#include "base/buffer.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/text.h"
#include "task/bundle.h"
#include "task/container.h"

#define PARENTS_MAX 256u

/* A copy of what was asked, in one allocation each, since the work is done later. */
struct create_request {
    struct task_create create;
    char **parents, **annotations;
    struct tasks *tasks; /* render; likewise: */
    uint32_t os_build;
    task_done done;
    task_render_done render_done;
    void *context;
};

static struct create_request *request_new(const struct task_create *create, void *context)
{
    struct create_request *request = mem_new(struct create_request);
    request->context = context;
    request->parents = mem_new_array(create->rootfs_parent_count, char *);
    for (size_t i = 0; i < create->rootfs_parent_count; i++)
        request->parents[i] = str_copy(create->rootfs_parents[i]);
    size_t annotation_texts = 2 * create->runtime.annotation_count;
    request->annotations = mem_new_array(annotation_texts, char *);
    for (size_t i = 0; i < annotation_texts; i++)
        request->annotations[i] = str_copy(create->runtime.annotations[i]);
    request->create = (struct task_create){
        .containerd_namespace = str_copy(create->containerd_namespace),
        .id = str_copy(create->id),
        .bundle = str_copy(create->bundle),
        .stdin_path = str_copy(create->stdin_path ? create->stdin_path : ""),
        .stdout_path = str_copy(create->stdout_path ? create->stdout_path : ""),
        .stderr_path = str_copy(create->stderr_path ? create->stderr_path : ""),
        .terminal = create->terminal,
        .rootfs_source = str_copy(create->rootfs_source),
        .rootfs_parents = (const char *const *)request->parents,
        .rootfs_parent_count = create->rootfs_parent_count,
        .runtime = create->runtime,
        .client = str_copy(create->client),
    };
    request->create.runtime.platform = str_copy(create->runtime.platform ? create->runtime.platform : "");
    request->create.runtime.annotations = (const char *const *)request->annotations;
    return request;
}

static void request_free(struct create_request *request)
{
    struct task_create *create = &request->create;
    for (size_t i = 0; i < create->rootfs_parent_count; i++)
        free(request->parents[i]);
    free(request->parents);
    for (size_t i = 0; i < 2 * create->runtime.annotation_count; i++)
        free(request->annotations[i]);
    free(request->annotations);
    free((char *)create->runtime.platform);
    free((char *)create->containerd_namespace);
    free((char *)create->id);
    free((char *)create->bundle);
    free((char *)create->stdin_path);
    free((char *)create->stdout_path);
    free((char *)create->stderr_path);
    free((char *)create->rootfs_source);
    free((char *)create->client);
    free(request);
}

static struct error *check(const struct task_create *create)
{
    if (!create->id || !text_is_identifier(create->id))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "create", create->id,
                          "an id has 1 to 76 characters: letters and digits, joined by single '.', '_' or '-'");
    if (!create->bundle || !*create->bundle)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "create", create->id, "no bundle was given");
    if (create->terminal && create->stderr_path && *create->stderr_path)
        return error_make(ERROR_KIND_FAILED_PRECONDITION, "create", create->id,
                          "a terminal has one output; stderr must be left out");
    if (create->rootfs_parent_count > PARENTS_MAX)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "create", create->id, "more than %u parent layers were given",
                          PARENTS_MAX);
    return NULL;
}

static struct error *mount(struct container *container, const struct bundle_mount *mount)
{
    struct tasks *tasks = container->tasks;
    struct error *error;
    if (!mount->scratch)
        return NULL;
    if (!tasks->mount_layers)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "mount layers", mount->scratch, "this program cannot mount layers");
    container_step_phase(container, "mount layers");
    /* Journalled first: should hcsd die in between, the next one knows what to release. */
    container->scratch = str_copy(mount->scratch);
    error = container_try_save(container);
    if (!error) {
        char *holder = container_holder(container);
        error = tasks->mount_layers(tasks->context, holder, mount->scratch, mount->parents, mount->parent_count,
                                    &container->volume);
        free(holder);
    }
    if (error) { /* whoever mounts undoes what it began */
        free(container->scratch);
        container->scratch = NULL;
    }
    return error;
}

static struct error *make_system(struct container *container, const char *document)
{
    struct tasks *tasks = container->tasks;
    struct guard_wait wait = {tasks->call_ms, container->cancel};
    struct hcs_system *system;
    container_step_phase(container, "HcsCreateComputeSystem");
    struct error *error = hcs_system_create(tasks->compute, container->init.texts->id, document, &wait, &system);
    if (error)
        return error;
    AcquireSRWLockExclusive(&container->lock);
    container->system = system;
    ReleaseSRWLockExclusive(&container->lock);
    return NULL;
}

static void tell_warnings(const struct container *container, const struct bundle *bundle)
{
    size_t count;
    char *const *warnings = bundle_warnings(bundle, &count);
    if (!count)
        return;
    struct buffer text = {0};
    for (size_t i = 0; i < count; i++)
        buffer_add_format(&text, "%s%s", i ? " / " : "", warnings[i]);
    char *all = str_copy_n((const char *)text.data, text.size);
    event_emit(EVENT_TASK_SPEC_WARNING, container->init.texts->id, all);
    free(all);
    buffer_free(&text);
}

static struct error *create(struct container *container, const struct create_request *request)
{
    struct tasks *tasks = container->tasks;
    struct process *init = &container->init;
    struct bundle *bundle = NULL;
    struct bundle_mount layers = {0};
    struct session *session = NULL;
    char *document = NULL;
    struct bundle_render render = {
        .id = request->create.id,
        .owner = tasks->owner,
        .linux_boot_files = tasks->linux_boot_files,
        .os_build = tasks->os_build,
        .storage = tasks->storage,
    };

    container_step_phase(container, "bundle");
    struct error *error = bundle_load(request->create.bundle, &bundle);
    if (!error)
        error = bundle_apply(bundle, &request->create.runtime);
    if (!error)
        error = bundle_layers(bundle, &request->create, &layers);
    bool hosted = !error && hosted_wanted(tasks, bundle, &request->create, tasks->os_build);
    if (!error)
        bundle_set_hosted(bundle, hosted);
    if (!error)
        error = bundle_process_document(bundle, &request->create, &init->document);
    if (!error)
        error = pod_join(container, bundle, hosted);
    container->isolated = bundle && bundle_is_isolated(bundle);
    container->linux_container = bundle && bundle_is_linux(bundle);
    /* All that can be judged is judged before anything is touched. */
    render.mount_later = layers.scratch != NULL;
    if (!error)
        error = hosted ? hosted_render(tasks, bundle, &request->create, &render, &document)
                       : bundle_system_document(bundle, &render, &document);
    if (!error) {
        container_step_phase(container, "stdio");
        error = process_open_stdio(init, &session);
    }
    if (!error) {
        AcquireSRWLockExclusive(&container->lock);
        init->session = session;
        ReleaseSRWLockExclusive(&container->lock);
        error = hosted ? NULL : mount(container, &layers);
    }
    if (!error && hosted) {
        free(document);
        document = NULL;
        error = hosted_mount(container, bundle, &request->create, &render, &document);
    } else if (!error && layers.scratch) {
        free(document);
        document = NULL;
        render.mount_later = false;
        render.volume = container->volume;
        error = bundle_system_document(bundle, &render, &document);
    }
    if (!error && !container->scratch)
        error = container_try_save(container);
    if (!error)
        error = make_system(container, document);
    if (!error)
        tell_warnings(container, bundle);
    free(document);
    bundle_free(bundle);
    return error;
}

/* Everything is tried; what stays is journalled by whoever could not undo it. */
static void undo(struct container *container, bool lost)
{
    struct tasks *tasks = container->tasks;
    struct guard_wait wait = {rung_ms(tasks), NULL};
    /* With the connection the handle was lost, and with it what the call may have made. */
    bool left = false;
    if (lost) {
        bool gone;
        struct error *error = system_end_by_id(tasks, container->init.texts->id, &wait, &gone);
        left = error != NULL;
        error_free(error);
    }
    if (container->system) {
        error_free(hcs_system_terminate(container->system, &wait, NULL));
        error_free(hcs_system_close(container->system));
        container->system = NULL;
    }
    if (container->scratch && tasks->release_layers) {
        char *holder = container_holder(container);
        struct error *error = tasks->release_layers(tasks->context, holder, container->scratch);
        free(holder);
        if (error) {
            char *text = error_text(error);
            event_emit(EVENT_TASK_TEARDOWN_FAILED, container->init.texts->id, text);
            free(text);
            error_free(error);
        }
    }
    process_shut(&container->init);
    container_unsave(container);
    tasks_forget(container);
    if (left) /* nobody knows of it from here on */
        tasks_sweep(tasks);
}

static void tell(struct container *container, const struct task_create *create)
{
    struct tasks *tasks = container->tasks;
    struct task_view view;
    if (!tasks->event)
        return;
    AcquireSRWLockShared(&container->lock);
    process_view(&container->init, &view);
    ReleaseSRWLockShared(&container->lock);
    view.rootfs_source = create->rootfs_source;
    view.rootfs_parents = create->rootfs_parents;
    view.rootfs_parent_count = create->rootfs_parent_count;
    tasks->event(tasks->context, "/tasks/create", &view);
    task_view_free(&view);
}

static void step_create(struct container *container, void *argument)
{
    struct create_request *request = argument;
    struct process *init = &container->init;
    struct task_view view;
    struct error *error = create(container, request);

    if (!error) {
        AcquireSRWLockExclusive(&container->lock);
        init->phase = PHASE_CREATED;
        ReleaseSRWLockExclusive(&container->lock);
        container_step_phase(container, "journal");
        error = container_try_save(container);
    }
    if (!error) {
        tell(container, &request->create);
        /* From here on it may end by itself; that comes on the lane behind this. */
        container_ref(container);
        error = hcs_system_on_exit(container->system, container_system_exit, container);
        if (error)
            container_unref(container);
    }
    if (error) {
        if (!error_is_callers(error)) {
            char *text = error_text(error);
            event_emit(EVENT_TASK_CREATE_FAILED, request->create.id, text);
            free(text);
        }
        undo(container, error->kind == ERROR_KIND_UNAVAILABLE);
        request->done(request->context, error, NULL);
    } else {
        AcquireSRWLockShared(&container->lock);
        process_view(init, &view);
        ReleaseSRWLockShared(&container->lock);
        request->done(request->context, NULL, &view);
        task_view_free(&view);
    }
    request_free(request);
}

static struct error *reserve(struct tasks *tasks, struct container *container)
{
    struct error *error = NULL;
    struct container *same;
    struct task_texts *texts = container->init.texts;
    AcquireSRWLockExclusive(&tasks->lock);
    HASH_FIND_STR(tasks->containers, texts->id, same);
    if (tasks->draining)
        error = error_make(ERROR_KIND_UNAVAILABLE, "create", texts->id, "hcsd is stopping and takes no new containers");
    else if (same && same->hidden)
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "create", texts->id,
                           "a container of this id was deleted by force and has not ended yet");
    else if (same && !strcmp(same->init.texts->containerd_namespace, texts->containerd_namespace))
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "create", texts->id, "a container of this id exists already");
    else if (same)
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "create", texts->id,
                           "a container of this id exists in another namespace; ids are one for the whole machine");
    else
        HASH_ADD_KEYPTR(hh, tasks->containers, texts->id, strlen(texts->id), container);
    ReleaseSRWLockExclusive(&tasks->lock);
    return error;
}

void task_create(struct tasks *tasks, const struct task_create *create, task_done done, void *context)
{
    struct container *container = NULL;
    struct error *error = check(create);
    if (!error) {
        container = container_new(tasks,
                                  texts_new(create->containerd_namespace, create->id, "", create->bundle,
                                            create->stdin_path, create->stdout_path, create->stderr_path),
                                  create->terminal);
        error = reserve(tasks, container);
        if (error)
            container_unref(container);
    }
    if (!error) {
        struct create_request *request = request_new(create, context);
        request->done = done;
        error = container_submit(container, "create", step_create, request);
        if (error) {
            request_free(request);
            tasks_forget(container);
        }
    }
    if (error)
        done(context, error, NULL);
}

/* ---- rendering without sending ---- */

static void run_render(void *context)
{
    struct create_request *request = context;
    const struct task_create *create = &request->create;
    struct bundle *bundle = NULL;
    struct bundle_mount layers = {0};
    char *document = NULL, *process = NULL;
    char *const *warnings = NULL;
    size_t warning_count = 0;

    struct error *error = bundle_load(create->bundle, &bundle);
    if (!error)
        error = bundle_apply(bundle, &create->runtime);
    if (!error)
        error = bundle_layers(bundle, create, &layers);
    if (!error)
        error = bundle_process_document(bundle, create, &process);
    if (!error) {
        const struct bundle_render render = {
            .id = create->id,
            .owner = request->tasks->owner,
            .linux_boot_files = request->tasks->linux_boot_files,
            .mount_later = true,
            .os_build = request->os_build,
            .storage = request->tasks->storage,
        };
        error = hosted_wanted(request->tasks, bundle, create, request->os_build)
                    ? hosted_render(request->tasks, bundle, create, &render, &document)
                    : bundle_system_document(bundle, &render, &document);
    }
    if (!error)
        warnings = bundle_warnings(bundle, &warning_count);
    request->render_done(request->context, error, document, warnings, warning_count);
    free(document);
    free(process);
    bundle_free(bundle);
    request_free(request);
}

void task_render(struct tasks *tasks, const struct task_create *create, uint32_t os_build, task_render_done done,
                 void *context)
{
    struct error *error = check(create);
    if (!error) {
        struct create_request *request = request_new(create, context);
        request->tasks = tasks;
        request->os_build = os_build ? os_build : tasks->os_build;
        request->render_done = done;
        error = operations_submit(tasks->requests, run_render, request);
        if (error)
            request_free(request);
    }
    if (error)
        done(context, error, NULL, NULL, 0);
}
