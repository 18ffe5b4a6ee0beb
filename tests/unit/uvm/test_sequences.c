/* Random sequences of create, fail at step k, crash, restart and delete against books that refuse what HCS refuses. After each
 * sequence the books are empty. sequences [COUNT [SEED]]: a failure prints the seed and the step. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "uvm/uvm.h"

#define CONTAINERS 12
#define STEPS      40

/* ---- a VM's books ---------------------------------------------------------------------------------------------------- */

/* What is in the VM: "scsi:CONTROLLER/LUN" -> path, "mount:GUEST" -> what, "share:NAME", "pmem:DEVICE/OFFSET", "combined:ROOT", … */
struct books {
    json_t *entries;
    unsigned fail_at, calls; /* the call that fails; 0: none */
    bool fail_after;         /* it takes effect all the same: the answer was lost */
    bool busy;               /* what was refused last is in use */
    bool dead;               /* hcsd has crashed: nothing gets through any more */
};

static uint64_t random_state;

static uint32_t any(uint32_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % limit;
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

static bool add(struct books *books, const char *key, const char *value)
{
    if (json_object_get(books->entries, key) != NULL)
        return false;
    json_object_set_new(books->entries, key, json_string(value));
    return true;
}

static bool take(struct books *books, const char *key)
{
    return json_object_del(books->entries, key) == 0;
}

/* Whether the root or a layer of something combined is at this guest path. */
static bool is_used(const struct books *books, const char *guest)
{
    const char *key;
    json_t *value;
    bool used = false;
    char *as_layer = str_format("\"%s\"", guest), *as_scratch = str_format("\"%s/", guest);
    json_object_foreach(books->entries, key, value)
    {
        const char *text = json_string_value(value);
        if (strncmp(key, "combined:", 9) == 0)
            used = used || strstr(text, as_layer) != NULL ||
                   strstr(strstr(text, "ScratchPath") ? strstr(text, "ScratchPath") : "", as_scratch) != NULL;
    }
    free(as_layer);
    free(as_scratch);
    return used;
}

static const char *guest_key(const json_t *settings)
{
    const char *path = text_of(settings, "ContainerPath");
    return *path ? path : text_of(settings, "MountPath");
}

/* The host's half. False: refused. */
static bool change_host(struct books *books, const json_t *request, bool adding)
{
    const char *path = text_of(request, "ResourcePath");
    const json_t *settings = json_object_get(request, "Settings");
    char *key;
    bool good;
    if (!*path)
        return true;
    if (strstr(path, "VirtualSmb") != NULL || strstr(path, "Plan9") != NULL)
        key = str_format("%s:%s", strstr(path, "Plan9") != NULL ? "plan9" : "share", text_of(settings, "Name"));
    else
        key = str_format("device:%s", path);
    if (strcmp(text_of(request, "RequestType"), "Update") == 0)
        good = json_object_get(books->entries, key) != NULL;
    else if (adding)
        good = add(books, key, path);
    else
        good = take(books, key);
    free(key);
    return good;
}

static bool change_guest(struct books *books, const json_t *request)
{
    const json_t *guest = json_object_get(request, "GuestRequest"), *settings = json_object_get(guest, "Settings");
    const char *type = text_of(guest, "ResourceType");
    bool adding = strcmp(text_of(guest, "RequestType"), "Add") == 0, good;
    if (guest == NULL || strcmp(type, "SCSIDevice") == 0)
        return true;
    if (strcmp(type, "CombinedLayers") == 0) {
        char *key = str_format("combined:%s", text_of(settings, "ContainerRootPath"));
        char *all = json_dumps(settings, JSON_COMPACT | JSON_ENCODE_ANY);
        good = adding ? add(books, key, all) : take(books, key);
        free(all);
        free(key);
        return good;
    }
    char *key = str_format("mount:%s", guest_key(settings));
    books->busy = !adding && is_used(books, guest_key(settings));
    good = adding ? add(books, key, "") : !books->busy && take(books, key);
    free(key);
    return good;
}

static struct error *call(void *context, const char *step, const char *text, bool removing)
{
    struct books *books = context;
    if (books->dead)
        return error_make(ERROR_KIND_UNAVAILABLE, "HcsModifyComputeSystem", "vm", "hcsd is no more");
    books->busy = false;
    bool fails = ++books->calls == books->fail_at;
    if (fails && !books->fail_after)
        return error_make(ERROR_KIND_INTERNAL, "HcsModifyComputeSystem", "vm", "%s: refused", step);
    json_t *request = json_loads(text, 0, NULL), *before = json_deep_copy(books->entries);
    bool good = removing ? change_guest(books, request) && change_host(books, request, false)
                         : change_host(books, request, true) && change_guest(books, request);
    if (!good) {
        json_decref(books->entries);
        books->entries = before;
    } else {
        json_decref(before);
    }
    json_decref(request);
    if (fails)
        return error_make(ERROR_KIND_DEADLINE_EXCEEDED, "HcsModifyComputeSystem", "vm", "%s: no answer", step);
    /* What is not there is what a removal wants. */
    if (books->busy)
        return error_make(ERROR_KIND_FAILED_PRECONDITION, "HcsModifyComputeSystem", "vm", "%s: in use", step);
    return good || removing ? NULL
                            : error_make(ERROR_KIND_ALREADY_EXISTS, "HcsModifyComputeSystem", "vm", "%s: taken", step);
}

/* ---- a sequence -------------------------------------------------------------------------------------------------------- */

struct sequence {
    uint64_t seed;
    unsigned step;
    struct uvm *vm;
    struct books books;
    char *journal; /* as it was written last */
    bool running[CONTAINERS];
    char history[STEPS * 24];
};

static void note(struct sequence *sequence, const char *what, unsigned container)
{
    size_t used = strlen(sequence->history);
    snprintf(sequence->history + used, sizeof sequence->history - used, "%s %u; ", what, container);
}

static void broken(const struct sequence *sequence, const char *what)
{
    char *left = json_dumps(sequence->books.entries, JSON_COMPACT);
    fail_msg("seed %llu, step %u: %s\n  %s\n  books: %s", (unsigned long long)sequence->seed, sequence->step, what,
             sequence->history, left);
}

static void write_journal(struct sequence *sequence)
{
    json_t *json = uvm_encode(sequence->vm);
    free(sequence->journal);
    sequence->journal = json_dumps(json, JSON_COMPACT);
    json_decref(json);
}

static void holder_name(unsigned container, char name[32])
{
    snprintf(name, 32, "container c%u", container);
}

/* Each container has layers of its own mixture; Linux ones share a scratch by threes. */
static struct error *plan(struct sequence *sequence, unsigned container)
{
    static const char *const windows_paths[] = {"C:\\l\\a", "C:\\l\\b", "C:\\l\\c", "Z:\\share\\d"};
    static const char *const linux_paths[] = {"C:\\l\\a\\layer.vhd", "C:\\l\\b\\layer.vhd", "C:\\l\\c\\layer.vhd",
                                              "C:\\l\\d\\layer.vhd"};
    static const uint64_t sizes[] = {1 << 20, 900 << 20, UINT64_C(5) << 30, 3 << 20};
    bool windows = uvm_shape_of(sequence->vm)->os == UVM_WINDOWS;
    struct uvm_layer layers[4];
    size_t count = 0;
    char holder[32], id[16], scratch[64];
    for (unsigned i = 0; i < 4; i++)
        if ((container + i) % 3 != 0 || i == 0)
            layers[count++] = (struct uvm_layer){windows ? windows_paths[i] : linux_paths[i], "id", sizes[i], i == 3};
    const struct uvm_bind binds[] = {{"C:\\data", false, false, container % 2 == 0},
                                     {container % 2 ? "C:\\conf\\x" : "C:\\conf\\y", true, false, true}};
    holder_name(container, holder);
    snprintf(id, sizeof id, "c%u", container);
    snprintf(scratch, sizeof scratch, "C:\\s\\%u\\sandbox.vhdx", windows ? container : container / 3);
    const struct uvm_mount mount = {holder, id, layers, count, scratch, binds, container % 3};
    return uvm_plan(sequence->vm, &mount, NULL);
}

static void create(struct sequence *sequence, unsigned container, bool crash)
{
    char holder[32];
    holder_name(container, holder);
    struct error *error = plan(sequence, container);
    if (error != NULL) {
        if (error->kind != ERROR_KIND_RESOURCE_EXHAUSTED)
            broken(sequence, error->message);
        error_free(error);
        return;
    }
    write_journal(sequence);
    error = uvm_make(sequence->vm, holder, call, &sequence->books);
    sequence->running[container] = error == NULL && !crash;
    error_free(error);
    if (!crash)
        write_journal(sequence);
}

static void delete (struct sequence *sequence, unsigned container)
{
    char holder[32];
    holder_name(container, holder);
    error_free(uvm_release(sequence->vm, holder, call, &sequence->books));
    sequence->running[container] = false;
    write_journal(sequence);
}

/* What hcsd does at its start: containers that run are kept, all else is taken out. */
static void restart(struct sequence *sequence)
{
    char holder[32];
    json_t *json = json_loads(sequence->journal, 0, NULL);
    struct uvm *vm = NULL;
    struct error *error = uvm_decode(json, &vm);
    json_decref(json);
    if (error != NULL)
        broken(sequence, error->message);
    uvm_free(sequence->vm);
    sequence->vm = vm;
    sequence->books.dead = false;
    sequence->books.fail_at = 0;
    for (unsigned i = 0; i < CONTAINERS; i++) {
        holder_name(i, holder);
        if (uvm_has_holder(vm, holder) && sequence->running[i])
            uvm_confirm(vm, holder);
    }
    for (unsigned i = 0; i < CONTAINERS; i++) {
        holder_name(i, holder);
        if (uvm_has_holder(vm, holder) && !sequence->running[i])
            error_free(uvm_release(vm, holder, call, &sequence->books));
        if (!uvm_has_holder(vm, holder) && sequence->running[i])
            broken(sequence, "a container that runs is not in the journal");
    }
    write_journal(sequence);
}

/* hcsd dies after so many calls of a create: what the VM has by then it keeps. */
static struct error *call_until_death(void *context, const char *step, const char *text, bool removing)
{
    struct books *books = context;
    if (books->fail_at == 0)
        books->dead = true;
    else
        books->fail_at--;
    unsigned kept = books->fail_at;
    books->fail_at = 0;
    struct error *error = call(books, step, text, removing);
    books->fail_at = kept;
    return error;
}

static void crash_in_create(struct sequence *sequence, unsigned container)
{
    char holder[32];
    holder_name(container, holder);
    struct error *error = plan(sequence, container);
    if (error == NULL) {
        write_journal(sequence);
        sequence->books.fail_at = any(6);
        error = uvm_make(sequence->vm, holder, call_until_death, &sequence->books);
        sequence->books.dead = true;
    }
    error_free(error);
    restart(sequence);
}

static void check_books(struct sequence *sequence, bool may_leak)
{
    const char *key;
    json_t *value;
    struct uvm_counts counts = uvm_count(sequence->vm);
    if (uvm_holder_count(sequence->vm) != 0 ||
        counts.disks + counts.pmems + counts.plan9 + counts.pipes + counts.combined != 0)
        broken(sequence, "the account is not empty");
    if (counts.leaked > 0 && !may_leak)
        broken(sequence, "something leaked although nothing failed");
    unsigned left = 0;
    json_object_foreach(sequence->books.entries, key, value) left +=
        strncmp(key, "share:", 6) != 0; /* direct-mapped shares stay until the VM ends */
    /* What a lost place stands for may be there, and nothing else. */
    if (left > counts.leaked * 2)
        broken(sequence, "the books are not empty");
}

static void run_sequence(uint64_t seed)
{
    struct sequence sequence = {.seed = seed, .books = {.entries = json_object()}};
    random_state = seed * 0x9E3779B97F4A7C15u + 1;
    any(2);
    const struct uvm_shape shape = any(2) ? uvm_shape_windows() : uvm_shape_linux(20348, any(3) * 2, any(2));
    bool failures = any(2);
    bool failed_removal = false;
    sequence.vm = uvm_new(&shape);
    write_journal(&sequence);
    for (sequence.step = 0; sequence.step < STEPS; sequence.step++) {
        unsigned container = any(CONTAINERS), what = any(10);
        sequence.books.calls = sequence.books.fail_at = 0;
        if (failures && what < 3) {
            sequence.books.fail_at = 1 + any(8);
            sequence.books.fail_after = any(2);
            failed_removal = failed_removal || sequence.running[container];
        }
        if (what == 9) {
            note(&sequence, "restart", 0);
            restart(&sequence);
        } else if (what == 8 && !sequence.running[container]) {
            note(&sequence, "crash in create of", container);
            crash_in_create(&sequence, container);
        } else if (sequence.running[container]) {
            note(&sequence, sequence.books.fail_at ? "failing delete of" : "delete", container);
            delete (&sequence, container);
        } else {
            note(&sequence, sequence.books.fail_at ? "failing create of" : "create", container);
            create(&sequence, container, false);
        }
    }
    sequence.books.fail_at = 0;
    for (unsigned i = 0; i < CONTAINERS; i++)
        if (sequence.running[i])
            delete (&sequence, i);
    check_books(&sequence, failures);
    uvm_free(sequence.vm);
    json_decref(sequence.books.entries);
    free(sequence.journal);
}

static unsigned sequence_count = 200;
static uint64_t first_seed = 1;

static void nothing_is_left_after_any_sequence(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sequence_count; i++)
        run_sequence(first_seed + i);
    print_message("%u sequences from seed %llu\n", sequence_count, (unsigned long long)first_seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_left_after_any_sequence)};
    if (argc > 1)
        sequence_count = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
