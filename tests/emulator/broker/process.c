#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "counts.h"
#include "emu.h"
#include "hcs/abi.h"
#include "held.h"
#include "launch.h"
#include "server.h"
#include "shared/frame.h"
#include "shared/result.h"
#include "system.h"

/* Pids of emu: commands: far above what Wine or Windows give out. */
#define FAKE_PID_FIRST 0x40000000u
#define JOB_PID_LIMIT  4096

void process_retain(struct process *process)
{
    process->references++;
}

void process_release(struct process *process)
{
    if (--process->references > 0)
        return;
    if (process->exited_wait != NULL)
        CloseThreadpoolWait(process->exited_wait);
    if (process->handle != NULL)
        CloseHandle(process->handle);
    stdio_close(&process->stdio);
    system_release(process->system);
    free(process->command);
    free(process);
}

static struct process *process_new(struct system *system, const char *command)
{
    struct process *process = mem_new(struct process);

    process->system = system;
    process->command = str_copy(command);
    process->created = broker_filetime();
    process->references = 1;
    system_retain(system);
    return process;
}

char *process_object(const struct process *process)
{
    return str_format("%s/%lu %s", process->system->id, (unsigned long)process->pid, process->command);
}

/* Puts it among its system's processes; the list holds a reference, and so does what will tell its exit. */
static void process_list_add(struct process *process)
{
    process->next = process->system->processes;
    process->system->processes = process;
    process->references += 2;
}

static void process_unlist(struct process *process)
{
    for (struct process **place = &process->system->processes; *place != NULL; place = &(*place)->next) {
        if (*place != process)
            continue;
        *place = process->next;
        process_release(process);
        return;
    }
}

void process_handle_closed(struct process *process)
{
    if (process->exited && process->handles == NULL)
        process_unlist(process);
}

static void process_tell_exit(void *context, struct delivery delivery)
{
    struct process *process = context;
    if (process->exit_delivery.delay_ms > delivery.delay_ms)
        delivery.delay_ms = process->exit_delivery.delay_ms;
    delivery.twice = delivery.twice || process->exit_delivery.twice;
    handle_notify_all(process->handles, HCS_NOTIFICATION_PROCESS_EXITED, S_OK, delivery);
    process_release(process);
}

/* The process is gone. Drops the reference of what told so. */
static void process_exited(struct process *process, uint32_t code)
{
    char *object = process_object(process);
    struct fault fault = counts_find("ProcessExited", object);
    struct system *system = process->system;

    process->exited = true;
    process->exit_code = code;
    process_retain(process);
    held_submit(&fault, process_tell_exit, process);
    fault_free(&fault);
    free(object);
    system_retain(system);
    process_handle_closed(process);
    system_process_ended(system);
    system_release(system);
    process_release(process);
}

void process_emu_ended(struct process *process, uint32_t code)
{
    process->emu = NULL;
    process_exited(process, code);
}

static void CALLBACK real_exited(PTP_CALLBACK_INSTANCE instance, void *context, PTP_WAIT wait, TP_WAIT_RESULT result)
{
    struct process *process = context;
    DWORD code = 0;

    (void)instance;
    (void)wait;
    (void)result;
    GetExitCodeProcess(process->handle, &code);
    EnterCriticalSection(&broker.lock);
    process_exited(process, code);
    LeaveCriticalSection(&broker.lock);
}

static void process_watch(struct process *process)
{
    process->exited_wait = CreateThreadpoolWait(real_exited, process, NULL);
    SetThreadpoolWait(process->exited_wait, process->handle, NULL);
}

static struct error *parameters_read(const json_t *request, json_t **ret_parameters)
{
    json_error_t where;
    json_t *parameters = json_loads(frame_text(request, "parameters"), 0, &where);

    if (!json_is_object(parameters)) {
        json_decref(parameters);
        return error_hresult((uint32_t)HCS_E_INVALID_JSON, "HcsCreateProcess", NULL,
                             "The process parameters are no JSON object: line %d: %s", where.line, where.text);
    }
    *ret_parameters = parameters;
    return NULL;
}

static struct error *emu_begin(struct process *process, const json_t *parameters)
{
    static uint32_t next_pid = FAKE_PID_FIRST;
    (void)parameters;
    struct error *error = emu_new(process, process->command, &process->emu);
    if (error != NULL)
        return error;
    process->pid = next_pid;
    next_pid += 4;
    return NULL;
}

/* The container's job, made with its first real process. Its processes die with the broker. */
static struct error *job_open(struct system *system)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags =
                                                       JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE};

    if (system->job != NULL)
        return NULL;
    system->job = CreateJobObjectW(NULL, NULL);
    if (system->job == NULL)
        return error_win32(GetLastError(), "CreateJobObject", system->id, NULL);
    SetInformationJobObject(system->job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    return NULL;
}

/* Starts a real process with the lock given up meanwhile. */
static struct error *real_begin(struct process *process, const json_t *parameters)
{
    struct system *system = process->system;
    struct launch launch = {.parameters = parameters, .command = process->command, .stdio = &process->stdio};
    struct error *error = job_open(system);

    if (error != NULL)
        return error;
    launch.job = system->job;
    launch.layer = str_copy(system->layer);
    LeaveCriticalSection(&broker.lock);
    error = launch_process(&launch, &process->handle, &process->pid);
    EnterCriticalSection(&broker.lock);
    free((char *)launch.layer);
    return error;
}

/* What a Linux container's process is asked for; NULL: none. */
static char *arguments_line(json_t *arguments)
{
    char *line = NULL;
    size_t index;
    json_t *word;
    json_array_foreach(arguments, index, word)
    {
        const char *text = json_string_value(word) == NULL ? "" : json_string_value(word);
        char *longer = line == NULL ? str_copy(text) : str_format("%s %s", line, text);
        free(line);
        line = longer;
    }
    return line;
}

struct error *process_create(struct system *system, struct client *client, const json_t *request, json_t *reply)
{
    static const char *const wanted_keys[STDIO_COUNT] = {"CreateStdInPipe", "CreateStdOutPipe", "CreateStdErrPipe"};
    bool wanted[STDIO_COUNT];
    json_t *parameters = NULL;
    struct process *process = NULL;
    const char *command;
    char *line = NULL;
    bool inside;
    struct error *error;

    if (system->state != SYSTEM_RUNNING)
        return error_hresult(
            (uint32_t)(system->state == SYSTEM_STOPPED ? HCS_E_SYSTEM_ALREADY_STOPPED : HCS_E_INVALID_STATE),
            "HcsCreateProcess", system->id, "%s is not running but %s.", system->id, system_state_name(system->state));
    error = parameters_read(request, &parameters);
    if (error != NULL)
        return error;
    line = arguments_line(json_object_get(parameters, "CommandArgs"));
    command = frame_text(parameters, "CommandLine");
    if (line == NULL)
        line = arguments_line(json_object_get(json_object_get(parameters, "OciProcess"), "args"));
    if (command[0] == 0 && line != NULL)
        command = line;
    else if (command[0] == 0 && system->command != NULL)
        command = system->command;
    inside = emu_is_command(command);
    for (int i = 0; i < STDIO_COUNT; i++)
        wanted[i] = frame_flag(parameters, wanted_keys[i]);
    system_retain(system);
    process = process_new(system, command);
    if (command[0] == 0 && frame_text(parameters, "ApplicationName")[0] == 0)
        error = error_win32(ERROR_INVALID_PARAMETER, "HcsCreateProcess", system->id, "CommandLine is missing");
    if (error == NULL)
        error = stdio_open(&process->stdio, wanted, inside);
    if (error == NULL)
        error = inside ? emu_begin(process, parameters) : real_begin(process, parameters);
    if (error == NULL)
        error = handle_open(client, request, system, process);
    if (error != NULL) {
        emu_free(process->emu);
        process->emu = NULL;
        if (process->handle != NULL)
            TerminateProcess(process->handle, 1);
        goto done;
    }
    if (!inside)
        stdio_close_child(&process->stdio);
    process_list_add(process);
    if (!frame_flag(request, "keep_pipes")) {
        process->pipes_given = true;
        error = stdio_hand_out(&process->stdio, client, reply);
    }
    json_object_set_new(reply, "pid", json_integer(process->pid));
    if (inside) {
        emu_start(process->emu);
    } else {
        process_watch(process);
    }
    /* Terminated while its process was being made. */
    if (system->state >= SYSTEM_STOPPING)
        process_terminate_now(process, system->exit_code);
done:
    free(line);
    process_release(process);
    system_release(system);
    json_decref(parameters);
    return error;
}

static bool job_has(const struct system *system, uint32_t pid)
{
    size_t count;
    uint32_t *pids = process_list(system, &count);
    bool found = false;

    for (size_t i = 0; i < count; i++)
        found = found || pids[i] == pid;
    free(pids);
    return found;
}

struct error *process_open(struct system *system, struct client *client, const json_t *request, json_t *reply)
{
    uint32_t pid = (uint32_t)frame_number(request, "pid");
    struct process *process = system->processes;
    struct error *error;

    if (system->state == SYSTEM_STOPPED)
        return error_hresult((uint32_t)HCS_E_SYSTEM_ALREADY_STOPPED, "HcsOpenProcess", system->id,
                             "%s has already stopped.", system->id);
    while (process != NULL && process->pid != pid)
        process = process->next;
    if (process == NULL) {
        HANDLE handle = job_has(system, pid) ? OpenProcess(PROCESS_ALL_ACCESS, FALSE, pid) : NULL;
        if (handle == NULL)
            return error_win32(ERROR_NOT_FOUND, "HcsOpenProcess", system->id, "%s has no process %lu.", system->id,
                               (unsigned long)pid);
        process = process_new(system, "");
        process->pid = pid;
        process->handle = handle;
        process_list_add(process);
        process_watch(process);
        process_release(process);
    }
    error = handle_open(client, request, system, process);
    json_object_set_new(reply, "pid", json_integer(process->pid));
    json_object_set_new(reply, "command", json_string(process->command));
    if (error == NULL && process->exited)
        handle_notify(client->handles, HCS_NOTIFICATION_PROCESS_EXITED, S_OK, process->exit_delivery);
    return error;
}

void process_terminate_now(struct process *process, uint32_t code)
{
    if (process->exited)
        return;
    process->terminated = true;
    if (process->emu != NULL)
        emu_end(process->emu, code);
    if (process->handle != NULL)
        TerminateProcess(process->handle, code);
}

struct termination {
    struct process *process;
    uint32_t code;
};

static void terminate_run(void *context, struct delivery delivery)
{
    struct termination *termination = context;
    termination->process->exit_delivery = delivery;
    process_terminate_now(termination->process, termination->code);
    process_release(termination->process);
    free(termination);
}

struct error *process_terminate(struct process *process, uint32_t code, const struct fault *fault)
{
    struct termination *termination;

    if (process->exited)
        return error_hresult((uint32_t)HCS_E_PROCESS_ALREADY_STOPPED, "HcsTerminateProcess", process->system->id,
                             "Process %lu has already stopped.", (unsigned long)process->pid);
    if (process->terminated)
        return error_win32(ERROR_ACCESS_DENIED, "HcsTerminateProcess", process->system->id,
                           "Process %lu is ending already.", (unsigned long)process->pid);
    /* An end that a fault row holds back may be asked for again. */
    process->terminated = fault == NULL || fault->action != FAULT_PENDING;
    termination = mem_new(struct termination);
    termination->process = process;
    termination->code = code;
    process_retain(process);
    held_submit(fault, terminate_run, termination);
    return NULL;
}

void process_end_all(struct system *system, uint32_t code)
{
    for (struct process *process = system->processes; process != NULL; process = process->next)
        process_terminate_now(process, code);
}

bool process_any_running(const struct system *system)
{
    const struct process *process = system->processes;
    while (process != NULL && process->exited)
        process = process->next;
    return process != NULL;
}

uint32_t *process_list(const struct system *system, size_t *ret_count)
{
    uint32_t *pids = mem_new_array(JOB_PID_LIMIT, uint32_t);
    size_t size = offsetof(JOBOBJECT_BASIC_PROCESS_ID_LIST, ProcessIdList) + JOB_PID_LIMIT * sizeof(ULONG_PTR);
    JOBOBJECT_BASIC_PROCESS_ID_LIST *list = mem_zero(size);
    size_t count = 0;

    for (const struct process *process = system->processes; process != NULL; process = process->next)
        if (!process->exited && process->handle == NULL && count < JOB_PID_LIMIT)
            pids[count++] = process->pid;
    if (system->job != NULL &&
        QueryInformationJobObject(system->job, JobObjectBasicProcessIdList, list, (DWORD)size, NULL))
        for (DWORD i = 0; i < list->NumberOfProcessIdsInList && count < JOB_PID_LIMIT; i++)
            pids[count++] = (uint32_t)list->ProcessIdList[i];
    free(list);
    *ret_count = count;
    return pids;
}
