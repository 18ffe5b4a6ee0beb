#include "uvm/machines.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "journal/journal.h"
#include "uvm/machine.h"

#define DOCUMENT_KIND    "machine"
#define DOCUMENT_VERSION 1

struct machine *machines_find(struct machines *machines, const char *id)
{
    struct machine *machine = machines->list;
    while (machine != NULL && strcmp(machine->id, id) != 0)
        machine = machine->next;
    return machine;
}

struct machine *machines_find_holder(struct machines *machines, const char *holder)
{
    struct machine *machine = machines->list;
    while (machine != NULL && machine_claim_find(machine, holder) == NULL)
        machine = machine->next;
    return machine;
}

struct machine *machines_add(struct machines *machines, const char *id, struct uvm *vm)
{
    struct machine *machine = mem_new(struct machine);
    machine->id = str_copy(id);
    machine->vm = vm;
    machine->references = 1;
    machine->next = machines->list;
    machines->list = machine;
    return machine;
}

void machines_unlist(struct machines *machines, struct machine *machine)
{
    for (struct machine **place = &machines->list; *place != NULL; place = &(*place)->next) {
        if (*place != machine)
            continue;
        *place = machine->next;
        break;
    }
    machine->removed = true;
    machine_drop(machine);
}

bool machines_holds(struct machines *machines, const char *holder)
{
    AcquireSRWLockShared(&machines->lock);
    bool holds = machines_find_holder(machines, holder) != NULL;
    ReleaseSRWLockShared(&machines->lock);
    return holds;
}

bool machines_has(struct machines *machines, const char *id)
{
    AcquireSRWLockShared(&machines->lock);
    bool has = machines_find(machines, id) != NULL;
    ReleaseSRWLockShared(&machines->lock);
    for (size_t i = 0; i < machines->unread_count; i++)
        has = has || strcmp(machines->unread[i], id) == 0;
    return has || journal_refuses_id(machines->journal, id);
}

/* ---- opening and closing ---------------------------------------------------------------------------------------------- */

static struct error *read_documents(struct machines *machines)
{
    struct journal_list list = {0};
    struct error *error = journal_list(machines->journal, &list);
    if (error != NULL)
        return error;
    for (size_t i = 0; i < list.count; i++) {
        const struct journal_document *document = &list.documents[i];
        struct uvm *vm = NULL;
        struct error *bad = uvm_decode(json_object_get(document->body, "vm"), &vm);
        if (bad != NULL) {
            event_emit(EVENT_STATE_REFUSED, document->id, bad->message);
            error_free(bad);
            machines->unread = mem_resize_array(machines->unread, machines->unread_count + 1, sizeof(char *));
            machines->unread[machines->unread_count++] = str_copy(document->id);
            continue;
        }
        struct machine *machine = machines_add(machines, document->id, vm);
        machine->made = machine->recovered = true;
        machine->counts = uvm_count(vm);
        machine_claims_decode(machines, machine, json_object_get(document->body, "claims"));
    }
    journal_list_free(&list);
    return NULL;
}

static void machines_free(struct machines *machines)
{
    while (machines->list != NULL) {
        struct machine *machine = machines->list;
        machines->list = machine->next;
        error_free(machine_close(machine));
        machine_free(machine);
    }
    if (machines->timer != NULL)
        CloseThreadpoolTimer(machines->timer);
    for (size_t i = 0; i < machines->unread_count; i++)
        free(machines->unread[i]);
    free(machines->unread);
    for (size_t i = 0; i < machines->kept_count; i++)
        free(machines->kept[i]);
    free(machines->kept);
    journal_free(machines->journal);
    free(machines->owner);
    free(machines);
}

void machines_set_bounds(struct machines *machines, uint32_t call_ms, uint32_t stall_ms)
{
    atomic_store(&machines->call_ms, call_ms);
    atomic_store(&machines->stall_ms, stall_ms);
}

struct error *machines_open(const struct machines_options *options, struct machines **ret_machines)
{
    struct machines *machines = mem_new(struct machines);
    InitializeSRWLock(&machines->lock);
    InitializeConditionVariable(&machines->changed);
    machines->options = *options;
    machines_set_bounds(machines, options->call_ms, options->stall_ms);
    machines->owner = str_copy(options->owner);
    machines->timer = CreateThreadpoolTimer(machines_timer_due, machines, NULL);
    struct error *error =
        machines->timer == NULL ? error_win32(GetLastError(), "CreateThreadpoolTimer", "utility VMs", NULL) : NULL;
    if (error == NULL)
        error = journal_open(options->state_dir, DOCUMENT_KIND, DOCUMENT_VERSION, &machines->journal);
    if (error == NULL)
        error = read_documents(machines);
    if (error != NULL)
        machines_free(machines);
    else
        *ret_machines = machines;
    return error_wrap(error, "open the list of utility VMs");
}

static bool is_quiet(const struct machines *machines)
{
    for (const struct machine *machine = machines->list; machine != NULL; machine = machine->next)
        if (machine->busy)
            return false;
    return true;
}

bool machines_close(struct machines *machines, unsigned milliseconds)
{
    if (machines == NULL)
        return true;
    uint64_t deadline = clock_ms() + milliseconds;
    AcquireSRWLockExclusive(&machines->lock);
    machines->closing = true;
    SetThreadpoolTimer(machines->timer, NULL, 0, 0);
    while (!is_quiet(machines) && clock_ms() < deadline)
        SleepConditionVariableSRW(&machines->changed, &machines->lock, (DWORD)(deadline - clock_ms()), 0);
    bool quiet = is_quiet(machines);
    ReleaseSRWLockExclusive(&machines->lock);
    if (!quiet)
        return false; /* a call hangs: what it uses stays, and the process is about to end */
    WaitForThreadpoolTimerCallbacks(machines->timer, TRUE);
    machines_free(machines);
    return true;
}

/* ---- looking ---------------------------------------------------------------------------------------------------------- */

void machines_view(struct machines *machines, struct machine_view **ret_views, size_t *ret_count)
{
    size_t count = 0, at = 0;
    AcquireSRWLockShared(&machines->lock);
    for (const struct machine *machine = machines->list; machine != NULL; machine = machine->next)
        count++;
    struct machine_view *views = mem_new_array(count + 1, struct machine_view);
    for (const struct machine *machine = machines->list; machine != NULL; machine = machine->next, at++) {
        views[at].id = str_copy(machine->id);
        views[at].state = str_copy(machine->tend   ? "ending"
                                   : machine->gone ? "gone"
                                   : machine->made ? "running"
                                                   : "starting");
        views[at].linux_guest = uvm_shape_of(machine->vm)->os == UVM_LINUX;
        views[at].counts = machine->counts;
        for (size_t i = 0; i < machine->claim_count; i++)
            views[at].holders += !machine->claims[i].released;
    }
    ReleaseSRWLockShared(&machines->lock);
    *ret_views = views;
    *ret_count = count;
}

void machine_views_free(struct machine_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(views[i].id);
        free(views[i].state);
    }
    free(views);
}
