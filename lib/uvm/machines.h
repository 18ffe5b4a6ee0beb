/* The utility VMs that hcsd runs, and the containers' mounts in them: made, written down, taken up again, ended.
 *
 * A VM is made with the first mount in it and ended with the last. Its account (uvm.h) is one journal document, written before
 * the first request of a mount goes out and after the last of a release: one flush each. One caller at a time works on a VM;
 * others wait for it, bounded. What runs in the VM outlives hcsd.
 *
 * After a crash, what nobody owns is released in the background once it is known who is still there (machines_keep); so is
 * what a failed release left: a VM that does not end is tried again after growing pauses. Until it has ended, the layers stay
 * claimed.
 *
 * Windows only. Thread-safe; machines_mount and machines_release block. Files in layers are not touched here: `stage` has a
 * worker do that. */
#ifndef HCSD_UVM_MACHINES_H
#define HCSD_UVM_MACHINES_H

#include "hcs/compute.h"

#include "uvm/document.h"
#include "uvm/uvm.h"

struct machines;
struct json_t;

struct machines_options {
    struct compute *compute;
    const char *owner;     /* "hcsd" */
    const char *state_dir; /* absolute; made when it is not there */
    uint32_t call_ms;      /* the bound of each call, and of the wait for a VM's turn */
    uint32_t stall_ms;     /* the bound of each step of a release, and the first pause before another try */
    /* Daemon's workers: jobs_stage_layers, jobs_claim_layers, jobs_unclaim_layers. */
    struct error *(*stage)(void *context, const char *holder, const char *scratch, struct json_t *order,
                           struct json_t **ret_found);
    struct error *(*claim)(void *context, const char *holder, const char *scratch, const char *const *parents,
                           size_t parent_count);
    void (*unclaim)(void *context, const char *holder, const char *scratch, const char *const *parents,
                    size_t parent_count);
    void *context;
};

/* Reads the journal; touches no VM yet. Claims what the documents say is mounted. */
struct error *machines_open(const struct machines_options *options, struct machines **ret_machines) ERROR_MUST_CHECK;
/* What options have as call_ms and stall_ms, from now on. */
void machines_set_bounds(struct machines *machines, uint32_t call_ms, uint32_t stall_ms);
/* The containers that are still there, by their holder names; all else is released, in the background. Once after open. */
void machines_keep(struct machines *machines, const char *const *holders, size_t count);
/* VMs go on running. Waits at most `milliseconds` for what is at work in the background. False: it did not end, and what it uses, that
 * of `options` too, must stay till the end of the process. */
bool machines_close(struct machines *machines, unsigned milliseconds);

struct machines_bind {
    const char *host;
    bool read_only;
};

struct machines_mount {
    const char *holder;    /* "container web" */
    const char *container; /* "web" */
    const char *vm;        /* the VM's id */
    bool join;             /* it must be there already: FAILED_PRECONDITION otherwise */
    bool linux_guest;
    const char *scratch;
    const char *const *parents; /* nearest first */
    size_t parent_count;
    const struct machines_bind *binds;
    size_t bind_count;
    struct uvm_machine machine; /* of a new VM; `image`, `disk` and `owner` are filled in here */
    unsigned pmem_devices;      /* Linux */
    HANDLE cancel;              /* ends the waits, or NULL */
};
/* All or nothing. RESOURCE_EXHAUSTED names the limit; the container then can be made when another has ended. */
struct error *machines_mount(struct machines *machines, const struct machines_mount *mount,
                             struct uvm_mounted *ret_mounted) ERROR_MUST_CHECK;

bool machines_holds(struct machines *machines, const char *holder);
/* Every step is tried; the first error is returned, and what is left is dealt with later (see above). With the last holder
 * the VM is ended. */
struct error *machines_release(struct machines *machines, const char *holder) ERROR_MUST_CHECK;
/* Whether a compute system of this id is one of ours, or may be, for its document cannot be read: it is not to be ended as
 * a container that nobody knows. */
bool machines_has(struct machines *machines, const char *id);

/* For diag and layer ls; free with machine_views_free. */
struct machine_view {
    char *id, *state; /* "running", "not taken up yet", "ending", "gone" */
    bool linux_guest;
    unsigned holders;
    struct uvm_counts counts;
};
void machines_view(struct machines *machines, struct machine_view **ret_views, size_t *ret_count);
void machine_views_free(struct machine_view *views, size_t count);

#endif
