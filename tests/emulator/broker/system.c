#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "counts.h"
#include "hcs/abi.h"
#include "held.h"
#include "process.h"
#include "server.h"
#include "shared/frame.h"
#include "shared/result.h"

#define EXIT_SHUTDOWN  0xC000013Au /* STATUS_CONTROL_C_EXIT: what a console program ends with at a shutdown */
#define EXIT_TERMINATE 1067u       /* ERROR_PROCESS_ABORTED */
#define EXIT_DISK_LOST 0xC0000006u /* STATUS_IN_PAGE_ERROR */

static const char *const state_names[] = {
    [SYSTEM_CREATED] = "Created", [SYSTEM_STARTING] = "Created",      [SYSTEM_RUNNING] = "Running",
    [SYSTEM_PAUSING] = "Running", [SYSTEM_PAUSED] = "Paused",         [SYSTEM_RESUMING] = "Paused",
    [SYSTEM_SAVING] = "Paused",   [SYSTEM_SAVED] = "SavedAsTemplate", [SYSTEM_STOPPING] = "Running",
    [SYSTEM_STOPPED] = "Stopped",
};

/* What an operation needs, passes through and ends in. */
static const struct {
    const char *name;
    unsigned from; /* set of states */
    enum system_state during;
    enum system_state after;
    uint32_t notification;
} operations[] = {
    [OPERATION_CREATE] = {"create", 1u << SYSTEM_CREATED, SYSTEM_CREATED, SYSTEM_CREATED,
                          HCS_NOTIFICATION_SYSTEM_CREATE_COMPLETED},
    [OPERATION_START] = {"start", 1u << SYSTEM_CREATED, SYSTEM_STARTING, SYSTEM_RUNNING,
                         HCS_NOTIFICATION_SYSTEM_START_COMPLETED},
    [OPERATION_PAUSE] = {"pause", 1u << SYSTEM_RUNNING, SYSTEM_PAUSING, SYSTEM_PAUSED,
                         HCS_NOTIFICATION_SYSTEM_PAUSE_COMPLETED},
    [OPERATION_RESUME] = {"resume", 1u << SYSTEM_PAUSED, SYSTEM_RESUMING, SYSTEM_RUNNING,
                          HCS_NOTIFICATION_SYSTEM_RESUME_COMPLETED},
    [OPERATION_SAVE] = {"save", 1u << SYSTEM_PAUSED, SYSTEM_SAVING, SYSTEM_SAVED,
                        HCS_NOTIFICATION_SYSTEM_SAVE_COMPLETED},
    [OPERATION_SHUTDOWN] = {"shutdown", 1u << SYSTEM_RUNNING | 1u << SYSTEM_STOPPING, SYSTEM_RUNNING, SYSTEM_STOPPED,
                            HCS_NOTIFICATION_SYSTEM_EXITED},
    [OPERATION_TERMINATE] = {"terminate", ~0u, SYSTEM_STOPPED, SYSTEM_STOPPED, HCS_NOTIFICATION_SYSTEM_EXITED},
};

/* An operation whose call was answered. The handle is looked for again when it completes: it may be closed by then. */
struct work {
    struct system *system;
    enum system_operation operation;
    struct client *client;
    uint64_t handle;
};

const char *system_state_name(enum system_state state)
{
    return state_names[state];
}

void system_retain(struct system *system)
{
    system->references++;
}

void system_release(struct system *system)
{
    if (--system->references > 0)
        return;
    if (system->job != NULL)
        CloseHandle(system->job);
    json_decref(system->layers);
    json_decref(system->machine);
    json_decref(system->modifications);
    free(system->id);
    free(system->name);
    free(system->owner);
    free(system->type);
    free(system->volume);
    free(system->layer);
    free(system->host);
    free(system->root);
    free(system->command);
    free(system);
}

struct system *system_find(const char *id)
{
    struct system *system = broker.systems;
    while (system != NULL && strcmp(system->id, id) != 0)
        system = system->next;
    return system;
}

struct system *system_new(const char *id)
{
    struct system *system = mem_new(struct system);

    system->id = str_copy(id);
    system->layers = json_array();
    system->modifications = json_array();
    system->created = broker_filetime();
    system->exit_type = "";
    system->references = 2; /* the list's and the caller's */
    system->next = broker.systems;
    broker.systems = system;
    return system;
}

/* The system is no longer among the living. */
static void system_unlist(struct system *system)
{
    for (struct system **place = &broker.systems; *place != NULL; place = &(*place)->next) {
        if (*place != system)
            continue;
        *place = system->next;
        system_release(system);
        return;
    }
}

static void system_exited(void *context, struct delivery delivery)
{
    struct system *system = context;
    if (system->exit_delivery.delay_ms > delivery.delay_ms)
        delivery.delay_ms = system->exit_delivery.delay_ms;
    delivery.twice = delivery.twice || system->exit_delivery.twice;
    handle_notify_all(system->handles, HCS_NOTIFICATION_SYSTEM_EXITED, system->exit_status, delivery);
    system_release(system);
}

/* What runs in a VM ends with it. */
static void end_hosted(const struct system *vm)
{
    for (struct system *system = broker.systems, *next; system != NULL; system = next) {
        next = system->next;
        if (system->host != NULL && strcmp(system->host, vm->id) == 0)
            system_end(system, "UnexpectedExit", HCS_E_UNEXPECTED_EXIT, EXIT_TERMINATE);
    }
}

/* All its processes are gone: so is the system. */
static void system_finish(struct system *system)
{
    struct fault fault = counts_find("SystemExited", system->id);

    system->state = SYSTEM_STOPPED;
    if (fault.action == FAULT_FAIL)
        system->exit_status = fault.has_hresult ? fault.hresult : HCS_E_UNEXPECTED_EXIT;
    system_retain(system);
    held_submit(&fault, system_exited, system);
    fault_free(&fault);
    end_hosted(system);
    system_unlist(system);
}

void system_process_ended(struct system *system)
{
    if (system->state == SYSTEM_STOPPING && !process_any_running(system))
        system_finish(system);
}

void system_end(struct system *system, const char *exit_type, int32_t status, uint32_t code)
{
    if (system->state == SYSTEM_STOPPED || system->state == SYSTEM_STOPPING)
        return;
    system->state = SYSTEM_STOPPING;
    system->exit_type = exit_type;
    system->exit_status = status;
    system->exit_code = code;
    if (system->job != NULL)
        TerminateJobObject(system->job, code);
    process_end_all(system, code);
    if (!process_any_running(system))
        system_finish(system);
}

void system_volume_lost(struct system *system)
{
    if (system->job != NULL)
        TerminateJobObject(system->job, EXIT_DISK_LOST);
    process_end_all(system, EXIT_DISK_LOST);
}

void system_handle_closed(struct system *system)
{
    if (system->handles != NULL || !system->ends_with_last_handle)
        return;
    system_end(system, "ForcedExit", S_OK, EXIT_TERMINATE);
}

static void work_complete(const struct work *work, int32_t status, struct delivery delivery)
{
    for (struct handle *handle = work->system->handles; handle != NULL; handle = handle->next_of_object) {
        if (handle->client != work->client || handle->value != work->handle)
            continue;
        handle_notify(handle, operations[work->operation].notification, status, delivery);
        return;
    }
}

static void work_run(void *context, struct delivery delivery)
{
    struct work *work = context;
    struct system *system = work->system;

    if (work->operation == OPERATION_SHUTDOWN || work->operation == OPERATION_TERMINATE) {
        bool graceful = work->operation == OPERATION_SHUTDOWN;
        if (system->state < SYSTEM_STOPPING)
            system->exit_delivery = delivery;
        system_end(system, graceful ? "GracefulExit" : "ForcedExit", S_OK, graceful ? EXIT_SHUTDOWN : EXIT_TERMINATE);
    } else if (system->state == operations[work->operation].during || work->operation == OPERATION_CREATE) {
        if (work->operation != OPERATION_CREATE)
            system->state = operations[work->operation].after;
        if (work->operation == OPERATION_START)
            system->started = broker_filetime();
        work_complete(work, S_OK, delivery);
    } /* else: the system ended meanwhile, and its exit says so */
    system_release(system);
    free(work);
}

struct error *system_operate(struct system *system, enum system_operation operation, struct client *client,
                             const json_t *request, const struct fault *fault)
{
    struct work *work;

    if (system->state == SYSTEM_STOPPED)
        return error_hresult((uint32_t)HCS_E_SYSTEM_ALREADY_STOPPED, operations[operation].name, system->id,
                             "The virtual machine or container %s has already stopped.", system->id);
    if ((operations[operation].from >> system->state & 1) == 0)
        return error_hresult((uint32_t)HCS_E_INVALID_STATE, operations[operation].name, system->id,
                             "%s cannot %s in state %s.", system->id, operations[operation].name,
                             state_names[system->state]);
    if (operation != OPERATION_SHUTDOWN && operation != OPERATION_TERMINATE)
        system->state = operations[operation].during;
    work = mem_new(struct work);
    work->system = system;
    work->operation = operation;
    work->client = client;
    work->handle = (uint64_t)frame_number(request, "handle");
    system_retain(system);
    held_submit(fault, work_run, work);
    return NULL;
}
