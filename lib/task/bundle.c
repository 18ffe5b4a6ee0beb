#include "hcs/storage.h" /* before all else: windows.h */

#include "task/bundle.h"

#include <ctype.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "spec/spec.h"

struct bundle {
    struct spec *spec;
    struct spec_rootfs rootfs; /* source NULL: none */
    struct spec_warnings warnings;
    bool hosted;
};

/* A bundle on another machine would block for minutes and hand the service's credentials over; one on a device is none. */
static struct error *check_path(const char *path)
{
    char *verbatim = NULL;
    struct error *error = path_verbatim(path, &verbatim);
    if (!error && (strncmp(verbatim, "\\\\?\\", 4) || !isalpha((unsigned char)verbatim[4]) || verbatim[5] != ':'))
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "open bundle", path,
                           "a bundle must be a folder on a local drive, given as an absolute path");
    free(verbatim);
    return error;
}

static struct error *check_folder(const char *path)
{
    struct file_info info;
    struct error *error = file_info(path, &info);
    if (error && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        return error_make(ERROR_KIND_NOT_FOUND, "open bundle", path, "the bundle does not exist");
    }
    if (!error && !info.directory)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "open bundle", path, "the bundle is no folder");
    return error;
}

struct error *bundle_load(const char *path, struct bundle **ret_bundle)
{
    struct buffer text = {0};
    struct spec *spec = NULL;
    char *file = NULL;
    struct error *error = check_path(path);
    if (!error)
        error = check_folder(path);
    if (!error) {
        file = path_join(path, "config.json");
        error = file_read(file, SPEC_SIZE_LIMIT, &text);
        if (error && error->kind == ERROR_KIND_NOT_FOUND) {
            error_free(error);
            error = error_make(ERROR_KIND_NOT_FOUND, "open bundle", file, "the bundle has no config.json");
        }
    }
    if (!error) {
        error = spec_load((const char *)text.data, text.size, &spec);
        error = error_wrap(error, "%s", file);
    }
    if (!error) {
        struct bundle *bundle = mem_new(struct bundle);
        bundle->spec = spec;
        *ret_bundle = bundle;
    }
    free(file);
    buffer_free(&text);
    return error;
}

void bundle_free(struct bundle *bundle)
{
    if (!bundle)
        return;
    spec_free(bundle->spec);
    spec_warnings_free(&bundle->warnings);
    free(bundle);
}

static struct error *contradiction(const char *message)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "read spec", NULL, "%s", message);
}

struct error *bundle_apply(struct bundle *bundle, const struct task_runtime *runtime)
{
    struct spec *spec = bundle->spec;
    if (!runtime->given)
        return NULL;
    size_t os = strcspn(runtime->platform, "/");
    bool windows = os == 7 && !strncmp(runtime->platform, "windows", os);
    bool linux_os = os == 5 && !strncmp(runtime->platform, "linux", os);
    if (os && !windows && !linux_os)
        return error_make(
            ERROR_KIND_INVALID_ARGUMENT, "read spec", NULL,
            "the runtime's options are for the platform \"%s\"; windows/amd64 and linux/amd64 are possible",
            runtime->platform);
    if (os && linux_os != spec->linux_object)
        return contradiction(linux_os ? "the runtime's options are for Linux containers, and the spec has no linux"
                                      : "the runtime's options are for Windows containers, and the spec has linux");
    if (!runtime->hypervisor && spec->windows && spec->windows->hyperv)
        return contradiction("the runtime's options ask for process isolation, and the spec has windows.hyperv");
    if (runtime->hypervisor && spec->windows)
        spec->windows->hyperv = true;
    for (size_t i = 0; i < runtime->annotation_count; i++)
        spec_default_annotation(spec, runtime->annotations[2 * i], runtime->annotations[2 * i + 1]);
    return NULL;
}

struct error *bundle_layers(struct bundle *bundle, const struct task_create *create, struct bundle_mount *ret_mount)
{
    struct spec_layers layers;
    if (create->rootfs_source)
        bundle->rootfs =
            (struct spec_rootfs){create->rootfs_source, create->rootfs_parents, create->rootfs_parent_count};
    struct error *error = spec_layers(bundle->spec, bundle->rootfs.source ? &bundle->rootfs : NULL, &layers);
    if (error)
        return error;
    bool mounted = *bundle->spec->root_path || spec_is_isolated(bundle->spec);
    *ret_mount =
        mounted ? (struct bundle_mount){0} : (struct bundle_mount){layers.scratch, layers.parents, layers.parent_count};
    return NULL;
}

bool bundle_is_isolated(const struct bundle *bundle)
{
    return spec_is_isolated(bundle->spec);
}

bool bundle_is_linux(const struct bundle *bundle)
{
    return bundle->spec->linux_object;
}

struct error *bundle_pod(const struct bundle *bundle, const char *id, uint32_t os_build, struct spec_pod *ret_pod)
{
    return spec_pod(bundle->spec, id, os_build, ret_pod);
}

/* ---- in a utility VM of hcsd's own ---- */

void bundle_set_hosted(struct bundle *bundle, bool hosted)
{
    bundle->hosted = hosted;
}

bool bundle_can_be_hosted(const struct bundle *bundle, uint32_t os_build)
{
    return spec_can_be_hosted(bundle->spec, os_build);
}

struct error *bundle_hosted_layers(struct bundle *bundle, const struct task_create *create,
                                   struct bundle_mount *ret_mount)
{
    struct spec_layers layers;
    if (create->rootfs_source)
        bundle->rootfs =
            (struct spec_rootfs){create->rootfs_source, create->rootfs_parents, create->rootfs_parent_count};
    struct error *error = spec_layers(bundle->spec, bundle->rootfs.source ? &bundle->rootfs : NULL, &layers);
    if (!error)
        *ret_mount = (struct bundle_mount){layers.scratch, layers.parents, layers.parent_count};
    return error;
}

struct error *bundle_binds(const struct bundle *bundle, const struct bundle_render *render,
                           struct spec_bind **ret_binds, size_t *ret_count)
{
    const struct spec_render spec_render = {.id = render->id};
    return spec_binds(bundle->spec, &spec_render, ret_binds, ret_count);
}

const struct spec_windows *bundle_windows(const struct bundle *bundle)
{
    return bundle->spec->windows;
}

struct error *bundle_hosted_document(struct bundle *bundle, const struct bundle_render *render,
                                     const struct spec_hosted *hosted, char **ret_document)
{
    const struct spec_render spec_render = {.id = render->id, .owner = render->owner, .os_build = render->os_build};
    struct spec_warnings warnings = {0};
    struct error *error = spec_render_hosted(bundle->spec, &spec_render, hosted, ret_document, &warnings);
    if (!error) {
        spec_warnings_free(&bundle->warnings);
        bundle->warnings = warnings;
    }
    return error;
}

static struct error *name_to_guid(void *context, const char *name, char text[37])
{
    GUID guid;
    struct error *error = storage_name_to_guid(context, name, &guid);
    if (!error)
        storage_guid_text(&guid, text);
    return error;
}

static struct error *has_utility_vm(void *context, const char *path, bool *ret_exists)
{
    struct file_info info;
    (void)context;
    struct error *error = file_info(path, &info);
    if (error && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        *ret_exists = false;
        return NULL;
    }
    if (!error)
        *ret_exists = info.directory;
    return error;
}

struct error *bundle_system_document(struct bundle *bundle, const struct bundle_render *render, char **ret_document)
{
    /* The names that Windows' LCOW has for them. */
    const struct spec_linux_vm linux_vm = {render->linux_boot_files, "kernel", "initrd.img", ""};
    const struct spec_render spec_render = {
        .id = render->id,
        .owner = render->owner,
        .rootfs = bundle->rootfs.source ? &bundle->rootfs : NULL,
        .volume = render->volume,
        .mount_later = render->mount_later,
        .processor_count = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS),
        .os_build = render->os_build,
        .linux_vm = render->linux_boot_files ? &linux_vm : NULL,
        .name_to_guid = name_to_guid,
        .has_utility_vm = has_utility_vm,
        .context = render->storage,
    };
    struct spec_warnings warnings = {0};
    struct error *error = spec_render_system(bundle->spec, &spec_render, ret_document, &warnings);
    if (!error) {
        spec_warnings_free(&bundle->warnings);
        bundle->warnings = warnings;
    }
    return error;
}

struct error *bundle_process_document(struct bundle *bundle, const struct task_create *create, char **ret_document)
{
    const struct spec_stdio stdio = {
        .terminal = create->terminal,
        .in = *create->stdin_path,
        .out = *create->stdout_path,
        .error = *create->stderr_path,
        .hosted = bundle->hosted,
    };
    return spec_render_process(bundle->spec, bundle->spec->process, NULL, &stdio, ret_document);
}

struct error *bundle_exec_document(struct bundle *bundle, const struct task_exec *exec, char **ret_document)
{
    const struct spec_stdio stdio = {
        .terminal = exec->terminal,
        .in = *exec->stdin_path,
        .out = *exec->stdout_path,
        .error = *exec->stderr_path,
        .hosted = bundle->hosted,
    };
    struct spec_process *process;
    struct error *error = spec_process_load(exec->spec, exec->spec_size, &process);
    if (error)
        return error;
    error = spec_render_process(bundle->spec, process, bundle->spec->process, &stdio, ret_document);
    spec_process_free(process);
    return error;
}

char *const *bundle_warnings(const struct bundle *bundle, size_t *ret_count)
{
    *ret_count = bundle->warnings.count;
    return bundle->warnings.texts;
}
