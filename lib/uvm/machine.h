/* One utility VM of the list (machines.h), and the list itself. Internal to lib/uvm: the list, its journal and its views are in
 * machines.c; one VM's document, turn and compute system in machine.c; what is claimed for it in machine_claims.c; mounts in
 * machines_mount.c; releases and the background in machines_release.c.
 *
 * Two things protect a VM:
 * - The list's lock: short, never held during a call of HCS, the journal or `stage`. Lock order: it comes before what `claim`
 *   and `unclaim` of the options lock, which are called with it held.
 * - The VM's turn (`busy`): its holder may block. It is taken and waited for under the lock (machine_enter) and given back
 *   without (machine_leave), with a reference, so that a VM that is taken off the list meanwhile stays until it is.
 * Each member below says what it needs: *lock*, *turn*, or *turn+lock*: written with both, read with either.
 *
 * A function that says "Locked" is called with the lock held exclusively, one that says "Turn" with the turn but not the lock. */
#ifndef HCSD_UVM_MACHINE_H
#define HCSD_UVM_MACHINE_H

#include "uvm/machines.h"

#include <stdatomic.h>

/* What a container has of layers: claimed until they are out of the VM. */
struct machine_claim {
    char *holder, *scratch; /* scratch NULL: given up already */
    char **parents;
    size_t parent_count;
    bool released;  /* the holder is gone; the VM may still have the layers */
    bool recovered; /* from the journal: of an earlier life */
};

struct machine {
    struct machine *next;         /* lock */
    char *id;                     /* constant */
    struct uvm *vm;               /* turn; its shape is constant */
    struct hcs_system *system;    /* turn. NULL: not opened (any more) */
    struct machine_claim *claims; /* turn+lock */
    size_t claim_count;
    char **orphans; /* turn. Holders of an earlier life that are no more */
    size_t orphan_count;
    bool recovered;           /* lock. From the journal, and it is not sorted yet who of its holders is still there */
    bool made;                /* turn; views look without. It was there once: to be opened, not created */
    bool gone;                /* turn; views look without. It has ended */
    bool tend;                /* lock. Something is left to do in the background */
    unsigned tries;           /* lock */
    uint64_t due_ms;          /* lock. Of the next one */
    unsigned references;      /* lock. Callers that wait for it or work on it; the list's */
    bool busy;                /* lock. Somebody has the turn */
    bool removed;             /* lock; set with the turn. It is off the list */
    struct uvm_counts counts; /* lock. As of the last turn's end */
};

struct machines {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;         /* a turn has ended */
    struct machines_options options;    /* constant */
    _Atomic uint32_t call_ms, stall_ms; /* instead of those in `options` */
    char *owner;                        /* constant */
    struct journal *journal;            /* has a lock of its own */
    struct machine *list;               /* lock */
    char **unread;                      /* ids of VMs whose documents make no sense; the same from machines_open on */
    size_t unread_count;
    char **kept; /* lock. What machines_keep was told; NULL before */
    size_t kept_count;
    PTP_TIMER timer; /* set under the lock */
    bool closing;    /* lock */
};

/* ---- the list: machines.c ------------------------------------------------------------------------------------------------ */

/* Locked (shared will do). NULL: none. */
struct machine *machines_find(struct machines *machines, const char *id);
struct machine *machines_find_holder(struct machines *machines, const char *holder);
/* Locked. Takes `vm`; the reference is the list's. */
struct machine *machines_add(struct machines *machines, const char *id, struct uvm *vm);
/* Locked, with the turn. Gives up the list's reference. */
void machines_unlist(struct machines *machines, struct machine *machine);

/* ---- one VM: machine.c --------------------------------------------------------------------------------------------------- */

void machine_free(struct machine *machine);
/* Locked. Gives up a reference. */
void machine_drop(struct machine *machine);

/* Turn. Its document in the journal; the latter two log what fails. */
struct error *machine_save(struct machines *machines, const struct machine *machine) ERROR_MUST_CHECK;
void machine_save_or_log(struct machines *machines, const struct machine *machine);
void machine_unsave(struct machines *machines, const struct machine *machine);

/* Locked. Waits for the VM's turn, at most call_ms: DEADLINE_EXCEEDED. On success the turn and a reference are the caller's, to
 * be given back with machine_leave; `removed` then says whether the VM has ended meanwhile. */
struct error *machine_enter(struct machines *machines, struct machine *machine, const char *operation) ERROR_MUST_CHECK;
void machine_leave(struct machines *machines, struct machine *machine);

/* Turn. Whether it has ended, as far as is known without asking. */
bool machine_has_ended(struct machine *machine);
/* Turn. NULL: it is open, or (machine->gone) there is no such VM. */
struct error *machine_open(struct machines *machines, struct machine *machine,
                           const struct guard_wait *wait) ERROR_MUST_CHECK;
/* Turn. The VM goes on running. */
struct error *machine_close(struct machine *machine) ERROR_MUST_CHECK;
/* Turn. Creates and starts it; `found` is `stage`'s answer. */
struct error *machine_make(struct machines *machines, struct machine *machine, const struct machines_mount *mount,
                           const struct json_t *found) ERROR_MUST_CHECK;
/* Turn. NULL: it is gone for certain. */
struct error *machine_end(struct machines *machines, struct machine *machine) ERROR_MUST_CHECK;

/* A uvm_call (uvm.h) and its context. Turn. Steps of a mount have call_ms each; those of a release stall_ms, until one of them
 * has timed out: the others then are hasty. */
struct machine_caller {
    struct machines *machines;
    struct machine *machine;
    HANDLE cancel;
    bool timed_out;
};
struct error *machine_modify(void *context, const char *step, const char *request, bool removing) ERROR_MUST_CHECK;

/* ---- claims: machine_claims.c -------------------------------------------------------------------------------------------- */

/* Locked, with the turn. Notes a claim that was made; what it returns lasts until the next claim is added or ended. */
struct machine_claim *machine_claim_add(struct machine *machine, const char *holder, const char *scratch,
                                        const char *const *parents, size_t count);
/* Locked, or with the turn. Released claims are not found. */
struct machine_claim *machine_claim_find(const struct machine *machine, const char *holder);
/* Turn. The holder has let go. `tried`: requests went out, and a Windows VM keeps the shares of layers until it ends. `clean`:
 * they all succeeded; otherwise the VM may still have the disk, and nobody else is to get it. */
void machine_claim_release(struct machines *machines, struct machine *machine, const char *holder, bool tried,
                           bool clean);
/* Locked, with the turn. The VM has ended: unclaims everything. */
void machine_claims_end(struct machines *machines, struct machine *machine);
/* Without a word to `unclaim`. */
void machine_claims_free(struct machine *machine);
/* For the document: [{"holder","scratch","parents","released"}]. Decoding claims them; only in machines_open. */
struct json_t *machine_claims_encode(const struct machine *machine);
void machine_claims_decode(struct machines *machines, struct machine *machine, const struct json_t *claims);

/* ---- releases and the background: machines_release.c --------------------------------------------------------------------- */

/* Turn. Nobody is in it any more: ends it and forgets it. What does not end is tried again. Returns why it did not. */
struct error *machine_wind_up(struct machines *machines, struct machine *machine) ERROR_MUST_CHECK;
/* Locked, with the turn or while nobody has it. After machines_keep, of a VM from the journal: confirms the holders that are
 * still there and has the others released in the background. Once. */
void machine_sort_holders(struct machines *machines, struct machine *machine);
/* The timer's callback. */
void CALLBACK machines_timer_due(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer);

#endif
