#include "daemon/services/rootfs.h"

#include <string.h>

#include <jansson.h>

#include "base/memory.h"

#define PARENTS_MAX 256u

static const char option_name[] = "parentLayerPaths=";

static struct error *parse_parents(const char *text, const char *source, struct rootfs *rootfs)
{
    json_error_t why;
    json_t *array = json_loads(text, 0, &why), *entry;
    struct error *error = NULL;
    size_t index;
    if (!json_is_array(array) || json_array_size(array) > PARENTS_MAX)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "rootfs", source,
                           "parentLayerPaths must be a JSON array of at most %u paths", PARENTS_MAX);
    else
        rootfs->parents = mem_new_array(json_array_size(array), char *);
    json_array_foreach(error ? NULL : array, index, entry)
    {
        if (!json_is_string(entry)) {
            error =
                error_make(ERROR_KIND_INVALID_ARGUMENT, "rootfs", source, "parentLayerPaths[%zu] is no text", index);
            break;
        }
        rootfs->parents[rootfs->parent_count++] = str_copy(json_string_value(entry));
    }
    json_decref(array);
    return error;
}

struct error *rootfs_parse(Containerd__Types__Mount *const *mounts, size_t count, struct rootfs *ret_rootfs)
{
    struct rootfs rootfs = {0};
    struct error *error = NULL;
    if (count > 1)
        return error_make(ERROR_KIND_FAILED_PRECONDITION, "rootfs", NULL, "%zu mounts were given; one is possible",
                          count);
    if (count) {
        const Containerd__Types__Mount *mount = mounts[0];
        if (strcmp(mount->type, "windows-layer"))
            return error_make(ERROR_KIND_INVALID_ARGUMENT, "rootfs", mount->source,
                              "the mount type \"%s\" is not supported; windows-layer is", mount->type);
        if (*mount->target)
            return error_make(ERROR_KIND_FAILED_PRECONDITION, "rootfs", mount->source, "the mount must have no target");
        if (!*mount->source)
            return error_make(ERROR_KIND_INVALID_ARGUMENT, "rootfs", NULL, "the mount has no source");
        rootfs.source = mount->source;
        for (size_t i = 0; !error && i < mount->n_options; i++)
            if (!strncmp(mount->options[i], option_name, sizeof option_name - 1) && !rootfs.parents)
                error = parse_parents(mount->options[i] + sizeof option_name - 1, mount->source, &rootfs);
    }
    if (error)
        rootfs_free(&rootfs);
    else
        *ret_rootfs = rootfs;
    return error;
}

void rootfs_free(struct rootfs *rootfs)
{
    for (size_t i = 0; i < rootfs->parent_count; i++)
        free(rootfs->parents[i]);
    free(rootfs->parents);
    *rootfs = (struct rootfs){0};
}

char *rootfs_option(const struct rootfs *rootfs)
{
    if (!rootfs->parent_count)
        return NULL;
    json_t *array = json_array();
    for (size_t i = 0; i < rootfs->parent_count; i++)
        json_array_append_new(array, json_string(rootfs->parents[i]));
    char *text = json_dumps(array, JSON_COMPACT), *option = str_format("%s%s", option_name, text);
    free(text);
    json_decref(array);
    return option;
}
