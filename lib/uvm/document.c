#include "uvm/document.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/process.h"
#include "uvm/request.h"

#define MEMORY_MB           1024
#define PROCESSORS          2
#define BUILD_KERNEL_DIRECT 18286
#define BUILD_COLD_DISCARD  18967
#define DIRECT_MAPPING_MB   1024

static void add_number(json_t *object, const char *name, uint64_t number)
{
    if (number != 0)
        json_object_set_new(object, name, json_integer((json_int_t)number));
}

/* ---- what both have ------------------------------------------------------------------------------------------------ */

static json_t *memory(const struct uvm_shape *shape, const struct uvm_machine *machine)
{
    uint64_t size = machine->memory_mb == 0 ? MEMORY_MB : machine->memory_mb + machine->memory_mb % 2;
    json_t *object = json_pack("{s:I, s:b}", "SizeInMB", (json_int_t)size, "AllowOvercommit", 1);
    if (shape->os == UVM_WINDOWS)
        json_object_set_new(object, "EnableHotHint", json_true());
    else if (machine->os_build >= BUILD_COLD_DISCARD)
        json_object_set_new(object, "EnableColdDiscardHint", json_true());
    return object;
}

static uint64_t processor_count(const struct uvm_machine *machine)
{
    uint64_t count = machine->cpu_count == 0 ? PROCESSORS : machine->cpu_count;
    return machine->processors != 0 && count > machine->processors ? machine->processors : count;
}

static json_t *topology(const struct uvm_shape *shape, const struct uvm_machine *machine)
{
    json_t *processor = json_pack("{s:I}", "Count", (json_int_t)processor_count(machine));
    add_number(processor, "Limit", machine->cpu_maximum);
    add_number(processor, "Weight", machine->cpu_weight);
    return json_pack("{s:o, s:o}", "Memory", memory(shape, machine), "Processor", processor);
}

static json_t *sockets(void)
{
    return json_pack("{s:{s:s}}", "HvSocketConfig", "DefaultBindSecurityDescriptor", "D:P(A;;FA;;;SY)(A;;FA;;;BA)");
}

/* One entry for each controller; `disk` (or NULL) sits in 0:0. */
static json_t *controllers(const struct uvm_shape *shape, const char *disk, bool read_only)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < shape->controllers; i++) {
        json_t *attachments = json_object();
        if (i == 0 && disk != NULL) {
            json_t *attachment = json_pack("{s:s, s:s}", "Path", disk, "Type", "VirtualDisk");
            if (read_only)
                json_object_set_new(attachment, "ReadOnly", json_true());
            json_object_set_new(attachments, "0", attachment);
        }
        json_object_set_new(all, uvm_controller_key(i), json_pack("{s:o}", "Attachments", attachments));
    }
    return all;
}

static void add_storage(json_t *vm, const struct uvm_machine *machine)
{
    if (machine->storage_iops == 0 && machine->storage_bps == 0)
        return;
    json_t *limits = json_object();
    add_number(limits, "IopsMaximum", machine->storage_iops);
    add_number(limits, "BandwidthMaximum", machine->storage_bps);
    json_object_set_new(vm, "StorageQoS", limits);
}

/* ---- Windows ------------------------------------------------------------------------------------------------------- */

static json_t *boot_share(const struct uvm_machine *machine)
{
    struct uvm_resource share = {.kind = UVM_SHARE, .read_only = true, .layer = true};
    char *files = path_join(machine->image, "Files");
    json_t *json = json_pack("{s:s, s:s, s:o}", "Name", "os", "Path", files, "Options", uvm_share_options(&share));
    free(files);
    return json;
}

static json_t *windows_machine(const struct uvm_shape *shape, const struct uvm_machine *machine)
{
    json_t *devices =
        json_pack("{s:o, s:{s:i, s:[o]}, s:o}", "HvSocket", sockets(), "VirtualSmb", "DirectFileMappingInMB",
                  DIRECT_MAPPING_MB, "Shares", boot_share(machine), "Scsi", controllers(shape, machine->disk, false));
    json_t *vm = json_pack("{s:b, s:{s:{s:{s:s, s:s}}}, s:o, s:o}", "StopOnReset", 1, "Chipset", "Uefi", "BootThis",
                           "DevicePath", "\\EFI\\Microsoft\\Boot\\bootmgfw.efi", "DeviceType", "VmbFs",
                           "ComputeTopology", topology(shape, machine), "Devices", devices);
    json_object_set_new(vm, "RegistryChanges",
                        json_pack("{s:[{s:{s:s, s:s}, s:s, s:i, s:s}]}", "AddValues", "Key", "Hive", "System", "Name",
                                  "CurrentControlSet\\Services\\gns", "Name", "EnableCompartmentNamespace",
                                  "DWordValue", 1, "Type", "DWord"));
    add_storage(vm, machine);
    json_object_set_new(vm, "GuestConnection", json_object());
    return vm;
}

/* ---- Linux --------------------------------------------------------------------------------------------------------- */

char *uvm_kernel_line(const struct uvm_shape *shape, const struct uvm_machine *machine, bool direct)
{
    struct buffer line = {0};
    if (machine->root_file)
        buffer_add_format(&line, "root=%s ro rootwait init=/init ", shape->pmem_boot ? "/dev/pmem0" : "/dev/sda");
    else if (!direct)
        buffer_add_text(&line, "initrd=/initrd.img ");
    buffer_add_text(&line, "initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off ");
    buffer_add_format(&line, "nr_cpus=%llu brd.rd_nr=0 pmtmr=0 ", (unsigned long long)processor_count(machine));
    buffer_add_text(&line, "-- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel info");
    return (char *)line.data;
}

static json_t *linux_chipset(const struct uvm_shape *shape, const struct uvm_machine *machine)
{
    bool direct = machine->os_build >= BUILD_KERNEL_DIRECT && machine->boot_uncompressed;
    char *line = uvm_kernel_line(shape, machine, direct);
    json_t *chipset;
    if (direct) {
        char *kernel = path_join(machine->boot_folder, "vmlinux"),
             *initrd = path_join(machine->boot_folder, "initrd.img");
        json_t *boot = json_pack("{s:s}", "KernelFilePath", kernel);
        if (!machine->root_file)
            json_object_set_new(boot, "InitRdPath", json_string(initrd));
        json_object_set_new(boot, "KernelCmdLine", json_string(line));
        chipset = json_pack("{s:o}", "LinuxKernelDirect", boot);
        free(kernel);
        free(initrd);
    } else {
        chipset = json_pack("{s:{s:{s:s, s:s, s:s, s:s}}}", "Uefi", "BootThis", "DevicePath", "\\kernel", "DeviceType",
                            "VmbFs", "VmbFsRootPath", machine->boot_folder, "OptionalData", line);
    }
    free(line);
    return chipset;
}

static json_t *linux_machine(const struct uvm_shape *shape, const struct uvm_machine *machine)
{
    char *root = path_join(machine->boot_folder, "rootfs.vhd");
    json_t *devices = json_pack("{s:o, s:{}, s:o}", "HvSocket", sockets(), "Plan9", "Scsi",
                                controllers(shape, shape->disk_boot ? root : NULL, true));
    if (shape->pmem_devices > 0) {
        json_t *memory = json_pack("{s:i, s:I}", "MaximumCount", (int)shape->pmem_devices, "MaximumSizeBytes",
                                   (json_int_t)shape->pmem_bytes);
        if (shape->pmem_boot)
            json_object_set_new(
                memory, "Devices",
                json_pack("{s:{s:s, s:b, s:s}}", "0", "HostPath", root, "ReadOnly", 1, "ImageFormat", "Vhd1"));
        json_object_set_new(devices, "VirtualPMem", memory);
    }
    json_t *vm = json_pack("{s:b, s:o, s:o, s:o}", "StopOnReset", 1, "Chipset", linux_chipset(shape, machine),
                           "ComputeTopology", topology(shape, machine), "Devices", devices);
    add_storage(vm, machine);
    json_object_set_new(vm, "GuestConnection", json_pack("{s:b, s:b}", "UseVsock", 1, "UseConnectedSuspend", 1));
    free(root);
    return vm;
}

/* ---- the document -------------------------------------------------------------------------------------------------- */

static struct error *bad(const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "make utility VM document", NULL, "%s", why);
}

struct error *uvm_machine_document(const struct uvm_shape *shape, const struct uvm_machine *machine,
                                   char **ret_document)
{
    bool windows = shape->os == UVM_WINDOWS;
    if (machine->os_build < UVM_BUILD_LEAST)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "make utility VM document", NULL,
                          "utility VMs of hcsd's own are possible from Windows build %u on; this is %u",
                          UVM_BUILD_LEAST, (unsigned)machine->os_build);
    if (windows && (machine->image == NULL || machine->disk == NULL))
        return bad("a Windows VM needs an image and a disk");
    if (windows && shape->controllers != 1)
        return bad("a Windows VM has exactly one SCSI controller");
    if (!windows && machine->boot_folder == NULL)
        return bad("a Linux VM needs a folder to boot from");
    if (shape->controllers > UVM_CONTROLLERS_MAX || shape->pmem_devices > UVM_PMEM_MAX)
        return bad("more controllers or memory devices than a VM can have");
    json_t *document =
        json_pack("{s:s, s:{s:i, s:i}, s:o}", "Owner", machine->owner, "SchemaVersion", "Major", 2, "Minor", 1,
                  "VirtualMachine", windows ? windows_machine(shape, machine) : linux_machine(shape, machine));
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    if (text == NULL)
        process_end(1455, "hcsd: out of memory\n");
    *ret_document = text;
    return NULL;
}
