#include <windows.h>

#include <stdatomic.h>

#include "base/memory.h"
#include "base/win.h"
#include "cli/output.h"
#include "cli/signal.h"
#include "cli/stdio.h"
#include "cli/task.h"

#define OUTPUT_IDLE_MS                                                                                                 \
    15000 /* how long we wait for the rest of the output when nothing comes: longer than hcsd's drain */

/* A wait on a thread and a connection of its own, so that Ctrl-C can be obeyed meanwhile. */
struct waiter {
    struct client *client;
    const char *id, *exec_id;
    Containerd__Task__V3__WaitResponse *exit;
    struct error *error;
};

static DWORD WINAPI wait_thread(void *context)
{
    struct waiter *waiter = context;
    waiter->error = task_wait_call(waiter->client, waiter->id, waiter->exec_id, &waiter->exit);
    return 0;
}

/* The console's control handler has no context. */
static HANDLE interrupt_event;
static _Atomic unsigned interrupts;

static BOOL WINAPI interrupted(DWORD type)
{
    (void)type;
    SetEvent(interrupt_event);
    return atomic_fetch_add(&interrupts, 1) == 0; /* the second one ends us as it always does */
}

struct error *task_wait_for_exit(struct cli *cli, const char *id, const char *exec_id,
                                 Containerd__Task__V3__WaitResponse **ret_exit)
{
    struct waiter waiter = {.id = id, .exec_id = exec_id};
    struct error *error = cli_dial(cli, &waiter.client);
    if (error != NULL)
        return error;
    HANDLE thread = CreateThread(NULL, 0, wait_thread, &waiter, 0, NULL);
    if (thread == NULL) {
        client_close(waiter.client);
        return error_win32(GetLastError(), "CreateThread", id, NULL);
    }
    HANDLE handles[] = {thread, interrupt_event};
    if (WaitForMultipleObjects(2, handles, FALSE, INFINITE) == WAIT_OBJECT_0 + 1) {
        error = task_kill_call(cli->client, id, exec_id, SIGNAL_KILL, false);
        if (error != NULL)
            client_cancel(waiter.client); /* what is not killed may run for ever */
        WaitForSingleObject(thread, INFINITE);
    }
    CloseHandle(thread);
    client_close(waiter.client);
    if (error != NULL) {
        error_free(waiter.error);
        cli_free(waiter.exit);
        return error;
    }
    if (waiter.error == NULL)
        *ret_exit = waiter.exit;
    return waiter.error;
}

struct error *task_catch_interrupts(const char *id)
{
    interrupt_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (interrupt_event == NULL)
        return error_win32(GetLastError(), "CreateEvent", id, NULL);
    SetConsoleCtrlHandler(interrupted, TRUE);
    return NULL;
}

void task_free_interrupts(void)
{
    SetConsoleCtrlHandler(interrupted, FALSE);
    win_close(interrupt_event);
}

static struct error *report(struct cli *cli, const char *id, uint32_t pid,
                            const Containerd__Task__V3__WaitResponse *exit)
{
    Containerd__Task__V3__StateResponse state = CONTAINERD__TASK__V3__STATE_RESPONSE__INIT;
    if (!cli->json) {
        /* To stderr, so that stdout is the container's alone. */
        output_note("%s exited with %u\n", id, exit->exit_status);
        return NULL;
    }
    state.id = (char *)(uintptr_t)id;
    state.pid = pid;
    state.status = CONTAINERD__V1__TYPES__STATUS__STOPPED;
    state.exit_status = exit->exit_status;
    state.exited_at = exit->exited_at;
    return output_json(task_json(cli->containerd_namespace, &state));
}

struct error *task_run(struct cli *cli)
{
    const char *id = cli->arguments.operands[0];
    struct stdio *out = NULL, *err = NULL;
    Containerd__Task__V3__WaitResponse *exit = NULL;
    Containerd__Task__V3__DeleteResponse *deleted = NULL;
    uint32_t pid = 0;
    bool created = false;
    struct error *error = task_catch_interrupts(id);
    if (error != NULL)
        return error;
    error = stdio_open(id, "stdout", GetStdHandle(STD_OUTPUT_HANDLE), &out);
    if (error == NULL)
        error = stdio_open(id, "stderr", GetStdHandle(STD_ERROR_HANDLE), &err);
    if (error == NULL)
        error = task_create_call(cli, id, stdio_path(out), stdio_path(err), &pid);
    created = error == NULL;
    if (error == NULL)
        error = task_start_call(cli, id, "", &pid);
    if (error == NULL)
        error = task_wait_for_exit(cli, id, "", &exit);
    /* What was never connected to gives nothing to wait for. */
    stdio_close(out, exit != NULL ? OUTPUT_IDLE_MS : 0);
    stdio_close(err, exit != NULL ? OUTPUT_IDLE_MS : 0);
    if (exit != NULL)
        error_keep_first(&error, report(cli, id, pid, exit));
    /* Left alone when it may still run: it was not ours to end. */
    if (created && (exit != NULL || pid == 0))
        error_keep_first(&error, task_delete_call(cli, id, "", &deleted));
    task_free_interrupts();
    cli_free(deleted);
    cli_free(exit);
    return error;
}
