/* Many containers at once, or many execs in one, over the pipe.
 *
 *   crowd.exe HCSD_PID COUNT ROUNDS PREFIX PHASE…
 *
 * Bundles PREFIX0 … PREFIXn-1 exist and give containers crowd-0 …. Each phase (create, start, exec, kill, delete) is done to all COUNT
 * containers by a few clients; `cycles` runs COUNT execs one after the other in container crowd-0; `stop` waits for a line on stdin.
 * The phases are gone through ROUNDS times. One JSON line a phase and round:
 * {"phase","count","errors","first_error","us" (of an operation, on the average),"handles" (of hcsd)}. Exit status 0 unless the program
 * itself failed. */
#include "containerd/task/v3/shim.pb-c.h" /* first: it has members that <stdio.h> makes macros of */

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <windows.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/client.h"
#include "tests/integration/handles.h"

#define CLIENTS      8
#define CALL_MS      240000u
#define PROCESS_TYPE "types.containerd.io/opencontainers/runtime-spec/1/Process"

struct phase {
    const char *name;
    bool (*run)(struct phase *phase, struct client *client, unsigned index);
    bool one_container; /* one client: the next only after the last */
    const char *prefix;
    unsigned count;
    _Atomic unsigned next, errors;
    SRWLOCK lock; /* first_error */
    char *first_error;
};

struct worker {
    struct phase *phase;
    struct client *client;
};

/* One call; its response is only checked to be there. False: it failed, and the phase knows. */
static bool call(struct phase *phase, struct client *client, const char *method, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *response)
{
    ProtobufCMessage *answer = NULL;
    char *path = str_format("/containerd.task.v3.Task/%s", method);
    struct error *error = client_call(client, path, request, response, CALL_MS, &answer);
    free(path);
    if (error == NULL) {
        protobuf_c_message_free_unpacked(answer, NULL);
        return true;
    }
    atomic_fetch_add(&phase->errors, 1);
    AcquireSRWLockExclusive(&phase->lock);
    if (phase->first_error == NULL) {
        char *text = error_text(error);
        phase->first_error = str_format("%s: %s", method, text);
        free(text);
    }
    ReleaseSRWLockExclusive(&phase->lock);
    error_free(error);
    return false;
}

static bool create(struct phase *phase, struct client *client, unsigned index)
{
    Containerd__Task__V3__CreateTaskRequest request = CONTAINERD__TASK__V3__CREATE_TASK_REQUEST__INIT;
    request.id = str_format("crowd-%u", index);
    request.bundle = str_format("%s%u", phase->prefix, index);
    bool good = call(phase, client, "Create", &request.base, &containerd__task__v3__create_task_response__descriptor);
    free(request.id);
    free(request.bundle);
    return good;
}

static bool start_of(struct phase *phase, struct client *client, char *id, char *exec_id)
{
    Containerd__Task__V3__StartRequest request = CONTAINERD__TASK__V3__START_REQUEST__INIT;
    request.id = id;
    request.exec_id = exec_id;
    return call(phase, client, "Start", &request.base, &containerd__task__v3__start_response__descriptor);
}

static bool wait_of(struct phase *phase, struct client *client, char *id, char *exec_id)
{
    Containerd__Task__V3__WaitRequest request = CONTAINERD__TASK__V3__WAIT_REQUEST__INIT;
    request.id = id;
    request.exec_id = exec_id;
    return call(phase, client, "Wait", &request.base, &containerd__task__v3__wait_response__descriptor);
}

static bool delete_of(struct phase *phase, struct client *client, char *id, char *exec_id)
{
    Containerd__Task__V3__DeleteRequest request = CONTAINERD__TASK__V3__DELETE_REQUEST__INIT;
    request.id = id;
    request.exec_id = exec_id;
    return call(phase, client, "Delete", &request.base, &containerd__task__v3__delete_response__descriptor);
}

static bool exec_in(struct phase *phase, struct client *client, char *id, char *exec_id)
{
    Containerd__Task__V3__ExecProcessRequest request = CONTAINERD__TASK__V3__EXEC_PROCESS_REQUEST__INIT;
    Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
    static char process[] = "{\"cwd\":\"C:\\\\\",\"commandLine\":\"emu:exit 0\"}", type[] = PROCESS_TYPE;
    spec.type_url = type;
    spec.value.data = (uint8_t *)process;
    spec.value.len = sizeof process - 1;
    request.id = id;
    request.exec_id = exec_id;
    request.spec = &spec;
    return call(phase, client, "Exec", &request.base, &google__protobuf__empty__descriptor) &&
           start_of(phase, client, id, exec_id) && wait_of(phase, client, id, exec_id) &&
           delete_of(phase, client, id, exec_id);
}

static bool start(struct phase *phase, struct client *client, unsigned index)
{
    char *id = str_format("crowd-%u", index), none[] = "";
    bool good = start_of(phase, client, id, none);
    free(id);
    return good;
}

static bool exec(struct phase *phase, struct client *client, unsigned index)
{
    char *id = str_format("crowd-%u", index), one[] = "one";
    bool good = exec_in(phase, client, id, one);
    free(id);
    return good;
}

static bool cycle(struct phase *phase, struct client *client, unsigned index)
{
    char id[] = "crowd-0", *exec_id = str_format("cycle-%u", index);
    bool good = exec_in(phase, client, id, exec_id);
    free(exec_id);
    return good;
}

static bool kill(struct phase *phase, struct client *client, unsigned index)
{
    Containerd__Task__V3__KillRequest request = CONTAINERD__TASK__V3__KILL_REQUEST__INIT;
    char *id = str_format("crowd-%u", index), none[] = "";
    request.id = id;
    request.signal = 9;
    bool good = call(phase, client, "Kill", &request.base, &google__protobuf__empty__descriptor) &&
                wait_of(phase, client, id, none);
    free(id);
    return good;
}

static bool delete (struct phase *phase, struct client *client, unsigned index)
{
    char *id = str_format("crowd-%u", index), none[] = "";
    bool good = delete_of(phase, client, id, none);
    free(id);
    return good;
}

static DWORD WINAPI work(void *context)
{
    struct worker *worker = context;
    struct phase *phase = worker->phase;
    for (unsigned index; (index = atomic_fetch_add(&phase->next, 1)) < phase->count;)
        phase->run(phase, worker->client, index);
    return 0;
}

static double seconds(void)
{
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (double)count.QuadPart / (double)frequency.QuadPart;
}

static void run_phase(struct phase *phase, struct client **clients, DWORD pid)
{
    struct worker workers[CLIENTS];
    HANDLE threads[CLIENTS];
    unsigned count = phase->one_container ? 1 : CLIENTS;
    double begin = seconds();
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){phase, clients[i]};
        threads[i] = CreateThread(NULL, 256 * 1024, work, &workers[i], STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
        if (threads[i] == NULL) {
            fprintf(stderr, "crowd: CreateThread: %lu\n", GetLastError());
            ExitProcess(2);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        WaitForSingleObject(threads[i], INFINITE); /* each call has its own bound */
        CloseHandle(threads[i]);
    }
    double us = (seconds() - begin) * 1e6 / phase->count;
    for (char *c = phase->first_error; c != NULL && *c != '\0'; c++)
        if (*c == '"' || *c == '\\')
            *c = '\'';
    printf("{\"phase\":\"%s\",\"count\":%u,\"errors\":%u,\"first_error\":\"%s\",\"us\":%.0f,\"handles\":%ld}\n",
           phase->name, phase->count, atomic_load(&phase->errors), phase->first_error != NULL ? phase->first_error : "",
           us, handles_of(pid, NULL, NULL));
    fflush(stdout);
    free(phase->first_error);
}

static const struct {
    const char *name;
    bool (*run)(struct phase *phase, struct client *client, unsigned index);
    bool one_container;
} rows[] = {{"create", create, false}, {"start", start, false},   {"exec", exec, false},
            {"kill", kill, false},     {"delete", delete, false}, {"cycles", cycle, true}};

/* False: the phase is unknown, or stdin has ended. */
static bool run_named(const char *name, const char *prefix, unsigned count, struct client **clients, DWORD pid)
{
    char line[16];
    if (strcmp(name, "stop") == 0) {
        printf("{\"phase\":\"stop\",\"handles\":%ld}\n", handles_of(pid, NULL, NULL));
        fflush(stdout);
        return fgets(line, sizeof line, stdin) != NULL;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        struct phase phase = {.name = name,
                              .run = rows[i].run,
                              .one_container = rows[i].one_container,
                              .prefix = prefix,
                              .count = count,
                              .lock = SRWLOCK_INIT};
        run_phase(&phase, clients, pid);
        return true;
    }
    fprintf(stderr, "crowd: unknown phase %s\n", name);
    return false;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    struct client *clients[CLIENTS];
    if (argc < 6) {
        fputs("usage: crowd.exe HCSD_PID COUNT ROUNDS PREFIX PHASE...\n", stderr);
        return 2;
    }
    DWORD pid = wcstoul(argv[1], NULL, 10);
    unsigned count = wcstoul(argv[2], NULL, 10), rounds = wcstoul(argv[3], NULL, 10);
    char *prefix = text_from_utf16z(argv[4]);
    bool good = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct error *error = client_dial(&(struct client_options){.dial_ms = 30000}, &clients[i]);
        if (error != NULL) {
            char *text = error_text(error);
            fprintf(stderr, "crowd: client %u: %s\n", i, text);
            return 2;
        }
    }
    for (unsigned round = 0; round < rounds && good; round++)
        for (int i = 5; i < argc && good; i++) {
            char *name = text_from_utf16z(argv[i]);
            good = run_named(name, prefix, count, clients, pid);
            free(name);
        }
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(clients[i]);
    free(prefix);
    return good ? 0 : 2;
}
