/* Calls of hcsd for a test that makes thousands: a line in, a line out.
 *
 *   task_caller.exe VMCOMPUTE_DLL
 *
 * Lines of stdin, their fields separated by tabs: `create ID BUNDLE`, `create ID BUNDLE SCRATCH PARENTS` (the layers as a rootfs
 * mount, PARENTS a JSON array), `start ID`, `state ID`, `delete ID` (by force, in any state), `books`. Each is answered by one line
 * of JSON: {"status"} with "ok" or the error's kind, and its "message"; `books`: what the emulator's broker beside that DLL holds,
 * null when none runs. A lost connection is made anew with the next line. Ends with stdin. */
#include "containerd/task/v3/shim.pb-c.h" /* first: it has members that <stdio.h> makes macros of */

#include <stdio.h>
#include <string.h>

#include <windows.h>

#include <hcsd/v1/tasks.pb-c.h>
#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/client.h"
#include "shared/ask.h"

#define CALL_MS    240000u
#define DIAL_MS    60000u
#define FIELDS_MAX 5

static struct client *client;

/* Takes the error. */
static void answer(struct error *error)
{
    json_t *line = json_pack("{s:s, s:s}", "status", error != NULL ? error_kind_name(error->kind) : "ok", "message",
                             error != NULL ? error->message : "");
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    puts(text != NULL ? text : "{\"status\":\"a message that is no UTF-8\"}");
    fflush(stdout);
    free(text);
    json_decref(line);
    if (error != NULL && error->kind == ERROR_KIND_UNAVAILABLE) { /* hcsd was ended under the call, or is stopping */
        client_close(client);
        client = NULL;
    }
    error_free(error);
}

static void call(const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response)
{
    ProtobufCMessage *message = NULL;
    struct error *error = NULL;
    if (client == NULL)
        error = client_dial(&(struct client_options){.dial_ms = DIAL_MS}, &client);
    if (error == NULL)
        error = client_call(client, method, request, response, CALL_MS, &message);
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, NULL);
    answer(error);
}

static void create(char *const *fields)
{
    Containerd__Task__V3__CreateTaskRequest request = CONTAINERD__TASK__V3__CREATE_TASK_REQUEST__INIT;
    Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT, *mounts[] = {&mount};
    char type[] = "windows-layer", *option = str_format("parentLayerPaths=%s", fields[3] != NULL ? fields[3] : "");
    request.id = fields[0];
    request.bundle = fields[1];
    mount.type = type;
    mount.source = fields[2];
    mount.options = &option;
    mount.n_options = 1;
    if (fields[2] != NULL) {
        request.rootfs = mounts;
        request.n_rootfs = 1;
    }
    call("/containerd.task.v3.Task/Create", &request.base, &containerd__task__v3__create_task_response__descriptor);
    free(option);
}

static void start(char *const *fields)
{
    Containerd__Task__V3__StartRequest request = CONTAINERD__TASK__V3__START_REQUEST__INIT;
    request.id = fields[0];
    call("/containerd.task.v3.Task/Start", &request.base, &containerd__task__v3__start_response__descriptor);
}

static void state(char *const *fields)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    request.id = fields[0];
    call("/containerd.task.v3.Task/State", &request.base, &containerd__task__v3__state_response__descriptor);
}

static void force_delete(char *const *fields)
{
    Hcsd__V1__ForceDeleteRequest request = HCSD__V1__FORCE_DELETE_REQUEST__INIT;
    request.id = fields[0];
    call("/hcsd.v1.Tasks/ForceDelete", &request.base, &hcsd__v1__force_delete_response__descriptor);
}

static void print_books(const struct names *names)
{
    json_t *request = json_pack("{s:i, s:s}", "n", 1, "call", "books"), *reply = broker_ask(names, request);
    json_t *books = json_object_get(reply, "books");
    char *text = books != NULL ? json_dumps(books, JSON_COMPACT) : NULL;
    puts(text != NULL ? text : "null");
    fflush(stdout);
    free(text);
    json_decref(reply);
    json_decref(request);
}

static const struct {
    const char *name;
    unsigned fields[2];               /* as many, or as many */
    void (*run)(char *const *fields); /* the others are NULL */
} calls[] = {
    {"create", {2, 4}, create}, {"start", {1, 1}, start}, {"state", {1, 1}, state}, {"delete", {1, 1}, force_delete}};

/* False: no such line. */
static bool take_line(char *line, const struct names *names)
{
    char *fields[FIELDS_MAX + 1] = {0};
    unsigned count = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at != NULL && count <= FIELDS_MAX; count++) {
        fields[count] = at;
        at = strchr(at, '\t');
        if (at != NULL)
            *at++ = '\0';
    }
    if (strcmp(fields[0], "books") == 0) {
        print_books(names);
        return true;
    }
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(calls[i].name, fields[0]) == 0 &&
            (count == calls[i].fields[0] + 1 || count == calls[i].fields[1] + 1)) {
            calls[i].run(fields + 1);
            return true;
        }
    }
    fprintf(stderr, "task_caller: no such line: %s\n", fields[0]);
    return false;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    char line[4096];
    struct names names;
    /* Its folder gives the broker's names; nothing of it is called. */
    HMODULE emulator = argc == 2 ? LoadLibraryExW(argv[1], NULL, DONT_RESOLVE_DLL_REFERENCES) : NULL;
    if (emulator == NULL || !names_init(&names, emulator)) {
        fputs("usage: task_caller.exe VMCOMPUTE_DLL\n", stderr);
        return 2;
    }
    bool good = true;
    while (good && fgets(line, sizeof line, stdin) != NULL)
        good = take_line(line, &names);
    client_close(client);
    return good ? 0 : 2;
}
