/* Linux containers in a VM (LCOW, v1): lifecycle as moby's, with its two faults put right (uvmpath is taken out of what the guest
 * gets; one without "=" counts as missing). */
#include "base/path.h"
#include "base/text.h"
#include "spec/document.h"

#define BUILD_LINUX_METADATA 17134
#define UVM_OPTION           "uvmpath="

static struct error *refuse(size_t index, const char *what)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "read spec", NULL, "mounts[%zu] %s", index, what);
}

/* POSIX path.Join: empty parts dropped, "." and ".." resolved, one slash between. */
static char *join_posix(const char *a, const char *b)
{
    char *all = str_format("%s/%s", a, b);
    bool rooted = all[0] == '/' && (a[0] != 0 || b[0] == '/');
    char *out = mem_zero(strlen(all) + 2);
    size_t size = rooted ? 1 : 0;
    if (rooted)
        out[0] = '/';
    for (const char *at = all; *at != 0;) {
        size_t length = strcspn(at, "/");
        const char *next = at + length + (at[length] == '/');
        bool up = length == 2 && at[0] == '.' && at[1] == '.';
        if (up && rooted) {
            while (size > 1 && out[size - 1] != '/')
                size--;
            if (size > 1)
                size--;
        } else if (length != 0 && !(length == 1 && at[0] == '.')) {
            if (size > 0 && out[size - 1] != '/')
                out[size++] = '/';
            memcpy(out + size, at, length);
            size += length;
        }
        at = next;
    }
    out[size] = 0;
    free(all);
    return out;
}

/* What a bind mount says: where the guest sees it, and whether it is read-only. */
static struct error *read_bind(const struct spec_mount *mount, size_t index, char **ret_guest_path, bool *ret_read_only)
{
    const char *uvm_path = NULL;
    bool read_only = false;
    for (size_t i = 0; i < mount->option_count; i++) {
        const char *option = mount->options[i];
        if (strncmp(option, UVM_OPTION, sizeof UVM_OPTION - 1) == 0)
            uvm_path = option + sizeof UVM_OPTION - 1;
        else if (strcmp(option, "ro") == 0)
            read_only = true;
        else if (strcmp(option, "rw") != 0 && strcmp(option, "rbind") != 0 && strcmp(option, "uvmpath") != 0)
            return refuse(index, "may have the options uvmpath=PATH, ro, rw and rbind only");
    }
    if (uvm_path == NULL || uvm_path[0] == 0)
        return refuse(index, "must have the option uvmpath=PATH");
    *ret_guest_path = join_posix(uvm_path, mount->destination);
    *ret_read_only = read_only;
    return NULL;
}

static struct error *add_mounts(const struct spec *spec, const struct spec_render *render, json_t *directories)
{
    for (size_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        char *guest = NULL;
        bool read_only = false;
        if (strcmp(mount->type, "bind") != 0)
            continue;
        struct error *error = read_bind(mount, i, &guest, &read_only);
        if (error != NULL)
            return error;
        json_t *directory = document_mapped_directory(mount->source, guest, read_only, true);
        document_add_true(directory, "LinuxMetadata", render->os_build >= BUILD_LINUX_METADATA);
        json_array_append_new(directories, directory);
        free(guest);
    }
    return NULL;
}

struct error *linux_guest_spec(const struct spec *spec, json_t **ret_spec)
{
    json_t *copy = json_deep_copy(spec->json), *mounts = json_object_get(copy, "mounts");
    for (size_t i = 0; i < spec->mount_count; i++) {
        const struct spec_mount *mount = &spec->mounts[i];
        char *guest = NULL;
        bool read_only = false;
        if (strcmp(mount->type, "bind") != 0)
            continue;
        struct error *error = read_bind(mount, i, &guest, &read_only);
        if (error != NULL) {
            json_decref(copy);
            return error;
        }
        json_t *target = json_array_get(mounts, i), *options = json_array();
        for (size_t k = 0; k < mount->option_count; k++)
            if (strncmp(mount->options[k], "uvmpath", 7) != 0)
                json_array_append_new(options, json_string(mount->options[k]));
        json_object_set_new(target, "source", json_string(guest));
        json_object_set_new(target, "options", options);
        free(guest);
    }
    *ret_spec = copy;
    return NULL;
}

struct error *linux_render_system(const struct spec *spec, const struct spec_render *render,
                                  const struct spec_layers *layers, json_t **ret_document,
                                  struct spec_warnings *warnings)
{
    const struct spec_linux_vm *vm = render->linux_vm;
    if (vm == NULL)
        return spec_refuse(ERROR_KIND_UNIMPLEMENTED, render,
                           "Linux containers are not supported: no Linux VM is configured (linux.boot_files)");
    json_t *layer_array = NULL, *directories = json_array();
    struct error *error = document_layers(render, layers, "layer.vhd", &layer_array);
    if (error == NULL)
        error = add_mounts(spec, render, directories);
    if (error == NULL) {
        json_t *document = json_object();
        json_object_set_new(document, "SystemType", json_string("container"));
        json_object_set_new(document, "Name", json_string(render->id));
        document_add_text(document, "Owner", render->owner);
        document_add_text(document, "LayerFolderPath", layers->scratch);
        json_object_set(document, "Layers", layer_array);
        document_add_resources(document, spec, render, warnings, false);
        if (json_array_size(directories) > 0)
            json_object_set(document, "MappedDirectories", directories);
        json_object_set_new(document, "HvPartition", json_true());
        document_add_network(document, spec, warnings);
        json_t *runtime = json_object();
        document_add_text(runtime, "ImagePath", vm->folder);
        document_add_text(runtime, "LinuxInitrdFile", vm->initrd);
        document_add_text(runtime, "LinuxKernelFile", vm->kernel);
        document_add_text(runtime, "LinuxBootParameters", vm->boot_parameters);
        json_object_set_new(document, "HvRuntime", runtime);
        document_add_dns(document, spec);
        json_object_set_new(document, "ContainerType", json_string("linux"));
        *ret_document = document;
    }
    json_decref(layer_array);
    json_decref(directories);
    return error;
}
