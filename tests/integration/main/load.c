/* Fifty clients at once: each, on a connection of its own, creates a container, asks for its state, deletes it, and again.
 *
 *   load.exe CLIENTS WARM_SECONDS SECONDS HCSD_PID BUNDLE_PREFIX
 *
 * Bundle BUNDLE_PREFIX0 … BUNDLE_PREFIXn-1 exist. Two rounds, a warm-up and the one that counts; after each all clients are
 * idle and one JSON line is printed: {"round","calls","errors","first_error","handles"}, and a line is read from stdin
 * before the next. Exit status 0 unless the program itself failed. */
#include "containerd/task/v3/shim.pb-c.h" /* first: it has members that <stdio.h> makes macros of */

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <windows.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/client.h"
#include "tests/integration/handles.h"

#define CALL_MS              60000u
#define STATES_PER_CONTAINER 20

struct round {
    uint64_t end_ms;
    _Atomic uint64_t calls;
    _Atomic uint64_t errors;
    SRWLOCK lock; /* first_error */
    char *first_error;
};

struct load_client {
    struct client *client;
    char *id;
    char *bundle;
    struct round *round;
};

/* One call; its response is only checked to be there. False: it failed, and the round knows. */
static bool call(struct load_client *client, const char *method, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *response)
{
    ProtobufCMessage *answer = NULL;
    struct error *error = client_call(client->client, method, request, response, CALL_MS, &answer);

    atomic_fetch_add(&client->round->calls, 1);
    if (error != NULL) {
        atomic_fetch_add(&client->round->errors, 1);
        AcquireSRWLockExclusive(&client->round->lock);
        if (client->round->first_error == NULL) {
            char *text = error_text(error);
            client->round->first_error = str_format("%s: %s", method, text);
            free(text);
        }
        ReleaseSRWLockExclusive(&client->round->lock);
        error_free(error);
        return false;
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    return true;
}

static void work_once(struct load_client *client)
{
    Containerd__Task__V3__CreateTaskRequest create = CONTAINERD__TASK__V3__CREATE_TASK_REQUEST__INIT;
    Containerd__Task__V3__StateRequest state = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    Containerd__Task__V3__DeleteRequest delete = CONTAINERD__TASK__V3__DELETE_REQUEST__INIT;

    create.id = state.id = delete.id = client->id;
    create.bundle = client->bundle;
    if (!call(client, "/containerd.task.v3.Task/Create", &create.base,
              &containerd__task__v3__create_task_response__descriptor))
        return;
    for (int i = 0; i < STATES_PER_CONTAINER; i++)
        call(client, "/containerd.task.v3.Task/State", &state.base, &containerd__task__v3__state_response__descriptor);
    call(client, "/containerd.task.v3.Task/Delete", &delete.base, &containerd__task__v3__delete_response__descriptor);
}

static DWORD WINAPI client_thread(void *context)
{
    struct load_client *client = context;

    while (clock_ms() < client->round->end_ms)
        work_once(client);
    return 0;
}

static bool run_round(const char *name, struct load_client *clients, size_t count, unsigned seconds, DWORD pid)
{
    struct round round = {.end_ms = clock_ms() + seconds * 1000ull, .lock = SRWLOCK_INIT};
    HANDLE *threads = mem_new_array(count, HANDLE);
    char line[16];

    for (size_t i = 0; i < count; i++) {
        clients[i].round = &round;
        threads[i] =
            CreateThread(NULL, 256 * 1024, client_thread, &clients[i], STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
        if (threads[i] == NULL) {
            fprintf(stderr, "load: CreateThread: %lu\n", GetLastError());
            ExitProcess(2);
        }
    }
    for (size_t i = 0; i < count; i++) {
        WaitForSingleObject(threads[i], INFINITE); /* each call has its own bound */
        CloseHandle(threads[i]);
    }
    free(threads);
    for (char *c = round.first_error; c != NULL && *c != '\0'; c++)
        if (*c == '"' || *c == '\\')
            *c = '\'';
    printf("{\"round\":\"%s\",\"calls\":%llu,\"errors\":%llu,\"first_error\":\"%s\",\"handles\":%ld}\n", name,
           (unsigned long long)atomic_load(&round.calls), (unsigned long long)atomic_load(&round.errors),
           round.first_error != NULL ? round.first_error : "", handles_of(pid, NULL, NULL));
    fflush(stdout);
    free(round.first_error);
    return fgets(line, sizeof line, stdin) != NULL;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    size_t count = argc == 6 ? wcstoul(argv[1], NULL, 10) : 0;

    if (count == 0 || count > 1000) {
        fputs("usage: load.exe CLIENTS WARM_SECONDS SECONDS HCSD_PID BUNDLE_PREFIX\n", stderr);
        return 2;
    }
    char *prefix = text_from_utf16z(argv[5]);
    struct load_client *clients = mem_new_array(count, struct load_client);
    for (size_t i = 0; i < count; i++) {
        struct error *error = client_dial(&(struct client_options){.dial_ms = 30000}, &clients[i].client);
        if (error != NULL) {
            char *text = error_text(error);
            fprintf(stderr, "load: client %zu: %s\n", i, text);
            return 2;
        }
        clients[i].id = str_format("load-%zu", i);
        clients[i].bundle = str_format("%s%zu", prefix, i);
    }
    DWORD pid = wcstoul(argv[4], NULL, 10);
    bool go_on = run_round("warm", clients, count, wcstoul(argv[2], NULL, 10), pid);
    if (go_on)
        run_round("counted", clients, count, wcstoul(argv[3], NULL, 10), pid);
    for (size_t i = 0; i < count; i++) {
        client_close(clients[i].client);
        free(clients[i].id);
        free(clients[i].bundle);
    }
    free(clients);
    free(prefix);
    return 0;
}
