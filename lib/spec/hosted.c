/* Containers in a utility VM that hcsd has made (schema 2, layers.md 5). Their layers and mounts are in the VM already. */
#include "base/path.h"
#include "base/text.h"
#include "spec/document.h"

#define PIPE_PREFIX "\\\\.\\pipe\\"

static bool is_pipe(const char *path)
{
    char *start = str_copy_n(path, strnlen(path, sizeof PIPE_PREFIX - 1));
    bool pipe = text_equal_ascii_nocase(start, PIPE_PREFIX);
    free(start);
    return pipe;
}

bool spec_can_be_hosted(const struct spec *spec, uint32_t os_build)
{
    const struct spec_windows *windows = spec->windows;
    if (!spec_is_isolated(spec) || os_build < SPEC_BUILD_HOSTED || windows == NULL)
        return false;
    /* What HCS itself brings into its own VM with the v1 document, and hcsd cannot: networks, and who the container is. */
    return spec->linux_object || (windows->endpoint_count == 0 && windows->network_shared_container[0] == 0 &&
                                  windows->credential_spec[0] == 0 && windows->utility_vm_path[0] == 0);
}

/* ---- what is to be seen in the guest --------------------------------------------------------------------------------- */

static bool is_bind(const struct spec *spec, const struct spec_mount *mount)
{
    return !spec->linux_object || strcmp(mount->type, "bind") == 0;
}

struct error *spec_binds(const struct spec *spec, const struct spec_render *render, struct spec_bind **ret_binds,
                         size_t *ret_count)
{
    struct spec_bind *binds = mem_new_array(spec->mount_count + 1, struct spec_bind);
    struct error *error = NULL;
    size_t count = 0;
    for (size_t i = 0; i < spec->mount_count && error == NULL; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        bool pipe = is_pipe(mount->source);
        if (!is_bind(spec, mount))
            continue;
        if (!spec->linux_object && mount->type[0] != 0)
            error = spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "mounts[%zu].type must be left out, not \"%s\"", i,
                                mount->type);
        else if (mount->source[0] == 0 || (!pipe && !path_is_absolute(mount->source)))
            error = spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "mounts[%zu].source must be an absolute path", i);
        else if (pipe != is_pipe(mount->destination))
            error = spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render,
                                "mounts[%zu]: a pipe can only be mapped to a pipe of a Windows container", i);
        else
            binds[count++] = (struct spec_bind){mount->source, mount_is_read_only(mount)};
    }
    if (error != NULL) {
        free(binds);
        return error;
    }
    *ret_binds = binds;
    *ret_count = count;
    return NULL;
}

/* ---- Windows --------------------------------------------------------------------------------------------------------- */

static void add_mounts(json_t *container, const struct spec *spec, const struct spec_hosted *hosted)
{
    json_t *directories = json_array(), *pipes = json_array();
    for (size_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        if (is_pipe(mount->destination)) {
            json_array_append_new(pipes,
                                  json_pack("{s:s, s:s}", "ContainerPipeName",
                                            mount->destination + sizeof PIPE_PREFIX - 1, "HostPath", hosted->binds[i]));
            continue;
        }
        json_t *directory = json_pack("{s:s, s:s}", "HostPath", hosted->binds[i], "ContainerPath", mount->destination);
        document_add_true(directory, "ReadOnly", mount_is_read_only(mount));
        json_array_append_new(directories, directory);
    }
    if (json_array_size(directories) > 0)
        json_object_set(container, "MappedDirectories", directories);
    if (json_array_size(pipes) > 0)
        json_object_set(container, "MappedPipes", pipes);
    json_decref(directories);
    json_decref(pipes);
}

/* Limits are the VM's where it is the container's own. */
static void add_limits(json_t *container, const struct spec *spec)
{
    json_t *processor = json_object(), *memory = json_object();
    document_add_number(processor, "Count", spec->windows->cpu_count);
    document_add_number(processor, "Maximum", spec->windows->cpu_maximum);
    document_add_number(processor, "Weight", spec->windows->cpu_shares);
    document_add_number(memory, "SizeInMB", spec->windows->memory_limit >> 20);
    if (json_object_size(memory) > 0)
        json_object_set(container, "Memory", memory);
    if (json_object_size(processor) > 0)
        json_object_set(container, "Processor", processor);
    json_decref(processor);
    json_decref(memory);
}

static void add_dns(json_t *container, const struct spec *spec)
{
    json_t *network = json_object();
    document_add_dns(network, spec);
    json_t *query = json_object_get(network, "AllowUnqualifiedDNSQuery"),
           *list = json_object_get(network, "DNSSearchList");
    json_t *networking = json_object();
    if (query != NULL)
        json_object_set(networking, "AllowUnqualifiedDnsQuery", query);
    if (list != NULL)
        json_object_set(networking, "DnsSearchList", list);
    if (json_object_size(networking) > 0)
        json_object_set(container, "Networking", networking);
    json_decref(networking);
    json_decref(network);
}

/* Otherwise Server Core ends what does not heed a shutdown within five seconds. */
static json_t *kill_timeout(void)
{
    return json_pack("{s:[{s:{s:s, s:s}, s:s, s:s, s:s}]}", "AddValues", "Key", "Hive", "System", "Name",
                     "ControlSet001\\Control", "Name", "WaitToKillServiceTimeout", "StringValue", "2147483647", "Type",
                     "String");
}

static json_t *windows_container(const struct spec *spec, const struct spec_hosted *hosted)
{
    json_t *container = json_object(),
           *storage = json_pack("{s:s, s:O}", "Path", hosted->root, "Layers", hosted->layers);
    if (spec->hostname[0] != 0)
        json_object_set_new(container, "GuestOs", json_pack("{s:s}", "HostName", spec->hostname));
    json_object_set_new(container, "Storage", storage);
    add_mounts(container, spec, hosted);
    if (!hosted->own_vm)
        add_limits(container, spec);
    add_dns(container, spec);
    json_object_set_new(container, "RegistryChanges", kill_timeout());
    return container;
}

/* ---- Linux ------------------------------------------------------------------------------------------------------------- */

static void clean_resources(json_t *resources)
{
    static const char *const unknown[] = {"devices", "pids", "blockIO", "hugepageLimits", "network"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        json_object_del(resources, unknown[i]);
    json_t *cpu = json_object_get(resources, "cpu");
    if (cpu == NULL)
        return;
    if (json_integer_value(json_object_get(cpu, "period")) == 0)
        json_object_set_new(cpu, "period", json_integer(100000));
    if (json_integer_value(json_object_get(cpu, "quota")) == 0)
        json_object_set_new(cpu, "quota", json_integer(-1));
}

/* The guest knows nothing of the host's Windows, hooks and control groups. */
static void clean_spec(json_t *spec)
{
    json_t *windows = json_object_get(spec, "windows"), *system = json_object_get(spec, "linux");
    json_t *network = json_object_get(json_object_get(windows, "network"), "networkNamespace");
    json_t *devices = json_object_get(windows, "devices"), *kept = json_object();
    if (network != NULL)
        json_object_set_new(kept, "network", json_pack("{s:O}", "networkNamespace", network));
    if (devices != NULL)
        json_object_set(kept, "devices", devices);
    if (json_object_size(kept) > 0)
        json_object_set(spec, "windows", kept);
    else
        json_object_del(spec, "windows");
    json_decref(kept);
    json_object_del(spec, "hooks");
    json_object_del(system, "cgroupsPath");
    clean_resources(json_object_get(system, "resources"));
}

static json_t *guest_spec(const struct spec *spec, const struct spec_hosted *hosted)
{
    json_t *copy = json_deep_copy(spec->json), *mounts = json_object_get(copy, "mounts");
    size_t bind = 0;
    for (size_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        if (!is_bind(spec, mount))
            continue;
        json_t *target = json_array_get(mounts, i), *options = json_array();
        for (size_t k = 0; k < mount->option_count; k++)
            if (strncmp(mount->options[k], "uvmpath", 7) != 0)
                json_array_append_new(options, json_string(mount->options[k]));
        json_object_set_new(target, "source", json_string(hosted->binds[bind++]));
        json_object_set_new(target, "options", options);
    }
    json_t *root = json_object_get(copy, "root");
    if (root == NULL) {
        root = json_object();
        json_object_set_new(copy, "root", root);
    }
    json_object_set_new(root, "path", json_string(hosted->root));
    clean_spec(copy);
    return copy;
}

/* ---- the document ------------------------------------------------------------------------------------------------------ */

static struct error *check(const struct spec *spec, const struct spec_render *render)
{
    if (spec->host_process)
        return spec_refuse(ERROR_KIND_UNIMPLEMENTED, render, "host process containers are not supported");
    if (spec->root_path[0] != 0 && !spec->linux_object)
        return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "root.path must be left out with Hyper-V isolation");
    if (spec->root_readonly && !spec->linux_object)
        return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render,
                           "root.readonly must be left out: Windows has no read-only containers");
    if (spec->windows->device_count > 0)
        return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render,
                           "windows.devices cannot be used with Hyper-V isolation");
    if (spec->windows->endpoint_count > 0 || spec->windows->network_shared_container[0] != 0)
        return spec_refuse(ERROR_KIND_UNIMPLEMENTED, render,
                           "network endpoints cannot be given to a Linux container: hcsd does not connect its VM");
    return NULL;
}

static void add_warnings(const struct spec *spec, struct spec_warnings *warnings)
{
    if (spec->windows->has_odd_credential_spec)
        spec_warn(warnings, "windows.credentialSpec is no text and was ignored");
    if (spec->windows->network_namespace[0] != 0 && !spec->linux_object)
        spec_warn(warnings, "windows.network.networkNamespace is not connected to the utility VM and was ignored");
    if (spec->windows->has_cpu_affinity)
        spec_warn(warnings, "windows.resources.cpu.affinity is not supported and was ignored");
    if (spec->windows->ignore_flushes_during_boot)
        spec_warn(warnings, "windows.ignoreFlushesDuringBoot has no meaning in a utility VM and was ignored");
}

struct error *spec_render_hosted(const struct spec *spec, const struct spec_render *render,
                                 const struct spec_hosted *hosted, char **ret_document,
                                 struct spec_warnings *ret_warnings)
{
    struct spec_warnings warnings = {0};
    struct error *error = check(spec, render);
    if (error != NULL)
        return error;
    add_warnings(spec, &warnings);
    json_t *version = json_pack("{s:i, s:i}", "Major", 2, "Minor", 1);
    json_t *system =
        spec->linux_object
            ? json_pack("{s:O, s:s, s:o, s:s}", "SchemaVersion", version, "OciBundlePath", hosted->guest_root,
                        "OciSpecification", guest_spec(spec, hosted), "ScratchDirPath", hosted->scratch_folder)
            : json_pack("{s:O, s:o}", "SchemaVersion", version, "Container", windows_container(spec, hosted));
    *ret_document = document_dump(json_pack("{s:s, s:o, s:s, s:o}", "Owner", render->owner, "SchemaVersion", version,
                                            "HostingSystemId", hosted->vm, "HostedSystem", system));
    if (ret_warnings != NULL)
        *ret_warnings = warnings;
    else
        spec_warnings_free(&warnings);
    return NULL;
}
