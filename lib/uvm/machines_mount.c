#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/event.h"
#include "base/memory.h"
#include "uvm/machine.h"

static json_t *pack_texts(const char *const *texts, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static bool is_pipe(const char *path)
{
    return _strnicmp(path, "\\\\.\\pipe\\", 9) == 0;
}

/* Has a worker look at the files, and make what is missing. */
static struct error *stage(struct machines *machines, const struct machines_mount *mount, bool make, json_t **ret_found)
{
    json_t *binds = json_array();
    for (size_t i = 0; i < mount->bind_count; i++)
        if (!is_pipe(mount->binds[i].host))
            json_array_append_new(binds, json_string(mount->binds[i].host));
    json_t *order = json_pack("{s:o, s:o, s:s, s:b, s:b}", "parents", pack_texts(mount->parents, mount->parent_count),
                              "binds", binds, "vm", mount->vm, "linux", mount->linux_guest, "machine", make);
    return machines->options.stage(machines->options.context, mount->holder, mount->scratch, order, ret_found);
}

/* These builds map a share's files directly even where they have no ids, and then fail. */
static bool maps_by_id(const struct machines_mount *mount)
{
    return mount->machine.os_build >= 18362 && mount->machine.os_build <= 19042;
}

static struct error *plan(struct machine *machine, const struct machines_mount *mount, const json_t *found,
                          struct uvm_mounted *ret_mounted)
{
    const json_t *layers = json_object_get(found, "layers"), *files = json_object_get(found, "files");
    size_t count = json_array_size(layers), file = 0;
    struct uvm_layer *list = mem_new_array(count + 1, struct uvm_layer);
    struct uvm_bind *binds = mem_new_array(mount->bind_count + 1, struct uvm_bind);
    for (size_t i = 0; i < count; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *path = json_string_value(json_object_get(layer, "path")),
                   *id = json_string_value(json_object_get(layer, "id"));
        list[i] = (struct uvm_layer){path != NULL ? path : "", id != NULL ? id : "",
                                     (uint64_t)json_integer_value(json_object_get(layer, "size")),
                                     maps_by_id(mount) && json_is_true(json_object_get(layer, "no_ids"))};
    }
    for (size_t i = 0; i < mount->bind_count; i++) {
        bool pipe = is_pipe(mount->binds[i].host);
        binds[i] = (struct uvm_bind){mount->binds[i].host, !pipe && json_is_true(json_array_get(files, file)), pipe,
                                     mount->binds[i].read_only};
        file += !pipe;
    }
    const char *disk = json_string_value(json_object_get(found, "disk"));
    const struct uvm_mount order = {
        .holder = mount->holder,
        .container = mount->container,
        .layers = list,
        .layer_count = count,
        .scratch = disk != NULL ? disk : "",
        .binds = binds,
        .bind_count = mount->bind_count,
    };
    struct error *error = uvm_plan(machine->vm, &order, ret_mounted);
    free(list);
    free(binds);
    return error;
}

/* Finds the VM or makes a place for it; its turn and a reference are the caller's. */
static struct error *take_machine(struct machines *machines, const struct machines_mount *mount,
                                  struct machine **ret_machine)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&machines->lock);
    struct machine *machine = machines_find(machines, mount->vm);
    if (machine == NULL && mount->join)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->container,
                           "the utility VM %s is not there: its sandbox must be created first", mount->vm);
    else if (machine != NULL && (uvm_shape_of(machine->vm)->os == UVM_LINUX) != mount->linux_guest)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->container,
                           "the utility VM %s is one for %s containers", mount->vm,
                           mount->linux_guest ? "Windows" : "Linux");
    else if (machine == NULL) {
        const struct uvm_shape shape =
            mount->linux_guest ? uvm_shape_linux(mount->machine.os_build, mount->pmem_devices, mount->machine.root_file)
                               : uvm_shape_windows();
        machine = machines_add(machines, mount->vm, uvm_new(&shape));
    }
    if (error == NULL)
        error = machine_enter(machines, machine, "mount layers");
    if (error == NULL && machine->removed) {
        error = error_make(ERROR_KIND_ABORTED, "mount layers", mount->vm, "the utility VM has just ended; try again");
        machine->busy = false;
        machine_drop(machine);
    }
    ReleaseSRWLockExclusive(&machines->lock);
    if (error == NULL)
        *ret_machine = machine;
    return error;
}

/* With the VM's turn. *ret_tried: requests went out. */
static struct error *mount_in(struct machines *machines, struct machine *machine, const struct machines_mount *mount,
                              struct uvm_mounted *mounted, bool *ret_tried)
{
    struct machine_caller caller = {machines, machine, mount->cancel, false};
    struct guard_wait wait = {machines->call_ms, mount->cancel};
    bool make = !machine->made;
    json_t *found = NULL;
    struct error *error = make ? NULL : machine_open(machines, machine, &wait);
    if (error == NULL && !make && machine_has_ended(machine))
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->container,
                           "the utility VM %s has ended; delete its containers first", machine->id);
    if (error == NULL)
        error = stage(machines, mount, make, &found);
    if (error == NULL)
        error = plan(machine, mount, found, mounted);
    if (error != NULL)
        goto out;
    error = machine_save(machines, machine);
    if (error == NULL && make)
        error = machine_make(machines, machine, mount, found);
    if (error == NULL) {
        *ret_tried = true;
        error = uvm_make(machine->vm, mount->holder, machine_modify, &caller);
    } else {
        uvm_forget(machine->vm, mount->holder);
    }
    if (error != NULL)
        uvm_mounted_clear(mounted);
out:
    json_decref(found);
    return error;
}

/* Ends it after a failure that has its own error. */
static void wind_up_quietly(struct machines *machines, struct machine *machine)
{
    struct error *error = machine_wind_up(machines, machine);
    if (error != NULL)
        log_debug("utility VM %s: %s", machine->id, error->message);
    error_free(error);
}

struct error *machines_mount(struct machines *machines, const struct machines_mount *mount,
                             struct uvm_mounted *ret_mounted)
{
    struct uvm_mounted mounted = {0};
    struct machine *machine = NULL;
    bool tried = false;
    struct error *error = take_machine(machines, mount, &machine);
    if (error != NULL)
        return error;
    error = machines->options.claim(machines->options.context, mount->holder, mount->scratch, mount->parents,
                                    mount->parent_count);
    if (error == NULL) {
        AcquireSRWLockExclusive(&machines->lock);
        machine_claim_add(machine, mount->holder, mount->scratch, mount->parents, mount->parent_count);
        ReleaseSRWLockExclusive(&machines->lock);
        error = mount_in(machines, machine, mount, &mounted, &tried);
        if (error != NULL)
            machine_claim_release(machines, machine, mount->holder, tried, true);
    }
    if (error != NULL && uvm_holder_count(machine->vm) == 0)
        wind_up_quietly(machines, machine);
    else if (error != NULL && tried)
        machine_save_or_log(machines, machine);
    machine_leave(machines, machine);
    if (error == NULL)
        *ret_mounted = mounted;
    return error;
}
