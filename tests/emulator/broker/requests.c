/* What clients ask for: one function for each call that reaches the broker. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "counts.h"
#include "document.h"
#include "hcs/abi.h"
#include "layers.h"
#include "machine.h"
#include "process.h"
#include "properties.h"
#include "server.h"
#include "shared/frame.h"
#include "shared/result.h"
#include "system.h"

#define EXIT_TERMINATE 1067u
#define EXIT_SIGNAL    0xC000013Au

/* The fault that the client took for its call, in *storage; NULL when there is none. fault_free. */
static const struct fault *request_fault(const json_t *request, struct fault *storage)
{
    *storage = (struct fault){0};
    return fault_parse(frame_text(request, "fault"), storage) ? storage : NULL;
}

static void reply_pending(json_t *reply)
{
    json_object_set_new(reply, "hr", json_integer(HCS_E_OPERATION_PENDING));
}

static void reply_json(json_t *reply, const char *key, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    json_object_set_new(reply, key, json_string(text));
    free(text);
    json_decref(value);
}

static struct error *operate(struct client *client, const json_t *request, json_t *reply, struct system *system,
                             enum system_operation operation)
{
    struct fault storage;
    const struct fault *fault = request_fault(request, &storage);
    struct error *error = system_operate(system, operation, client, request, fault);
    if (error == NULL)
        reply_pending(reply);
    fault_free(&storage);
    return error;
}

static struct error *create_system(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system = NULL;
    struct error *error = document_create(frame_text(request, "id"), frame_text(request, "config"), &system);
    if (error != NULL)
        return error;
    error = handle_open(client, request, system, NULL);
    if (error == NULL)
        error = operate(client, request, reply, system, OPERATION_CREATE);
    system_release(system);
    return error;
}

static struct error *open_system(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system = system_find(frame_text(request, "id"));
    (void)reply;
    if (system == NULL)
        return error_hresult((uint32_t)HCS_E_SYSTEM_NOT_FOUND, "HcsOpenComputeSystem", frame_text(request, "id"),
                             "A virtual machine or container with the specified identifier does not exist.");
    return handle_open(client, request, system, NULL);
}

static struct error *close_handle(struct client *client, const json_t *request, json_t *reply)
{
    uint64_t value = (uint64_t)frame_number(request, "handle");
    struct handle *handle = client->handles;
    (void)reply;
    while (handle != NULL && handle->value != value)
        handle = handle->next_of_client;
    if (handle == NULL)
        return error_win32(ERROR_INVALID_HANDLE, "close", NULL, "no such handle");
    handle_close(handle);
    return NULL;
}

/* Start, pause, resume, save, shutdown, terminate. */
static struct error *change_system(struct client *client, const json_t *request, json_t *reply)
{
    static const struct {
        const char *call;
        enum system_operation operation;
    } changes[] = {
        {"HcsStartComputeSystem", OPERATION_START},       {"HcsPauseComputeSystem", OPERATION_PAUSE},
        {"HcsResumeComputeSystem", OPERATION_RESUME},     {"HcsSaveComputeSystem", OPERATION_SAVE},
        {"HcsShutdownComputeSystem", OPERATION_SHUTDOWN}, {"HcsTerminateComputeSystem", OPERATION_TERMINATE},
    };
    struct system *system;
    struct error *error = handle_find_system(client, request, &system);
    size_t i = 0;
    if (error != NULL)
        return error;
    while (strcmp(changes[i].call, frame_text(request, "call")) != 0)
        i++;
    return operate(client, request, reply, system, changes[i].operation);
}

static struct error *get_properties(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system;
    json_t *properties;
    struct error *error = handle_find_system(client, request, &system);
    if (error == NULL)
        error = properties_system(system, frame_text(request, "query"), &properties);
    if (error == NULL)
        reply_json(reply, "text", properties);
    return error;
}

static struct error *enumerate(struct client *client, const json_t *request, json_t *reply)
{
    json_t *systems;
    struct error *error = properties_enumerate(frame_text(request, "query"), &systems);
    (void)client;
    if (error == NULL)
        reply_json(reply, "text", systems);
    return error;
}

static struct error *modify_system(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system;
    struct error *error = handle_find_system(client, request, &system);
    json_t *modification;

    (void)reply;
    if (error != NULL)
        return error;
    if (system->state >= SYSTEM_STOPPING)
        return error_hresult((uint32_t)HCS_E_INVALID_STATE, "HcsModifyComputeSystem", system->id, "%s has stopped.",
                             system->id);
    modification = json_loads(frame_text(request, "config"), 0, NULL);
    if (!json_is_object(modification) || (json_object_get(modification, "ResourceType") == NULL &&
                                          json_object_get(modification, "ResourcePath") == NULL &&
                                          json_object_get(modification, "GuestRequest") == NULL)) {
        json_decref(modification);
        return error_hresult((uint32_t)HCS_E_INVALID_JSON, "HcsModifyComputeSystem", system->id,
                             "The document has none of ResourceType, ResourcePath, GuestRequest.");
    }
    if (system->machine != NULL)
        error = machine_modify(system, modification);
    if (error == NULL)
        json_array_append(system->modifications, modification);
    json_decref(modification);
    return error;
}

static struct error *create_process(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system;
    struct error *error = handle_find_system(client, request, &system);
    return error != NULL ? error : process_create(system, client, request, reply);
}

static struct error *open_process(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system;
    struct error *error = handle_find_system(client, request, &system);
    return error != NULL ? error : process_open(system, client, request, reply);
}

static struct error *end_process(struct client *client, const json_t *request, json_t *reply)
{
    struct process *process;
    struct fault storage;
    bool is_signal = strcmp(frame_text(request, "call"), "HcsSignalProcess") == 0;
    struct error *error = handle_find_process(client, request, &process);
    const struct fault *fault;

    if (error != NULL)
        return error;
    fault = request_fault(request, &storage);
    error = process_terminate(process, is_signal ? EXIT_SIGNAL : EXIT_TERMINATE, fault);
    if (error == NULL && fault != NULL && fault->action == FAULT_PENDING)
        reply_pending(reply);
    fault_free(&storage);
    return error;
}

static struct error *get_process_info(struct client *client, const json_t *request, json_t *reply)
{
    struct process *process;
    struct error *error = handle_find_process(client, request, &process);

    if (error != NULL)
        return error;
    json_object_set_new(reply, "pid", json_integer(process->pid));
    if (process->pipes_given)
        return NULL;
    process->pipes_given = true;
    return stdio_hand_out(&process->stdio, client, reply);
}

static struct error *get_process_properties(struct client *client, const json_t *request, json_t *reply)
{
    struct process *process;
    struct error *error = handle_find_process(client, request, &process);
    if (error == NULL)
        reply_json(reply, "text", properties_process(process));
    return error;
}

static struct error *modify_process(struct client *client, const json_t *request, json_t *reply)
{
    struct process *process;
    struct error *error = handle_find_process(client, request, &process);
    json_t *settings;
    const char *operation;

    (void)reply;
    if (error != NULL)
        return error;
    if (process->exited)
        return error_hresult((uint32_t)HCS_E_PROCESS_ALREADY_STOPPED, "HcsModifyProcess", process->system->id,
                             "The process has already stopped.");
    settings = json_loads(frame_text(request, "settings"), 0, NULL);
    operation = frame_text(settings, "Operation");
    if (strcmp(operation, "ConsoleSize") != 0 && strcmp(operation, "CloseHandle") != 0)
        error = error_hresult((uint32_t)HCS_E_INVALID_JSON, "HcsModifyProcess", process->system->id,
                              "Operation is neither ConsoleSize nor CloseHandle.");
    json_decref(settings);
    return error;
}

static struct error *get_service_properties(struct client *client, const json_t *request, json_t *reply)
{
    (void)client;
    (void)request;
    reply_json(reply, "text",
               json_pack("{s:[{s:[{s:i, s:i}, {s:i, s:i}]}]}", "Properties", "SupportedSchemaVersions", "Major", 1,
                         "Minor", 0, "Major", 2, "Minor", 5));
    return NULL;
}

static struct error *modify_service(struct client *client, const json_t *request, json_t *reply)
{
    json_t *settings = json_loads(frame_text(request, "settings"), 0, NULL);
    bool good = json_is_object(settings);
    (void)client;
    (void)reply;
    json_decref(settings);
    return good ? NULL
                : error_hresult((uint32_t)HCS_E_INVALID_JSON, "HcsModifyServiceSettings", NULL, "no JSON object");
}

/* A pre-check found a row that matches: which one strikes, if any. */
static struct error *take_fault(struct client *client, const json_t *request, json_t *reply)
{
    struct fault fault = counts_find(frame_text(request, "name"), frame_text(request, "object"));
    (void)client;
    if (fault.row != NULL)
        json_object_set_new(reply, "row", json_string(fault.row));
    fault_free(&fault);
    return NULL;
}

/* As after a restart of the compute service: containers go on, handles do not. */
static struct error *disconnect(struct client *client, const json_t *request, json_t *reply)
{
    json_t *event = json_pack("{s:s}", "event", "disconnect");
    (void)client;
    (void)request;
    (void)reply;
    for (struct client *other = broker.clients; other != NULL; other = other->next) {
        handle_forget_all(other);
        server_send(other, event);
    }
    json_decref(event);
    return NULL;
}

static struct error *get_books(struct client *client, const json_t *request, json_t *reply)
{
    (void)request;
    json_object_set_new(reply, "books", properties_books(client));
    return NULL;
}

static struct error *stop(struct client *client, const json_t *request, json_t *reply)
{
    (void)client;
    (void)request;
    (void)reply;
    SetEvent(broker.stop);
    return NULL;
}

/* A test makes a container end by itself. */
static struct error *break_system(struct client *client, const json_t *request, json_t *reply)
{
    struct system *system = system_find(frame_text(request, "id"));
    (void)client;
    (void)reply;
    if (system == NULL)
        return error_hresult((uint32_t)HCS_E_SYSTEM_NOT_FOUND, "break", frame_text(request, "id"), "no such system");
    system_end(system, "UnexpectedExit", HCS_E_UNEXPECTED_EXIT, EXIT_TERMINATE);
    return NULL;
}

static const struct {
    const char *name;
    struct error *(*function)(struct client *client, const json_t *request, json_t *reply);
    struct error *(*layer_function)(const json_t *request, json_t *reply);
} calls[] = {
    {"ActivateLayer", NULL, layers_activate},
    {"DeactivateLayer", NULL, layers_deactivate},
    {"PrepareLayer", NULL, layers_prepare},
    {"UnprepareLayer", NULL, layers_unprepare},
    {"GetLayerMountPath", NULL, layers_mount_path},
    {"ExportLayer", NULL, layers_check_export},
    {"DestroyLayer", NULL, layers_check_destroy},
    {"GrantVmAccess", NULL, machine_grant},
    {"HcsCreateComputeSystem", create_system, NULL},
    {"HcsOpenComputeSystem", open_system, NULL},
    {"HcsCloseComputeSystem", close_handle, NULL},
    {"HcsStartComputeSystem", change_system, NULL},
    {"HcsShutdownComputeSystem", change_system, NULL},
    {"HcsTerminateComputeSystem", change_system, NULL},
    {"HcsPauseComputeSystem", change_system, NULL},
    {"HcsResumeComputeSystem", change_system, NULL},
    {"HcsSaveComputeSystem", change_system, NULL},
    {"HcsGetComputeSystemProperties", get_properties, NULL},
    {"HcsModifyComputeSystem", modify_system, NULL},
    {"HcsEnumerateComputeSystems", enumerate, NULL},
    {"HcsCreateProcess", create_process, NULL},
    {"HcsOpenProcess", open_process, NULL},
    {"HcsCloseProcess", close_handle, NULL},
    {"HcsTerminateProcess", end_process, NULL},
    {"HcsSignalProcess", end_process, NULL},
    {"HcsGetProcessInfo", get_process_info, NULL},
    {"HcsGetProcessProperties", get_process_properties, NULL},
    {"HcsModifyProcess", modify_process, NULL},
    {"HcsGetServiceProperties", get_service_properties, NULL},
    {"HcsModifyServiceSettings", modify_service, NULL},
    {"fault", take_fault, NULL},
    {"disconnect", disconnect, NULL},
    {"books", get_books, NULL},
    {"stop", stop, NULL},
    {"break", break_system, NULL},
};

struct error *requests_handle(struct client *client, const json_t *request, json_t *reply)
{
    const char *name = frame_text(request, "call");

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(calls[i].name, name) != 0)
            continue;
        json_object_set_new(broker.calls, name, json_integer(frame_number(broker.calls, name) + 1));
        return calls[i].function != NULL ? calls[i].function(client, request, reply)
                                         : calls[i].layer_function(request, reply);
    }
    return error_win32(ERROR_CALL_NOT_IMPLEMENTED, name, NULL, "the broker knows no such call");
}
