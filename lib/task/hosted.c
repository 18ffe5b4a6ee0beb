/* Containers in a utility VM that hcsd makes itself (schema 2): the VM is called SANDBOX@vm, or CONTAINER@vm without a pod. */
#include "hcs/storage.h" /* before all else: windows.h */
#include "uvm/machines.h"

#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "spec/spec.h"
#include "task/bundle.h"
#include "task/container.h"

#define PMEM_DEVICES 64

static bool is_there(const char *folder, const char *name, bool directory)
{
    char *path = path_join(folder, name);
    struct file_info info = {0};
    struct error *error = file_info(path, &info);
    bool found = !error && info.directory == directory;
    error_free(error);
    free(path);
    return found;
}

/* The topmost image decides, as it does for the VM. */
static bool has_image(const struct bundle_mount *layers)
{
    for (size_t i = 0; i < layers->parent_count; i++)
        if (is_there(layers->parents[i], "UtilityVM", true))
            return is_there(layers->parents[i], "UtilityVM\\SystemTemplate.vhdx", false);
    return false;
}

static bool has_kernel(const char *folder)
{
    return folder && (is_there(folder, "vmlinux", false) || is_there(folder, "kernel", false)) &&
           (is_there(folder, "rootfs.vhd", false) || is_there(folder, "initrd.img", false));
}

bool hosted_wanted(const struct tasks *tasks, struct bundle *bundle, const struct task_create *create,
                   uint32_t os_build)
{
    struct bundle_mount layers;
    if (!tasks->mount_in_vm || !bundle_can_be_hosted(bundle, os_build))
        return false;
    if (bundle_is_linux(bundle))
        return has_kernel(tasks->linux_boot_files);
    struct error *error = bundle_hosted_layers(bundle, create, &layers);
    bool wanted = !error && has_image(&layers);
    error_free(error); /* told when the v1 document is made */
    return wanted;
}

static char *machine_id(const char *sandbox, const char *id)
{
    return str_format("%s@vm", sandbox ? sandbox : id);
}

bool hosted_is(const struct container *container)
{
    const struct tasks *tasks = container->tasks;
    char *id = machine_id(container->sandbox, container->init.texts->id);
    bool is = tasks->is_machine && tasks->is_machine(tasks->context, id);
    free(id);
    return is;
}

/* ---- what goes into the VM ---- */

struct order {
    struct machines_mount mount;
    struct spec_bind *spec_binds;
    struct machines_bind *binds;
    char *vm, *holder;
};

static void order_free(struct order *order)
{
    free(order->spec_binds);
    free(order->binds);
    free(order->vm);
    free(order->holder);
}

/* The files to boot from are hcsd's own, in no layer. */
static void find_boot_files(const struct tasks *tasks, struct uvm_machine *machine)
{
    machine->boot_folder = tasks->linux_boot_files;
    machine->root_file = is_there(machine->boot_folder, "rootfs.vhd", false);
    machine->boot_uncompressed = is_there(machine->boot_folder, "vmlinux", false);
}

static struct error *order_make(struct tasks *tasks, const char *sandbox, struct bundle *bundle,
                                const struct task_create *create, const struct bundle_render *render,
                                struct order *order)
{
    const struct spec_windows *windows = bundle_windows(bundle);
    struct bundle_mount layers;
    bool join = sandbox && strcmp(sandbox, create->id) != 0;
    size_t count = 0;
    struct error *error = bundle_hosted_layers(bundle, create, &layers);
    if (!error)
        error = bundle_binds(bundle, render, &order->spec_binds, &count);
    if (error)
        return error;
    order->binds = mem_new_array(count + 1, struct machines_bind);
    for (size_t i = 0; i < count; i++)
        order->binds[i] = (struct machines_bind){order->spec_binds[i].host, order->spec_binds[i].read_only};
    order->vm = machine_id(sandbox, create->id);
    order->mount = (struct machines_mount){
        .container = create->id,
        .vm = order->vm,
        .join = join,
        .linux_guest = bundle_is_linux(bundle),
        .scratch = layers.scratch,
        .parents = layers.parents,
        .parent_count = layers.parent_count,
        .binds = order->binds,
        .bind_count = count,
        .machine =
            {
                .owner = tasks->owner,
                .os_build = render->os_build,
                .processors = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS),
                .memory_mb = windows->memory_limit ? windows->memory_limit >> 20 : create->runtime.vm_memory_mb,
                .cpu_count = windows->cpu_count ? windows->cpu_count : create->runtime.vm_processors,
                .cpu_maximum = windows->cpu_maximum,
                .cpu_weight = windows->cpu_shares,
                .storage_iops = windows->storage_iops,
                .storage_bps = windows->storage_bps,
            },
        .pmem_devices = PMEM_DEVICES,
    };
    if (order->mount.linux_guest)
        find_boot_files(tasks, &order->mount.machine);
    return NULL;
}

static struct error *document(struct bundle *bundle, const struct bundle_render *render, const struct order *order,
                              const struct uvm_mounted *mounted, char **ret_document)
{
    const struct spec_hosted hosted = {
        .vm = order->vm,
        .own_vm = !order->mount.join,
        .root = mounted->root,
        .scratch_folder = mounted->scratch_folder,
        .guest_root = mounted->guest_root,
        .layers = mounted->layers,
        .binds = mounted->binds,
    };
    return bundle_hosted_document(bundle, render, &hosted, ret_document);
}

/* ---- without doing it ---- */

static struct error *layer_id(struct storage *storage, const char *path, char text[37])
{
    GUID guid;
    char *name = path_last_part(path);
    struct error *error = storage_name_to_guid(storage, name, &guid);
    if (!error)
        storage_guid_text(&guid, text);
    free(name);
    return error;
}

/* In a VM that nothing else is in; folders are not looked at. */
struct error *hosted_render(struct tasks *tasks, struct bundle *bundle, const struct task_create *create,
                            const struct bundle_render *render, char **ret_document)
{
    struct order order = {0};
    struct uvm_mounted mounted = {0};
    struct error *error = order_make(tasks, NULL, bundle, create, render, &order);
    const struct machines_mount *mount = &order.mount;
    struct uvm_layer *layers = error ? NULL : mem_new_array(mount->parent_count + 1, struct uvm_layer);
    struct uvm_bind *binds = error ? NULL : mem_new_array(mount->bind_count + 1, struct uvm_bind);
    char(*ids)[37] = error ? NULL : mem_zero_array(mount->parent_count + 1, sizeof *ids);
    for (size_t i = 0; !error && i < mount->parent_count; i++) {
        error = mount->linux_guest ? NULL : layer_id(render->storage, mount->parents[i], ids[i]);
        layers[i] = (struct uvm_layer){.path = mount->parents[i], .id = ids[i]};
    }
    if (!error) {
        const struct uvm_shape shape =
            mount->linux_guest ? uvm_shape_linux(render->os_build, PMEM_DEVICES, false) : uvm_shape_windows();
        struct uvm *vm = uvm_new(&shape);
        for (size_t i = 0; i < mount->bind_count; i++)
            binds[i] = (struct uvm_bind){.host = mount->binds[i].host,
                                         .pipe = !strncmp(mount->binds[i].host, "\\\\.\\", 4),
                                         .read_only = mount->binds[i].read_only};
        const struct uvm_mount plan = {
            .holder = create->id,
            .container = create->id,
            .layers = layers,
            .layer_count = mount->parent_count,
            .scratch = mount->scratch,
            .binds = binds,
            .bind_count = mount->bind_count,
        };
        error = uvm_plan(vm, &plan, &mounted);
        uvm_free(vm);
    }
    if (!error)
        error = document(bundle, render, &order, &mounted, ret_document);
    uvm_mounted_clear(&mounted);
    order_free(&order);
    free(layers);
    free(binds);
    free(ids);
    return error;
}

/* ---- doing it ---- */

struct error *hosted_mount(struct container *container, struct bundle *bundle, const struct task_create *create,
                           const struct bundle_render *render, char **ret_document)
{
    struct tasks *tasks = container->tasks;
    struct order order = {0};
    struct uvm_mounted mounted = {0};
    struct error *error = order_make(tasks, container->sandbox, bundle, create, render, &order);
    if (!error) {
        container_step_phase(container, "mount layers");
        /* Journalled first: should hcsd die in between, the next one knows what to release. */
        container->scratch = str_copy(order.mount.scratch);
        error = container_try_save(container);
        order.holder = container_holder(container);
        order.mount.holder = order.holder;
        order.mount.cancel = container->cancel;
        if (!error)
            error = tasks->mount_in_vm(tasks->context, &order.mount, &mounted);
        if (error) { /* whoever mounts undoes what it began */
            free(container->scratch);
            container->scratch = NULL;
        }
    }
    if (!error)
        error = document(bundle, render, &order, &mounted, ret_document);
    uvm_mounted_clear(&mounted);
    order_free(&order);
    return error;
}
