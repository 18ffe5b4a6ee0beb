#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "hcs/abi.h"
#include "shared/frame.h"
#include "system.h"

#define CREATE  "HcsCreateComputeSystem"
#define MODIFY  "HcsModifyComputeSystem"
#define DEVICES "VirtualMachine/Devices/"
#define LUNS    64
#define VSMB    "\\\\?\\VMSMB\\VSMB-{dcc079ae-60ba-4d07-847c-3493609c0870}\\"

/* "vm|path in lower case" of every GrantVmAccess. */
static json_t *grants;

/* ---- small helpers --------------------------------------------------------------------------------------------------- */

static struct error *absent(const char *id, const char *what, const char *name)
{
    return error_win32(ERROR_NOT_FOUND, MODIFY, id, "Element not found: %s %s", what, name);
}

static struct error *taken(const char *id, const char *what, const char *name)
{
    return error_win32(ERROR_ALREADY_EXISTS, MODIFY, id, "There is one already: %s %s", what, name);
}

static struct error *busy(const char *id, const char *what, const char *name)
{
    return error_win32(ERROR_BUSY, MODIFY, id, "The resource is in use: %s %s", what, name);
}

static struct error *bad(const char *id, const char *why)
{
    return error_hresult((uint32_t)HCS_E_INVALID_JSON, MODIFY, id,
                         "The virtual machine or container JSON document is invalid: %s", why);
}

static DWORD attributes_of(const char *path)
{
    char16_t *wide = text_to_utf16(path, NULL);
    DWORD attributes = wide == NULL ? INVALID_FILE_ATTRIBUTES : GetFileAttributesW((const wchar_t *)wide);
    free(wide);
    return attributes;
}

static uint64_t size_of(const char *path)
{
    char16_t *wide = text_to_utf16(path, NULL);
    WIN32_FILE_ATTRIBUTE_DATA data = {0};
    if (wide != NULL)
        GetFileAttributesExW((const wchar_t *)wide, GetFileExInfoStandard, &data);
    free(wide);
    return (uint64_t)data.nFileSizeHigh << 32 | data.nFileSizeLow;
}

static struct error *check_file(const char *id, const char *what, const char *path)
{
    if (path[0] != 0 && attributes_of(path) != INVALID_FILE_ATTRIBUTES)
        return NULL;
    return error_win32(ERROR_FILE_NOT_FOUND, MODIFY, id, "%s %s is not there", what, path);
}

static char *grant_key(const char *vm, const char *path)
{
    char *key = str_format("%s|%s", vm, path);
    for (char *c = key; *c != 0; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    return key;
}

struct error *machine_grant(const json_t *request, json_t *reply)
{
    char *key = grant_key(frame_text(request, "vm"), frame_text(request, "path"));
    (void)reply;
    if (grants == NULL)
        grants = json_object();
    json_object_set_new(grants, key, json_true());
    free(key);
    return NULL;
}

/* A writable disk must be open to the VM's account. */
static struct error *check_disk(const char *id, const json_t *settings)
{
    const char *path = frame_text(settings, "Path");
    struct error *error = check_file(id, "the disk", path);
    if (error != NULL || frame_flag(settings, "ReadOnly"))
        return error;
    char *key = grant_key(id, path);
    if (json_object_get(grants, key) == NULL)
        error = error_win32(ERROR_ACCESS_DENIED, MODIFY, id, "the VM has no access to %s", path);
    free(key);
    return error;
}

static json_t *part(json_t *machine, const char *name)
{
    return json_object_get(machine, name);
}

static bool is_linux(const json_t *machine)
{
    return json_is_true(json_object_get(machine, "linux"));
}

/* ---- what is in use -------------------------------------------------------------------------------------------------- */

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Whether a guest path is this one or below it. */
static bool is_below(const char *path, const char *guest)
{
    size_t size = strlen(guest);
    return strncmp(path, guest, size) == 0 && (path[size] == 0 || path[size] == '/' || path[size] == '\\');
}

/* Whether some combined root stands on this guest path, or has it as a layer. */
static bool is_combined_on(json_t *machine, const char *guest)
{
    const char *root;
    json_t *combined, *layer;
    size_t index;
    json_object_foreach(part(machine, "combined"), root, combined)
    {
        if (strcmp(root, guest) == 0 || is_below(frame_text(combined, "ScratchPath"), guest))
            return true;
        json_array_foreach(json_object_get(combined, "Layers"), index,
                           layer) if (strcmp(frame_text(layer, "Path"), guest) == 0) return true;
    }
    return false;
}

static bool has_hosted(const struct system *system, const char *root)
{
    for (const struct system *other = broker.systems; other != NULL; other = other->next)
        if (other->host != NULL && strcmp(other->host, system->id) == 0 && strcmp(other->root, root) == 0)
            return true;
    return false;
}

/* ---- the host's part --------------------------------------------------------------------------------------------------- */

static struct error *change_share(const char *id, json_t *machine, const char *request, const json_t *settings)
{
    json_t *shares = part(machine, "shares");
    const char *name = frame_text(settings, "Name");
    json_t *share = json_object_get(shares, name);
    if (strcmp(request, "Add") == 0) {
        struct error *error = check_file(id, "the shared folder", frame_text(settings, "Path"));
        if (error == NULL && (name[0] == 0 || share != NULL))
            error = taken(id, "share", name);
        if (error == NULL)
            json_object_set(shares, name, (json_t *)settings);
        return error;
    }
    if (share == NULL)
        return absent(id, "share", name);
    if (strcmp(request, "Update") == 0) {
        if (!frame_flag(json_object_get(share, "Options"), "RestrictFileAccess"))
            return bad(id, "only a restricted share can be updated");
        json_object_set(shares, name, (json_t *)settings);
        return NULL;
    }
    char *guest = str_format(VSMB "%s", name);
    bool used = is_combined_on(machine, guest);
    free(guest);
    if (used)
        return busy(id, "share", name);
    json_object_del(shares, name);
    return NULL;
}

/* "CONTROLLER/Attachments/LUN". */
static struct error *change_disk(const char *id, json_t *machine, const char *request, const char *place,
                                 const json_t *settings)
{
    const char *middle = strstr(place, "/Attachments/");
    if (middle == NULL)
        return bad(id, "a disk's ResourcePath is Scsi/CONTROLLER/Attachments/LUN");
    char *controller = str_copy_n(place, (size_t)(middle - place)), *end = NULL;
    const char *lun = middle + sizeof "/Attachments/" - 1;
    long number = strtol(lun, &end, 10);
    json_t *slots = json_object_get(part(machine, "scsi"), controller);
    json_t *disk = json_object_get(slots, lun);
    struct error *error = NULL;
    if (slots == NULL)
        error = absent(id, "controller", controller);
    else if (end == lun || *end != 0 || number < 0 || number >= LUNS)
        error = error_win32(ERROR_INVALID_PARAMETER, MODIFY, id, "a controller has LUNs 0 to 63, not %s", lun);
    else if (strcmp(request, "Add") == 0) {
        error = check_disk(id, settings);
        if (error == NULL && disk != NULL)
            error = taken(id, "disk in slot", lun);
        if (error == NULL)
            json_object_set_new(slots, lun,
                                json_pack("{s:s, s:b}", "Path", frame_text(settings, "Path"), "ReadOnly",
                                          frame_flag(settings, "ReadOnly")));
    } else if (disk == NULL) {
        error = absent(id, "disk in slot", lun);
    } else if (frame_text(disk, "MountPath")[0] != 0) {
        error = busy(id, "disk in slot", lun);
    } else {
        json_object_del(slots, lun);
    }
    free(controller);
    return error;
}

static struct error *add_memory(const char *id, json_t *machine, json_t *device, const char *offset,
                                const json_t *settings)
{
    const char *path = frame_text(settings, "HostPath");
    uint64_t most = (uint64_t)frame_number(machine, "pmem_bytes"), size = (size_of(path) + 4095) / 4096 * 4096,
             begin = strtoull(offset == NULL ? "0" : offset, NULL, 10);
    const char *other;
    json_t *mapping;
    struct error *error = check_file(id, "the memory's file", path);
    if (error == NULL && begin + size > most)
        error = error_win32(ERROR_INVALID_PARAMETER, MODIFY, id, "%s does not fit into a device of %llu bytes", path,
                            (unsigned long long)most);
    json_object_foreach(error == NULL ? device : NULL, other, mapping)
    {
        uint64_t at = strtoull(other, NULL, 10), length = (uint64_t)frame_number(mapping, "size");
        if (offset == NULL || (begin < at + length && at < begin + size) || begin == at) {
            error = taken(id, "mapping at", other);
            break;
        }
    }
    if (error == NULL)
        json_object_set_new(
            device, offset == NULL ? "0" : offset,
            json_pack("{s:s, s:I, s:b}", "path", path, "size", (json_int_t)size, "whole", offset == NULL));
    return error;
}

/* "N" or "N/Mappings/OFFSET". */
static struct error *change_memory(const char *id, json_t *machine, const char *request, const char *place,
                                   const json_t *settings)
{
    const char *middle = strstr(place, "/Mappings/");
    char *number = middle == NULL ? str_copy(place) : str_copy_n(place, (size_t)(middle - place));
    const char *offset = middle == NULL ? NULL : middle + sizeof "/Mappings/" - 1;
    json_t *devices = part(machine, "pmem"), *device = json_object_get(devices, number);
    struct error *error = NULL;
    if (strtoll(number, NULL, 10) >= frame_number(machine, "pmem_devices")) {
        error = error_win32(ERROR_INVALID_PARAMETER, MODIFY, id, "the VM has no memory device %s", number);
    } else if (strcmp(request, "Add") == 0) {
        json_t *made = device != NULL ? json_incref(device) : json_object();
        error = add_memory(id, machine, made, offset, settings);
        if (error == NULL)
            json_object_set(devices, number, made);
        json_decref(made);
    } else {
        json_t *mapping = json_object_get(device, offset == NULL ? "0" : offset);
        if (mapping == NULL)
            error = absent(id, "memory", place);
        else if (frame_text(mapping, "MountPath")[0] != 0)
            error = busy(id, "memory", place);
        else
            json_object_del(device, offset == NULL ? "0" : offset);
        if (error == NULL && json_object_size(device) == 0)
            json_object_del(devices, number);
    }
    free(number);
    return error;
}

static struct error *change_named(const char *id, json_t *list, const char *request, const char *name,
                                  const json_t *settings, const char *what)
{
    bool there = json_object_get(list, name) != NULL;
    if (strcmp(request, "Add") == 0) {
        if (there || name[0] == 0)
            return taken(id, what, name);
        json_object_set_new(list, name, settings == NULL ? json_object() : json_deep_copy(settings));
        return NULL;
    }
    if (!there)
        return absent(id, what, name);
    json_object_del(list, name);
    return NULL;
}

static struct error *change_host(const char *id, json_t *machine, const json_t *modification)
{
    const char *path = frame_text(modification, "ResourcePath"), *request = frame_text(modification, "RequestType");
    const json_t *settings = json_object_get(modification, "Settings");
    if (path[0] == 0)
        return NULL;
    if (strcmp(request, "Add") != 0 && strcmp(request, "Remove") != 0 && strcmp(request, "Update") != 0)
        return bad(id, "RequestType is none of Add, Remove, Update");
    if (!begins_with(path, DEVICES))
        return NULL; /* memory, processors: only noted */
    path += sizeof DEVICES - 1;
    if (strcmp(path, "VirtualSmb/Shares") == 0)
        return is_linux(machine) ? absent(id, "device", path) : change_share(id, machine, request, settings);
    if (begins_with(path, "Scsi/"))
        return change_disk(id, machine, request, path + 5, settings);
    if (begins_with(path, "VirtualPMem/Devices/"))
        return change_memory(id, machine, request, path + 20, settings);
    if (strcmp(path, "Plan9/Shares") == 0) {
        struct error *error =
            strcmp(request, "Add") == 0 ? check_file(id, "the shared folder", frame_text(settings, "Path")) : NULL;
        return error != NULL
                   ? error
                   : change_named(id, part(machine, "plan9"), request, frame_text(settings, "Name"), settings, "share");
    }
    if (begins_with(path, "MappedPipes/"))
        return change_named(id, part(machine, "pipes"), request, path + 12, NULL, "pipe");
    return NULL; /* network adapters and the like: only noted */
}

/* ---- the guest's part -------------------------------------------------------------------------------------------------- */

static bool is_mounted(json_t *machine, const char *guest)
{
    return json_object_get(part(machine, "mounts"), guest) != NULL;
}

static struct error *guest_mount(const char *id, json_t *machine, json_t *thing, const char *path, bool add)
{
    if (thing == NULL || path[0] == 0)
        return absent(id, "what is to be mounted at", path);
    if (add) {
        if (is_mounted(machine, path) || frame_text(thing, "MountPath")[0] != 0)
            return taken(id, "mount at", path);
        json_object_set_new(thing, "MountPath", json_string(path));
        json_object_set_new(part(machine, "mounts"), path, json_true());
        return NULL;
    }
    if (strcmp(frame_text(thing, "MountPath"), path) != 0)
        return absent(id, "mount", path);
    if (is_combined_on(machine, path))
        return busy(id, "mount", path);
    json_object_del(thing, "MountPath");
    json_object_del(part(machine, "mounts"), path);
    return NULL;
}

static json_t *slot_of(json_t *machine, const json_t *settings)
{
    int64_t wanted = frame_number(settings, "Controller");
    const char *key;
    json_t *slots;
    char lun[24];
    snprintf(lun, sizeof lun, "%lld", (long long)frame_number(settings, "Lun"));
    json_object_foreach(part(machine, "scsi"), key, slots) if (wanted-- == 0) return json_object_get(slots, lun);
    return NULL;
}

static struct error *guest_disk(struct system *system, json_t *machine, const json_t *settings, bool add)
{
    bool linux_guest = is_linux(machine);
    const char *path = frame_text(settings, linux_guest ? "MountPath" : "ContainerPath");
    if (!linux_guest && frame_number(settings, "Controller") != 0)
        return bad(system->id, "a Windows guest mounts on the first controller only");
    return guest_mount(system->id, machine, slot_of(machine, settings), path, add);
}

static struct error *guest_memory(struct system *system, json_t *machine, const json_t *settings, bool add)
{
    char device[24], offset[24];
    const json_t *mapping = json_object_get(settings, "MappingInfo");
    snprintf(device, sizeof device, "%lld", (long long)frame_number(settings, "DeviceNumber"));
    snprintf(offset, sizeof offset, "%lld", (long long)frame_number(mapping, "DeviceOffsetInBytes"));
    return guest_mount(system->id, machine, json_object_get(json_object_get(part(machine, "pmem"), device), offset),
                       frame_text(settings, "MountPath"), add);
}

static struct error *guest_folder(struct system *system, json_t *machine, const json_t *settings, bool add)
{
    return guest_mount(system->id, machine, json_object_get(part(machine, "plan9"), frame_text(settings, "ShareName")),
                       frame_text(settings, "MountPath"), add);
}

static struct error *check_combined(const char *id, json_t *machine, const json_t *settings)
{
    const char *root = frame_text(settings, "ContainerRootPath"), *scratch = frame_text(settings, "ScratchPath"),
               *guest;
    size_t index;
    json_t *layer, *mount;
    bool found = false;
    if (!is_linux(machine) && !is_mounted(machine, root))
        return absent(id, "disk at", root);
    json_object_foreach(part(machine, "mounts"), guest, mount) found = found || is_below(scratch, guest);
    if (is_linux(machine) && !found)
        return absent(id, "scratch", scratch);
    json_array_foreach(json_object_get(settings, "Layers"), index, layer)
    {
        const char *path = frame_text(layer, "Path");
        bool there = is_linux(machine) ? is_mounted(machine, path)
                                       : begins_with(path, VSMB) &&
                                             json_object_get(part(machine, "shares"), path + sizeof VSMB - 1) != NULL;
        if (!there)
            return absent(id, "layer", path);
    }
    return NULL;
}

static struct error *guest_combined(struct system *system, json_t *machine, const json_t *settings, bool add)
{
    const char *root = frame_text(settings, "ContainerRootPath");
    struct error *error = add ? check_combined(system->id, machine, settings) : NULL;
    if (error == NULL && !add && has_hosted(system, root))
        error = busy(system->id, "root", root);
    return error != NULL
               ? error
               : change_named(system->id, part(machine, "combined"), add ? "Add" : "Remove", root, settings, "root");
}

static struct error *guest_unplug(struct system *system, json_t *machine, const json_t *settings, bool add)
{
    json_t *disk = slot_of(machine, settings);
    if (add || disk == NULL)
        return absent(system->id, "disk", "to be unplugged");
    return frame_text(disk, "MountPath")[0] != 0 ? busy(system->id, "disk", frame_text(disk, "MountPath")) : NULL;
}

static struct error *change_guest(struct system *system, json_t *machine, const json_t *modification)
{
    static const struct {
        const char *type;
        struct error *(*change)(struct system *system, json_t *machine, const json_t *settings, bool add);
    } kinds[] = {
        {"MappedVirtualDisk", guest_disk}, {"VPMemDevice", guest_memory}, {"CombinedLayers", guest_combined},
        {"MappedDirectory", guest_folder}, {"SCSIDevice", guest_unplug},
    };
    const json_t *guest = json_object_get(modification, "GuestRequest");
    if (guest == NULL)
        return NULL;
    if (system->state != SYSTEM_RUNNING || !json_is_true(json_object_get(machine, "guest")))
        return error_hresult((uint32_t)HCS_E_INVALID_STATE, MODIFY, system->id, "the guest of %s does not run",
                             system->id);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].type, frame_text(guest, "ResourceType")) == 0)
            return kinds[i].change(system, machine, json_object_get(guest, "Settings"),
                                   strcmp(frame_text(guest, "RequestType"), "Add") == 0);
    return NULL; /* network and the like: only noted */
}

struct error *machine_modify(struct system *system, const json_t *modification)
{
    json_t *machine = json_deep_copy(system->machine);
    bool remove = strcmp(frame_text(modification, "RequestType"), "Remove") == 0;
    struct error *error =
        remove ? change_guest(system, machine, modification) : change_host(system->id, machine, modification);
    if (error == NULL)
        error = remove ? change_host(system->id, machine, modification) : change_guest(system, machine, modification);
    if (error == NULL) {
        json_decref(system->machine);
        system->machine = machine;
    } else {
        json_decref(machine);
    }
    return error;
}

/* ---- creation ------------------------------------------------------------------------------------------------------------ */

static struct error *open_disks(const char *id, json_t *machine, const json_t *devices)
{
    const char *key, *lun;
    json_t *controller, *disk;
    struct error *error = NULL;
    json_object_foreach(json_object_get(devices, "Scsi"), key, controller)
    {
        json_object_set_new(part(machine, "scsi"), key, json_object());
        json_object_foreach(json_object_get(controller, "Attachments"), lun, disk)
        {
            char *place = str_format("%s/Attachments/%s", key, lun);
            if (error == NULL)
                error = change_disk(id, machine, "Add", place, disk);
            free(place);
        }
    }
    return error;
}

static struct error *check_machine(const char *id, json_t *machine, const json_t *document)
{
    const json_t *devices = json_object_get(document, "Devices"), *memory = json_object_get(devices, "VirtualPMem");
    const json_t *topology = json_object_get(document, "ComputeTopology");
    bool linux_guest = is_linux(machine);
    size_t index;
    json_t *share, *device;
    const char *number;
    struct error *error = NULL;
    if (frame_number(json_object_get(topology, "Memory"), "SizeInMB") % 2 != 0 ||
        frame_number(json_object_get(topology, "Memory"), "SizeInMB") == 0)
        return bad(id, "ComputeTopology.Memory.SizeInMB must be even and not zero");
    if (json_object_get(document, "Chipset") == NULL)
        return bad(id, "Chipset is missing");
    json_array_foreach(json_object_get(json_object_get(devices, "VirtualSmb"), "Shares"), index,
                       share) if (error == NULL) error = change_share(id, machine, "Add", share);
    if (error == NULL)
        error = open_disks(id, machine, devices);
    if (error == NULL && !linux_guest && json_object_size(part(machine, "scsi")) != 1)
        error = bad(id, "a Windows VM has exactly one SCSI controller");
    json_object_foreach(error == NULL ? json_object_get(memory, "Devices") : NULL, number, device) if (error == NULL)
        error = change_memory(id, machine, "Add", number, device);
    return error;
}

struct error *machine_open(const char *id, const json_t *document, json_t **ret_machine)
{
    const json_t *vm = json_object_get(document, "VirtualMachine"), *devices = json_object_get(vm, "Devices"),
                 *memory = json_object_get(devices, "VirtualPMem");
    bool linux_guest = json_object_get(devices, "Plan9") != NULL;
    json_t *machine =
        json_pack("{s:b, s:b, s:{}, s:{}, s:{}, s:{}, s:{}, s:{}, s:{}, s:I, s:I}", "linux", linux_guest, "guest",
                  json_object_get(vm, "GuestConnection") != NULL, "scsi", "pmem", "shares", "plan9", "pipes", "mounts",
                  "combined", "pmem_devices", (json_int_t)frame_number(memory, "MaximumCount"), "pmem_bytes",
                  (json_int_t)frame_number(memory, "MaximumSizeBytes"));
    struct error *error = check_machine(id, machine, vm);
    if (error != NULL)
        json_decref(machine);
    else
        *ret_machine = machine;
    return error;
}

/* ---- hosted containers --------------------------------------------------------------------------------------------------- */

static char *folder_of_mount(json_t *machine, const char *guest)
{
    const char *key, *lun;
    json_t *slots, *disk;
    json_object_foreach(part(machine, "scsi"), key, slots)
    {
        json_object_foreach(slots, lun, disk)
        {
            const char *path = frame_text(disk, "Path"), *end = strrchr(path, '\\');
            if (strcmp(frame_text(disk, "MountPath"), guest) == 0 && end != NULL)
                return str_copy_n(path, (size_t)(end - path));
        }
    }
    return str_copy("");
}

struct error *machine_check_hosted(const char *id, const json_t *hosted, struct system *host, char **ret_folder)
{
    const json_t *container = json_object_get(hosted, "Container");
    json_t *machine = host->machine;
    const char *bundle = frame_text(hosted, "OciBundlePath");
    char *root = container != NULL ? str_copy(frame_text(json_object_get(container, "Storage"), "Path"))
                                   : str_format("%s/rootfs", bundle);
    struct error *error = NULL;
    if (host->state != SYSTEM_RUNNING)
        error = error_hresult((uint32_t)HCS_E_INVALID_STATE, CREATE, id, "the VM %s does not run", host->id);
    else if (json_object_get(part(machine, "combined"), root) == NULL)
        error = error_win32(ERROR_PATH_NOT_FOUND, CREATE, id, "no layers are combined to %s in %s", root, host->id);
    else if (has_hosted(host, root))
        error = error_win32(ERROR_BUSY, CREATE, id, "another container of %s runs on %s", host->id, root);
    if (error == NULL)
        *ret_folder = folder_of_mount(machine, container != NULL ? root : bundle);
    free(root);
    return error;
}
