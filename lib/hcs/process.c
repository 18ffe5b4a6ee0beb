#include "hcs/compute.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/win.h"
#include "hcs/object.h"

void hcs_pipes_close(struct hcs_pipes *pipes)
{
    if (pipes == NULL)
        return;
    win_close(pipes->in);
    win_close(pipes->out);
    win_close(pipes->error);
}

static struct hcs_pipes take_pipes(struct compute_call *call)
{
    HCS_PROCESS_INFORMATION *information = &call->information;
    struct hcs_pipes pipes = {information->StdInput, information->StdOutput, information->StdError};
    information->StdInput = information->StdOutput = information->StdError = NULL;
    return pipes;
}

static void drop_pipes(struct compute_call *call)
{
    struct hcs_pipes pipes = take_pipes(call);
    hcs_pipes_close(&pipes);
}

/* ---- create, open ---- */

static void register_process(struct compute_call *call)
{
    struct hcs_library *library = call->compute->library;
    call->error = hcs_library_require(library, HCS_EXPORT_HcsRegisterProcessCallback);
    if (call->error != NULL)
        return;
    guard_step(&call->base, "HcsRegisterProcessCallback");
    HRESULT result =
        library->HcsRegisterProcessCallback(call->raw, watch_notified, watch_context(call->watch), &call->registration);
    if (result < 0) {
        call->result = result;
        call->culprit = "HcsRegisterProcessCallback";
    }
}

/* Ends a process that nobody will own. */
static void terminate_new(struct compute_call *call)
{
    struct hcs_library *library = call->compute->library;
    if (library->HcsTerminateProcess == NULL)
        return;
    PWSTR text = NULL;
    guard_step(&call->base, "HcsTerminateProcess");
    library->HcsTerminateProcess(call->raw, &text);
    if (text != NULL)
        library->free_text(text);
}

static void run_create(struct compute_call *call)
{
    call->result = call->compute->library->HcsCreateProcess(call->object->raw, call->text, &call->information,
                                                            &call->raw, &call->result_text);
    if (call->result < 0)
        return;
    call->pid = call->information.ProcessId;
    register_process(call);
    if (call->error == NULL && call->result >= 0)
        return;
    HRESULT result = call->result;
    const char *culprit = call->culprit;
    drop_pipes(call);
    terminate_new(call);
    call_discard_handle(call, true);
    call->result = result;
    call->culprit = culprit;
}

static void run_open(struct compute_call *call)
{
    call->result = call->compute->library->HcsOpenProcess(call->object->raw, call->pid, &call->raw, &call->result_text);
    if (call->result < 0)
        return;
    register_process(call);
    if (call->error == NULL && call->result >= 0)
        return;
    HRESULT result = call->result;
    const char *culprit = call->culprit;
    call_discard_handle(call, true);
    call->result = result;
    call->culprit = culprit;
}

static const char *late_create(struct guard_call *base)
{
    struct compute_call *call = (struct compute_call *)base;
    const char *outcome = "it had failed";
    if (call->raw != NULL) {
        outcome = "the process was terminated, its handle and pipes were closed";
        watch_close(call->watch);
        drop_pipes(call);
        terminate_new(call);
        call_discard_handle(call, true);
    }
    call_late(base);
    return outcome;
}

static const char *late_open(struct guard_call *base)
{
    struct compute_call *call = (struct compute_call *)base;
    const char *outcome = "it had failed";
    if (call->raw != NULL) {
        outcome = "its handle was closed";
        watch_close(call->watch);
        call_discard_handle(call, true);
    }
    call_late(base);
    return outcome;
}

static struct hcs_process *adopt(struct compute_call *call)
{
    struct hcs_process *process = mem_new(struct hcs_process);
    compute_retain(call->compute);
    watch_retain(call->watch);
    process->object = (struct object){
        .refs = 1,
        .compute = call->compute,
        .watch = call->watch,
        .name = str_format("%s/%u", call->object->name, (unsigned)call->pid),
        .process = true,
        .raw = call->raw,
        .registration = call->registration,
    };
    process->pid = call->pid;
    call->raw = NULL;
    call->registration = NULL;
    return process;
}

/* The common part: `call` is given up here. */
static struct error *make_process(struct compute_call *call, const struct guard_wait *wait,
                                  struct hcs_process **ret_process, struct hcs_pipes *ret_pipes)
{
    call->watch = compute_watch(call->compute, HCS_NOTIFICATION_PROCESS_EXITED);
    struct watch *watch = call->watch;
    watch_retain(watch);
    struct error *error = call_make(call, wait);
    if (error == NULL)
        error = call_error(call);
    if (error == NULL) {
        *ret_process = adopt(call);
        if (ret_pipes != NULL)
            *ret_pipes = take_pipes(call);
    } else {
        watch_close(watch);
    }
    watch_release(watch);
    call_free(call);
    return error;
}

struct error *hcs_process_create(struct hcs_system *system, const char *parameters, const struct guard_wait *wait,
                                 struct hcs_process **ret_process, struct hcs_pipes *ret_pipes)
{
    struct object *object = &system->object;
    struct compute_call *call =
        call_new(object->compute, object, HCS_EXPORT_HcsCreateProcess, object->name, run_create);
    call->base.late = late_create;
    struct error *error = call_set_text(call, parameters);
    if (error != NULL) {
        call_free(call);
        return error;
    }
    return make_process(call, wait, ret_process, ret_pipes);
}

struct error *hcs_process_open(struct hcs_system *system, uint32_t pid, const struct guard_wait *wait,
                               struct hcs_process **ret_process)
{
    struct object *object = &system->object;
    char *name = str_format("%s/%u", object->name, (unsigned)pid);
    struct compute_call *call = call_new(object->compute, object, HCS_EXPORT_HcsOpenProcess, name, run_open);
    free(name);
    call->base.late = late_open;
    call->pid = pid;
    return make_process(call, wait, ret_process, NULL);
}

uint32_t hcs_process_pid(const struct hcs_process *process)
{
    return process->pid;
}

struct error *hcs_process_close(struct hcs_process *process)
{
    return object_close(process == NULL ? NULL : &process->object);
}

/* ---- ending ---- */

static bool is_dead(HRESULT result)
{
    return hresult_is(result, 0x80070005) || hresult_is(result, 0x80070490) ||
           hresult_is(result, (uint32_t)HCS_E_SYSTEM_ALREADY_STOPPED) ||
           hresult_is(result, (uint32_t)HCS_E_PROCESS_ALREADY_STOPPED);
}

static struct error *end(struct hcs_process *process, enum hcs_export export, compute_run run, const char *text,
                         const struct guard_wait *wait, bool *ret_gone)
{
    HRESULT result = S_OK;
    struct error *error = object_call(&process->object, export, run, text, wait, &result);
    bool gone = is_dead(result);
    if (error != NULL && (gone || hresult_is(result, (uint32_t)HCS_E_OPERATION_PENDING))) {
        error_free(error);
        error = NULL;
    }
    if (error == NULL && ret_gone != NULL)
        *ret_gone = gone;
    return error;
}

static void run_terminate(struct compute_call *call)
{
    call->result = call->compute->library->HcsTerminateProcess(call->object->raw, &call->result_text);
}

static void run_signal(struct compute_call *call)
{
    call->result = call->compute->library->HcsSignalProcess(call->object->raw, call->text, &call->result_text);
}

struct error *hcs_process_terminate(struct hcs_process *process, const struct guard_wait *wait, bool *ret_gone)
{
    return end(process, HCS_EXPORT_HcsTerminateProcess, run_terminate, "", wait, ret_gone);
}

struct error *hcs_process_signal(struct hcs_process *process, const char *options, const struct guard_wait *wait,
                                 bool *ret_gone)
{
    return end(process, HCS_EXPORT_HcsSignalProcess, run_signal, options, wait, ret_gone);
}

/* ---- stdio ---- */

static void run_modify(struct compute_call *call)
{
    call->result = call->compute->library->HcsModifyProcess(call->object->raw, call->text, &call->result_text);
}

struct error *hcs_process_close_stdin(struct hcs_process *process, const struct guard_wait *wait)
{
    HRESULT result = S_OK;
    struct error *error =
        object_call(&process->object, HCS_EXPORT_HcsModifyProcess, run_modify,
                    "{\"Operation\":\"CloseHandle\",\"CloseHandle\":{\"Handle\":\"StdIn\"}}", wait, &result);
    /* 0xC0370105: the container is shutting down */
    if (error != NULL && result < 0 &&
        (hresult_is(result, (uint32_t)HCS_E_INVALID_STATE) || hresult_is(result, (uint32_t)HCS_E_SYSTEM_NOT_FOUND) ||
         hresult_is(result, 0x80070490) || hresult_is(result, (uint32_t)HCS_E_SYSTEM_ALREADY_STOPPED) ||
         hresult_is(result, (uint32_t)HCS_E_PROCESS_ALREADY_STOPPED))) {
        error_free(error);
        error = NULL;
    }
    return error;
}

struct error *hcs_process_resize(struct hcs_process *process, uint16_t width, uint16_t height,
                                 const struct guard_wait *wait)
{
    char *text = str_format("{\"Operation\":\"ConsoleSize\",\"ConsoleSize\":{\"Height\":%u,\"Width\":%u}}",
                            (unsigned)height, (unsigned)width);
    struct error *error = object_call(&process->object, HCS_EXPORT_HcsModifyProcess, run_modify, text, wait, NULL);
    free(text);
    return error;
}

static void run_information(struct compute_call *call)
{
    call->result = call->compute->library->HcsGetProcessInfo(call->object->raw, &call->information, &call->result_text);
}

static const char *late_information(struct guard_call *base)
{
    drop_pipes((struct compute_call *)base);
    call_late(base);
    return "the pipes were closed";
}

struct error *hcs_process_pipes(struct hcs_process *process, const struct guard_wait *wait, struct hcs_pipes *ret_pipes)
{
    struct object *object = &process->object;
    struct compute_call *call =
        call_new(object->compute, object, HCS_EXPORT_HcsGetProcessInfo, object->name, run_information);
    call->base.late = late_information;
    struct error *error = call_make(call, wait);
    if (error == NULL)
        error = call_error(call);
    if (error == NULL)
        *ret_pipes = take_pipes(call);
    call_free(call);
    return error;
}

/* ---- properties ---- */

static void run_properties(struct compute_call *call)
{
    call->result =
        call->compute->library->HcsGetProcessProperties(call->object->raw, &call->document, &call->result_text);
}

/* A 32-bit number that may be absent: HCS leaves zeros out. */
static bool is_number(const json_t *json, json_int_t least)
{
    return json == NULL ||
           (json_is_integer(json) && json_integer_value(json) >= least && json_integer_value(json) <= UINT32_MAX);
}

static struct error *parse_properties(const char *json, const char *object,
                                      struct hcs_process_properties *ret_properties)
{
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    json_t *pid = json_object_get(root, "ProcessId"), *exited = json_object_get(root, "Exited");
    json_t *code = json_object_get(root, "ExitCode"), *wait = json_object_get(root, "LastWaitResult");
    struct error *error = NULL;
    if (!json_is_object(root) || !is_number(pid, 0) || (exited != NULL && !json_is_boolean(exited)) ||
        !is_number(code, INT32_MIN) || !is_number(wait, INT32_MIN)) {
        error = error_make(ERROR_KIND_INTERNAL, "HcsGetProcessProperties", object,
                           "HCS answered with a document that is none of its own");
    } else {
        struct hcs_process_properties properties = {
            .pid = (uint32_t)json_integer_value(pid),
            .exited = json_is_true(exited),
            .exit_code = UINT32_MAX,
        };
        properties.exit_code_known = properties.exited && json_integer_value(wait) == 0;
        if (properties.exit_code_known)
            properties.exit_code = (uint32_t)json_integer_value(code);
        *ret_properties = properties;
    }
    json_decref(root);
    return error;
}

struct error *hcs_process_properties(struct hcs_process *process, const struct guard_wait *wait,
                                     struct hcs_process_properties *ret_properties)
{
    struct object *object = &process->object;
    char *json = NULL;
    struct error *error =
        call_ask(call_new(object->compute, object, HCS_EXPORT_HcsGetProcessProperties, object->name, run_properties),
                 NULL, wait, &json);
    if (error == NULL)
        error = parse_properties(json, object->name, ret_properties);
    free(json);
    return error;
}

/* ---- exits ---- */

struct error *hcs_process_on_exit(struct hcs_process *process, hcs_exit_function function, void *context)
{
    return watch_on_exit(process->object.watch, function, context, process->object.name);
}

struct error *hcs_process_wait_exit(struct hcs_process *process, const struct guard_wait *wait,
                                    struct hcs_exit *ret_exit)
{
    return object_wait_exit(&process->object, wait, ret_exit);
}

bool hcs_process_has_exited(struct hcs_process *process, struct hcs_exit *ret_exit)
{
    return watch_has_exited(process->object.watch, ret_exit);
}
