#include "uvm/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/process.h"

#define DEVICES    "VirtualMachine/Devices/"
#define PLAN9_PORT 564
#define VSMB_ROOT  "\\\\?\\VMSMB\\VSMB-{dcc079ae-60ba-4d07-847c-3493609c0870}\\"

enum plan9_flag { PLAN9_READ_ONLY = 1, PLAN9_LINUX_METADATA = 4, PLAN9_RESTRICT = 128 };

const char *uvm_controller_key(unsigned controller)
{
    static const char *const keys[UVM_CONTROLLERS_MAX] = {
        "df6d0690-79e5-55b6-a5ec-c1e2f77f580a",
        "0110f83b-de10-5172-a266-78bca56bf50a",
        "b5d2d8d4-3a75-51bf-945b-3444dc6b8579",
        "305891a9-b251-5dfe-91a2-c25d9212275b",
    };
    return keys[controller];
}

char *uvm_share_guest_path(const char *name)
{
    return str_format(VSMB_ROOT "%s", name);
}

/* ---- parts --------------------------------------------------------------------------------------------------------- */

static void add_text(json_t *object, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        json_object_set_new(object, name, json_string(text));
}

static void add_number(json_t *object, const char *name, uint64_t number)
{
    if (number != 0)
        json_object_set_new(object, name, json_integer((json_int_t)number));
}

static void add_true(json_t *object, const char *name, bool value)
{
    if (value)
        json_object_set_new(object, name, json_true());
}

static json_t *guest_request(const char *type, const char *request, json_t *settings)
{
    return json_pack("{s:s, s:s, s:o}", "ResourceType", type, "RequestType", request, "Settings", settings);
}

/* Takes what it is given; `path`, `settings` and `guest` may be NULL. */
static char *envelope(const char *path, const char *request, json_t *settings, json_t *guest)
{
    json_t *document = json_object();
    if (path != NULL) {
        json_object_set_new(document, "ResourcePath", json_string(path));
        json_object_set_new(document, "RequestType", json_string(request));
    }
    if (settings != NULL)
        json_object_set_new(document, "Settings", settings);
    if (guest != NULL)
        json_object_set_new(document, "GuestRequest", guest);
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    if (text == NULL)
        process_end(1455, "hcsd: out of memory\n"); /* the only way in which a tree of ours cannot be written */
    return text;
}

/* ---- shares ---------------------------------------------------------------------------------------------------------- */

json_t *uvm_share_options(const struct uvm_resource *share)
{
    json_t *options = json_object();
    add_true(options, "ReadOnly", share->read_only);
    add_true(options, "ShareRead", share->read_only);
    add_true(options, "CacheIo", share->read_only);
    add_true(options, "PseudoOplocks", share->read_only);
    add_true(options, "TakeBackupPrivilege", share->layer);
    add_true(options, "NoDirectmap", share->no_ids);
    add_true(options, "RestrictFileAccess", share->restricted);
    add_true(options, "SingleFileMapping", share->restricted);
    return options;
}

static char *share_request(const struct uvm_resource *share, const char *request)
{
    json_t *settings = json_pack("{s:s, s:s}", "Name", share->name, "Path", share->path);
    json_object_set_new(settings, "Options", uvm_share_options(share));
    if (share->files != NULL)
        json_object_set(settings, "AllowedFiles", share->files);
    return envelope(DEVICES "VirtualSmb/Shares", request, settings, NULL);
}

char *uvm_request_update(const struct uvm_resource *share)
{
    return share_request(share, "Update");
}

static char *share_remove(const struct uvm_resource *share)
{
    return envelope(DEVICES "VirtualSmb/Shares", "Remove", json_pack("{s:s}", "Name", share->name), NULL);
}

/* ---- disks ----------------------------------------------------------------------------------------------------------- */

static char *disk_path(const struct uvm_resource *disk)
{
    return str_format(DEVICES "Scsi/%s/Attachments/%u", uvm_controller_key(disk->controller), disk->lun);
}

static json_t *disk_mount(const struct uvm *vm, const struct uvm_resource *disk, bool removing)
{
    json_t *settings = json_object();
    if (vm->shape.os == UVM_WINDOWS) {
        add_text(settings, "ContainerPath", disk->guest);
        add_number(settings, "Lun", disk->lun);
    } else {
        add_text(settings, "MountPath", disk->guest);
        add_number(settings, "Lun", disk->lun);
        add_number(settings, "Controller", disk->controller);
        add_true(settings, "ReadOnly", disk->read_only);
        if (!removing && disk->read_only)
            json_object_set_new(settings, "Options", json_pack("[s]", "ro"));
        if (!removing && disk->format) {
            add_true(settings, "EnsureFilesystem", true);
            add_text(settings, "Filesystem", "ext4");
        }
    }
    return guest_request("MappedVirtualDisk", removing ? "Remove" : "Add", settings);
}

static char *disk_add(const struct uvm *vm, const struct uvm_resource *disk)
{
    char *path = disk_path(disk);
    json_t *settings = json_pack("{s:s, s:s}", "Path", disk->path, "Type", "VirtualDisk");
    add_true(settings, "ReadOnly", disk->read_only);
    char *request = envelope(path, "Add", settings, disk_mount(vm, disk, false));
    free(path);
    return request;
}

/* A Linux guest is told that the disk goes before it goes. */
static void disk_remove(const struct uvm *vm, const struct uvm_resource *disk, char *requests[2])
{
    char *path = disk_path(disk);
    if (vm->shape.os == UVM_WINDOWS) {
        requests[0] = envelope(path, "Remove", NULL, disk_mount(vm, disk, true));
    } else {
        json_t *settings = json_object();
        add_number(settings, "Controller", disk->controller);
        add_number(settings, "Lun", disk->lun);
        requests[0] = envelope(NULL, NULL, NULL, disk_mount(vm, disk, true));
        requests[1] = envelope(path, "Remove", NULL, guest_request("SCSIDevice", "Remove", settings));
    }
    free(path);
}

/* ---- persistent memory ------------------------------------------------------------------------------------------------ */

static char *pmem_request(const struct uvm_resource *pmem, bool removing)
{
    char *path = pmem->mapped ? str_format(DEVICES "VirtualPMem/Devices/%u/Mappings/%llu", pmem->device,
                                           (unsigned long long)pmem->offset)
                              : str_format(DEVICES "VirtualPMem/Devices/%u", pmem->device);
    json_t *settings = NULL, *guest = json_object();
    if (!removing) {
        settings = json_pack("{s:s}", "HostPath", pmem->path);
        add_true(settings, "ReadOnly", !pmem->mapped);
        add_text(settings, "ImageFormat", "Vhd1");
    }
    add_number(guest, "DeviceNumber", pmem->device);
    add_text(guest, "MountPath", pmem->guest);
    if (pmem->mapped) {
        json_t *mapping = json_object();
        add_number(mapping, "DeviceOffsetInBytes", pmem->offset);
        add_number(mapping, "DeviceSizeInBytes", pmem->size);
        json_object_set_new(guest, "MappingInfo", mapping);
    }
    const char *type = removing ? "Remove" : "Add";
    char *request = envelope(path, type, settings, guest_request("VPMemDevice", type, guest));
    free(path);
    return request;
}

/* ---- Plan 9, pipes ----------------------------------------------------------------------------------------------------- */

/* With a single file the share's folder is what the guest mounts. */
static char *plan9_folder(const struct uvm_resource *share)
{
    return share->files == NULL ? str_copy(share->guest)
                                : str_copy_n(share->guest, (size_t)(strrchr(share->guest, '/') - share->guest));
}

static char *plan9_request(const struct uvm_resource *share, bool removing)
{
    char *folder = plan9_folder(share);
    json_t *settings = json_pack("{s:s, s:s}", "Name", share->name, "AccessName", share->name);
    if (!removing)
        add_text(settings, "Path", share->path);
    add_number(settings, "Port", PLAN9_PORT);
    if (!removing) {
        add_number(settings, "Flags",
                   PLAN9_LINUX_METADATA | (share->read_only ? PLAN9_READ_ONLY : 0) |
                       (share->files != NULL ? PLAN9_RESTRICT : 0));
        if (share->files != NULL)
            json_object_set(settings, "AllowedFiles", share->files);
    }
    json_t *guest = json_pack("{s:s, s:i, s:s}", "MountPath", folder, "Port", PLAN9_PORT, "ShareName", share->name);
    add_true(guest, "ReadOnly", !removing && share->read_only);
    const char *type = removing ? "Remove" : "Add";
    free(folder);
    return envelope(DEVICES "Plan9/Shares", type, settings, guest_request("MappedDirectory", type, guest));
}

static char *pipe_request(const struct uvm_resource *pipe, bool removing)
{
    char *path = str_format(DEVICES "MappedPipes/%s", pipe->path);
    char *request = envelope(path, removing ? "Remove" : "Add", NULL, NULL);
    free(path);
    return request;
}

/* ---- combined layers --------------------------------------------------------------------------------------------------- */

/* FilterType is left out: guests older than Server 2022 refuse the unknown member as invalid JSON. */
static char *combined_request(const struct uvm *vm, const struct uvm_resource *combined, bool removing)
{
    json_t *settings = json_object();
    if (!removing && vm->shape.os == UVM_LINUX)
        add_text(settings, "ContainerID", combined->name);
    add_text(settings, "ContainerRootPath", combined->path);
    if (!removing) {
        json_object_set(settings, "Layers", combined->layers);
        add_text(settings, "ScratchPath", combined->guest);
    }
    return envelope(NULL, NULL, NULL, guest_request("CombinedLayers", removing ? "Remove" : "Add", settings));
}

/* ---- all kinds --------------------------------------------------------------------------------------------------------- */

char *uvm_request_add(const struct uvm *vm, const struct uvm_resource *resource)
{
    switch (resource->kind) {
    case UVM_SHARE:
        return share_request(resource, "Add");
    case UVM_DISK:
        return disk_add(vm, resource);
    case UVM_PMEM:
        return pmem_request(resource, false);
    case UVM_PLAN9:
        return plan9_request(resource, false);
    case UVM_PIPE:
        return pipe_request(resource, false);
    case UVM_COMBINED:
    case UVM_KIND_COUNT:
        break;
    }
    return combined_request(vm, resource, false);
}

void uvm_request_remove(const struct uvm *vm, const struct uvm_resource *resource, char *ret_requests[2])
{
    ret_requests[0] = ret_requests[1] = NULL;
    switch (resource->kind) {
    case UVM_SHARE:
        ret_requests[0] = share_remove(resource);
        break;
    case UVM_DISK:
        disk_remove(vm, resource, ret_requests);
        break;
    case UVM_PMEM:
        ret_requests[0] = pmem_request(resource, true);
        break;
    case UVM_PLAN9:
        ret_requests[0] = plan9_request(resource, true);
        break;
    case UVM_PIPE:
        ret_requests[0] = pipe_request(resource, true);
        break;
    case UVM_COMBINED:
    case UVM_KIND_COUNT:
        ret_requests[0] = combined_request(vm, resource, true);
        break;
    }
}

char *uvm_request_step(const struct uvm_resource *resource, bool removing)
{
    static const char *const words[UVM_KIND_COUNT][2] = {
        [UVM_SHARE] = {"share", "end the share of"}, [UVM_DISK] = {"attach disk", "detach disk"},
        [UVM_PMEM] = {"map layer", "unmap layer"},   [UVM_PLAN9] = {"share", "end the share of"},
        [UVM_PIPE] = {"map pipe", "unmap pipe"},     [UVM_COMBINED] = {"combine layers to", "take apart the layers of"},
    };
    return str_format("%s %s", words[resource->kind][removing], resource->path);
}
