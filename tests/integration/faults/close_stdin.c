/* A client that gives a container's process its stdin and closes it: close_stdin.exe BUNDLE ID creates and starts the container,
 * and ends with 0 once its own end of the pipe is closed. */
#include "containerd/task/v3/shim.pb-c.h" /* first: it has members that <stdio.h> makes macros of */

/* Before that happens. */
static void set_stdin(Containerd__Task__V3__CreateTaskRequest *create, char *path)
{
    create->stdin = path;
}

#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "cli/client.h"

#define CALL_MS 30000u

/* The client's end, which hcsd dials while it creates the container. */
static HANDLE serve(const char *name)
{
    wchar_t *wide = NULL;
    error_free(win_wide(name, &wide));
    HANDLE pipe = CreateNamedPipeW(wide, PIPE_ACCESS_OUTBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE, PIPE_TYPE_BYTE, 1, 4096,
                                   4096, 0, NULL);
    free(wide);
    return pipe;
}

static struct error *call(struct client *client, const char *method, const ProtobufCMessage *request,
                          const ProtobufCMessageDescriptor *response)
{
    ProtobufCMessage *answer = NULL;
    struct error *error = client_call(client, method, request, response, CALL_MS, &answer);
    if (answer != NULL)
        protobuf_c_message_free_unpacked(answer, NULL);
    return error;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    Containerd__Task__V3__CreateTaskRequest create = CONTAINERD__TASK__V3__CREATE_TASK_REQUEST__INIT;
    Containerd__Task__V3__StartRequest start = CONTAINERD__TASK__V3__START_REQUEST__INIT;
    struct client *client = NULL;

    if (argc != 3) {
        fputs("usage: close_stdin.exe BUNDLE ID\n", stderr);
        return 2;
    }
    create.bundle = win_text(argv[1]);
    create.id = start.id = win_text(argv[2]);
    char *name = str_format("\\\\.\\pipe\\hcsd-test-stdin-%s", create.id);
    set_stdin(&create, name);
    HANDLE pipe = serve(name);
    struct error *error = client_dial(&(struct client_options){.dial_ms = 10000}, &client);
    if (error == NULL)
        error = call(client, "/containerd.task.v3.Task/Create", &create.base,
                     &containerd__task__v3__create_task_response__descriptor);
    if (error == NULL)
        error = call(client, "/containerd.task.v3.Task/Start", &start.base,
                     &containerd__task__v3__start_response__descriptor);
    CloseHandle(pipe);
    client_close(client);
    if (error != NULL) {
        char *text = error_text(error);
        fprintf(stderr, "close_stdin: %s\n", text);
        return 1;
    }
    return 0;
}
