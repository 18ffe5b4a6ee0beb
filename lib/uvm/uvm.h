/* A utility VM as far as hcsd keeps account of it: which disk is in which slot, which folder is shared under which name,
 * what is mounted where in the guest, and who uses it.
 *
 * A container's mount is planned first: everything it needs gets its place, or nothing does. What is planned can be written
 * down (uvm_encode) before the first request goes out, so after a crash it is known what may be there. Then it is made,
 * request by request; a failure undoes what was made, newest first. Resources are counted: a folder, layer or disk that is
 * there already is used again. A place whose removal failed is *leaked*: never matched and never given out again, for
 * nobody knows what is in it; it ends with the VM.
 *
 * Sources: microsoft/hcsshim internal/uvm, internal/layers (layers.md 3, 4, 6, 7). HCS owns the connection to the guest, so
 * one request may carry the host's part and the guest's.
 *
 * Pure; one thread at a time. */
#ifndef HCSD_UVM_UVM_H
#define HCSD_UVM_UVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json_t;

enum uvm_os { UVM_WINDOWS, UVM_LINUX };

#define UVM_LUNS            64u /* per controller (Hyper-V) */
#define UVM_CONTROLLERS_MAX 4u
#define UVM_PMEM_MAX        128u
#define UVM_PMEM_MAPPINGS   1024u /* per device */

/* What was decided when the VM was made. */
struct uvm_shape {
    enum uvm_os os;
    unsigned controllers;  /* SCSI; Windows guests mount on the first only: 1 */
    bool disk_boot;        /* SCSI 0:0 is the VM's own: Windows, and Linux that boots from a disk */
    unsigned pmem_devices; /* 0: none */
    uint64_t pmem_bytes;   /* of each */
    bool pmem_mapped;      /* several files share a device (from build 18362) */
    bool pmem_boot;        /* device 0 is the root file system's */
};
struct uvm_shape uvm_shape_windows(void);
/* `root_file`: it boots from rootfs.vhd (on persistent memory where it has any), else from an initrd. */
struct uvm_shape uvm_shape_linux(uint32_t os_build, unsigned pmem_devices, bool root_file);

struct uvm;
struct uvm *uvm_new(const struct uvm_shape *shape);
void uvm_free(struct uvm *vm);
const struct uvm_shape *uvm_shape_of(const struct uvm *vm);

/* A read-only layer: a folder for Windows, the file layer.vhd for Linux. */
struct uvm_layer {
    const char *path;
    const char *id; /* Windows: HCS's id of it, lower-case text */
    uint64_t size;  /* Linux: of the file */
    bool no_ids;    /* Windows: its file system has no file ids, so it cannot be mapped directly (7.3) */
};

/* A folder, a file or a pipe of the host in the guest. */
struct uvm_bind {
    const char *host; /* a pipe as \\.\pipe\NAME */
    bool file, pipe, read_only;
};

struct uvm_mount {
    const char *holder;             /* "container web" */
    const char *container;          /* "web" */
    const struct uvm_layer *layers; /* nearest first */
    size_t layer_count;
    const char *scratch; /* the disk's file, links resolved: containers that share it are seen to */
    const struct uvm_bind *binds;
    size_t bind_count;
};

/* Where things are for the guest; uvm_mounted_clear. */
struct uvm_mounted {
    char *root;            /* the container's root */
    char *scratch_folder;  /* Linux: its part of the scratch disk */
    char *guest_root;      /* Linux: /run/gcs/c/ID */
    struct json_t *layers; /* [{"Id","Path"}] as in Storage.Layers */
    char **binds;          /* one for each bind */
    size_t bind_count;
};
void uvm_mounted_clear(struct uvm_mounted *mounted);

/* Gives everything its place. RESOURCE_EXHAUSTED names the limit, ALREADY_EXISTS when the holder has a mount; then nothing was
 * taken. *ret_mounted may be NULL. */
struct error *uvm_plan(struct uvm *vm, const struct uvm_mount *mount, struct uvm_mounted *ret_mounted) ERROR_MUST_CHECK;

/* One HcsModifyComputeSystem. `step` names it for people ("share C:\layers\base"), static or living for the call. When
 * `removing`, "it is not there" is for the function to take as success. */
typedef struct error *(*uvm_call)(void *context, const char *step, const char *request, bool removing);

/* Makes what was planned. On an error what was made is undone and the holder forgotten; whatever could not be undone is
 * leaked and named in the error. */
struct error *uvm_make(struct uvm *vm, const char *holder, uvm_call call, void *context) ERROR_MUST_CHECK;

/* After a restart, of a holder that is still there: all that it holds was made. */
void uvm_confirm(struct uvm *vm, const char *holder);

/* The plan was not begun, or the VM is gone and everything with it: forgets the holder without a request. */
void uvm_forget(struct uvm *vm, const char *holder);

/* Newest first; every step is tried, whatever the ones before it said. The first error is returned and tells how many more
 * there were; the others are logged. The holder is forgotten in any case. NOT_FOUND: no such holder. */
struct error *uvm_release(struct uvm *vm, const char *holder, uvm_call call, void *context) ERROR_MUST_CHECK;

size_t uvm_holder_count(const struct uvm *vm);
const char *uvm_holder(const struct uvm *vm, size_t index);
bool uvm_has_holder(const struct uvm *vm, const char *holder);

struct uvm_counts {
    unsigned disks, pmems, shares, plan9, pipes, combined, leaked;
};
struct uvm_counts uvm_count(const struct uvm *vm);

/* For the journal: {"shape","next_share","next_plan9","resources","holders"}. DATA_LOSS names what is wrong. */
struct json_t *uvm_encode(const struct uvm *vm);
struct error *uvm_decode(const struct json_t *json, struct uvm **ret_vm) ERROR_MUST_CHECK;

#endif
