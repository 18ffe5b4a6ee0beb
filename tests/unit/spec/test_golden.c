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
#include "spec/spec.h"
#include "spec/update.h"

#define FOLDER "golden"

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (json == NULL)
        fail_msg("%s:%d: %s", path, why.line, why.text);
    return json;
}

/* RFC 7396, on an object that is ours to change. */
static void merge(json_t *target, json_t *patch)
{
    const char *name;
    json_t *value;
    json_object_foreach(patch, name, value)
    {
        json_t *old = json_object_get(target, name);
        if (json_is_null(value))
            json_object_del(target, name);
        else if (json_is_object(value) && json_is_object(old))
            merge(old, value);
        else
            json_object_set(target, name, value);
    }
}

static const char *text_of(json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "" : text;
}

static const char *text_or_null(json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

static struct error *name_to_guid(void *context, const char *name, char guid[37])
{
    (void)context;
    if (strcmp(name, "65bf96e5760a09edf1790cb229e2dfb2dbd0fcdc0bf7451bae099106bfbfea0c") == 0) {
        snprintf(guid, 37, "18955d65-d45a-557b-bf1c-49d6dfefc526");
        return NULL;
    }
    if (strcmp(name, "no-guid") == 0)
        return error_hresult(0x80070057, "NameToGuid", name, NULL);
    uint32_t hash = 2166136261u;
    for (const char *at = name; *at != 0; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(16777619) & 0xFFFFFFFF;
    snprintf(guid, 37, "00000000-0000-5000-8000-0000%08x", (unsigned)hash);
    return NULL;
}

static struct error *has_utility_vm(void *context, const char *path, bool *ret_exists)
{
    json_t *folders = context, *folder;
    size_t index;
    *ret_exists = false;
    if (strstr(path, "unreadable") != NULL)
        return error_win32(5, "look at file", path, NULL);
    json_array_foreach(folders, index, folder) if (strcmp(json_string_value(folder), path) == 0) *ret_exists = true;
    return NULL;
}

static struct error *render_system(struct spec *spec, json_t *options, char **ret_document,
                                   struct spec_warnings *warnings)
{
    json_t *rootfs = json_object_get(options, "rootfs"), *parents = json_object_get(rootfs, "parents");
    json_t *vm = json_object_get(options, "linux_vm"), *processors = json_object_get(options, "processors");
    json_t *build = json_object_get(options, "build");
    const char *paths[SPEC_LAYERS_MAX + 8];
    for (size_t i = 0; i < json_array_size(parents); i++)
        paths[i] = json_string_value(json_array_get(parents, i));
    const struct spec_rootfs mounted = {text_of(rootfs, "source"), paths, json_array_size(parents)};
    const struct spec_linux_vm linux_vm = {text_of(vm, "folder"), text_of(vm, "kernel"), text_of(vm, "initrd"),
                                           text_of(vm, "boot_parameters")};
    const struct spec_render render = {
        .id = options != NULL && text_or_null(options, "id") != NULL ? text_of(options, "id") : "web",
        .owner = options != NULL && text_or_null(options, "owner") != NULL ? text_of(options, "owner") : "hcsd",
        .rootfs = rootfs == NULL ? NULL : &mounted,
        .volume = text_or_null(options, "volume"),
        .mount_later = json_is_true(json_object_get(options, "mount_later")),
        .processor_count = processors == NULL ? 8 : (uint32_t)json_integer_value(processors),
        .os_build = build == NULL ? 20348 : (uint32_t)json_integer_value(build),
        .linux_vm = vm == NULL ? NULL : &linux_vm,
        .name_to_guid = name_to_guid,
        .has_utility_vm = has_utility_vm,
        .context = json_object_get(options, "utility_vm"),
    };
    return spec_render_system(spec, &render, ret_document, warnings);
}

static struct error *render_hosted(struct spec *spec, json_t *options, char **ret_document,
                                   struct spec_warnings *warnings)
{
    json_t *json = json_object_get(options, "hosted"), *bind_json = json_object_get(json, "binds");
    const struct spec_render render = {.id = "web", .owner = "hcsd", .os_build = 20348};
    struct spec_bind *binds = NULL;
    char *guests[16] = {NULL};
    size_t count = 0;
    struct error *error = spec_binds(spec, &render, &binds, &count);
    if (error != NULL)
        return error;
    /* Each bind of the spec has its place in the guest, in order. */
    if (count != json_array_size(bind_json) || count > 16)
        fail_msg("%zu binds, %zu places for them", count, json_array_size(bind_json));
    for (size_t i = 0; i < count; i++)
        guests[i] = (char *)(uintptr_t)json_string_value(json_array_get(bind_json, i));
    free(binds);
    const struct spec_hosted hosted = {
        .vm = text_of(json, "vm"),
        .own_vm = !json_is_false(json_object_get(json, "own_vm")),
        .root = text_of(json, "root"),
        .scratch_folder = text_of(json, "scratch_folder"),
        .guest_root = text_of(json, "guest_root"),
        .layers = json_object_get(json, "layers"),
        .binds = guests,
    };
    return spec_render_hosted(spec, &render, &hosted, ret_document, warnings);
}

static struct error *render_process(struct spec *spec, json_t *test, json_t *options, bool exec, char **ret_document)
{
    json_t *json = json_object_get(test, "exec"), *terminal = json_object_get(options, "terminal");
    const char *streams = text_or_null(options, "streams");
    const struct spec_stdio stdio = {
        .terminal = json_is_true(terminal),
        .in = streams == NULL || strchr(streams, 'i') != NULL,
        .out = streams == NULL || strchr(streams, 'o') != NULL,
        .error = streams == NULL || strchr(streams, 'e') != NULL,
        .hosted = json_object_get(options, "hosted") != NULL,
    };
    const struct spec_stdio *given = streams != NULL || terminal != NULL || stdio.hosted ? &stdio : NULL;
    if (!exec)
        return spec_render_process(spec, spec->process, NULL, given, ret_document);
    struct spec_process *process = NULL;
    char *text = json_is_string(json) ? str_copy(json_string_value(json)) : json_dumps(json, JSON_ENCODE_ANY);
    struct error *error = spec_process_load(text, strlen(text), &process);
    if (error == NULL)
        error = spec_render_process(spec, process, spec->process, given, ret_document);
    spec_process_free(process);
    free(text);
    return error;
}

/* The requests as one array. */
static struct error *render_update(json_t *test, json_t *options, char **ret_document)
{
    json_t *value = json_object_get(test, "update"), *build = json_object_get(options, "build"),
           *processors = json_object_get(options, "processors");
    const char *type = text_or_null(options, "type");
    char *text = json_is_string(value) ? str_copy(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
    struct spec_update update;
    struct error *error =
        spec_render_update(type == NULL ? SPEC_UPDATE_RESOURCES : type, text, strlen(text),
                           build == NULL ? 20348 : (uint32_t)json_integer_value(build),
                           processors == NULL ? 8 : (uint32_t)json_integer_value(processors), &update);
    free(text);
    if (error != NULL)
        return error;
    json_t *array = json_array();
    for (size_t i = 0; i < update.count; i++) {
        assert_true(update.what[i][0] != 0);
        json_array_append_new(array, json_loads(update.requests[i], 0, NULL));
    }
    *ret_document = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    spec_update_free(&update);
    return NULL;
}

static struct error *run(json_t *test, char **ret_document, struct spec_warnings *warnings)
{
    json_t *options = json_object_get(test, "options");
    const char *what = text_of(test, "render");
    char *text;
    if (strcmp(what, "update") == 0)
        return render_update(test, options, ret_document);
    if (json_object_get(test, "text") != NULL) {
        text = str_copy(text_of(test, "text"));
    } else {
        char *path = str_format(FOLDER "/base/%s.json", text_of(test, "base"));
        json_t *spec = load(path);
        merge(spec, json_object_get(test, "spec"));
        text = json_dumps(spec, 0);
        json_decref(spec);
        free(path);
    }
    struct spec *spec = NULL;
    struct error *error = spec_load(text, strlen(text), &spec);
    if (error == NULL && strcmp(what, "system") == 0)
        error = render_system(spec, options, ret_document, warnings);
    else if (error == NULL && strcmp(what, "hosted") == 0)
        error = render_hosted(spec, options, ret_document, warnings);
    else if (error == NULL)
        error = render_process(spec, test, options, strcmp(what, "exec") == 0, ret_document);
    spec_free(spec);
    free(text);
    return error;
}

static bool check_error(const char *name, const struct error *error, json_t *expected)
{
    const char *kind = text_of(expected, "kind"), *says = text_of(expected, "says");
    if (strcmp(error_kind_name(error->kind), kind) == 0 && says[0] != 0 && strstr(error->message, says) != NULL)
        return true;
    print_error("%s: expected %s: …%s…\n    found    %s: %s\n", name, kind[0] == 0 ? "no error" : kind, says,
                error_kind_name(error->kind), error->message);
    return false;
}

static bool check_warnings(const char *name, const struct spec_warnings *warnings, json_t *expected)
{
    bool good = warnings->count == json_array_size(expected);
    for (size_t i = 0; good && i < warnings->count; i++)
        good = strstr(warnings->texts[i], json_string_value(json_array_get(expected, i))) != NULL;
    if (!good) {
        print_error("%s: expected %zu warnings, found %zu:\n", name, json_array_size(expected), warnings->count);
        for (size_t i = 0; i < warnings->count; i++)
            print_error("    %s\n", warnings->texts[i]);
    }
    return good;
}

static void accept(const char *path, json_t *test, const char *document)
{
    json_object_set_new(test, "document", json_loads(document, 0, NULL));
    json_dump_file(test, path, JSON_INDENT(2));
    print_message("filled in %s\n", path);
}

static bool run_file(const char *name)
{
    char *path = str_format(FOLDER "/%s", name), *document = NULL;
    json_t *test = load(path), *expected = json_object_get(test, "document");
    struct spec_warnings warnings = {0};
    struct error *error = run(test, &document, &warnings);
    bool good = true;
    if (error != NULL) {
        good = check_error(name, error, json_object_get(test, "error"));
        if (document != NULL || warnings.count != 0) {
            print_error("%s: an error and results\n", name);
            good = false;
        }
    } else if (json_object_get(test, "error") != NULL) {
        print_error("%s: expected an error that says \"%s\", found %s\n", name,
                    text_of(json_object_get(test, "error"), "says"), document);
        good = false;
    } else if (expected == NULL && getenv("HCSD_ACCEPT") != NULL) {
        accept(path, test, document);
    } else {
        char *text = expected == NULL ? str_copy("(nothing yet)") : json_dumps(expected, JSON_COMPACT);
        if (strcmp(text, document) != 0) {
            print_error("%s:\n    expected %s\n    found    %s\n", name, text, document);
            good = false;
        }
        free(text);
        good = check_warnings(name, &warnings, json_object_get(test, "warnings")) && good;
    }
    error_free(error);
    spec_warnings_free(&warnings);
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

static void documents_are_as_written_down(void **state)
{
    (void)state;
    struct dirent **entries = NULL;
    int count = scandir(FOLDER, &entries, is_case, alphasort), bad = 0;
    assert_true(count >= 200);
    for (int i = 0; i < count; i++) {
        bad += !run_file(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (bad != 0)
        fail_msg("%d of %d cases", bad, count);
    print_message("%d cases\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(documents_are_as_written_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
