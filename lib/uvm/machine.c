#include "uvm/machine.h"

#include <stdlib.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "journal/journal.h"

#define HASTY_MS 1000u /* the bound of further steps once one has timed out */

void machine_free(struct machine *machine)
{
    machine_claims_free(machine);
    while (machine->orphan_count > 0)
        free(machine->orphans[--machine->orphan_count]);
    free(machine->orphans);
    uvm_free(machine->vm);
    free(machine->id);
    free(machine);
}

void machine_drop(struct machine *machine)
{
    if (--machine->references == 0)
        machine_free(machine);
}

/* ---- its document ----------------------------------------------------------------------------------------------------- */

struct error *machine_save(struct machines *machines, const struct machine *machine)
{
    struct journal_key key = {NULL, machine->id};
    json_t *body = json_pack("{s:o, s:o}", "vm", uvm_encode(machine->vm), "claims", machine_claims_encode(machine));
    struct error *error = journal_save(machines->journal, &key, body);
    json_decref(body);
    return error;
}

void machine_unsave(struct machines *machines, const struct machine *machine)
{
    struct journal_key key = {NULL, machine->id};
    struct error *error = journal_remove(machines->journal, &key);
    if (error != NULL)
        log_debug("utility VM %s: %s", machine->id, error->message);
    error_free(error);
}

void machine_save_or_log(struct machines *machines, const struct machine *machine)
{
    struct error *error = machine_save(machines, machine);
    if (error != NULL)
        log_debug("utility VM %s: %s", machine->id, error->message);
    error_free(error);
}

/* ---- its turn --------------------------------------------------------------------------------------------------------- */

struct error *machine_enter(struct machines *machines, struct machine *machine, const char *operation)
{
    uint64_t deadline = clock_ms() + machines->call_ms;
    machine->references++;
    while (machine->busy && !machine->removed) {
        uint64_t now = clock_ms();
        if (now >= deadline) {
            machine_drop(machine);
            return error_make(ERROR_KIND_DEADLINE_EXCEEDED, operation, machine->id,
                              "another operation on this utility VM has not ended within %u seconds",
                              (unsigned)(machines->call_ms / 1000));
        }
        SleepConditionVariableSRW(&machines->changed, &machines->lock, (DWORD)(deadline - now), 0);
    }
    machine->busy = true;
    return NULL;
}

void machine_leave(struct machines *machines, struct machine *machine)
{
    AcquireSRWLockExclusive(&machines->lock);
    if (!machine->removed)
        machine_sort_holders(machines, machine); /* machines_keep does not wait for a turn */
    machine->busy = false;
    machine->counts = uvm_count(machine->vm);
    machine_drop(machine);
    WakeAllConditionVariable(&machines->changed);
    ReleaseSRWLockExclusive(&machines->lock);
}

/* ---- its compute system ----------------------------------------------------------------------------------------------- */

struct error *machine_close(struct machine *machine)
{
    struct hcs_system *system = machine->system;
    machine->system = NULL;
    return hcs_system_close(system);
}

bool machine_has_ended(struct machine *machine)
{
    if (machine->system != NULL && hcs_system_has_exited(machine->system, NULL))
        machine->gone = true;
    return machine->gone;
}

struct error *machine_open(struct machines *machines, struct machine *machine, const struct guard_wait *wait)
{
    if (machine->system != NULL || machine_has_ended(machine))
        return NULL;
    struct error *error = hcs_system_open(machines->options.compute, machine->id, wait, &machine->system);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        error = NULL;
        machine->gone = true;
    }
    return error;
}

struct error *machine_make(struct machines *machines, struct machine *machine, const struct machines_mount *mount,
                           const json_t *found)
{
    struct guard_wait wait = {machines->call_ms, mount->cancel};
    struct uvm_machine values = mount->machine;
    char *document = NULL;
    values.owner = machines->owner;
    values.image = json_string_value(json_object_get(found, "image"));
    values.disk = json_string_value(json_object_get(found, "machine_disk"));
    struct error *error = uvm_machine_document(uvm_shape_of(machine->vm), &values, &document);
    if (error == NULL)
        error = hcs_system_create(machines->options.compute, machine->id, document, &wait, &machine->system);
    if (error == NULL)
        error = hcs_system_start(machine->system, &wait);
    free(document);
    machine->made = error == NULL || machine->system != NULL;
    machine->gone = !machine->made;
    return error_wrap(error, "the utility VM %s could not be started", machine->id);
}

struct error *machine_end(struct machines *machines, struct machine *machine)
{
    struct guard_wait wait = {machines->stall_ms, NULL};
    bool gone = false;
    struct error *error = machine_open(machines, machine, &wait);
    if (error == NULL && machine->system != NULL) {
        error = hcs_system_terminate(machine->system, &wait, &gone);
        if (error == NULL && !gone)
            error = hcs_system_wait_exit(machine->system, &wait, NULL);
    }
    if (error == NULL)
        machine->gone = true;
    error_free(
        machine_close(machine)); /* a call that hangs keeps its handle: the next try is made through a fresh one */
    return error;
}

static bool is_absent(const struct error *error)
{
    return error_as_hresult(error) == (uint32_t)HRESULT_FROM_WIN32(ERROR_NOT_FOUND);
}

struct error *machine_modify(void *context, const char *step, const char *request, bool removing)
{
    struct machine_caller *caller = context;
    uint32_t bound = !removing ? caller->machines->call_ms : caller->timed_out ? HASTY_MS : caller->machines->stall_ms;
    struct guard_wait wait = {bound, removing ? NULL : caller->cancel};
    (void)step;
    struct error *error = machine_open(caller->machines, caller->machine, &wait);
    if (error == NULL && machine_has_ended(caller->machine)) {
        return removing ? NULL
                        : error_make(ERROR_KIND_UNAVAILABLE, "HcsModifyComputeSystem", caller->machine->id,
                                     "the utility VM has ended");
    }
    if (error == NULL)
        error = hcs_system_modify(caller->machine->system, request, &wait);
    if (error == NULL)
        return NULL;
    if (error->kind == ERROR_KIND_DEADLINE_EXCEEDED)
        caller->timed_out = true;
    /* HCS serves the calls on one handle in turn, and a lost connection leaves handles void. */
    if (error->kind == ERROR_KIND_DEADLINE_EXCEEDED || error->kind == ERROR_KIND_UNAVAILABLE)
        error_free(machine_close(caller->machine));
    if (removing && (is_absent(error) || machine_has_ended(caller->machine))) {
        error_free(error);
        error = NULL;
    }
    return error;
}
