#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "uvm/machine.h"

#define PAUSE_MOST_MS 600000u

/* Locked. */
static void arm(struct machines *machines)
{
    uint64_t now = clock_ms(), next = UINT64_MAX;
    for (const struct machine *machine = machines->list; machine != NULL; machine = machine->next)
        if (machine->tend && machine->due_ms < next)
            next = machine->due_ms;
    if (next == UINT64_MAX || machines->closing)
        return;
    int64_t pause = next > now ? (int64_t)(next - now) : 0;
    ULARGE_INTEGER due = {.QuadPart = (ULONGLONG)(-pause * 10000)};
    FILETIME time = {.dwLowDateTime = due.LowPart, .dwHighDateTime = due.HighPart};
    SetThreadpoolTimer(machines->timer, &time, 0, 0);
}

/* Locked. */
static void put_off(struct machines *machines, struct machine *machine)
{
    uint64_t pause = machines->stall_ms;
    for (unsigned i = 0; i < machine->tries && pause < PAUSE_MOST_MS; i++)
        pause *= 2;
    machine->tend = true;
    machine->tries++;
    machine->due_ms = clock_ms() + pause;
    arm(machines);
}

static void tend_later(struct machines *machines, struct machine *machine)
{
    AcquireSRWLockExclusive(&machines->lock);
    put_off(machines, machine);
    ReleaseSRWLockExclusive(&machines->lock);
}

struct error *machine_wind_up(struct machines *machines, struct machine *machine)
{
    struct error *error = machine->made ? machine_end(machines, machine) : NULL;
    if (error != NULL) {
        machine_save_or_log(machines, machine);
        tend_later(machines, machine);
        return error_wrap(error, "the utility VM %s does not end", machine->id);
    }
    machine_unsave(machines, machine);
    AcquireSRWLockExclusive(&machines->lock);
    machine_claims_end(machines, machine);
    machine->tend = false;
    machines_unlist(machines, machine);
    ReleaseSRWLockExclusive(&machines->lock);
    return NULL;
}

/* With the VM's turn. */
static struct error *release_in(struct machines *machines, struct machine *machine, const char *holder)
{
    struct machine_caller caller = {machines, machine, NULL, false};
    struct guard_wait wait = {machines->stall_ms, NULL};
    struct error *error = NULL;
    error_free(machine_open(machines, machine, &wait)); /* each step finds out by itself that it cannot be reached */
    if (machine_has_ended(machine))
        uvm_forget(machine->vm, holder);
    else
        error = uvm_release(machine->vm, holder, machine_modify, &caller);
    machine_claim_release(machines, machine, holder, true, error == NULL);
    return error;
}

/* After releases: the VM goes with its last holder, else what is left in it is written down. */
static struct error *settle(struct machines *machines, struct machine *machine, struct error *error)
{
    if (uvm_holder_count(machine->vm) > 0) {
        machine_save_or_log(machines, machine);
        return error;
    }
    /* What could not be taken out is gone with the VM. */
    struct error *end = machine_wind_up(machines, machine);
    if (end == NULL && error != NULL) {
        log_debug("utility VM %s: %s; it has ended since", machine->id, error->message);
        error_free(error);
        return NULL;
    }
    error_keep_first(&error, end);
    return error;
}

struct error *machines_release(struct machines *machines, const char *holder)
{
    AcquireSRWLockExclusive(&machines->lock);
    struct machine *machine = machines_find_holder(machines, holder);
    struct error *error =
        machine == NULL ? error_make(ERROR_KIND_NOT_FOUND, "release layers", holder, "it has no layers in a utility VM")
                        : machine_enter(machines, machine, "release layers");
    ReleaseSRWLockExclusive(&machines->lock);
    if (error != NULL)
        return error;
    if (!machine->removed && uvm_has_holder(machine->vm, holder))
        error = settle(machines, machine, release_in(machines, machine, holder));
    machine_leave(machines, machine);
    return error;
}

/* ---- the background --------------------------------------------------------------------------------------------------- */

/* With the VM's turn: releases what nobody owns, and ends the VM when that was all. */
static void tend(struct machines *machines, struct machine *machine)
{
    struct guard_wait wait = {machines->stall_ms, NULL};
    struct error *first = machine_open(machines, machine, &wait);
    if (first == NULL || uvm_holder_count(machine->vm) == 0) {
        error_free(first);
        first = NULL;
        for (size_t i = 0; i < machine->orphan_count; i++)
            if (uvm_has_holder(machine->vm, machine->orphans[i]))
                error_keep_first(&first, release_in(machines, machine, machine->orphans[i]));
        while (machine->orphan_count > 0)
            free(machine->orphans[--machine->orphan_count]);
        first = settle(machines, machine, first);
    } else {
        tend_later(machines, machine); /* it cannot be asked for: nothing is taken for gone */
    }
    if (first == NULL)
        return;
    char *text = error_text(first);
    event_emit(EVENT_MACHINE_RELEASE_FAILED, machine->id, text);
    free(text);
    error_free(first);
}

void CALLBACK machines_timer_due(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    struct machines *machines = context;
    (void)timer;
    CallbackMayRunLong(instance);
    AcquireSRWLockExclusive(&machines->lock);
    for (;;) {
        uint64_t now = clock_ms();
        struct machine *machine = machines->list;
        while (machine != NULL && !(machine->tend && machine->due_ms <= now))
            machine = machine->next;
        if (machine == NULL || machines->closing)
            break;
        machine->tend = false;
        struct error *error = machine_enter(machines, machine, "tend utility VM");
        if (error != NULL) {
            put_off(machines, machine); /* without a reference it lasts no longer than the lock is held */
            error_free(error);
            continue;
        }
        ReleaseSRWLockExclusive(&machines->lock);
        if (!machine->removed)
            tend(machines, machine);
        machine_leave(machines, machine);
        AcquireSRWLockExclusive(&machines->lock);
    }
    arm(machines);
    ReleaseSRWLockExclusive(&machines->lock);
}

static bool is_kept(const struct machines *machines, const char *holder)
{
    for (size_t i = 0; i < machines->kept_count; i++)
        if (strcmp(machines->kept[i], holder) == 0)
            return true;
    return false;
}

void machine_sort_holders(struct machines *machines, struct machine *machine)
{
    if (!machine->recovered || machines->kept == NULL)
        return;
    machine->recovered = false;
    for (size_t i = 0; i < uvm_holder_count(machine->vm); i++) {
        const char *holder = uvm_holder(machine->vm, i);
        const struct machine_claim *claim = machine_claim_find(machine, holder);
        if (is_kept(machines, holder)) {
            uvm_confirm(machine->vm, holder);
        } else if (claim == NULL || claim->recovered) { /* one that came since is its own witness */
            machine->orphans = mem_resize_array(machine->orphans, machine->orphan_count + 1, sizeof(char *));
            machine->orphans[machine->orphan_count++] = str_copy(holder);
        }
    }
    if (machine->orphan_count == 0 && uvm_holder_count(machine->vm) > 0)
        return;
    machine->tend = true;
    machine->due_ms = clock_ms();
    arm(machines);
}

void machines_keep(struct machines *machines, const char *const *holders, size_t count)
{
    AcquireSRWLockExclusive(&machines->lock);
    machines->kept = mem_new_array(count + 1, char *);
    for (size_t i = 0; i < count; i++)
        machines->kept[machines->kept_count++] = str_copy(holders[i]);
    /* Somebody may be at work on one already: a container's teardown that was taken up again. */
    for (struct machine *machine = machines->list; machine != NULL; machine = machine->next)
        if (!machine->busy)
            machine_sort_holders(machines, machine);
    ReleaseSRWLockExclusive(&machines->lock);
}
