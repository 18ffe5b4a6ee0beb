#include "broker.h"

#include <stdlib.h>

#include "base/memory.h"
#include "process.h"
#include "server.h"
#include "shared/frame.h"
#include "shared/result.h"
#include "system.h"

static struct handle *handle_find(struct client *client, const json_t *request)
{
    uint64_t value = (uint64_t)frame_number(request, "handle");
    struct handle *handle = client->handles;
    while (handle != NULL && handle->value != value)
        handle = handle->next_of_client;
    return handle;
}

struct error *handle_find_system(struct client *client, const json_t *request, struct system **ret_system)
{
    struct handle *handle = handle_find(client, request);
    if (handle == NULL || handle->process != NULL)
        return error_win32(ERROR_INVALID_HANDLE, frame_text(request, "call"), NULL, "no open handle of a system");
    *ret_system = handle->system;
    return NULL;
}

struct error *handle_find_process(struct client *client, const json_t *request, struct process **ret_process)
{
    struct handle *handle = handle_find(client, request);
    if (handle == NULL || handle->process == NULL)
        return error_win32(ERROR_INVALID_HANDLE, frame_text(request, "call"), NULL, "no open handle of a process");
    *ret_process = handle->process;
    return NULL;
}

static bool handle_taken(const struct client *client, uint64_t value)
{
    const struct handle *handle = client->handles;
    while (handle != NULL && handle->value != value)
        handle = handle->next_of_client;
    return handle != NULL;
}

struct error *handle_open(struct client *client, const json_t *request, struct system *system, struct process *process)
{
    struct handle **list = process != NULL ? &process->handles : &system->handles;
    uint64_t value = (uint64_t)frame_number(request, process != NULL ? "process" : "handle");
    struct handle *handle;

    if (!client->connected)
        return error_hresult((uint32_t)RESULT_LOST_BROKER, "open handle", NULL, NULL);
    if (handle_taken(client, value))
        return error_win32(ERROR_INVALID_PARAMETER, "open handle", NULL, "the number is taken");
    handle = mem_new(struct handle);
    handle->client = client;
    handle->value = value;
    handle->system = system;
    handle->process = process;
    handle->next_of_client = client->handles;
    client->handles = handle;
    handle->next_of_object = *list;
    *list = handle;
    if (process != NULL) {
        process_retain(process);
    } else {
        system_retain(system);
    }
    return NULL;
}

/* Takes the handle out of both lists and frees it. */
static void handle_drop(struct handle *handle)
{
    struct handle **place = &handle->client->handles;

    while (*place != handle)
        place = &(*place)->next_of_client;
    *place = handle->next_of_client;
    place = handle->process != NULL ? &handle->process->handles : &handle->system->handles;
    while (*place != handle)
        place = &(*place)->next_of_object;
    *place = handle->next_of_object;
    free(handle);
}

void handle_close(struct handle *handle)
{
    struct system *system = handle->system;
    struct process *process = handle->process;

    handle_drop(handle);
    if (process != NULL) {
        process_handle_closed(process);
        process_release(process);
    } else {
        system_handle_closed(system);
        system_release(system);
    }
}

void handle_close_all(struct client *client)
{
    while (client->handles != NULL)
        handle_close(client->handles);
}

void handle_forget_all(struct client *client)
{
    while (client->handles != NULL) {
        struct system *system = client->handles->system;
        struct process *process = client->handles->process;
        handle_drop(client->handles);
        if (process != NULL) {
            process_handle_closed(process);
            process_release(process);
        } else {
            system_release(system);
        }
    }
}

void handle_notify(struct handle *handle, uint32_t type, int32_t status, struct delivery delivery)
{
    json_t *event = json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "event", "notify", "handle", (json_int_t)handle->value,
                              "type", (json_int_t)type, "status", (json_int_t)status, "delay_ms",
                              (json_int_t)delivery.delay_ms, "twice", delivery.twice);
    server_send(handle->client, event);
    json_decref(event);
}

void handle_notify_all(struct handle *handles, uint32_t type, int32_t status, struct delivery delivery)
{
    struct handle *next;
    for (struct handle *handle = handles; handle != NULL; handle = next) {
        next = handle->next_of_object; /* sending may drop the client, but never changes another's place */
        handle_notify(handle, type, status, delivery);
    }
}
