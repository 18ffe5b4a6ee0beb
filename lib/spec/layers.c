#include <jansson.h>

#include "base/path.h"
#include "spec/document.h"

static struct error *bad(const char *format, ...) ERROR_PRINTF(1, 2);
static struct error *bad(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *message = str_format_args(format, arguments);
    va_end(arguments);
    struct error *error = error_make(ERROR_KIND_INVALID_ARGUMENT, "read spec", NULL, "%s", message);
    free(message);
    return error;
}

/* X:\… or \\?\Volume{…}\…, in any spelling. Another machine's folder would hold up whoever looks into it. */
static bool is_local(const char *path)
{
    static const char prefix[] = "\\\\?\\", volume[] = "Volume{";
    char *verbatim = NULL;
    struct error *error = path_verbatim(path, &verbatim);
    bool local = false;
    if (error == NULL && strncmp(verbatim, prefix, sizeof prefix - 1) == 0) {
        const char *rest = verbatim + sizeof prefix - 1;
        bool drive = ((rest[0] | 32) >= 'a' && (rest[0] | 32) <= 'z') && rest[1] == ':' && rest[2] == '\\';
        local = drive || strncmp(rest, volume, sizeof volume - 1) == 0;
    }
    error_free(error);
    free(verbatim);
    return local;
}

static struct error *check_folder(const char *what, size_t index, const char *path)
{
    if (!path_is_absolute(path))
        return bad("%s[%zu] must be an absolute path, not \"%s\"", what, index, path);
    if (!is_local(path))
        return bad("%s[%zu] must be a folder on a local drive, not \"%s\"", what, index, path);
    char *name = path_last_part(path);
    struct error *error = name[0] == 0 ? bad("%s[%zu] must be a folder, not the root \"%s\"", what, index, path) : NULL;
    free(name);
    return error;
}

struct error *spec_layers(const struct spec *spec, const struct spec_rootfs *rootfs, struct spec_layers *ret_layers)
{
    const struct spec_windows *windows = spec->windows;
    size_t count = windows == NULL ? 0 : windows->layer_folder_count;
    size_t least = spec->linux_object ? 1 : 2;
    struct spec_layers layers;
    struct error *error = NULL;
    if (windows == NULL)
        return bad("windows must be there: it holds what the container is made of");
    if (rootfs != NULL) {
        if (count != 0)
            return bad("windows.layerFolders must be left out when a rootfs mount is given");
        if (rootfs->parent_count + 1 < least)
            return bad("the rootfs mount must have at least one parent layer");
        layers = (struct spec_layers){rootfs->source, rootfs->parents, rootfs->parent_count};
        error = check_folder("rootfs", 0, rootfs->source);
    } else {
        if (count < least)
            return bad("windows.layerFolders must have at least %zu folders (%s), not %zu", least,
                       least == 1 ? "a scratch" : "a base and a scratch", count);
        layers = (struct spec_layers){windows->layer_folders[count - 1], (const char *const *)windows->layer_folders,
                                      count - 1};
        error = check_folder("windows.layerFolders", count - 1, layers.scratch);
    }
    if (error == NULL && layers.parent_count >= SPEC_LAYERS_MAX)
        error = bad("a container may have at most %u layers", SPEC_LAYERS_MAX);
    for (size_t i = 0; i < layers.parent_count && error == NULL; i++)
        error = check_folder(rootfs != NULL ? "parentLayerPaths" : "windows.layerFolders", i, layers.parents[i]);
    if (error == NULL)
        *ret_layers = layers;
    return error;
}
