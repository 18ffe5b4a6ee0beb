#include "uvm/machines.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "base/path.h"
#include "journal/journal.h"

#define DOCUMENT_KIND    "machine"
#define DOCUMENT_VERSION 1
#define HASTY_MS         1000u /* the bound of further steps once one has timed out */
#define PAUSE_MOST_MS    600000u

/* What a container has of layers: claimed until they are out of the VM. */
struct claim {
    char *holder, *scratch; /* scratch NULL: given up already */
    char **parents;
    size_t parent_count;
    bool released; /* the holder is gone; the VM may still have the layers */
};

struct machine {
    struct machine *next;
    char *id;
    struct uvm *vm;
    struct hcs_system *system; /* NULL: not opened (any more) */
    struct claim *claims;
    size_t claim_count;
    char **orphans; /* holders of an earlier life that are no more */
    size_t orphan_count;
    bool recovered; /* from the journal, and nobody has said yet who is still there */
    bool made;      /* it was there once: to be opened, not created */
    bool gone;      /* it has ended */
    bool tend;      /* something is left to do in the background */
    unsigned tries;
    uint64_t due_ms;     /* of the next one */
    unsigned references; /* callers that wait for it or work on it; the list's */
    bool busy, removed;
    struct uvm_counts counts; /* as of the last turn's end */
};

struct machines {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
    struct machines_options options;
    _Atomic uint32_t call_ms, stall_ms;
    char *owner;
    struct journal *journal;
    struct machine *list;
    char **unread; /* ids of VMs whose documents make no sense; the same from machines_open on */
    size_t unread_count;
    PTP_TIMER timer;
    bool closing;
};

/* ---- claims; changed by who has the VM's turn, under the lock -------------------------------------------------------------- */

static void claim_clear(struct claim *claim)
{
    for (size_t i = 0; i < claim->parent_count; i++)
        free(claim->parents[i]);
    free(claim->parents);
    free(claim->holder);
    free(claim->scratch);
    *claim = (struct claim){0};
}

static void claim_add_parent(struct claim *claim, const char *parent)
{
    claim->parents = mem_resize_array(claim->parents, claim->parent_count + 1, sizeof claim->parents[0]);
    claim->parents[claim->parent_count++] = str_copy(parent);
}

static struct claim *claim_add(struct machine *machine, const char *holder, const char *scratch,
                               const char *const *parents, size_t count)
{
    machine->claims = mem_resize_array(machine->claims, machine->claim_count + 1, sizeof machine->claims[0]);
    struct claim *claim = &machine->claims[machine->claim_count++];
    *claim = (struct claim){.holder = str_copy(holder), .scratch = str_copy(scratch)};
    for (size_t i = 0; i < count; i++)
        claim_add_parent(claim, parents[i]);
    return claim;
}

static struct claim *claim_find(const struct machine *machine, const char *holder)
{
    for (size_t i = 0; i < machine->claim_count; i++)
        if (!machine->claims[i].released && strcmp(machine->claims[i].holder, holder) == 0)
            return &machine->claims[i];
    return NULL;
}

static void claim_end(struct machines *machines, struct machine *machine, struct claim *claim)
{
    machines->options.unclaim(machines->options.context, claim->holder, claim->scratch,
                              (const char *const *)claim->parents, claim->parent_count);
    claim_clear(claim);
    *claim = machine->claims[--machine->claim_count];
}

/* The VM's own claim: of layers whose shares it keeps. */
static struct claim *claim_of_machine(struct machine *machine)
{
    char *holder = str_format("utility VM %s", machine->id);
    struct claim *claim = NULL;
    for (size_t i = 0; i < machine->claim_count && claim == NULL; i++)
        if (strcmp(machine->claims[i].holder, holder) == 0)
            claim = &machine->claims[i];
    if (claim == NULL) {
        claim = claim_add(machine, holder, NULL, NULL, 0);
        claim->released = true;
    }
    free(holder);
    return claim;
}

static void claim_pass_on(struct machines *machines, struct machine *machine, const char *parent)
{
    struct claim *own = claim_of_machine(machine);
    for (size_t i = 0; i < own->parent_count; i++)
        if (strcmp(own->parents[i], parent) == 0)
            return;
    struct error *error = machines->options.claim(machines->options.context, own->holder, NULL, &parent, 1);
    if (error == NULL)
        claim_add_parent(own, parent);
    error_free(error);
}

/* The holder has let go. `tried`: requests went out, and a Windows VM keeps the shares of layers until it ends. `clean`: they
 * all succeeded; otherwise the VM may still have the disk, and nobody else is to get it. */
static void claim_release(struct machines *machines, struct machine *machine, const char *holder, bool tried,
                          bool clean)
{
    AcquireSRWLockExclusive(&machines->lock);
    struct claim *claim = claim_find(machine, holder);
    if (claim != NULL && !clean) {
        claim->released = true;
    } else if (claim != NULL) {
        bool keeps = tried && uvm_shape_of(machine->vm)->os == UVM_WINDOWS;
        for (size_t i = 0; keeps && i < claim->parent_count; i++) {
            char *parent = str_copy(claim->parents[i]);
            claim_pass_on(machines, machine, parent); /* which moves the list */
            claim = claim_find(machine, holder);
            free(parent);
        }
        claim_end(machines, machine, claim);
    }
    ReleaseSRWLockExclusive(&machines->lock);
}

/* ---- the document -------------------------------------------------------------------------------------------------------- */

static json_t *encode(const struct machine *machine)
{
    json_t *claims = json_array();
    for (size_t i = 0; i < machine->claim_count; i++) {
        const struct claim *claim = &machine->claims[i];
        json_t *parents = json_array();
        for (size_t k = 0; k < claim->parent_count; k++)
            json_array_append_new(parents, json_string(claim->parents[k]));
        json_array_append_new(claims, json_pack("{s:s, s:s, s:o, s:b}", "holder", claim->holder, "scratch",
                                                claim->scratch != NULL ? claim->scratch : "", "parents", parents,
                                                "released", claim->released));
    }
    return json_pack("{s:o, s:o}", "vm", uvm_encode(machine->vm), "claims", claims);
}

static struct error *save(struct machines *machines, const struct machine *machine)
{
    struct journal_key key = {NULL, machine->id};
    json_t *body = encode(machine);
    struct error *error = journal_save(machines->journal, &key, body);
    json_decref(body);
    return error;
}

static void unsave(struct machines *machines, const struct machine *machine)
{
    struct journal_key key = {NULL, machine->id};
    struct error *error = journal_remove(machines->journal, &key);
    if (error != NULL)
        log_debug("utility VM %s: %s", machine->id, error->message);
    error_free(error);
}

static void save_or_log(struct machines *machines, const struct machine *machine)
{
    struct error *error = save(machines, machine);
    if (error != NULL)
        log_debug("utility VM %s: %s", machine->id, error->message);
    error_free(error);
}

static void decode_claims(struct machines *machines, struct machine *machine, const json_t *claims)
{
    size_t index;
    json_t *json;
    json_array_foreach(claims, index, json)
    {
        const char *holder = json_string_value(json_object_get(json, "holder")),
                   *scratch = json_string_value(json_object_get(json, "scratch"));
        const json_t *parents = json_object_get(json, "parents");
        if (holder == NULL || scratch == NULL)
            continue;
        struct claim *claim = claim_add(machine, holder, scratch[0] != '\0' ? scratch : NULL, NULL, 0);
        claim->released = json_is_true(json_object_get(json, "released"));
        for (size_t i = 0; i < json_array_size(parents); i++)
            if (json_is_string(json_array_get(parents, i)))
                claim_add_parent(claim, json_string_value(json_array_get(parents, i)));
        error_free(machines->options.claim(machines->options.context, claim->holder, claim->scratch,
                                           (const char *const *)claim->parents, claim->parent_count));
    }
}

/* ---- the list ------------------------------------------------------------------------------------------------------------ */

static void machine_free(struct machine *machine)
{
    for (size_t i = 0; i < machine->claim_count; i++)
        claim_clear(&machine->claims[i]);
    while (machine->orphan_count > 0)
        free(machine->orphans[--machine->orphan_count]);
    free(machine->orphans);
    free(machine->claims);
    uvm_free(machine->vm);
    free(machine->id);
    free(machine);
}

/* Locked. */
static struct machine *find(struct machines *machines, const char *id)
{
    struct machine *machine = machines->list;
    while (machine != NULL && strcmp(machine->id, id) != 0)
        machine = machine->next;
    return machine;
}

/* Locked. */
static struct machine *find_holder(struct machines *machines, const char *holder)
{
    struct machine *machine = machines->list;
    while (machine != NULL && claim_find(machine, holder) == NULL)
        machine = machine->next;
    return machine;
}

/* Locked; the list's reference is the caller's. */
static struct machine *add(struct machines *machines, const char *id, struct uvm *vm)
{
    struct machine *machine = mem_new(struct machine);
    machine->id = str_copy(id);
    machine->vm = vm;
    machine->references = 1;
    machine->next = machines->list;
    machines->list = machine;
    return machine;
}

/* Locked. Gives up a reference. */
static void drop(struct machine *machine)
{
    if (--machine->references == 0)
        machine_free(machine);
}

/* Locked. */
static void unlist(struct machines *machines, struct machine *machine)
{
    for (struct machine **place = &machines->list; *place != NULL; place = &(*place)->next) {
        if (*place != machine)
            continue;
        *place = machine->next;
        break;
    }
    machine->removed = true;
    drop(machine);
}

/* Waits for the VM's turn. Locked; on success the turn and a reference are the caller's, to be given back with leave. */
static struct error *enter(struct machines *machines, struct machine *machine, const char *operation)
{
    uint64_t deadline = clock_ms() + machines->call_ms;
    machine->references++;
    while (machine->busy && !machine->removed) {
        uint64_t now = clock_ms();
        if (now >= deadline) {
            drop(machine);
            return error_make(ERROR_KIND_DEADLINE_EXCEEDED, operation, machine->id,
                              "another operation on this utility VM has not ended within %u seconds",
                              (unsigned)(machines->call_ms / 1000));
        }
        SleepConditionVariableSRW(&machines->changed, &machines->lock, (DWORD)(deadline - now), 0);
    }
    machine->busy = true;
    return NULL;
}

static void leave(struct machines *machines, struct machine *machine)
{
    AcquireSRWLockExclusive(&machines->lock);
    machine->busy = false;
    machine->counts = uvm_count(machine->vm);
    drop(machine);
    WakeAllConditionVariable(&machines->changed);
    ReleaseSRWLockExclusive(&machines->lock);
}

/* ---- the background -------------------------------------------------------------------------------------------------------- */

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

static void tend_later(struct machines *machines, struct machine *machine)
{
    uint64_t pause = machines->stall_ms;
    for (unsigned i = 0; i < machine->tries && pause < PAUSE_MOST_MS; i++)
        pause *= 2;
    AcquireSRWLockExclusive(&machines->lock);
    machine->tend = true;
    machine->tries++;
    machine->due_ms = clock_ms() + pause;
    arm(machines);
    ReleaseSRWLockExclusive(&machines->lock);
}

/* ---- the VM itself; with its turn ---------------------------------------------------------------------------------------- */

static struct error *close_system(struct machine *machine)
{
    struct hcs_system *system = machine->system;
    machine->system = NULL;
    return hcs_system_close(system);
}

/* Whether it has ended, as far as is known without asking. */
static bool has_ended(struct machine *machine)
{
    if (machine->system != NULL && hcs_system_has_exited(machine->system, NULL))
        machine->gone = true;
    return machine->gone;
}

/* NULL: it is open, or (machine->gone) there is no such VM. */
static struct error *open_system(struct machines *machines, struct machine *machine, const struct guard_wait *wait)
{
    if (machine->system != NULL || has_ended(machine))
        return NULL;
    struct error *error = hcs_system_open(machines->options.compute, machine->id, wait, &machine->system);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        error = NULL;
        machine->gone = true;
    }
    return error;
}

static struct error *make_system(struct machines *machines, struct machine *machine, const struct machines_mount *mount,
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

/* Ends it. NULL: it is gone for certain. */
static struct error *end_system(struct machines *machines, struct machine *machine)
{
    struct guard_wait wait = {machines->stall_ms, NULL};
    bool gone = false;
    struct error *error = open_system(machines, machine, &wait);
    if (error == NULL && machine->system != NULL) {
        error = hcs_system_terminate(machine->system, &wait, &gone);
        if (error == NULL && !gone)
            error = hcs_system_wait_exit(machine->system, &wait, NULL);
    }
    if (error == NULL) {
        machine->gone = true;
        error_free(close_system(machine));
    } else {
        /* A call that hangs keeps its handle: the next try is made through a fresh one. */
        error_free(close_system(machine));
    }
    return error;
}

struct caller {
    struct machines *machines;
    struct machine *machine;
    HANDLE cancel;
    bool timed_out;
};

static bool is_absent(const struct error *error)
{
    return error_as_hresult(error) == (uint32_t)HRESULT_FROM_WIN32(ERROR_NOT_FOUND);
}

static struct error *modify(void *context, const char *step, const char *request, bool removing)
{
    struct caller *caller = context;
    uint32_t bound = !removing ? caller->machines->call_ms : caller->timed_out ? HASTY_MS : caller->machines->stall_ms;
    struct guard_wait wait = {bound, removing ? NULL : caller->cancel};
    (void)step;
    struct error *error = open_system(caller->machines, caller->machine, &wait);
    if (error == NULL && has_ended(caller->machine)) {
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
        error_free(close_system(caller->machine));
    if (removing && (is_absent(error) || has_ended(caller->machine))) {
        error_free(error);
        error = NULL;
    }
    return error;
}

/* Nobody is in it any more: ends it and forgets it. What does not end is tried again. Returns why it did not. */
static struct error *wind_up(struct machines *machines, struct machine *machine)
{
    struct error *error = machine->made ? end_system(machines, machine) : NULL;
    if (error != NULL) {
        save_or_log(machines, machine);
        tend_later(machines, machine);
        return error_wrap(error, "the utility VM %s does not end", machine->id);
    }
    unsave(machines, machine);
    AcquireSRWLockExclusive(&machines->lock);
    while (machine->claim_count > 0)
        claim_end(machines, machine, &machine->claims[machine->claim_count - 1]);
    machine->tend = false;
    unlist(machines, machine);
    ReleaseSRWLockExclusive(&machines->lock);
    return NULL;
}

/* ---- mounting ------------------------------------------------------------------------------------------------------------ */

static json_t *pack_texts(const char *const *texts, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static bool is_pipe(const char *path)
{
    return _strnicmp(path, "\\\\.\\pipe\\", 9) == 0;
}

/* Has a worker look at the files, and make what is missing. */
static struct error *stage(struct machines *machines, const struct machines_mount *mount, bool make, json_t **ret_found)
{
    json_t *binds = json_array();
    for (size_t i = 0; i < mount->bind_count; i++)
        if (!is_pipe(mount->binds[i].host))
            json_array_append_new(binds, json_string(mount->binds[i].host));
    json_t *order = json_pack("{s:o, s:o, s:s, s:b, s:b}", "parents", pack_texts(mount->parents, mount->parent_count),
                              "binds", binds, "vm", mount->vm, "linux", mount->linux_guest, "machine", make);
    return machines->options.stage(machines->options.context, mount->holder, mount->scratch, order, ret_found);
}

/* These builds map a share's files directly even where they have no ids, and then fail. */
static bool maps_by_id(const struct machines_mount *mount)
{
    return mount->machine.os_build >= 18362 && mount->machine.os_build <= 19042;
}

static struct error *plan(struct machine *machine, const struct machines_mount *mount, const json_t *found,
                          struct uvm_mounted *ret_mounted)
{
    const json_t *layers = json_object_get(found, "layers"), *files = json_object_get(found, "files");
    size_t count = json_array_size(layers), file = 0;
    struct uvm_layer *list = mem_new_array(count + 1, struct uvm_layer);
    struct uvm_bind *binds = mem_new_array(mount->bind_count + 1, struct uvm_bind);
    for (size_t i = 0; i < count; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *path = json_string_value(json_object_get(layer, "path")),
                   *id = json_string_value(json_object_get(layer, "id"));
        list[i] = (struct uvm_layer){path != NULL ? path : "", id != NULL ? id : "",
                                     (uint64_t)json_integer_value(json_object_get(layer, "size")),
                                     maps_by_id(mount) && json_is_true(json_object_get(layer, "no_ids"))};
    }
    for (size_t i = 0; i < mount->bind_count; i++) {
        bool pipe = is_pipe(mount->binds[i].host);
        binds[i] = (struct uvm_bind){mount->binds[i].host, !pipe && json_is_true(json_array_get(files, file)), pipe,
                                     mount->binds[i].read_only};
        file += !pipe;
    }
    const char *disk = json_string_value(json_object_get(found, "disk"));
    const struct uvm_mount order = {
        .holder = mount->holder,
        .container = mount->container,
        .layers = list,
        .layer_count = count,
        .scratch = disk != NULL ? disk : "",
        .binds = binds,
        .bind_count = mount->bind_count,
    };
    struct error *error = uvm_plan(machine->vm, &order, ret_mounted);
    free(list);
    free(binds);
    return error;
}

/* Finds the VM or makes a place for it; its turn and a reference are the caller's. */
static struct error *take_machine(struct machines *machines, const struct machines_mount *mount,
                                  struct machine **ret_machine)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&machines->lock);
    struct machine *machine = find(machines, mount->vm);
    if (machine == NULL && mount->join)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->container,
                           "the utility VM %s is not there: its sandbox must be created first", mount->vm);
    else if (machine != NULL && (uvm_shape_of(machine->vm)->os == UVM_LINUX) != mount->linux_guest)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->container,
                           "the utility VM %s is one for %s containers", mount->vm,
                           mount->linux_guest ? "Windows" : "Linux");
    else if (machine == NULL) {
        const struct uvm_shape shape =
            mount->linux_guest ? uvm_shape_linux(mount->machine.os_build, mount->pmem_devices, mount->machine.root_file)
                               : uvm_shape_windows();
        machine = add(machines, mount->vm, uvm_new(&shape));
    }
    if (error == NULL)
        error = enter(machines, machine, "mount layers");
    if (error == NULL && machine->removed) {
        error = error_make(ERROR_KIND_ABORTED, "mount layers", mount->vm, "the utility VM has just ended; try again");
        machine->busy = false;
        drop(machine);
    }
    ReleaseSRWLockExclusive(&machines->lock);
    if (error == NULL)
        *ret_machine = machine;
    return error;
}

/* With the VM's turn. *ret_tried: requests went out. */
static struct error *mount_in(struct machines *machines, struct machine *machine, const struct machines_mount *mount,
                              struct uvm_mounted *mounted, bool *ret_tried)
{
    struct caller caller = {machines, machine, mount->cancel, false};
    struct guard_wait wait = {machines->call_ms, mount->cancel};
    bool make = !machine->made;
    json_t *found = NULL;
    struct error *error = make ? NULL : open_system(machines, machine, &wait);
    if (error == NULL && !make && has_ended(machine))
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount layers", mount->container,
                           "the utility VM %s has ended; delete its containers first", machine->id);
    if (error == NULL)
        error = stage(machines, mount, make, &found);
    if (error == NULL)
        error = plan(machine, mount, found, mounted);
    if (error != NULL)
        goto out;
    error = save(machines, machine);
    if (error == NULL && make)
        error = make_system(machines, machine, mount, found);
    if (error == NULL) {
        *ret_tried = true;
        error = uvm_make(machine->vm, mount->holder, modify, &caller);
    } else {
        uvm_forget(machine->vm, mount->holder);
    }
    if (error != NULL)
        uvm_mounted_clear(mounted);
out:
    json_decref(found);
    return error;
}

/* Ends it after a failure that has its own error. */
static void wind_up_quietly(struct machines *machines, struct machine *machine)
{
    struct error *error = wind_up(machines, machine);
    if (error != NULL)
        log_debug("utility VM %s: %s", machine->id, error->message);
    error_free(error);
}

struct error *machines_mount(struct machines *machines, const struct machines_mount *mount,
                             struct uvm_mounted *ret_mounted)
{
    struct uvm_mounted mounted = {0};
    struct machine *machine = NULL;
    bool tried = false;
    struct error *error = take_machine(machines, mount, &machine);
    if (error != NULL)
        return error;
    error = machines->options.claim(machines->options.context, mount->holder, mount->scratch, mount->parents,
                                    mount->parent_count);
    if (error == NULL) {
        AcquireSRWLockExclusive(&machines->lock);
        claim_add(machine, mount->holder, mount->scratch, mount->parents, mount->parent_count);
        ReleaseSRWLockExclusive(&machines->lock);
        error = mount_in(machines, machine, mount, &mounted, &tried);
        if (error != NULL)
            claim_release(machines, machine, mount->holder, tried, true);
    }
    if (error != NULL && uvm_holder_count(machine->vm) == 0)
        wind_up_quietly(machines, machine);
    else if (error != NULL && tried)
        save_or_log(machines, machine);
    leave(machines, machine);
    if (error == NULL)
        *ret_mounted = mounted;
    return error;
}

/* ---- releasing ----------------------------------------------------------------------------------------------------------- */

/* With the VM's turn. */
static struct error *release_in(struct machines *machines, struct machine *machine, const char *holder)
{
    struct caller caller = {machines, machine, NULL, false};
    struct guard_wait wait = {machines->stall_ms, NULL};
    struct error *error = NULL;
    error_free(open_system(machines, machine, &wait)); /* each step finds out by itself that it cannot be reached */
    if (has_ended(machine))
        uvm_forget(machine->vm, holder);
    else
        error = uvm_release(machine->vm, holder, modify, &caller);
    claim_release(machines, machine, holder, true, error == NULL);
    return error;
}

/* After releases: the VM goes with its last holder, else what is left in it is written down. */
static struct error *settle(struct machines *machines, struct machine *machine, struct error *error)
{
    if (uvm_holder_count(machine->vm) > 0) {
        save_or_log(machines, machine);
        return error;
    }
    /* What could not be taken out is gone with the VM. */
    struct error *end = wind_up(machines, machine);
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
    struct machine *machine = find_holder(machines, holder);
    struct error *error =
        machine == NULL ? error_make(ERROR_KIND_NOT_FOUND, "release layers", holder, "it has no layers in a utility VM")
                        : enter(machines, machine, "release layers");
    ReleaseSRWLockExclusive(&machines->lock);
    if (error != NULL)
        return error;
    if (!machine->removed && uvm_has_holder(machine->vm, holder))
        error = settle(machines, machine, release_in(machines, machine, holder));
    leave(machines, machine);
    return error;
}

bool machines_holds(struct machines *machines, const char *holder)
{
    AcquireSRWLockShared(&machines->lock);
    bool holds = find_holder(machines, holder) != NULL;
    ReleaseSRWLockShared(&machines->lock);
    return holds;
}

bool machines_has(struct machines *machines, const char *id)
{
    AcquireSRWLockShared(&machines->lock);
    bool has = find(machines, id) != NULL;
    ReleaseSRWLockShared(&machines->lock);
    for (size_t i = 0; i < machines->unread_count; i++)
        has = has || strcmp(machines->unread[i], id) == 0;
    return has || journal_refuses_id(machines->journal, id);
}

/* ---- the background -------------------------------------------------------------------------------------------------------- */

/* With the VM's turn: releases what nobody owns, and ends the VM when that was all. */
static void tend(struct machines *machines, struct machine *machine)
{
    struct guard_wait wait = {machines->stall_ms, NULL};
    struct error *first = open_system(machines, machine, &wait);
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

static void CALLBACK timer_due(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
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
        struct error *error = enter(machines, machine, "tend utility VM");
        ReleaseSRWLockExclusive(&machines->lock);
        if (error != NULL)
            tend_later(machines, machine);
        else if (!machine->removed)
            tend(machines, machine);
        if (error == NULL)
            leave(machines, machine);
        error_free(error);
        AcquireSRWLockExclusive(&machines->lock);
    }
    arm(machines);
    ReleaseSRWLockExclusive(&machines->lock);
}

void machines_set_bounds(struct machines *machines, uint32_t call_ms, uint32_t stall_ms)
{
    atomic_store(&machines->call_ms, call_ms);
    atomic_store(&machines->stall_ms, stall_ms);
}

void machines_keep(struct machines *machines, const char *const *holders, size_t count)
{
    AcquireSRWLockExclusive(&machines->lock);
    for (struct machine *machine = machines->list; machine != NULL; machine = machine->next) {
        if (!machine->recovered)
            continue;
        machine->recovered = false;
        for (size_t i = 0; i < uvm_holder_count(machine->vm); i++) {
            const char *holder = uvm_holder(machine->vm, i);
            bool kept = false;
            for (size_t k = 0; k < count && !kept; k++)
                kept = strcmp(holders[k], holder) == 0;
            if (kept) {
                uvm_confirm(machine->vm, holder);
                continue;
            }
            machine->orphans = mem_resize_array(machine->orphans, machine->orphan_count + 1, sizeof(char *));
            machine->orphans[machine->orphan_count++] = str_copy(holder);
        }
        machine->tend = machine->orphan_count > 0 || uvm_holder_count(machine->vm) == 0;
        machine->due_ms = clock_ms();
    }
    arm(machines);
    ReleaseSRWLockExclusive(&machines->lock);
}

/* ---- opening and closing ------------------------------------------------------------------------------------------------- */

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
        struct machine *machine = add(machines, document->id, vm);
        machine->made = machine->recovered = true;
        machine->counts = uvm_count(vm);
        decode_claims(machines, machine, json_object_get(document->body, "claims"));
    }
    journal_list_free(&list);
    return NULL;
}

static void machines_free(struct machines *machines)
{
    while (machines->list != NULL) {
        struct machine *machine = machines->list;
        machines->list = machine->next;
        error_free(close_system(machine));
        machine_free(machine);
    }
    if (machines->timer != NULL)
        CloseThreadpoolTimer(machines->timer);
    for (size_t i = 0; i < machines->unread_count; i++)
        free(machines->unread[i]);
    free(machines->unread);
    journal_free(machines->journal);
    free(machines->owner);
    free(machines);
}

struct error *machines_open(const struct machines_options *options, struct machines **ret_machines)
{
    struct machines *machines = mem_new(struct machines);
    InitializeSRWLock(&machines->lock);
    InitializeConditionVariable(&machines->changed);
    machines->options = *options;
    machines_set_bounds(machines, options->call_ms, options->stall_ms);
    machines->owner = str_copy(options->owner);
    machines->timer = CreateThreadpoolTimer(timer_due, machines, NULL);
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

/* ---- looking ------------------------------------------------------------------------------------------------------------- */

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
