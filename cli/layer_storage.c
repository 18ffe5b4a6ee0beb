#include "cli/layer.h"

#include <stdlib.h>

#include <hcsd/v1/layers.pb-c.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/client.h"
#include "cli/output.h"

/* hcsd bounds these itself, by hcs.call_seconds (at most an hour) or the progress that is made. */
#define NO_LIMIT_MS CLIENT_NO_LIMIT

/* The paths that most of them take; both are empty until they are read. */
struct paths {
    char *layer, *other;
    char **parents;
    size_t count;
};

/* `other` is an option with a further path, or NULL. */
static struct error *paths_read(struct cli *cli, const char *other, struct paths *paths)
{
    const struct arguments *arguments = &cli->arguments;
    const char *parent, *more = other != NULL ? arguments_text(arguments, other, "") : "";
    struct error *error = file_absolute(arguments_text(arguments, "--layer", ""), &paths->layer);
    for (size_t i = 0; error == NULL && (parent = arguments_item(arguments, "--parent", i)) != NULL; i++) {
        paths->parents = mem_resize_array(paths->parents, i + 1, sizeof *paths->parents);
        error = file_absolute(parent, &paths->parents[i]);
        paths->count = error == NULL ? i + 1 : i;
    }
    if (error == NULL && *more != '\0')
        error = file_absolute(more, &paths->other);
    else if (error == NULL)
        paths->other = str_copy("");
    return error;
}

static void paths_free(struct paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->parents[i]);
    free(paths->parents);
    free(paths->layer);
    free(paths->other);
}

/* What is left to say when there is nothing but success. */
static struct error *done(const struct cli *cli, const char *layer, const char *what)
{
    return cli->json ? output_json(json_pack("{s:s}", "layer", layer)) : output_text("%s %s\n", layer, what);
}

/* ---- mount ------------------------------------------------------------------------------------------------------------- */

struct error *layer_mount(struct cli *cli)
{
    Hcsd__V1__MountRequest request = HCSD__V1__MOUNT_REQUEST__INIT;
    Hcsd__V1__MountResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, "--target", &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        request.parents = paths.parents;
        request.n_parents = paths.count;
        request.target = paths.other;
        error = cli_call(cli, "/hcsd.v1.Layers/Mount", &request, &hcsd__v1__mount_response__descriptor, NO_LIMIT_MS,
                         &response);
    }
    if (error == NULL)
        error = cli->json ? output_json(json_pack("{s:s, s:s, s:s}", "layer", paths.layer, "volume", response->volume,
                                                  "target", paths.other))
                          : output_text("%s\n", response->volume);
    cli_free(response);
    paths_free(&paths);
    return error;
}

struct error *layer_unmount(struct cli *cli)
{
    Hcsd__V1__UnmountRequest request = HCSD__V1__UNMOUNT_REQUEST__INIT;
    Hcsd__V1__UnmountResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, NULL, &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        error = cli_call(cli, "/hcsd.v1.Layers/Unmount", &request, &hcsd__v1__unmount_response__descriptor, NO_LIMIT_MS,
                         &response);
    }
    if (error == NULL)
        error = done(cli, paths.layer, "is unmounted");
    cli_free(response);
    paths_free(&paths);
    return error;
}

/* ---- ls ------------------------------------------------------------------------------------------------------------------ */

static json_t *texts_json(char **texts, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static json_t *list_json(const Hcsd__V1__ListLayersResponse *response)
{
    json_t *layers = json_array(), *vms = json_array();
    for (size_t i = 0; i < response->n_layers; i++) {
        const Hcsd__V1__MountedLayer *layer = response->layers[i];
        json_array_append_new(layers, json_pack("{s:s, s:o, s:s, s:s, s:s}", "path", layer->path, "parents",
                                                texts_json(layer->parents, layer->n_parents), "holder", layer->holder,
                                                "state", layer->state, "target", layer->target));
    }
    for (size_t i = 0; i < response->n_utility_vms; i++) {
        const Hcsd__V1__UtilityVm *vm = response->utility_vms[i];
        json_array_append_new(vms, json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "id", vm->id, "os", vm->os,
                                             "state", vm->state, "containers", (int)vm->containers, "disks",
                                             (int)vm->disks, "memory_mappings", (int)vm->memory_mappings, "shares",
                                             (int)vm->shares, "lost", (int)vm->lost));
    }
    return json_pack("{s:o, s:o}", "layers", layers, "utility_vms", vms);
}

static struct error *list_text(const Hcsd__V1__ListLayersResponse *response)
{
    static const char *const head[] = {"STATE", "HOLDER", "LAYER"};
    static const char *const vm_head[] = {"UTILITY VM", "OS",     "STATE",  "CONTAINERS",
                                          "DISKS",      "MEMORY", "SHARES", "LOST"};
    struct table table = {.columns = sizeof head / sizeof head[0]};
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, head[i]);
    for (size_t i = 0; i < response->n_layers; i++) {
        table_add(&table, response->layers[i]->state);
        table_add(&table, response->layers[i]->holder);
        table_add(&table, response->layers[i]->path);
    }
    struct error *error = output_table(&table);
    table_free(&table);
    if (error != NULL || response->n_utility_vms == 0)
        return error;
    struct table vms = {.columns = sizeof vm_head / sizeof vm_head[0]};
    for (size_t i = 0; i < vms.columns; i++)
        table_add(&vms, vm_head[i]);
    for (size_t i = 0; i < response->n_utility_vms; i++) {
        const Hcsd__V1__UtilityVm *vm = response->utility_vms[i];
        const uint32_t numbers[] = {vm->containers, vm->disks, vm->memory_mappings, vm->shares, vm->lost};
        table_add(&vms, vm->id);
        table_add(&vms, vm->os);
        table_add(&vms, vm->state);
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
            char *number = format_count(numbers[k]);
            table_add(&vms, number);
            free(number);
        }
    }
    error = output_table(&vms);
    table_free(&vms);
    return error;
}

struct error *layer_ls(struct cli *cli)
{
    Hcsd__V1__ListLayersRequest request = HCSD__V1__LIST_LAYERS_REQUEST__INIT;
    Hcsd__V1__ListLayersResponse *response = NULL;
    struct error *error = cli_call(cli, "/hcsd.v1.Layers/List", &request, &hcsd__v1__list_layers_response__descriptor,
                                   CLI_LOOK_MS, &response);
    if (error == NULL)
        error = cli->json ? output_json(list_json(response)) : list_text(response);
    cli_free(response);
    return error;
}

/* ---- storage --------------------------------------------------------------------------------------------------------------- */

static struct error *report_deviation(const struct cli *cli, const char *layer, const char *what, const char *deviation)
{
    if (cli->json)
        return output_json(json_pack("{s:s, s:s}", "layer", layer, "deviation", deviation));
    struct error *error = output_text("%s %s\n", layer, what);
    if (error == NULL && *deviation != '\0')
        error = output_text("deviation: %s\n", deviation);
    return error;
}

struct error *layer_create_scratch(struct cli *cli)
{
    Hcsd__V1__CreateScratchRequest request = HCSD__V1__CREATE_SCRATCH_REQUEST__INIT;
    Hcsd__V1__CreateScratchResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, NULL, &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        request.parents = paths.parents;
        request.n_parents = paths.count;
        request.size = (uint64_t)arguments_number(&cli->arguments, "--size", 0);
        error = cli_call(cli, "/hcsd.v1.Layers/CreateScratch", &request, &hcsd__v1__create_scratch_response__descriptor,
                         NO_LIMIT_MS, &response);
    }
    if (error == NULL)
        error = report_deviation(cli, paths.layer, "is made", response->deviation);
    cli_free(response);
    paths_free(&paths);
    return error;
}

struct error *layer_expand(struct cli *cli)
{
    Hcsd__V1__ExpandRequest request = HCSD__V1__EXPAND_REQUEST__INIT;
    Hcsd__V1__ExpandResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, NULL, &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        request.size = (uint64_t)arguments_number(&cli->arguments, "--size", 0);
        error = cli_call(cli, "/hcsd.v1.Layers/Expand", &request, &hcsd__v1__expand_response__descriptor, NO_LIMIT_MS,
                         &response);
    }
    if (error == NULL)
        error = report_deviation(cli, paths.layer, "is larger", response->deviation);
    cli_free(response);
    paths_free(&paths);
    return error;
}

struct error *layer_stat(struct cli *cli)
{
    Hcsd__V1__StatLayerRequest request = HCSD__V1__STAT_LAYER_REQUEST__INIT;
    Hcsd__V1__StatLayerResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, NULL, &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        error = cli_call(cli, "/hcsd.v1.Layers/Stat", &request, &hcsd__v1__stat_layer_response__descriptor, NO_LIMIT_MS,
                         &response);
    }
    if (error == NULL)
        error = cli->json ? output_json(json_pack("{s:s, s:b, s:s}", "layer", paths.layer, "exists", response->exists,
                                                  "volume", response->volume))
                          : output_text("%s %s%s%s\n", paths.layer, response->exists ? "exists" : "does not exist",
                                        *response->volume != '\0' ? ", mounted as " : "", response->volume);
    cli_free(response);
    paths_free(&paths);
    return error;
}

struct error *layer_process_image(struct cli *cli)
{
    Hcsd__V1__ProcessImageRequest request = HCSD__V1__PROCESS_IMAGE_REQUEST__INIT;
    Hcsd__V1__ProcessImageResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, NULL, &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        error = cli_call(cli, "/hcsd.v1.Layers/ProcessImage", &request, &hcsd__v1__process_image_response__descriptor,
                         NO_LIMIT_MS, &response);
    }
    if (error == NULL)
        error =
            cli->json
                ? output_json(json_pack("{s:s, s:b}", "layer", paths.layer, "utility_vm", response->utility_vm))
                : output_text("%s is processed%s\n", paths.layer, response->utility_vm ? ", its utility VM too" : "");
    cli_free(response);
    paths_free(&paths);
    return error;
}

struct error *layer_destroy(struct cli *cli)
{
    Hcsd__V1__DestroyRequest request = HCSD__V1__DESTROY_REQUEST__INIT;
    Hcsd__V1__DestroyResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, NULL, &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        error = cli_call(cli, "/hcsd.v1.Layers/Destroy", &request, &hcsd__v1__destroy_response__descriptor, NO_LIMIT_MS,
                         &response);
    }
    if (error == NULL)
        error = done(cli, paths.layer, "is gone");
    cli_free(response);
    paths_free(&paths);
    return error;
}

/* ---- import ---------------------------------------------------------------------------------------------------------------- */

static struct error *import_report(const struct cli *cli, const char *layer, const Hcsd__V1__ImportResponse *response)
{
    if (cli->json) {
        json_t *deviations = json_array();
        for (size_t i = 0; i < response->n_deviations; i++) {
            const Hcsd__V1__Deviation *deviation = response->deviations[i];
            json_array_append_new(deviations, json_pack("{s:s, s:s, s:s}", "kind", deviation->kind, "path",
                                                        deviation->path, "detail", deviation->detail));
        }
        return output_json(json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "layer", layer, "digest", response->digest,
                                     "diff_id", response->diff_id, "size", (json_int_t)response->size, "entries",
                                     (json_int_t)response->entries, "deviations", deviations));
    }
    char *entries = format_count(response->entries), *size = format_bytes(response->size);
    struct error *error = output_text("%s\n%s entries, %s into %s\n", response->diff_id, entries, size, layer);
    for (size_t i = 0; i < response->n_deviations && error == NULL; i++)
        error = output_text("deviation: %s %s: %s\n", response->deviations[i]->kind, response->deviations[i]->path,
                            response->deviations[i]->detail);
    free(entries);
    free(size);
    return error;
}

struct error *layer_import(struct cli *cli)
{
    Hcsd__V1__ImportRequest request = HCSD__V1__IMPORT_REQUEST__INIT;
    Hcsd__V1__ImportResponse *response = NULL;
    struct paths paths = {0};
    struct error *error = paths_read(cli, "--input", &paths);
    if (error == NULL) {
        request.layer = paths.layer;
        request.parents = paths.parents;
        request.n_parents = paths.count;
        request.input = paths.other;
        request.digest = (char *)(uintptr_t)arguments_text(&cli->arguments, "--digest", "");
        request.diff_id = (char *)(uintptr_t)arguments_text(&cli->arguments, "--diff-id", "");
        error = cli_call(cli, "/hcsd.v1.Layers/Import", &request, &hcsd__v1__import_response__descriptor, NO_LIMIT_MS,
                         &response);
    }
    if (error == NULL)
        error = import_report(cli, paths.layer, response);
    cli_free(response);
    paths_free(&paths);
    return error;
}
