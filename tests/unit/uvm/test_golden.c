/* The cases of golden/; what they look like is told in golden/README.md. */
#include <dirent.h>
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
#include "base/path.h"
#include "uvm/document.h"

#define FOLDER    "golden"
#define BINDS_MAX 16

struct run {
    struct uvm *vm;
    json_t *lines; /* what happened */
    int fail_at;   /* of this step's requests; -1: none */
    enum error_kind fail_kind;
    int requests; /* of this step */
    bool quiet;
    size_t total; /* of the case */
};

static void line(struct run *run, const char *format, ...) ERROR_PRINTF(2, 3);
static void line(struct run *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    json_array_append_new(run->lines, json_string(text));
    free(text);
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

static uint64_t number_of(const json_t *json, const char *name, uint64_t otherwise)
{
    const json_t *number = json_object_get(json, name);
    return number == NULL ? otherwise : (uint64_t)json_integer_value(number);
}

static bool flag_of(const json_t *json, const char *name)
{
    return json_is_true(json_object_get(json, name));
}

static struct error *call(void *context, const char *step, const char *request, bool removing)
{
    struct run *run = context;
    int number = ++run->requests;
    (void)removing;
    /* It must be JSON whatever it says. */
    json_t *json = json_loads(request, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL)
        fail_msg("no JSON: %s", request);
    json_decref(json);
    if (!run->quiet)
        line(run, "> %s", request);
    run->total++;
    if (number != run->fail_at)
        return NULL;
    line(run, "  (this one fails)");
    return error_make(run->fail_kind, "HcsModifyComputeSystem", "vm", "%s is refused by the test", step);
}

static void show_error(struct run *run, struct error *error)
{
    if (error == NULL)
        return;
    line(run, "! %s: %s", error_kind_name(error->kind), error->message);
    error_free(error);
}

/* ---- the steps ----------------------------------------------------------------------------------------------------- */

static void read_layers(const json_t *layers, struct uvm_layer *out, char **ids)
{
    size_t index;
    json_t *layer;
    json_array_foreach(layers, index, layer)
    {
        const char *path = json_is_string(layer) ? json_string_value(layer) : text_of(layer, "path");
        char *name = path_last_part(path);
        ids[index] = *text_of(layer, "id") ? str_copy(text_of(layer, "id")) : str_format("id of %s", name);
        out[index] = (struct uvm_layer){path, ids[index], number_of(layer, "size", 1 << 20), flag_of(layer, "no_ids")};
        free(name);
    }
}

static void mount(struct run *run, const json_t *what, const char *container, const char *scratch)
{
    const json_t *list = json_object_get(what, "layers"), *binds = json_object_get(what, "binds");
    size_t count = json_array_size(list);
    struct uvm_layer *layers = mem_new_array(count + 1, struct uvm_layer);
    char **ids = mem_new_array(count + 1, char *), *holder = str_format("container %s", container);
    struct uvm_bind bind_list[BINDS_MAX];
    struct uvm_mounted mounted;
    read_layers(list, layers, ids);
    for (size_t i = 0; i < json_array_size(binds); i++) {
        const json_t *bind = json_array_get(binds, i);
        bind_list[i] = (struct uvm_bind){text_of(bind, "host"), flag_of(bind, "file"), flag_of(bind, "pipe"),
                                         flag_of(bind, "read_only")};
    }
    const struct uvm_mount order = {holder, container, layers, count, scratch, bind_list, json_array_size(binds)};
    struct error *error = uvm_plan(run->vm, &order, &mounted);
    if (error == NULL) {
        error = uvm_make(run->vm, holder, call, run);
        if (error == NULL && !run->quiet) {
            char *text = json_dumps(mounted.layers, JSON_COMPACT);
            line(run, "= root %s%s%s, layers %s", mounted.root, mounted.scratch_folder ? ", scratch " : "",
                 mounted.scratch_folder ? mounted.scratch_folder : "", text);
            free(text);
            for (size_t i = 0; i < mounted.bind_count; i++)
                line(run, "= bind %s", mounted.binds[i]);
        }
        uvm_mounted_clear(&mounted);
    }
    show_error(run, error);
    for (size_t i = 0; i < count; i++)
        free(ids[i]);
    free(ids);
    free(layers);
    free(holder);
}

static void fill(struct run *run, unsigned count)
{
    json_t *what =
        json_pack("{s:[s]}", "layers",
                  uvm_shape_of(run->vm)->os == UVM_WINDOWS ? "C:\\layers\\base" : "C:\\layers\\base\\layer.vhd");
    run->quiet = true;
    for (unsigned i = 0; i < count; i++) {
        char *container = str_format("fill%u", i), *scratch = str_format("C:\\fill\\%u\\sandbox.vhdx", i);
        mount(run, what, container, scratch);
        free(container);
        free(scratch);
    }
    run->quiet = false;
    json_decref(what);
}

static void restart(struct run *run, const json_t *kept)
{
    json_t *journal = uvm_encode(run->vm);
    char *text = json_dumps(journal, JSON_COMPACT), *again;
    struct uvm *vm = NULL;
    json_t *read = json_loads(text, 0, NULL);
    struct error *error = uvm_decode(read, &vm);
    if (error != NULL)
        fail_msg("%s: %s", error->message, text);
    json_t *second = uvm_encode(vm);
    again = json_dumps(second, JSON_COMPACT);
    assert_string_equal(text, again);
    uvm_free(run->vm);
    run->vm = vm;
    for (size_t i = 0; i < json_array_size(kept); i++) {
        char *holder = str_format("container %s", json_string_value(json_array_get(kept, i)));
        uvm_confirm(vm, holder);
        free(holder);
    }
    free(text);
    free(again);
    json_decref(journal);
    json_decref(second);
    json_decref(read);
}

static void step(struct run *run, const json_t *what)
{
    const json_t *fault = json_object_get(what, "fail"), *mounting = json_object_get(what, "mount");
    run->requests = 0;
    run->fail_at = fault == NULL ? -1 : (int)number_of(fault, "request", 1);
    run->fail_kind = *text_of(fault, "kind") ? error_kind_parse(text_of(fault, "kind")) : ERROR_KIND_INTERNAL;
    char *holder =
        str_format("container %s", *text_of(what, "release") ? text_of(what, "release") : text_of(what, "forget"));
    if (mounting != NULL) {
        line(run, "mount %s", text_of(mounting, "container"));
        mount(run, mounting, text_of(mounting, "container"), text_of(mounting, "scratch"));
    } else if (*text_of(what, "release")) {
        line(run, "release %s", text_of(what, "release"));
        show_error(run, uvm_release(run->vm, holder, call, run));
    } else if (*text_of(what, "forget")) {
        uvm_forget(run->vm, holder);
    } else if (json_object_get(what, "restart") != NULL) {
        line(run, "restart");
        restart(run, json_object_get(what, "restart"));
    } else {
        fill(run, (unsigned)number_of(what, "fill", 1));
    }
    free(holder);
}

static struct uvm_shape shape_of(const json_t *vm)
{
    if (strcmp(text_of(vm, "os"), "linux") != 0)
        return uvm_shape_windows();
    return uvm_shape_linux((uint32_t)number_of(vm, "build", 20348), (unsigned)number_of(vm, "pmem_devices", 64),
                           flag_of(vm, "root_file"));
}

/* ---- a case --------------------------------------------------------------------------------------------------------- */

static size_t requests_total;

static struct error *run_machine(const json_t *test, char **ret_document)
{
    const json_t *json = json_object_get(test, "machine"), *vm = json_object_get(test, "vm");
    const struct uvm_shape shape = shape_of(vm);
    const struct uvm_machine machine = {
        .owner = "hcsd",
        .os_build = (uint32_t)number_of(vm, "build", 20348),
        .processors = (uint32_t)number_of(json, "processors", 8),
        .memory_mb = number_of(json, "memory_mb", 0),
        .cpu_count = number_of(json, "cpu_count", 0),
        .cpu_maximum = number_of(json, "cpu_maximum", 0),
        .cpu_weight = number_of(json, "cpu_weight", 0),
        .storage_iops = number_of(json, "storage_iops", 0),
        .storage_bps = number_of(json, "storage_bps", 0),
        .image = json_string_value(json_object_get(json, "image")),
        .disk = json_string_value(json_object_get(json, "disk")),
        .boot_folder = json_string_value(json_object_get(json, "boot_folder")),
        .boot_uncompressed = flag_of(json, "boot_uncompressed"),
        .root_file = shape.pmem_boot || shape.disk_boot,
    };
    return uvm_machine_document(&shape, &machine, ret_document);
}

static json_t *run_steps(const json_t *test)
{
    const struct uvm_shape shape = shape_of(json_object_get(test, "vm"));
    struct run run = {.vm = uvm_new(&shape), .lines = json_array()};
    size_t index;
    json_t *what;
    json_array_foreach(json_object_get(test, "do"), index, what) step(&run, what);
    struct uvm_counts counts = uvm_count(run.vm);
    line(&run, "# holders %zu, disks %u, memory %u, shares %u, plan9 %u, pipes %u, combined %u, leaked %u",
         uvm_holder_count(run.vm), counts.disks, counts.pmems, counts.shares, counts.plan9, counts.pipes,
         counts.combined, counts.leaked);
    requests_total += run.total;
    uvm_free(run.vm);
    return run.lines;
}

static bool same_lines(const char *name, const json_t *expected, const json_t *found)
{
    size_t count =
        json_array_size(expected) > json_array_size(found) ? json_array_size(expected) : json_array_size(found);
    for (size_t i = 0; i < count; i++) {
        const char *want = json_string_value(json_array_get(expected, i)),
                   *have = json_string_value(json_array_get(found, i));
        if (want != NULL && have != NULL && strcmp(want, have) == 0)
            continue;
        print_error("%s, line %zu:\n    expected %s\n    found    %s\n", name, i + 1, want ? want : "(nothing)",
                    have ? have : "(nothing)");
        return false;
    }
    return true;
}

static bool run_file(const char *name)
{
    char *path = str_format(FOLDER "/%s", name), *document = NULL;
    json_error_t why;
    json_t *test = json_load_file(path, JSON_REJECT_DUPLICATES, &why), *found = NULL;
    if (test == NULL)
        fail_msg("%s:%d: %s", path, why.line, why.text);
    bool machine = json_object_get(test, "machine") != NULL, good = true;
    const json_t *wrong = json_object_get(test, "error");
    const char *member = machine ? "document" : "expect";
    if (machine) {
        struct error *error = run_machine(test, &document);
        if (error != NULL) {
            good = strcmp(error_kind_name(error->kind), text_of(wrong, "kind")) == 0 &&
                   strstr(error->message, text_of(wrong, "says")) != NULL;
            if (!good)
                print_error("%s: %s: %s\n", name, error_kind_name(error->kind), error->message);
            error_free(error);
            goto out;
        }
        requests_total++;
        found = json_loads(document, 0, NULL);
    } else {
        found = run_steps(test);
    }
    json_t *expected = json_object_get(test, member);
    if (wrong != NULL) {
        print_error("%s: expected an error\n", name);
        good = false;
    } else if (expected == NULL && getenv("HCSD_ACCEPT") != NULL) {
        json_object_set(test, member, found);
        json_dump_file(test, path, JSON_INDENT(2));
        print_message("filled in %s\n", path);
    } else if (machine) {
        char *text = json_dumps(expected, JSON_COMPACT);
        good = text != NULL && strcmp(text, document) == 0;
        if (!good)
            print_error("%s:\n    expected %s\n    found    %s\n", name, text ? text : "(nothing)", document);
        free(text);
    } else {
        good = same_lines(name, expected, found);
    }
out:
    json_decref(found);
    json_decref(test);
    free(document);
    free(path);
    return good;
}

static int is_case(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return size > 5 && strcmp(entry->d_name + size - 5, ".json") == 0;
}

static void requests_are_as_written_down(void **state)
{
    (void)state;
    struct dirent **entries = NULL;
    int count = scandir(FOLDER, &entries, is_case, alphasort), bad = 0;
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        bad += !run_file(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (bad != 0)
        fail_msg("%d of %d cases", bad, count);
    print_message("%d cases, %zu documents\n", count, requests_total);
    assert_true(requests_total >= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(requests_are_as_written_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
