/* The stdio relay beside a bare copy from pipe to pipe: the same source, the same reader, and between them either a thread that reads
 * and writes, or a relay process.
 *
 *   bench_relay.exe RELAY_IMAGE ROUNDS MIB
 *
 * In turns, so that a busy machine disturbs both; prints the median of the rounds' ratios. */
#include "relay/relays.h" /* before all else: windows.h */

#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/win.h"

#define PIECE      65536u
#define ROUNDS_MAX 99

static uint64_t total;

static _Noreturn void die(const char *what, struct error *error)
{
    char *text = error ? error_text(error) : str_format("error %lu", GetLastError());
    fprintf(stderr, "bench_relay: %s: %s\n", what, text);
    ExitProcess(1);
}

/* Both pipes are as HCS's and a client's are: byte pipes of 64 KiB. */
static HANDLE serve(const char *name, char path[80], bool overlapped)
{
    wchar_t wide[80];
    snprintf(path, 80, "\\\\.\\pipe\\bench-relay-%lu-%s", GetCurrentProcessId(), name);
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 80);
    HANDLE pipe = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX | (overlapped ? FILE_FLAG_OVERLAPPED : 0), PIPE_TYPE_BYTE,
                                   1, PIECE, PIECE, 0, NULL);
    if (pipe == INVALID_HANDLE_VALUE)
        die(path, NULL);
    return pipe;
}

static HANDLE dial(const char *path)
{
    wchar_t wide[80];
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 80);
    HANDLE pipe = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (pipe == INVALID_HANDLE_VALUE)
        die(path, NULL);
    return pipe;
}

static DWORD WINAPI source_run(void *context)
{
    static uint8_t data[PIECE];
    DWORD done;
    for (uint64_t sent = 0; sent < total; sent += done)
        if (!WriteFile(context, data, PIECE, &done, NULL))
            die("source", NULL);
    CloseHandle(context);
    return 0;
}

struct copy {
    HANDLE from, to;
};

static DWORD WINAPI copy_run(void *context)
{
    static uint8_t data[PIECE];
    struct copy *copy = context;
    DWORD got, done;
    while (ReadFile(copy->from, data, PIECE, &got, NULL) && got)
        if (!WriteFile(copy->to, data, got, &done, NULL))
            die("copy", NULL);
    CloseHandle(copy->from);
    CloseHandle(copy->to);
    return 0;
}

static double read_all(HANDLE pipe)
{
    static uint8_t data[PIECE];
    LARGE_INTEGER begin, end, frequency;
    uint64_t size = 0;
    DWORD got;
    QueryPerformanceCounter(&begin);
    while (ReadFile(pipe, data, PIECE, &got, NULL) && got)
        size += got;
    QueryPerformanceCounter(&end);
    QueryPerformanceFrequency(&frequency);
    if (size != total)
        die("reader: bytes are missing", NULL);
    CloseHandle(pipe);
    return (double)(end.QuadPart - begin.QuadPart) / (double)frequency.QuadPart;
}

static double run(HANDLE reader, HANDLE source, struct copy *copy)
{
    HANDLE threads[2];
    unsigned count = 0;
    threads[count++] = CreateThread(NULL, 0, source_run, source, 0, NULL);
    if (copy)
        threads[count++] = CreateThread(NULL, 0, copy_run, copy, 0, NULL);
    double seconds = read_all(reader);
    WaitForMultipleObjects(count, threads, TRUE, INFINITE);
    for (unsigned i = 0; i < count; i++)
        CloseHandle(threads[i]);
    return seconds;
}

static double run_bare(void)
{
    char from[80], to[80];
    struct copy copy = {.from = serve("bare-from", from, false)};
    HANDLE reader = serve("bare-to", to, false), source = dial(from);
    copy.to = dial(to);
    return run(reader, source, &copy);
}

static double run_relay(struct relays *relays)
{
    char from[80], to[80];
    struct session *session = NULL;
    HANDLE ours = serve("from", from, true), reader = serve("to", to, false), source = dial(from);
    const struct session_request request = {
        .containerd_namespace = "default", .id = "bench", .stdin_path = "", .stdout_path = to, .stderr_path = ""};
    struct error *error = session_open(relays, &request, &session);
    if (!error)
        error = session_attach(session, NULL, ours, NULL);
    if (error)
        die("session", error);
    double seconds = run(reader, source, NULL);
    session_close(session);
    return seconds;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
    double ratios[ROUNDS_MAX], bare = 0, relay = 0;
    wchar_t temporary[MAX_PATH];
    struct relays *relays = NULL;
    unsigned long rounds = argc == 4 ? wcstoul(argv[2], NULL, 10) : 0;
    if (!rounds || rounds > ROUNDS_MAX) {
        fputs("usage: bench_relay.exe RELAY_IMAGE ROUNDS MIB\n", stderr);
        return 2;
    }
    total = wcstoull(argv[3], NULL, 10) << 20;
    GetTempPathW(MAX_PATH, temporary);
    char *base = win_text(temporary), *image = win_text(argv[1]);
    char *state = str_format("%sbench-relay-%lu", base, GetCurrentProcessId());
    const struct relays_options options = {.image = image, .state_dir = state, .hold_ms = 10000};
    struct error *error = relays_open(&options, &relays);
    if (error)
        die("relays", error);
    run_relay(relays); /* the first starts the relay */
    for (unsigned long i = 0; i < rounds; i++) {
        double bare_seconds = run_bare(), relay_seconds = run_relay(relays);
        bare += bare_seconds;
        relay += relay_seconds;
        ratios[i] = bare_seconds / relay_seconds;
    }
    qsort(ratios, rounds, sizeof ratios[0], by_value);
    double mib = (double)total * (double)rounds / (1 << 20);
    printf("# from pipe to pipe: bare copy %.0f MiB/s, relay %.0f MiB/s\n", mib / bare, mib / relay);
    printf("relay_throughput %.2f (of the stdio relay, beside a bare copy from pipe to pipe; at least 0.7)\n",
           ratios[rounds / 2]);
    relays_close(relays);
    free(state);
    free(image);
    free(base);
    return 0;
}
