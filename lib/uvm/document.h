/* The documents of HcsCreateComputeSystem for a utility VM (schema 2, layers.md 5). Pure.
 *
 * ShouldTerminateOnLastHandleClosed is never set: what runs in the VM outlives hcsd. HCS owns the connection to the guest
 * (GuestConnection). */
#ifndef HCSD_UVM_DOCUMENT_H
#define HCSD_UVM_DOCUMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "uvm/uvm.h"

/* From this build on containers in a VM are made with schema 2. */
#define UVM_BUILD_LEAST 17763u

struct uvm_machine {
    const char *owner; /* "hcsd" */
    uint32_t os_build;
    uint32_t processors;                /* of this machine */
    uint64_t memory_mb;                 /* 0: 1024; made even */
    uint64_t cpu_count;                 /* 0: 2; at most the machine's */
    uint64_t cpu_maximum;               /* 0: no limit */
    uint64_t cpu_weight;                /* 0: the default */
    uint64_t storage_iops, storage_bps; /* 0: no limit */
    /* Windows */
    const char *image; /* LAYER\UtilityVM */
    const char *disk;  /* the VM's own scratch */
    /* Linux */
    const char *boot_folder;
    bool boot_uncompressed; /* vmlinux is there: booted directly where Windows can */
    bool root_file;         /* rootfs.vhd is there, else initrd.img */
};

/* INVALID_ARGUMENT for what contradicts itself. The caller frees *ret_document. */
struct error *uvm_machine_document(const struct uvm_shape *shape, const struct uvm_machine *machine,
                                   char **ret_document) ERROR_MUST_CHECK;

/* The Linux kernel's command line. The caller frees it. */
char *uvm_kernel_line(const struct uvm_shape *shape, const struct uvm_machine *machine, bool direct);

#endif
