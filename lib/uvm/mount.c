/* A container's mount in a utility VM: planned, made, released. */
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "uvm/request.h"

/* ---- planning -------------------------------------------------------------------------------------------------------- */

struct plan {
    struct uvm *vm;
    struct uvm_holder holder; /* not yet in the VM's list: what was planned so far */
    const struct uvm_mount *mount;
    char *guest_root;
};

static void hold(struct plan *plan, struct uvm_resource *resource)
{
    uvm_holder_add(&plan->holder, resource);
}

static struct uvm_resource *find_share(struct uvm *vm, const char *path, bool read_only, bool layer, bool restricted)
{
    for (size_t i = 0; i < vm->count; i++) {
        struct uvm_resource *share = vm->resources[i];
        if (share->kind == UVM_SHARE && share->state != UVM_LEAKED && share->restricted == restricted &&
            share->layer == layer && share->read_only == read_only && text_equal_ascii_nocase(share->path, path))
            return share;
    }
    return NULL;
}

static struct uvm_resource *plan_share(struct plan *plan, const char *path, bool read_only, bool layer, bool restricted)
{
    struct uvm_resource *share = find_share(plan->vm, path, read_only, layer, restricted);
    if (share == NULL) {
        share = uvm_resource_add(plan->vm, UVM_SHARE, path, read_only);
        share->layer = layer;
        share->restricted = restricted;
        share->name = str_format("s%x", ++plan->vm->next_share);
        share->guest = uvm_share_guest_path(share->name);
    }
    hold(plan, share);
    return share;
}

/* The scratch disk, or a layer that persistent memory had no place for. */
static struct error *plan_disk(struct plan *plan, const char *path, bool read_only, const char *guest,
                               struct uvm_resource **ret_disk)
{
    struct uvm_resource *disk = uvm_resource_find(plan->vm, UVM_DISK, path, read_only);
    if (disk == NULL) {
        disk = uvm_resource_add(plan->vm, UVM_DISK, path, read_only);
        struct error *error = uvm_place_disk(plan->vm, disk);
        if (error != NULL) {
            uvm_resource_drop(plan->vm, disk);
            return error;
        }
        disk->format = guest != NULL;
        if (guest != NULL)
            disk->guest = str_copy(guest);
        else
            uvm_place_mount(plan->vm, disk);
    }
    hold(plan, disk);
    *ret_disk = disk;
    return NULL;
}

static struct error *plan_linux_layer(struct plan *plan, const struct uvm_layer *layer, const char **ret_guest)
{
    struct uvm_resource *resource = uvm_resource_find(plan->vm, UVM_PMEM, layer->path, true);
    if (resource == NULL) /* one that went to a disk once is found there */
        resource = uvm_resource_find(plan->vm, UVM_DISK, layer->path, true);
    if (resource == NULL) {
        resource = uvm_resource_add(plan->vm, UVM_PMEM, layer->path, true);
        if (!uvm_place_pmem(plan->vm, resource, layer->size)) {
            uvm_resource_drop(plan->vm, resource);
            resource = NULL;
        }
    }
    if (resource == NULL) {
        struct error *error = plan_disk(plan, layer->path, true, NULL, &resource);
        if (error != NULL)
            return error;
    } else {
        hold(plan, resource);
    }
    *ret_guest = resource->guest;
    return NULL;
}

static void plan_combined(struct plan *plan, const char *root, const char *scratch, json_t *layers)
{
    struct uvm_resource *combined = uvm_resource_add(plan->vm, UVM_COMBINED, root, false);
    combined->name = str_copy(plan->mount->container);
    combined->guest = str_copy(scratch);
    combined->layers = json_incref(layers);
    hold(plan, combined);
}

static struct error *plan_windows_layers(struct plan *plan, struct uvm_mounted *mounted)
{
    const struct uvm_mount *mount = plan->mount;
    struct uvm_resource *disk = NULL;
    for (size_t i = 0; i < mount->layer_count; i++) {
        struct uvm_resource *share = plan_share(plan, mount->layers[i].path, true, true, false);
        share->no_ids = share->no_ids || mount->layers[i].no_ids;
        json_array_append_new(mounted->layers,
                              json_pack("{s:s, s:s}", "Id", mount->layers[i].id, "Path", share->guest));
    }
    /* Its volume is the container's root; two filters on one volume cannot be. */
    if (uvm_resource_find(plan->vm, UVM_DISK, mount->scratch, false) != NULL)
        return error_make(
            ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->scratch,
            "another container of this utility VM has the scratch disk; Windows containers cannot share one");
    struct error *error = plan_disk(plan, mount->scratch, false, NULL, &disk);
    if (error != NULL)
        return error;
    mounted->root = str_copy(disk->guest);
    plan_combined(plan, mounted->root, NULL, mounted->layers);
    return NULL;
}

static struct error *plan_linux_layers(struct plan *plan, struct uvm_mounted *mounted)
{
    const struct uvm_mount *mount = plan->mount;
    struct uvm_resource *disk = NULL;
    struct error *error = NULL;
    for (size_t i = 0; i < mount->layer_count && error == NULL; i++) {
        const char *guest = NULL;
        error = plan_linux_layer(plan, &mount->layers[i], &guest);
        if (error == NULL)
            json_array_append_new(mounted->layers, json_pack("{s:s}", "Path", guest));
    }
    if (error == NULL)
        error = plan_disk(plan, mount->scratch, false, plan->guest_root, &disk);
    if (error != NULL)
        return error;
    /* Containers that share the disk each have their own part of it. */
    mounted->scratch_folder = str_format("%s/scratch/%s", disk->guest, mount->container);
    mounted->root = str_format("%s/rootfs", plan->guest_root);
    plan_combined(plan, mounted->root, mounted->scratch_folder, mounted->layers);
    return NULL;
}

static bool has_file(const json_t *files, const char *name)
{
    size_t index;
    json_t *file;
    json_array_foreach(files, index, file) if (strcmp(json_string_value(file), name) == 0) return true;
    return false;
}

static char *plan_windows_bind(struct plan *plan, const struct uvm_bind *bind)
{
    if (bind->pipe) {
        struct uvm_resource *pipe = uvm_resource_find(plan->vm, UVM_PIPE, bind->host, false);
        if (pipe == NULL) {
            char *name = path_last_part(bind->host), *below = str_format("IPC$\\%s", name);
            pipe = uvm_resource_add(plan->vm, UVM_PIPE, bind->host, false);
            pipe->guest = uvm_share_guest_path(below);
            free(below);
            free(name);
        }
        hold(plan, pipe);
        return str_copy(pipe->guest);
    }
    if (!bind->file)
        return str_copy(plan_share(plan, bind->host, bind->read_only, false, false)->guest);
    char *folder = path_folder(bind->host), *name = path_last_part(bind->host);
    struct uvm_resource *share = plan_share(plan, folder, bind->read_only, false, true);
    if (share->files == NULL)
        share->files = json_array();
    if (!has_file(share->files, name)) {
        json_array_append_new(share->files, json_string(name));
        share->grown = share->state == UVM_PRESENT;
    }
    char *guest = str_format("%s\\%s", share->guest, name);
    free(folder);
    free(name);
    return guest;
}

static char *plan_linux_bind(struct plan *plan, const struct uvm_bind *bind, size_t index)
{
    char *folder = bind->file ? path_folder(bind->host) : str_copy(bind->host), *name = path_last_part(bind->host);
    struct uvm_resource *share = uvm_resource_add(plan->vm, UVM_PLAN9, folder, bind->read_only);
    share->name = str_format("%u", plan->vm->next_plan9++);
    share->guest =
        str_format("%s/mounts/m%zu%s%s", plan->guest_root, index, bind->file ? "/" : "", bind->file ? name : "");
    if (bind->file)
        share->files = json_pack("[s]", name);
    hold(plan, share);
    free(folder);
    free(name);
    return str_copy(share->guest);
}

/* Takes back what a holder that never came to be had planned. */
static void unplan(struct uvm *vm, struct uvm_holder *holder)
{
    while (holder->count > 0) {
        struct uvm_resource *resource = holder->resources[--holder->count];
        if (--resource->count == 0 && resource->state == UVM_PLANNED)
            uvm_resource_drop(vm, resource);
    }
}

void uvm_mounted_clear(struct uvm_mounted *mounted)
{
    for (size_t i = 0; i < mounted->bind_count; i++)
        free(mounted->binds[i]);
    free(mounted->binds);
    free(mounted->root);
    free(mounted->scratch_folder);
    free(mounted->guest_root);
    json_decref(mounted->layers);
    *mounted = (struct uvm_mounted){0};
}

struct error *uvm_plan(struct uvm *vm, const struct uvm_mount *mount, struct uvm_mounted *ret_mounted)
{
    bool windows = vm->shape.os == UVM_WINDOWS;
    struct plan plan = {.vm = vm, .mount = mount, .guest_root = str_format("/run/gcs/c/%s", mount->container)};
    struct uvm_mounted mounted = {.layers = json_array(), .binds = mem_new_array(mount->bind_count + 1, char *)};
    struct error *error = NULL;
    if (uvm_has_holder(vm, mount->holder))
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "mount layers", mount->scratch,
                           "%s has its layers mounted already", mount->holder);
    if (error == NULL)
        error = windows ? plan_windows_layers(&plan, &mounted) : plan_linux_layers(&plan, &mounted);
    for (size_t i = 0; i < mount->bind_count && error == NULL; i++)
        mounted.binds[mounted.bind_count++] =
            windows ? plan_windows_bind(&plan, &mount->binds[i]) : plan_linux_bind(&plan, &mount->binds[i], i);
    if (error == NULL) {
        plan.holder.name = str_copy(mount->holder);
        vm->holders = mem_resize_array(vm->holders, vm->holder_count + 1, sizeof vm->holders[0]);
        vm->holders[vm->holder_count++] = plan.holder;
        if (!windows)
            mounted.guest_root = str_copy(plan.guest_root);
    } else {
        unplan(vm, &plan.holder);
        free(plan.holder.resources);
    }
    if (error == NULL && ret_mounted != NULL)
        *ret_mounted = mounted;
    else
        uvm_mounted_clear(&mounted);
    free(plan.guest_root);
    return error;
}

/* ---- making ------------------------------------------------------------------------------------------------------------ */

static struct error *make_one(struct uvm *vm, struct uvm_resource *resource, uvm_call call, void *context)
{
    if (resource->state == UVM_PRESENT && !resource->grown)
        return NULL;
    char *request = resource->grown ? uvm_request_update(resource) : uvm_request_add(vm, resource);
    char *step = uvm_request_step(resource, false);
    struct error *error = call(context, step, request, false);
    if (error == NULL)
        resource->state = UVM_PRESENT;
    /* A list of files that was not told is told with the next file. */
    if (error == NULL)
        resource->grown = false;
    error = error_wrap(error, "%s", step);
    free(step);
    free(request);
    return error;
}

/* Whether the VM may have it although the call failed. */
static bool is_uncertain(const struct error *error)
{
    return error->kind == ERROR_KIND_DEADLINE_EXCEEDED || error->kind == ERROR_KIND_UNAVAILABLE ||
           error->kind == ERROR_KIND_CANCELLED;
}

struct failures {
    struct error *first;
    unsigned more;
};

static void note(struct failures *failures, struct error *error)
{
    if (error == NULL)
        return;
    if (failures->first == NULL) {
        failures->first = error;
        return;
    }
    failures->more++;
    char *text = error_text(error);
    log_debug("release, further error: %s", text);
    free(text);
    error_free(error);
}

static struct error *failures_error(struct failures *failures)
{
    return failures->more == 0 ? failures->first
                               : error_wrap(failures->first, "%u further steps failed too; the first", failures->more);
}

/* A share that is mapped directly stays: whoever in the guest has a file of it open would lose it. It is used again. */
static bool stays(const struct uvm_resource *resource)
{
    return resource->kind == UVM_SHARE && !resource->no_ids && resource->state == UVM_PRESENT;
}

static void remove_one(struct uvm *vm, struct uvm_resource *resource, uvm_call call, void *context,
                       struct failures *failures)
{
    char *requests[2], *step = uvm_request_step(resource, true);
    bool failed = false;
    uvm_request_remove(vm, resource, requests);
    for (size_t i = 0; i < 2; i++) {
        struct error *error = requests[i] == NULL ? NULL : call(context, step, requests[i], true);
        failed = failed || error != NULL;
        note(failures, error_wrap(error, "%s", step));
        free(requests[i]);
    }
    if (failed)
        resource->state = UVM_LEAKED;
    else
        uvm_resource_drop(vm, resource);
    free(step);
}

/* Gives up one share of it. `maybe`: it was not made for certain, but may be there. */
static void let_go(struct uvm *vm, struct uvm_resource *resource, bool maybe, uvm_call call, void *context,
                   struct failures *failures)
{
    if (--resource->count > 0 || stays(resource))
        return;
    if (resource->state == UVM_PRESENT || maybe)
        remove_one(vm, resource, call, context, failures);
    else
        uvm_resource_drop(vm, resource);
}

struct error *uvm_make(struct uvm *vm, const char *name, uvm_call call, void *context)
{
    struct uvm_holder *holder = uvm_find_holder(vm, name);
    struct error *error = NULL;
    size_t made = 0;
    if (holder == NULL)
        return error_make(ERROR_KIND_NOT_FOUND, "mount layers", name, "nothing was planned");
    while (made < holder->count && error == NULL) {
        error = make_one(vm, holder->resources[made], call, context);
        if (error == NULL)
            made++;
    }
    if (error == NULL)
        return NULL;
    struct failures failures = {0};
    for (size_t i = holder->count; i > 0; i--)
        let_go(vm, holder->resources[i - 1], i - 1 == made && is_uncertain(error), call, context, &failures);
    uvm_holder_drop(vm, holder);
    if (failures.first != NULL)
        error = error_wrap(error, "(and what was made could not be undone: %s)", failures.first->message);
    error_free(failures.first);
    return error;
}

void uvm_confirm(struct uvm *vm, const char *name)
{
    struct uvm_holder *holder = uvm_find_holder(vm, name);
    for (size_t i = 0; holder != NULL && i < holder->count; i++)
        holder->resources[i]->state = UVM_PRESENT;
}

void uvm_forget(struct uvm *vm, const char *name)
{
    struct uvm_holder *holder = uvm_find_holder(vm, name);
    if (holder == NULL)
        return;
    for (size_t i = holder->count; i > 0; i--) {
        struct uvm_resource *resource = holder->resources[i - 1];
        if (--resource->count == 0 && !stays(resource))
            uvm_resource_drop(vm, resource);
    }
    uvm_holder_drop(vm, holder);
}

struct error *uvm_release(struct uvm *vm, const char *name, uvm_call call, void *context)
{
    struct uvm_holder *holder = uvm_find_holder(vm, name);
    struct failures failures = {0};
    if (holder == NULL)
        return error_make(ERROR_KIND_NOT_FOUND, "release layers", name, "it has no layers mounted");
    /* After a crash in the midst of it what is PLANNED may be there or not. */
    for (size_t i = holder->count; i > 0; i--)
        let_go(vm, holder->resources[i - 1], true, call, context, &failures);
    uvm_holder_drop(vm, holder);
    return failures_error(&failures);
}
