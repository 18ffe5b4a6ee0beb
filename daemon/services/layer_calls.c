#include "uvm/machines.h" /* before all else: windows.h */

#include "daemon/services/layer_calls.h"

#include <stdlib.h>

#include <hcsd/v1/layers.pb-c.h>

#include "base/memory.h"
#include "base/path.h"
#include "daemon/jobs/layers.h"
#include "daemon/services/job_message.h"
#include "task/operations.h"

#define THREADS     16u
#define QUEUE       256u
#define CLOSE_MS    5000u
#define PARENTS_MAX 256u

/* ---- blocking calls ---------------------------------------------------------------------------------------------------- */

struct layer_call {
    struct layers_service *layers;
    struct rpc_call *call;
    const ProtobufCMessage *message; /* lives until the call ends */
    void (*run)(struct layer_call *call);
};

static void run(void *context)
{
    struct layer_call *call = context;
    call->run(call);
    free(call);
}

static void begin(struct rpc_call *rpc, const ProtobufCMessage *message, void *context,
                  void (*function)(struct layer_call *call))
{
    struct layer_call *call = mem_new(struct layer_call);
    *call = (struct layer_call){context, rpc, message, function};
    struct error *error = operations_submit(call->layers->operations, run, call);
    if (error == NULL)
        return;
    free(call);
    rpc_call_fail(rpc, error);
}

static void answer(struct layer_call *call, struct error *error, const ProtobufCMessage *response)
{
    if (error != NULL)
        rpc_call_fail(call->call, error);
    else
        rpc_call_reply(call->call, response);
}

static struct error *check_path(const char *name, const char *path)
{
    return path_is_absolute(path) ? NULL
                                  : error_make(ERROR_KIND_INVALID_ARGUMENT, name, path, "an absolute path is needed");
}

static struct error *check(const char *layer, char *const *parents, size_t count)
{
    struct error *error = check_path("layer", layer);
    if (error == NULL && count > PARENTS_MAX)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "parents", layer,
                           "%zu parents were given; at most %u are possible", count, PARENTS_MAX);
    for (size_t i = 0; i < count && error == NULL; i++)
        error = check_path("parents", parents[i]);
    return error;
}

static struct error *check_mountable(const char *layer, char *const *parents, size_t count)
{
    struct error *error = check(layer, parents, count);
    if (error == NULL && count == 0)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "parents", layer, "at least one parent is needed");
    return error;
}

/* ---- mount, unmount, list -------------------------------------------------------------------------------------------------- */

static void run_mount(struct layer_call *call)
{
    const Hcsd__V1__MountRequest *request = (const Hcsd__V1__MountRequest *)call->message;
    Hcsd__V1__MountResponse response = HCSD__V1__MOUNT_RESPONSE__INIT;
    char *volume = NULL;
    struct error *error = check_mountable(request->layer, request->parents, request->n_parents);
    if (error == NULL && *request->target)
        error = check_path("target", request->target);
    if (error == NULL)
        error = jobs_mount_layer_at(call->layers->service.jobs, LAYERS_CLIENT_HOLDER, request->layer,
                                    (const char *const *)request->parents, request->n_parents,
                                    *request->target ? request->target : NULL, &volume);
    response.volume = service_text(volume);
    answer(call, error, &response.base);
    free(volume);
}

void layer_handle_mount(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_mount);
}

static void run_unmount(struct layer_call *call)
{
    const Hcsd__V1__UnmountRequest *request = (const Hcsd__V1__UnmountRequest *)call->message;
    Hcsd__V1__UnmountResponse response = HCSD__V1__UNMOUNT_RESPONSE__INIT;
    struct error *error = check_path("layer", request->layer);
    if (error == NULL)
        error = jobs_release_layer(call->layers->service.jobs, LAYERS_CLIENT_HOLDER, request->layer);
    answer(call, error, &response.base);
}

void layer_handle_unmount(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_unmount);
}

void layer_handle_list(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct layers_service *layers = context;
    Hcsd__V1__ListLayersResponse response = HCSD__V1__LIST_LAYERS_RESPONSE__INIT;
    struct layer_view *views = NULL;
    struct machine_view *machines = NULL;
    size_t count = 0, machine_count = 0;
    (void)message;
    jobs_layers(layers->service.jobs, &views, &count);
    if (layers->machines != NULL)
        machines_view(layers->machines, &machines, &machine_count);
    Hcsd__V1__MountedLayer *rows = mem_new_array(count + 1, Hcsd__V1__MountedLayer);
    Hcsd__V1__UtilityVm *vms = mem_new_array(machine_count + 1, Hcsd__V1__UtilityVm);
    response.layers = mem_new_array(count + 1, Hcsd__V1__MountedLayer *);
    response.utility_vms = mem_new_array(machine_count + 1, Hcsd__V1__UtilityVm *);
    for (size_t i = 0; i < count; i++) {
        hcsd__v1__mounted_layer__init(&rows[i]);
        rows[i].path = views[i].path;
        rows[i].n_parents = views[i].parent_count;
        rows[i].parents = views[i].parents;
        rows[i].holder = views[i].holder;
        rows[i].state = service_text(views[i].state);
        rows[i].target = views[i].target;
        rows[i].since_unix_nano = views[i].since_ns;
        response.layers[response.n_layers++] = &rows[i];
    }
    for (size_t i = 0; i < machine_count; i++) {
        hcsd__v1__utility_vm__init(&vms[i]);
        vms[i].id = machines[i].id;
        vms[i].os = service_text(machines[i].linux_guest ? "linux" : "windows");
        vms[i].state = machines[i].state;
        vms[i].containers = machines[i].holders;
        vms[i].disks = machines[i].counts.disks;
        vms[i].memory_mappings = machines[i].counts.pmems;
        vms[i].shares = machines[i].counts.shares + machines[i].counts.plan9;
        vms[i].lost = machines[i].counts.leaked;
        response.utility_vms[response.n_utility_vms++] = &vms[i];
    }
    rpc_call_reply(call, &response.base);
    free(response.layers);
    free(response.utility_vms);
    free(rows);
    free(vms);
    layer_views_free(views, count);
    machine_views_free(machines, machine_count);
}

/* ---- storage --------------------------------------------------------------------------------------------------------------- */

static void run_create_scratch(struct layer_call *call)
{
    const Hcsd__V1__CreateScratchRequest *request = (const Hcsd__V1__CreateScratchRequest *)call->message;
    Hcsd__V1__CreateScratchResponse response = HCSD__V1__CREATE_SCRATCH_RESPONSE__INIT;
    char *deviation = NULL;
    struct error *error = check_mountable(request->layer, request->parents, request->n_parents);
    if (error == NULL)
        error = jobs_create_scratch(call->layers->service.jobs, request->layer, (const char *const *)request->parents,
                                    request->n_parents, request->size, &deviation);
    response.deviation = service_text(deviation);
    answer(call, error, &response.base);
    free(deviation);
}

void layer_handle_create_scratch(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_create_scratch);
}

static void run_expand(struct layer_call *call)
{
    const Hcsd__V1__ExpandRequest *request = (const Hcsd__V1__ExpandRequest *)call->message;
    Hcsd__V1__ExpandResponse response = HCSD__V1__EXPAND_RESPONSE__INIT;
    char *deviation = NULL;
    struct error *error = check_path("layer", request->layer);
    if (error == NULL && request->size == 0)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "size", request->layer, "a size in bytes is needed");
    if (error == NULL)
        error = jobs_expand_scratch(call->layers->service.jobs, request->layer, request->size, &deviation);
    response.deviation = service_text(deviation);
    answer(call, error, &response.base);
    free(deviation);
}

void layer_handle_expand(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_expand);
}

static void run_stat(struct layer_call *call)
{
    const Hcsd__V1__StatLayerRequest *request = (const Hcsd__V1__StatLayerRequest *)call->message;
    Hcsd__V1__StatLayerResponse response = HCSD__V1__STAT_LAYER_RESPONSE__INIT;
    bool exists = false;
    char *volume = NULL;
    struct error *error = check_path("layer", request->layer);
    if (error == NULL)
        error = jobs_layer_exists(call->layers->service.jobs, request->layer, &exists);
    if (error == NULL && exists) /* one that is not mounted has no path, and that is no error here */
        error_free(jobs_layer_mount_path(call->layers->service.jobs, request->layer, &volume));
    response.exists = exists;
    response.volume = service_text(volume);
    answer(call, error, &response.base);
    free(volume);
}

void layer_handle_stat(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_stat);
}

static void run_process_image(struct layer_call *call)
{
    const Hcsd__V1__ProcessImageRequest *request = (const Hcsd__V1__ProcessImageRequest *)call->message;
    Hcsd__V1__ProcessImageResponse response = HCSD__V1__PROCESS_IMAGE_RESPONSE__INIT;
    bool utility_vm = false;
    struct error *error = check_path("layer", request->layer);
    if (error == NULL)
        error = jobs_process_image(call->layers->service.jobs, request->layer, &utility_vm);
    response.utility_vm = utility_vm;
    answer(call, error, &response.base);
}

void layer_handle_process_image(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_process_image);
}

static void run_destroy(struct layer_call *call)
{
    const Hcsd__V1__DestroyRequest *request = (const Hcsd__V1__DestroyRequest *)call->message;
    Hcsd__V1__DestroyResponse response = HCSD__V1__DESTROY_RESPONSE__INIT;
    struct error *error = check_path("layer", request->layer);
    if (error == NULL)
        error = jobs_destroy_layer(call->layers->service.jobs, request->layer);
    answer(call, error, &response.base);
}

void layer_handle_destroy(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_destroy);
}

static void run_import(struct layer_call *call)
{
    const Hcsd__V1__ImportRequest *request = (const Hcsd__V1__ImportRequest *)call->message;
    Hcsd__V1__ImportResponse response = HCSD__V1__IMPORT_RESPONSE__INIT;
    struct layer_import import = {
        .layer = request->layer,
        .parents = (const char *const *)request->parents,
        .parent_count = request->n_parents,
        .input = request->input,
        .digest = request->digest,
        .diff_id = request->diff_id,
    };
    struct layer_imported imported = {0};
    struct error *error = check(request->layer, request->parents, request->n_parents);
    if (error == NULL)
        error = check_path("input", request->input);
    if (error == NULL)
        error = jobs_import_archive(call->layers->service.jobs, &import, &imported);
    Hcsd__V1__Deviation *rows = NULL;
    if (error == NULL) {
        response.digest = imported.digest;
        response.diff_id = imported.diff_id;
        response.size = imported.size;
        response.entries = imported.entries;
        response.deviation_count = imported.deviation_total;
        response.n_deviations = imported.deviation_count;
        response.deviations = job_deviations(imported.deviations, imported.deviation_count, &rows);
    }
    answer(call, error, &response.base);
    free(response.deviations);
    free(rows);
    layer_imported_clear(&imported);
}

void layer_handle_import(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    begin(call, message, context, run_import);
}

/* ---- the pool -------------------------------------------------------------------------------------------------------------- */

static void free_more(struct service *service)
{
    struct layers_service *layers = (struct layers_service *)service;
    if (operations_close(layers->operations, CLOSE_MS))
        operations_free(layers->operations);
}

void layer_calls_open(struct layers_service *layers)
{
    layers->operations = operations_open("layer requests", THREADS, QUEUE);
    layers->service.free_more = free_more;
}
