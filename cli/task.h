/* What the verbs of `hcsctl task` share. */
#ifndef HCSD_CLI_TASK_H
#define HCSD_CLI_TASK_H

#include <stdio.h>

/* They are names of fields on the wire; nothing here uses the C library's streams. */
#undef stdin
#undef stdout
#undef stderr

#include <jansson.h>

#include "cli/cli.h"

#include "containerd/task/v3/shim.pb-c.h"

/* "created", "running", "stopped", "paused"; pausing is still running, and what nobody knows "unknown". */
const char *task_status_name(Containerd__V1__Types__Status status);

/* The object of contracts.md: id, namespace, pid, status, exit_status, exited_at. Pure. */
json_t *task_json(const char *containerd_namespace, const Containerd__Task__V3__StateResponse *state);

/* protobuf-c wants char * for what it only reads. */
char *borrowed(const char *text);

/* What --exec says, "" for the container's own process. */
const char *task_exec_id(const struct cli *cli);
#define TASK_EXEC_OPTION                                                                                               \
    {                                                                                                                  \
        "--exec", NULL, OPTION_TEXT, "EXECID", "of this exec, not of the container", false, 0, 0, NULL                 \
    }

/* Create with the paths of stdio pipes ("" for none). */
struct error *task_create_call(struct cli *cli, const char *id, const char *stdout_path, const char *stderr_path,
                               uint32_t *ret_pid) ERROR_MUST_CHECK;
struct error *task_start_call(struct cli *cli, const char *id, const char *exec_id, uint32_t *ret_pid) ERROR_MUST_CHECK;
struct error *task_kill_call(struct client *client, const char *id, const char *exec_id, uint32_t signal,
                             bool all) ERROR_MUST_CHECK;
/* Waits for the exit; *ret_state is then that of a stopped container. Free with cli_free. */
struct error *task_wait_call(struct client *client, const char *id, const char *exec_id,
                             Containerd__Task__V3__WaitResponse **ret_exit) ERROR_MUST_CHECK;
struct error *task_delete_call(struct cli *cli, const char *id, const char *exec_id,
                               Containerd__Task__V3__DeleteResponse **ret_response) ERROR_MUST_CHECK;

/* Ctrl-C is caught from here on, until task_free_interrupts: it cuts nothing off but is obeyed by task_wait_for_exit, where the
 * first kills the process and the wait goes on, and the second ends hcsctl. */
struct error *task_catch_interrupts(const char *id) ERROR_MUST_CHECK;
void task_free_interrupts(void);
struct error *task_wait_for_exit(struct cli *cli, const char *id, const char *exec_id,
                                 Containerd__Task__V3__WaitResponse **ret_exit) ERROR_MUST_CHECK;
struct error *task_run(struct cli *cli) ERROR_MUST_CHECK;  /* task_run.c */
struct error *task_exec(struct cli *cli) ERROR_MUST_CHECK; /* task_exec.c */

#endif
