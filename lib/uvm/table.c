/* Places: SCSI slots, persistent memory, and who holds what. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "uvm/resource.h"

#define PMEM_PAGE    4096u
#define REGION_LEAST (UINT64_C(1) << 20)
#define PMEM_BYTES   (UINT64_C(4) << 30)
#define BUILD_MAPPED 18362

static const char *const kind_names[UVM_KIND_COUNT] = {
    [UVM_SHARE] = "share", [UVM_DISK] = "disk", [UVM_PMEM] = "pmem",
    [UVM_PLAN9] = "plan9", [UVM_PIPE] = "pipe", [UVM_COMBINED] = "combined",
};

const char *uvm_kind_name(enum uvm_kind kind)
{
    return kind_names[kind];
}

struct uvm_shape uvm_shape_windows(void)
{
    return (struct uvm_shape){.os = UVM_WINDOWS, .controllers = 1, .disk_boot = true};
}

struct uvm_shape uvm_shape_linux(uint32_t os_build, unsigned pmem_devices, bool root_file)
{
    return (struct uvm_shape){
        .os = UVM_LINUX,
        .controllers = pmem_devices > 0 ? 1 : UVM_CONTROLLERS_MAX,
        .disk_boot = root_file && pmem_devices == 0,
        .pmem_devices = pmem_devices,
        .pmem_bytes = pmem_devices > 0 ? PMEM_BYTES : 0,
        .pmem_mapped = pmem_devices > 0 && os_build >= BUILD_MAPPED,
        .pmem_boot = root_file && pmem_devices > 0,
    };
}

struct uvm *uvm_new(const struct uvm_shape *shape)
{
    struct uvm *vm = mem_new(struct uvm);
    vm->shape = *shape;
    return vm;
}

const struct uvm_shape *uvm_shape_of(const struct uvm *vm)
{
    return &vm->shape;
}

/* ---- resources ---- */

static void resource_free(struct uvm_resource *resource)
{
    free(resource->path);
    free(resource->guest);
    free(resource->name);
    json_decref(resource->files);
    json_decref(resource->layers);
    free(resource);
}

struct uvm_resource *uvm_resource_add(struct uvm *vm, enum uvm_kind kind, const char *path, bool read_only)
{
    struct uvm_resource *resource = mem_new(struct uvm_resource);
    resource->kind = kind;
    resource->path = str_copy(path);
    resource->read_only = read_only;
    vm->resources = mem_resize_array(vm->resources, vm->count + 1, sizeof vm->resources[0]);
    vm->resources[vm->count++] = resource;
    return resource;
}

void uvm_resource_drop(struct uvm *vm, struct uvm_resource *resource)
{
    for (size_t i = 0; i < vm->count; i++) {
        if (vm->resources[i] != resource)
            continue;
        memmove(&vm->resources[i], &vm->resources[i + 1], (vm->count - i - 1) * sizeof vm->resources[0]);
        vm->count--;
        break;
    }
    resource_free(resource);
}

struct uvm_resource *uvm_resource_find(const struct uvm *vm, enum uvm_kind kind, const char *path, bool read_only)
{
    for (size_t i = 0; i < vm->count; i++) {
        struct uvm_resource *resource = vm->resources[i];
        if (resource->kind == kind && resource->state != UVM_LEAKED && resource->read_only == read_only &&
            text_equal_ascii_nocase(resource->path, path))
            return resource;
    }
    return NULL;
}

/* ---- disks ---- */

static bool slot_is_taken(const struct uvm *vm, unsigned controller, unsigned lun)
{
    if (controller == 0 && lun == 0 && vm->shape.disk_boot)
        return true;
    for (size_t i = 0; i < vm->count; i++) {
        const struct uvm_resource *disk = vm->resources[i];
        if (disk->kind == UVM_DISK && disk->guest != NULL && disk->controller == controller && disk->lun == lun)
            return true;
    }
    return false;
}

static unsigned leaked_disks(const struct uvm *vm)
{
    unsigned count = 0;
    for (size_t i = 0; i < vm->count; i++)
        count += vm->resources[i]->kind == UVM_DISK && vm->resources[i]->state == UVM_LEAKED;
    return count;
}

struct error *uvm_place_disk(struct uvm *vm, struct uvm_resource *disk)
{
    for (unsigned slot = 0; slot < vm->shape.controllers * UVM_LUNS; slot++) {
        if (slot_is_taken(vm, slot / UVM_LUNS, slot % UVM_LUNS))
            continue;
        disk->controller = slot / UVM_LUNS;
        disk->lun = slot % UVM_LUNS;
        return NULL;
    }
    return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "attach disk", disk->path,
                      "all SCSI slots of the utility VM are taken (%u controller%s with %u slots each%s; %u lost by "
                      "failed removals); a container must end first",
                      vm->shape.controllers, vm->shape.controllers == 1 ? "" : "s", UVM_LUNS,
                      vm->shape.disk_boot ? ", one of them the VM's own disk" : "", leaked_disks(vm));
}

void uvm_place_mount(struct uvm *vm, struct uvm_resource *disk)
{
    unsigned index = 0;
    for (size_t i = 0; i < vm->count; i++) {
        if (vm->resources[i]->kind != UVM_DISK || vm->resources[i]->index != index + 1)
            continue;
        index++;
        i = (size_t)-1; /* from the beginning: they are in no order */
    }
    disk->index = index + 1;
    disk->guest = str_format(vm->shape.os == UVM_WINDOWS ? "c:\\mounts\\scsi\\m%u" : "/run/mounts/scsi/m%u", index);
}

/* ---- persistent memory ---- */

/* Classes of 1, 4, 16, … MiB; a whole class is set aside (hcsshim's pool). 0: larger than a device. */
static uint64_t region_size(const struct uvm *vm, uint64_t size)
{
    uint64_t region = REGION_LEAST;
    while (region < size && region < vm->shape.pmem_bytes)
        region *= 4;
    return region >= size && region <= vm->shape.pmem_bytes ? region : 0;
}

struct device_use {
    unsigned mappings;
    bool whole; /* by one file, or by the root file system */
};

static struct device_use device_use(const struct uvm *vm, unsigned device)
{
    struct device_use use = {.whole = device == 0 && vm->shape.pmem_boot};
    for (size_t i = 0; i < vm->count; i++) {
        const struct uvm_resource *pmem = vm->resources[i];
        if (pmem->kind != UVM_PMEM || pmem->guest == NULL || pmem->device != device)
            continue;
        use.mappings++;
        use.whole = use.whole || !pmem->mapped;
    }
    return use;
}

/* The mapping that overlaps, or NULL. */
static const struct uvm_resource *overlap(const struct uvm *vm, unsigned device, uint64_t offset, uint64_t region)
{
    for (size_t i = 0; i < vm->count; i++) {
        const struct uvm_resource *pmem = vm->resources[i];
        if (pmem->kind == UVM_PMEM && pmem->guest != NULL && pmem->device == device &&
            offset < pmem->offset + pmem->region && pmem->offset < offset + region)
            return pmem;
    }
    return NULL;
}

static bool place_mapping(const struct uvm *vm, struct uvm_resource *pmem, unsigned device, uint64_t region)
{
    uint64_t offset = 0;
    const struct uvm_resource *in_the_way;
    while (offset + region <= vm->shape.pmem_bytes && (in_the_way = overlap(vm, device, offset, region)) != NULL) {
        uint64_t end = in_the_way->offset + in_the_way->region;
        offset = (end + region - 1) / region * region;
    }
    if (offset + region > vm->shape.pmem_bytes)
        return false;
    pmem->device = device;
    pmem->mapped = true;
    pmem->offset = offset;
    pmem->region = region;
    pmem->guest =
        str_format("/run/layers/p%u-%llu-%llu", device, (unsigned long long)offset, (unsigned long long)pmem->size);
    return true;
}

bool uvm_place_pmem(struct uvm *vm, struct uvm_resource *pmem, uint64_t size)
{
    if (size > vm->shape.pmem_bytes)
        return false;
    pmem->size = (size + PMEM_PAGE - 1) / PMEM_PAGE * PMEM_PAGE;
    uint64_t region = vm->shape.pmem_mapped ? region_size(vm, pmem->size) : 0;
    if (vm->shape.pmem_mapped && region == 0)
        return false;
    for (unsigned device = 0; device < vm->shape.pmem_devices; device++) {
        struct device_use use = device_use(vm, device);
        if (use.whole || use.mappings >= UVM_PMEM_MAPPINGS)
            continue;
        if (!vm->shape.pmem_mapped && use.mappings > 0)
            continue;
        if (vm->shape.pmem_mapped) {
            if (place_mapping(vm, pmem, device, region))
                return true;
            continue;
        }
        pmem->device = device;
        pmem->guest = str_format("/run/layers/p%u", device);
        return true;
    }
    return false;
}

/* ---- holders ---- */

struct uvm_holder *uvm_find_holder(const struct uvm *vm, const char *name)
{
    for (size_t i = 0; i < vm->holder_count; i++)
        if (strcmp(vm->holders[i].name, name) == 0)
            return &vm->holders[i];
    return NULL;
}

void uvm_holder_add(struct uvm_holder *holder, struct uvm_resource *resource)
{
    holder->resources = mem_resize_array(holder->resources, holder->count + 1, sizeof holder->resources[0]);
    holder->resources[holder->count++] = resource;
    resource->count++;
}

void uvm_holder_drop(struct uvm *vm, struct uvm_holder *holder)
{
    free(holder->name);
    free(holder->resources);
    *holder = vm->holders[--vm->holder_count];
}

size_t uvm_holder_count(const struct uvm *vm)
{
    return vm->holder_count;
}

const char *uvm_holder(const struct uvm *vm, size_t index)
{
    return vm->holders[index].name;
}

bool uvm_has_holder(const struct uvm *vm, const char *holder)
{
    return uvm_find_holder(vm, holder) != NULL;
}

struct uvm_counts uvm_count(const struct uvm *vm)
{
    struct uvm_counts counts = {0};
    unsigned *const fields[UVM_KIND_COUNT] = {
        [UVM_SHARE] = &counts.shares, [UVM_DISK] = &counts.disks, [UVM_PMEM] = &counts.pmems,
        [UVM_PLAN9] = &counts.plan9,  [UVM_PIPE] = &counts.pipes, [UVM_COMBINED] = &counts.combined,
    };
    for (size_t i = 0; i < vm->count; i++) {
        const struct uvm_resource *resource = vm->resources[i];
        if (resource->state == UVM_LEAKED)
            counts.leaked++;
        else if (resource->count > 0)
            (*fields[resource->kind])++;
    }
    return counts;
}

void uvm_free(struct uvm *vm)
{
    if (vm == NULL)
        return;
    while (vm->holder_count > 0)
        uvm_holder_drop(vm, &vm->holders[0]);
    for (size_t i = 0; i < vm->count; i++)
        resource_free(vm->resources[i]);
    free(vm->resources);
    free(vm->holders);
    free(vm);
}
