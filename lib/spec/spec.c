#include "spec/spec.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/read.h"

#define LARGEST      INT64_MAX /* what fits a JSON number here and HCS's signed members */

#define HOST_PROCESS "microsoft.com/hostprocess-container"
#define POD_TYPE     "io.kubernetes.cri.container-type"
#define POD_SANDBOX  "io.kubernetes.cri.sandbox-id"

/* ---- process ---- */

static struct spec_process *read_process(struct reader *reader, const struct place *place)
{
    struct spec_process *process = mem_new(struct spec_process);
    process->terminal = read_bool(reader, place, "terminal");
    struct place console = read_object(reader, place, "consoleSize");
    process->has_console = console.json != NULL;
    process->console_height = (uint16_t)read_number(reader, &console, "height", UINT16_MAX);
    process->console_width = (uint16_t)read_number(reader, &console, "width", UINT16_MAX);
    process->cwd = read_text(reader, place, "cwd");
    struct place user = read_object(reader, place, "user");
    process->username = read_text(reader, &user, "username");
    process->command_line = read_text(reader, place, "commandLine");
    process->args = read_texts(reader, place, "args", &process->arg_count);
    process->env = read_texts(reader, place, "env", &process->env_count);
    return process;
}

void spec_process_free(struct spec_process *process)
{
    if (process == NULL)
        return;
    free(process->args);
    free(process->env);
    json_decref(process->json);
    free(process);
}

struct error *spec_process_load(const char *text, size_t size, struct spec_process **ret_process)
{
    json_t *json = NULL;
    struct error *error = error_wrap(read_json(text, size, &json), "process");
    if (error != NULL)
        return error;
    struct reader reader = {0};
    const struct place root = {.name = "", .json = json};
    read_expect_object(&reader, &root);
    struct spec_process *process = read_process(&reader, &root);
    process->json = json;
    if (reader.error != NULL)
        spec_process_free(process);
    else
        *ret_process = process;
    return error_wrap(reader.error, "process");
}

/* ---- the rest ---- */

static void read_mounts(struct reader *reader, const struct place *root, struct spec *spec)
{
    struct place array = read_array(reader, root, "mounts");
    spec->mount_count = json_array_size(array.json);
    spec->mounts = mem_new_array(spec->mount_count, struct spec_mount);
    for (size_t i = 0; i < spec->mount_count; i++) {
        struct place place = read_element(&array, i);
        struct spec_mount *mount = &spec->mounts[i];
        read_expect_object(reader, &place);
        mount->destination = read_text(reader, &place, "destination");
        mount->source = read_text(reader, &place, "source");
        mount->type = read_text(reader, &place, "type");
        mount->options = read_texts(reader, &place, "options", &mount->option_count);
        if (mount->destination[0] == 0)
            read_fail(reader, &place, "must have a destination");
    }
}

static void read_resources(struct reader *reader, const struct place *place, struct spec_windows *windows)
{
    struct place resources = read_object(reader, place, "resources");
    struct place memory = read_object(reader, &resources, "memory");
    struct place cpu = read_object(reader, &resources, "cpu");
    struct place storage = read_object(reader, &resources, "storage");
    windows->memory_limit = read_number(reader, &memory, "limit", LARGEST);
    windows->cpu_count = read_number(reader, &cpu, "count", LARGEST);
    windows->cpu_shares = read_number(reader, &cpu, "shares", 10000);
    windows->cpu_maximum = read_number(reader, &cpu, "maximum", 10000);
    windows->has_cpu_affinity = json_array_size(read_array(reader, &cpu, "affinity").json) > 0;
    windows->storage_bps = read_number(reader, &storage, "bps", LARGEST);
    windows->storage_iops = read_number(reader, &storage, "iops", LARGEST);
    if ((windows->cpu_count != 0) + (windows->cpu_shares != 0) + (windows->cpu_maximum != 0) > 1)
        read_fail(reader, &cpu, "may have only one of count, shares and maximum");
}

static void read_network(struct reader *reader, const struct place *place, struct spec_windows *windows)
{
    struct place network = read_object(reader, place, "network");
    windows->endpoints = read_texts(reader, &network, "endpointList", &windows->endpoint_count);
    windows->allow_unqualified_dns_query = read_bool(reader, &network, "allowUnqualifiedDNSQuery");
    windows->dns_search = read_texts(reader, &network, "DNSSearchList", &windows->dns_search_count);
    windows->network_shared_container = read_text(reader, &network, "networkSharedContainerName");
    windows->network_namespace = read_text(reader, &network, "networkNamespace");
}

static void read_devices(struct reader *reader, const struct place *place, struct spec_windows *windows)
{
    struct place array = read_array(reader, place, "devices");
    windows->device_count = json_array_size(array.json);
    windows->devices = mem_new_array(windows->device_count, struct spec_device);
    for (size_t i = 0; i < windows->device_count; i++) {
        struct place device = read_element(&array, i);
        read_expect_object(reader, &device);
        windows->devices[i].id = read_text(reader, &device, "id");
        windows->devices[i].id_type = read_text(reader, &device, "idType");
        if (windows->devices[i].id[0] == 0)
            read_fail(reader, &device, "must have an id");
    }
}

static struct spec_windows *read_windows(struct reader *reader, const struct place *place)
{
    struct spec_windows *windows = mem_new(struct spec_windows);
    windows->layer_folders = read_texts(reader, place, "layerFolders", &windows->layer_folder_count);
    struct place hyperv = read_object(reader, place, "hyperv");
    windows->hyperv = hyperv.json != NULL;
    windows->utility_vm_path = read_text(reader, &hyperv, "utilityVMPath");
    windows->ignore_flushes_during_boot = read_bool(reader, place, "ignoreFlushesDuringBoot");
    read_resources(reader, place, windows);
    read_network(reader, place, windows);
    read_devices(reader, place, windows);
    /* Any type is legal; only text means something. */
    const json_t *credential = json_object_get(place->json, "credentialSpec");
    windows->credential_spec = json_is_string(credential) ? json_string_value(credential) : "";
    windows->has_odd_credential_spec = credential != NULL && !json_is_null(credential) && !json_is_string(credential);
    return windows;
}

struct error *spec_load(const char *text, size_t size, struct spec **ret_spec)
{
    json_t *json = NULL;
    struct error *error = read_json(text, size, &json);
    if (error != NULL)
        return error;
    struct reader reader = {0};
    const struct place root = {.name = "", .json = json};
    struct spec *spec = mem_new(struct spec);
    spec->json = json;
    read_expect_object(&reader, &root);
    spec->hostname = read_text(&reader, &root, "hostname");
    struct place folder = read_object(&reader, &root, "root");
    spec->has_root = folder.json != NULL;
    spec->root_path = read_text(&reader, &folder, "path");
    spec->root_readonly = read_bool(&reader, &folder, "readonly");
    struct place process = read_object(&reader, &root, "process");
    if (process.json != NULL)
        spec->process = read_process(&reader, &process);
    read_mounts(&reader, &root, spec);
    struct place windows = read_object(&reader, &root, "windows");
    if (windows.json != NULL)
        spec->windows = read_windows(&reader, &windows);
    spec->linux_object = read_object(&reader, &root, "linux").json != NULL;
    struct place annotations = read_object(&reader, &root, "annotations");
    spec->host_process = strcmp(read_text(&reader, &annotations, HOST_PROCESS), "true") == 0;
    spec->pod_type = read_text(&reader, &annotations, POD_TYPE);
    spec->pod_sandbox = read_text(&reader, &annotations, POD_SANDBOX);
    if (reader.error != NULL)
        spec_free(spec);
    else
        *ret_spec = spec;
    return reader.error;
}

void spec_default_annotation(struct spec *spec, const char *name, const char *value)
{
    if (json_object_get(json_object_get(spec->json, "annotations"), name) != NULL)
        return;
    if (strcmp(name, HOST_PROCESS) == 0)
        spec->host_process = strcmp(value, "true") == 0;
    else if (strcmp(name, POD_TYPE) == 0)
        spec->pod_type = value;
    else if (strcmp(name, POD_SANDBOX) == 0)
        spec->pod_sandbox = value;
}

void spec_free(struct spec *spec)
{
    if (spec == NULL)
        return;
    spec_process_free(spec->process);
    for (size_t i = 0; spec->mounts != NULL && i < spec->mount_count; i++)
        free(spec->mounts[i].options);
    free(spec->mounts);
    if (spec->windows != NULL) {
        free(spec->windows->layer_folders);
        free(spec->windows->endpoints);
        free(spec->windows->dns_search);
        free(spec->windows->devices);
        free(spec->windows);
    }
    json_decref(spec->json);
    free(spec);
}

#define BUILD_PODS 17763 /* RS5: containers that share a network compartment */

static struct error *bad_pod(enum error_kind kind, const char *id, const char *message)
{
    return error_make(kind, "read spec", id, "%s", message);
}

struct error *spec_pod(const struct spec *spec, const char *id, uint32_t os_build, struct spec_pod *ret_pod)
{
    struct spec_pod pod = {spec->pod_sandbox, strcmp(spec->pod_type, "sandbox") == 0};
    if (spec->pod_type[0] == 0 && pod.sandbox[0] == 0) {
        *ret_pod = pod;
        return NULL;
    }
    if (spec->pod_type[0] == 0 || pod.sandbox[0] == 0)
        return bad_pod(
            ERROR_KIND_INVALID_ARGUMENT, id,
            "the annotations io.kubernetes.cri.container-type and io.kubernetes.cri.sandbox-id must be given "
            "together");
    if (!pod.is_sandbox && strcmp(spec->pod_type, "container") != 0)
        return bad_pod(ERROR_KIND_INVALID_ARGUMENT, id,
                       "the annotation io.kubernetes.cri.container-type must be sandbox or container");
    if (pod.is_sandbox && strcmp(pod.sandbox, id) != 0)
        return bad_pod(ERROR_KIND_FAILED_PRECONDITION, id,
                       "the annotation io.kubernetes.cri.sandbox-id of a sandbox must be its own id");
    if (os_build < BUILD_PODS)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "read spec", id, "pods need Windows build %d; this is %u",
                          BUILD_PODS, (unsigned)os_build);
    *ret_pod = pod;
    return NULL;
}

bool spec_is_isolated(const struct spec *spec)
{
    return spec->linux_object || (spec->windows != NULL && spec->windows->hyperv);
}
