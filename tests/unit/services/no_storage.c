/* The storage calls of daemon/jobs, for tests that make none: it would bring the whole of the engine in. */
#include "base/memory.h"
#include "daemon/jobs/layers.h"

static struct error *none(const char *call)
{
    return error_make(ERROR_KIND_UNIMPLEMENTED, call, NULL, "there are no storage calls in this test");
}

struct error *jobs_mount_layer_at(struct jobs *jobs, const char *holder, const char *scratch,
                                  const char *const *parents, size_t parent_count, const char *target,
                                  char **ret_volume)
{
    (void)jobs, (void)holder, (void)scratch, (void)parents, (void)parent_count, (void)target, (void)ret_volume;
    return none("mount");
}

struct error *jobs_release_layer(struct jobs *jobs, const char *holder, const char *scratch)
{
    (void)jobs, (void)holder, (void)scratch;
    return none("release");
}

void jobs_layers(struct jobs *jobs, struct layer_view **ret_views, size_t *ret_count)
{
    (void)jobs;
    *ret_views = NULL;
    *ret_count = 0;
}

void layer_views_free(struct layer_view *views, size_t count)
{
    (void)views, (void)count;
}

struct error *jobs_create_scratch(struct jobs *jobs, const char *layer, const char *const *parents, size_t parent_count,
                                  uint64_t bytes, char **ret_deviation)
{
    (void)jobs, (void)layer, (void)parents, (void)parent_count, (void)bytes, (void)ret_deviation;
    return none("create scratch");
}

struct error *jobs_expand_scratch(struct jobs *jobs, const char *layer, uint64_t bytes, char **ret_deviation)
{
    (void)jobs, (void)layer, (void)bytes, (void)ret_deviation;
    return none("expand");
}

struct error *jobs_layer_exists(struct jobs *jobs, const char *layer, bool *ret_exists)
{
    (void)jobs, (void)layer, (void)ret_exists;
    return none("exists");
}

struct error *jobs_layer_mount_path(struct jobs *jobs, const char *layer, char **ret_volume)
{
    (void)jobs, (void)layer, (void)ret_volume;
    return none("mount path");
}

struct error *jobs_process_image(struct jobs *jobs, const char *layer, bool *ret_utility_vm)
{
    (void)jobs, (void)layer, (void)ret_utility_vm;
    return none("process image");
}

struct error *jobs_destroy_layer(struct jobs *jobs, const char *layer)
{
    (void)jobs, (void)layer;
    return none("destroy");
}

struct error *jobs_import_archive(struct jobs *jobs, const struct layer_import *import,
                                  struct layer_imported *ret_imported)
{
    (void)jobs, (void)import, (void)ret_imported;
    return none("import");
}

void layer_imported_clear(struct layer_imported *imported)
{
    (void)imported;
}
