/* Windows containers: process isolation and Hyper-V isolation. */
#include "base/path.h"
#include "base/text.h"
#include "spec/document.h"

#define BUILD_PIPES   16299 /* 1709: named pipes can be mapped */
#define BUILD_DEVICES 17763 /* 1809 */

static bool is_hex(char letter)
{
    return (letter >= '0' && letter <= '9') || ((letter | 32) >= 'a' && (letter | 32) <= 'f');
}

/* `\\?\Volume{8-4-4-4-12}` and maybe a backslash; its length without that, or 0. */
static size_t volume_length(const char *path)
{
    static const char form[] = "\\\\?\\Volume{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
    size_t size = sizeof form - 1;
    if (strlen(path) < size || (path[size] != 0 && strcmp(path + size, "\\") != 0))
        return 0;
    for (size_t i = 0; i < size; i++)
        if (form[i] == 'x' ? !is_hex(path[i]) : path[i] != form[i])
            return 0;
    return size;
}

static struct error *process_root(const struct spec *spec, const struct spec_render *render, char **ret_volume,
                                  struct spec_warnings *warnings)
{
    const char *path = spec->root_path[0] != 0 || render->volume == NULL ? spec->root_path : render->volume;
    size_t length = volume_length(path);
    if (path[0] == 0 && render->mount_later) {
        spec_warn(warnings, "VolumePath is left out: it is known when the layers are mounted");
        *ret_volume = str_copy("");
        return NULL;
    }
    if (length == 0)
        return spec_refuse(
            ERROR_KIND_INVALID_ARGUMENT, render,
            "root.path must be a volume, \\\\?\\Volume{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}\\, not \"%s\"", path);
    *ret_volume = str_copy_n(path, length);
    return NULL;
}

static struct error *find_utility_vm(const struct spec *spec, const struct spec_render *render,
                                     const struct spec_layers *layers, char **ret_path)
{
    if (spec->windows->utility_vm_path[0] != 0)
        return spec_refuse(ERROR_KIND_UNIMPLEMENTED, render,
                           "windows.hyperv.utilityVMPath is not supported; the utility VM of the layers is used");
    if (spec->root_path[0] != 0)
        return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "root.path must be left out with Hyper-V isolation");
    for (size_t i = 0; i < layers->parent_count; i++) {
        char *path = path_join(layers->parents[i], "UtilityVM");
        bool exists = false;
        struct error *error = render->has_utility_vm(render->context, path, &exists);
        if (error == NULL && exists) {
            *ret_path = path;
            return NULL;
        }
        free(path);
        if (error != NULL)
            return error;
    }
    return spec_refuse(ERROR_KIND_NOT_FOUND, render,
                       "none of the layers has a utility VM (a folder UtilityVM); the base image cannot "
                       "be used with Hyper-V isolation");
}

#define PIPE_PREFIX "\\\\.\\pipe\\"

static bool is_pipe(const char *path)
{
    char *start = str_copy_n(path, strnlen(path, sizeof PIPE_PREFIX - 1));
    bool pipe = text_equal_ascii_nocase(start, PIPE_PREFIX);
    free(start);
    return pipe;
}

static struct error *add_mounts(const struct spec *spec, const struct spec_render *render, json_t *directories,
                                json_t *pipes)
{
    for (size_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        if (mount->type[0] != 0)
            return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "mounts[%zu].type must be left out, not \"%s\"", i,
                               mount->type);
        if (mount->source[0] == 0)
            return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "mounts[%zu] must have a source", i);
        if (!is_pipe(mount->destination)) {
            json_array_append_new(directories, document_mapped_directory(mount->source, mount->destination,
                                                                         mount_is_read_only(mount), false));
            continue;
        }
        const char *name = mount->destination + sizeof PIPE_PREFIX - 1;
        if (name[0] == 0)
            return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render, "mounts[%zu].destination must name a pipe", i);
        if (render->os_build < BUILD_PIPES)
            return spec_refuse(ERROR_KIND_UNIMPLEMENTED, render,
                               "mounts[%zu]: named pipes can be mapped from Windows build %d on; this is %u", i,
                               BUILD_PIPES, (unsigned)render->os_build);
        json_array_append_new(pipes, json_pack("{s:s, s:s}", "HostPath", mount->source, "ContainerPipeName", name));
    }
    return NULL;
}

static struct error *add_devices(const struct spec *spec, const struct spec_render *render, json_t *devices)
{
    const struct spec_windows *windows = spec->windows;
    if (windows->device_count == 0)
        return NULL;
    if (windows->hyperv)
        return spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render,
                           "windows.devices cannot be used with Hyper-V isolation");
    if (render->os_build < BUILD_DEVICES)
        return spec_refuse(ERROR_KIND_UNIMPLEMENTED, render,
                           "windows.devices can be used from Windows build %d on; this is %u", BUILD_DEVICES,
                           (unsigned)render->os_build);
    for (size_t i = 0; i < windows->device_count; i++)
        json_array_append_new(devices, json_pack("{s:s}", "InterfaceClassGuid", windows->devices[i].id));
    return NULL;
}

/* Adds the array unless it is empty. */
static void add_array(json_t *object, const char *name, json_t *array)
{
    if (json_array_size(array) > 0)
        json_object_set(object, name, array);
}

static struct error *render_windows(const struct spec *spec, const struct spec_render *render,
                                    const struct spec_layers *layers, json_t **ret_document,
                                    struct spec_warnings *warnings)
{
    const struct spec_windows *windows = spec->windows;
    json_t *document = json_object(), *layer_array = NULL, *directories = json_array(), *pipes = json_array(),
           *devices = json_array();
    char *volume = NULL, *utility_vm = NULL;
    struct error *error = NULL;
    if (spec->host_process)
        error = spec_refuse(ERROR_KIND_UNIMPLEMENTED, render, "host process containers are not supported");
    if (error == NULL && windows->hyperv)
        error = find_utility_vm(spec, render, layers, &utility_vm);
    else if (error == NULL)
        error = process_root(spec, render, &volume, warnings);
    if (error == NULL && spec->root_readonly)
        error = spec_refuse(ERROR_KIND_INVALID_ARGUMENT, render,
                            "root.readonly must be left out: Windows has no read-only containers");
    if (error == NULL)
        error = document_layers(render, layers, NULL, &layer_array);
    if (error == NULL)
        error = add_mounts(spec, render, directories, pipes);
    if (error == NULL)
        error = add_devices(spec, render, devices);
    if (error != NULL)
        goto done;
    if (windows->has_odd_credential_spec)
        spec_warn(warnings, "windows.credentialSpec is no text and was ignored");

    json_object_set_new(document, "SystemType", json_string("Container"));
    json_object_set_new(document, "Name", json_string(render->id));
    document_add_text(document, "Owner", render->owner);
    if (volume != NULL)
        document_add_text(document, "VolumePath", volume);
    document_add_true(document, "IgnoreFlushesDuringBoot", windows->ignore_flushes_during_boot);
    document_add_text(document, "LayerFolderPath", layers->scratch);
    json_object_set(document, "Layers", layer_array);
    document_add_text(document, "Credentials", windows->credential_spec);
    document_add_resources(document, spec, render, warnings, true);
    document_add_text(document, "HostName", spec->hostname);
    add_array(document, "MappedDirectories", directories);
    add_array(document, "MappedPipes", pipes);
    json_object_set_new(document, "HvPartition", json_boolean(windows->hyperv));
    document_add_network(document, spec, warnings);
    if (utility_vm != NULL)
        json_object_set_new(document, "HvRuntime", json_pack("{s:s}", "ImagePath", utility_vm));
    document_add_dns(document, spec);
    add_array(document, "AssignedDevices", devices);
done:
    json_decref(layer_array);
    json_decref(directories);
    json_decref(pipes);
    json_decref(devices);
    free(volume);
    free(utility_vm);
    if (error != NULL)
        json_decref(document);
    else
        *ret_document = document;
    return error;
}

struct error *spec_render_system(const struct spec *spec, const struct spec_render *render, char **ret_document,
                                 struct spec_warnings *ret_warnings)
{
    struct spec_warnings warnings = {0};
    struct spec_layers layers;
    struct spec_pod pod;
    json_t *document = NULL;
    struct error *error = spec_layers(spec, render->rootfs, &layers);
    if (error == NULL)
        error = spec_pod(spec, render->id, render->os_build, &pod);
    if (error == NULL)
        error = spec->linux_object ? linux_render_system(spec, render, &layers, &document, &warnings)
                                   : render_windows(spec, render, &layers, &document, &warnings);
    if (error == NULL)
        *ret_document = document_dump(document);
    if (error == NULL && ret_warnings != NULL)
        *ret_warnings = warnings;
    else
        spec_warnings_free(&warnings);
    return error;
}
