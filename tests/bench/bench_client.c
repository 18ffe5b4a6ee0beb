/* What the pipe costs, and what hcsd adds to it.
 *
 *   bench_client.exe latency ROUNDS CALLS BARE-PIPE                the bare echo alone
 *   bench_client.exe share ROUNDS CALLS BARE-PIPE HCSD-PIPE ID     hcsd's State of task ID against the bare echo, in turns
 *   bench_client.exe stream ROUNDS BARE-PIPE                       64 KiB messages against the pipe without gRPC, in turns
 *   bench_client.exe touch PIPE                                    one call (health), answered or not; waits at most 30 s
 *
 * Times are of this machine at this moment and only printed; the ratios are what counts. */
#include <windows.h>

#include <stdio.h>
#include <string.h>
#include <wchar.h>
/* Fields of these names are in the messages. */
#undef stdin
#undef stdout
#undef stderr

#include "base/memory.h"
#include "base/win.h"
#include "cli/client.h"
#include "containerd/task/v3/shim.pb-c.h"
#include "daemon/rpc/pipe_stream.h"
#include "grpc/health/v1/health.pb-c.h"

#define ROUNDS_MAX 1000u

static double frequency;

static double now_us(void)
{
    LARGE_INTEGER now;
    QueryPerformanceCounter(&now);
    return (double)now.QuadPart * 1e6 / frequency;
}

static void must(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    printf("bench_client: %s\n", text);
    fflush(NULL);
    ExitProcess(1);
}

static struct client *dial(const char *pipe)
{
    struct client *client = NULL;
    struct client_options options = {.address = pipe, .dial_ms = 30000};
    must(client_dial(&options, &client));
    return client;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, size_t count, double part)
{
    qsort(values, count, sizeof *values, compare);
    size_t at = (size_t)((double)count * part);
    return values[at < count ? at : count - 1];
}

/* ---- unary ---- */

struct target {
    struct client *client;
    const char *method, *id;
    double *times; /* of every call, in microseconds */
    size_t count;
};

static double round_of(struct target *target, unsigned calls)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    request.id = (char *)target->id;
    double start = now_us();
    for (unsigned i = 0; i < calls; i++) {
        ProtobufCMessage *response = NULL;
        double begin = now_us();
        must(client_call(target->client, target->method, &request.base,
                         &containerd__task__v3__state_response__descriptor, 30000, &response));
        target->times[target->count++] = now_us() - begin;
        protobuf_c_message_free_unpacked(response, NULL);
    }
    return (now_us() - start) / calls;
}

static struct target target_of(const char *pipe, const char *method, const char *id, unsigned calls)
{
    struct target target = {.client = dial(pipe), .method = method, .id = id, .times = mem_new_array(calls, double)};
    round_of(&target, 50); /* warm */
    target.count = 0;
    return target;
}

static void print_target(const char *what, struct target *target)
{
    double p50 = quantile(target->times, target->count, 0.5), p99 = quantile(target->times, target->count, 0.99),
           sum = 0;
    for (size_t i = 0; i < target->count; i++)
        sum += target->times[i];
    printf("# %s: p50 %.0f us, p99 %.0f us, %.0f calls/s on one connection\n", what, p50, p99,
           1e6 * (double)target->count / sum);
}

static void latency(unsigned rounds, unsigned calls, const char *bare)
{
    struct target target = target_of(bare, "/bench/Echo", "bench", rounds * calls + 50);
    for (unsigned i = 0; i < rounds; i++)
        round_of(&target, calls);
    print_target("bare echo", &target);
    client_close(target.client);
}

static void share(unsigned rounds, unsigned calls, const char *bare, const char *hcsd, const char *id)
{
    struct target yardstick = target_of(bare, "/bench/Echo", id, rounds * calls + 50);
    struct target state = target_of(hcsd, "/containerd.task.v3.Task/State", id, rounds * calls + 50);
    double shares[ROUNDS_MAX];
    for (unsigned i = 0; i < rounds; i++) {
        double echo = round_of(&yardstick, calls), full = round_of(&state, calls);
        shares[i] = (full - echo) / echo;
    }
    print_target("bare echo", &yardstick);
    print_target("hcsd State", &state);
    double p99 = quantile(state.times, state.count, 0.99) / quantile(yardstick.times, yardstick.count, 0.99);
    double median = quantile(shares, rounds, 0.5), low = quantile(shares, rounds, 0.1),
           high = quantile(shares, rounds, 0.9);
    printf("state_share %.3f (hcsd's own part of a State call, in bare echo times; rounds from %.3f to %.3f; below "
           "0.25)\n",
           median, low, high);
    printf("state_p99 %.2f (p99 of State to p99 of the bare echo)\n", p99);
    client_close(yardstick.client);
    client_close(state.client);
}

/* ---- streams ---- */

#define MESSAGES   1000u /* bench_server's */
#define STREAM_MIB (MESSAGES * PIPE_STREAM_CHUNK / 1048576.0)

static double grpc_stream(struct client *client)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    struct client_stream *stream = NULL;
    double start = now_us();
    must(client_stream_open(client, "/bench/Stream", &request.base, &containerd__task__v3__state_response__descriptor,
                            60000, &stream));
    unsigned count = 0;
    for (ProtobufCMessage *message;; count++) {
        must(client_stream_next(stream, &message));
        if (message == NULL)
            break;
        protobuf_c_message_free_unpacked(message, NULL);
    }
    double seconds = (now_us() - start) / 1e6;
    client_stream_close(stream);
    if (count != MESSAGES) {
        printf("bench_client: %u messages came instead of %u\n", count, MESSAGES);
        ExitProcess(1);
    }
    return STREAM_MIB / seconds;
}

static DWORD WINAPI write_all(void *handle)
{
    char *data = mem_zero(PIPE_STREAM_CHUNK);
    DWORD size;
    for (unsigned i = 0; i < MESSAGES && WriteFile(handle, data, PIPE_STREAM_CHUNK, &size, NULL); i++)
        continue;
    free(data);
    return 0;
}

/* The same bytes, in writes of the same size, with nothing in between. */
static double plain_stream(void)
{
    wchar_t name[64];
    swprintf(name, ARRAYSIZE(name), L"\\\\.\\pipe\\hcsd-bench-%lu", GetCurrentProcessId());
    HANDLE server = CreateNamedPipeW(name, PIPE_ACCESS_OUTBOUND, PIPE_TYPE_BYTE | PIPE_WAIT, 1, PIPE_STREAM_CHUNK,
                                     PIPE_STREAM_CHUNK, 0, NULL);
    HANDLE client = CreateFileW(name, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    double start = now_us();
    HANDLE thread = CreateThread(NULL, 0, write_all, server, 0, NULL);
    char *data = mem_zero(PIPE_STREAM_CHUNK);
    DWORD size;
    for (size_t left = (size_t)MESSAGES * PIPE_STREAM_CHUNK; left > 0; left -= size)
        if (!ReadFile(client, data, PIPE_STREAM_CHUNK, &size, NULL))
            break;
    double seconds = (now_us() - start) / 1e6;
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    CloseHandle(client);
    CloseHandle(server);
    free(data);
    return STREAM_MIB / seconds;
}

static void streams(unsigned rounds, const char *bare)
{
    struct client *client = dial(bare);
    double ratios[ROUNDS_MAX], full[ROUNDS_MAX], plain[ROUNDS_MAX];
    grpc_stream(client);
    for (unsigned i = 0; i < rounds; i++) {
        full[i] = grpc_stream(client);
        plain[i] = plain_stream();
        ratios[i] = full[i] / plain[i];
    }
    printf("# streams of 64 KiB: gRPC %.0f MiB/s, the pipe alone %.0f MiB/s\n", quantile(full, rounds, 0.5),
           quantile(plain, rounds, 0.5));
    printf("stream_throughput %.2f (gRPC's to the pipe's alone)\n", quantile(ratios, rounds, 0.5));
    client_close(client);
}

/* ---- */

static void touch(const char *pipe)
{
    struct client *client = dial(pipe);
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct error *error = client_call(client, "/grpc.health.v1.Health/Check", &request.base,
                                      &grpc__health__v1__health_check_response__descriptor, 30000, &response);
    if (error == NULL)
        protobuf_c_message_free_unpacked(response, NULL);
    error_free(error);
    client_close(client);
}

int wmain(int count, wchar_t **wide);
int wmain(int count, wchar_t **wide)
{
    LARGE_INTEGER ticks;
    QueryPerformanceFrequency(&ticks);
    frequency = (double)ticks.QuadPart;
    char *arguments[8] = {0};
    for (int i = 0; i < count && i < 8; i++)
        arguments[i] = win_text(wide[i]);
    const char *mode = count > 1 ? arguments[1] : "";
    unsigned rounds = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 0;
    unsigned calls = count > 3 ? (unsigned)strtoul(arguments[3], NULL, 10) : 0;
    bool bounded = rounds > 0 && rounds <= ROUNDS_MAX;
    if (strcmp(mode, "latency") == 0 && count == 5 && bounded)
        latency(rounds, calls, arguments[4]);
    else if (strcmp(mode, "share") == 0 && count == 7 && bounded)
        share(rounds, calls, arguments[4], arguments[5], arguments[6]);
    else if (strcmp(mode, "stream") == 0 && count == 4 && bounded)
        streams(rounds, arguments[3]);
    else if (strcmp(mode, "touch") == 0 && count == 3)
        touch(arguments[2]);
    else {
        puts("usage: see the head of bench_client.c");
        return 2;
    }
    return 0;
}
