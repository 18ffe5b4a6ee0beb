/* Pods: containers that Kubernetes groups around a sandbox. Windows knows nothing of the group: the containers share what their
 * specs say (networkSharedContainerName, endpoints), and those in a VM the sandbox's VM. The group matters for who may join it and for a kill of all. */
#include <string.h>

#include "base/memory.h"
#include "spec/spec.h"
#include "task/bundle.h"
#include "task/container.h"

bool container_is_sandbox(const struct container *container)
{
    return container->sandbox && !strcmp(container->sandbox, container->init.texts->id);
}

static struct error *refuse(const struct container *container, enum error_kind kind, const char *sandbox,
                            const char *why)
{
    return error_make(kind, "join pod", container->init.texts->id, "its sandbox %s %s", sandbox, why);
}

static struct error *check_sandbox(const struct container *container, const char *id, bool isolated, bool hosted)
{
    const char *containerd_namespace = container->init.texts->containerd_namespace;
    struct process *init;
    struct error *error = tasks_find(container->tasks, containerd_namespace, id, NULL, true, &init);
    if (error) {
        error_free(error);
        return refuse(container, ERROR_KIND_FAILED_PRECONDITION, id, "does not exist");
    }
    struct container *sandbox = init->container;
    AcquireSRWLockShared(&sandbox->lock);
    bool running = init->phase == PHASE_RUNNING, is_sandbox = container_is_sandbox(sandbox), in_vm = sandbox->isolated;
    ReleaseSRWLockShared(&sandbox->lock);
    if (!is_sandbox)
        error = refuse(container, ERROR_KIND_FAILED_PRECONDITION, id, "is no sandbox");
    else if (!running)
        error = refuse(container, ERROR_KIND_FAILED_PRECONDITION, id, "does not run; start it first");
    else if (in_vm != isolated)
        error = refuse(container, ERROR_KIND_FAILED_PRECONDITION, id,
                       in_vm ? "is isolated in a VM, and this container is not" : "is not isolated in a VM");
    else if (in_vm && !hosted_is(sandbox))
        error = refuse(container, ERROR_KIND_UNIMPLEMENTED, id,
                       "has a VM of its own, which an HCS v1 document lets nobody join");
    else if (in_vm && !hosted) /* a VM of its own would not be the pod's */
        error =
            refuse(container, ERROR_KIND_UNIMPLEMENTED, id,
                   "has a utility VM that this container cannot be put into: it has network endpoints or credentials "
                   "of its own, or no image with a template disk");
    process_unref(init);
    return error;
}

struct error *pod_join(struct container *container, const struct bundle *bundle, bool hosted)
{
    struct spec_pod pod;
    struct error *error = bundle_pod(bundle, container->init.texts->id, container->tasks->os_build, &pod);
    if (!error && *pod.sandbox && !pod.is_sandbox)
        error = check_sandbox(container, pod.sandbox, bundle_is_isolated(bundle), hosted);
    if (!error && *pod.sandbox) {
        char *sandbox = str_copy(pod.sandbox);
        AcquireSRWLockExclusive(&container->lock);
        container->sandbox = sandbox;
        ReleaseSRWLockExclusive(&container->lock);
    }
    return error;
}

/* ---- a kill of all ---- */

struct pod_kill {
    _Atomic unsigned open; /* answers that are still to come */
    SRWLOCK lock;
    struct error *first;
    struct container *sandbox;
    task_done done;
    void *context;
};

static void answered(struct pod_kill *kill, struct error *error)
{
    struct task_view view;
    AcquireSRWLockExclusive(&kill->lock);
    error_keep_first(&kill->first, error);
    ReleaseSRWLockExclusive(&kill->lock);
    if (atomic_fetch_sub(&kill->open, 1) != 1)
        return;
    if (kill->first)
        kill->done(kill->context, kill->first, NULL);
    else {
        AcquireSRWLockShared(&kill->sandbox->lock);
        process_view(&kill->sandbox->init, &view);
        ReleaseSRWLockShared(&kill->sandbox->lock);
        kill->done(kill->context, NULL, &view);
        task_view_free(&view);
    }
    container_unref(kill->sandbox);
    free(kill);
}

static void sandbox_answered(void *context, struct error *error, const struct task_view *view)
{
    (void)view;
    answered(context, error);
}

/* A workload that has ended or is gone needs no signal. */
static void workload_answered(void *context, struct error *error, const struct task_view *view)
{
    (void)view;
    if (error && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        error = NULL;
    }
    answered(context, error);
}

/* The texts of the workloads, each referenced; ended by NULL. */
static struct task_texts **workloads(struct container *sandbox)
{
    struct tasks *tasks = sandbox->tasks;
    const struct task_texts *pod = sandbox->init.texts;
    struct container *container, *next;
    size_t count = 0;
    AcquireSRWLockShared(&tasks->lock);
    struct task_texts **texts = mem_new_array(HASH_COUNT(tasks->containers) + 1, struct task_texts *);
    HASH_ITER(hh, tasks->containers, container, next)
    {
        struct task_texts *own = container->init.texts;
        if (container == sandbox || strcmp(own->containerd_namespace, pod->containerd_namespace))
            continue;
        AcquireSRWLockShared(&container->lock);
        bool member = container->sandbox && !strcmp(container->sandbox, pod->id);
        ReleaseSRWLockShared(&container->lock);
        if (!member)
            continue;
        atomic_fetch_add_explicit(&own->references, 1, memory_order_relaxed);
        texts[count++] = own;
    }
    ReleaseSRWLockShared(&tasks->lock);
    return texts;
}

void pod_kill_workloads(struct container *sandbox, uint32_t sig, task_done *done, void **context)
{
    struct task_texts **texts = workloads(sandbox);
    struct pod_kill *kill = mem_new(struct pod_kill);
    unsigned count = 0;
    while (texts[count])
        count++;
    atomic_init(&kill->open, count + 1);
    InitializeSRWLock(&kill->lock);
    kill->sandbox = container_ref(sandbox);
    kill->done = *done;
    kill->context = *context;
    for (unsigned i = 0; i < count; i++) {
        task_kill(sandbox->tasks, texts[i]->containerd_namespace, texts[i]->id, "", sig, true, workload_answered, kill);
        texts_release(texts[i]);
    }
    free(texts);
    *done = sandbox_answered;
    *context = kill;
}
