/* One thing that a utility VM was given. Internal to lib/uvm. */
#ifndef HCSD_UVM_RESOURCE_H
#define HCSD_UVM_RESOURCE_H

#include <jansson.h>

#include "uvm/uvm.h"

enum uvm_kind {
    UVM_SHARE,    /* a VSMB share of a Windows guest */
    UVM_DISK,     /* a SCSI attachment, mounted in the guest */
    UVM_PMEM,     /* a file mapped into a Linux guest's memory */
    UVM_PLAN9,    /* a folder or file shared with a Linux guest */
    UVM_PIPE,     /* a named pipe of the host */
    UVM_COMBINED, /* layers combined to a container's root */
    UVM_KIND_COUNT,
};
const char *uvm_kind_name(enum uvm_kind kind);

enum uvm_state {
    UVM_PLANNED, /* it has its place; whether the VM has it is not known after a crash */
    UVM_PRESENT,
    UVM_LEAKED,
};

struct uvm_resource {
    enum uvm_kind kind;
    enum uvm_state state;
    unsigned count; /* holders that use it; a share may stay with 0 */
    char *path;     /* the host's; COMBINED: the container's root in the guest */
    bool read_only;
    char *guest; /* where the guest sees it; DISK: where it is mounted; COMBINED (Linux): the scratch folder */
    char *name;  /* SHARE, PLAN9: its name; COMBINED: the container */
    /* SHARE */
    bool no_ids, layer, restricted;
    bool grown;    /* its list of files is longer than what the VM was told */
    json_t *files; /* of a restricted SHARE or PLAN9: what may be seen of the folder */
    /* DISK */
    unsigned controller, lun;
    bool format;    /* Linux: made a file system if it has none */
    unsigned index; /* of a generated mount path + 1; 0: the path was given */
    /* PMEM */
    unsigned device;
    bool mapped;
    uint64_t offset, size, region; /* of a mapping: what it holds, what is set aside for it */
    json_t *layers;                /* COMBINED */
};

struct uvm_holder {
    char *name;
    struct uvm_resource **resources; /* in the order in which they are made */
    size_t count;
};

struct uvm {
    struct uvm_shape shape;
    unsigned next_share, next_plan9;
    struct uvm_resource **resources; /* in the order in which they came */
    size_t count;
    struct uvm_holder *holders;
    size_t holder_count;
};

/* table.c */
struct uvm_resource *uvm_resource_add(struct uvm *vm, enum uvm_kind kind, const char *path, bool read_only);
void uvm_resource_drop(struct uvm *vm, struct uvm_resource *resource);
/* One that may be used for this too, or NULL. */
struct uvm_resource *uvm_resource_find(const struct uvm *vm, enum uvm_kind kind, const char *path, bool read_only);
/* Each gives the resource a place; RESOURCE_EXHAUSTED. */
struct error *uvm_place_disk(struct uvm *vm, struct uvm_resource *disk) ERROR_MUST_CHECK;
void uvm_place_mount(struct uvm *vm, struct uvm_resource *disk); /* a generated guest path */
/* False: no place, or the file is too large; then it goes to a disk. */
bool uvm_place_pmem(struct uvm *vm, struct uvm_resource *pmem, uint64_t size);
struct uvm_holder *uvm_find_holder(const struct uvm *vm, const char *name);
void uvm_holder_add(struct uvm_holder *holder, struct uvm_resource *resource);
void uvm_holder_drop(struct uvm *vm, struct uvm_holder *holder);

#endif
