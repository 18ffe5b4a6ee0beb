/* Clients that mean no good, all at once for a while, or one that behaves.
 *
 *   hostile.exe attack PIPE SECONDS [KIND]   prints one JSON line: how often each kind of attack was made, and what was unexpected
 *   hostile.exe good PIPE SECONDS            one connection, one call after another:
 *                                            {"calls","errors","first_error","p50_us","p99_us","max_us"}
 *
 * The attackers speak to the pipe directly: no library stands between them and what they write. */
#include "containerd/task/v3/shim.pb-c.h" /* first: it has members that <stdio.h> makes macros of */

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/client.h"
#include "hcsd/v1/tasks.pb-c.h"

#define STREAMS  10000u
#define OVERSIZE (20u << 20) /* above the 16 MiB of a message */
#define GOOD_MAX 2000000u

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const wchar_t *pipe_name;
static uint64_t end_ms;

static bool is_over(void)
{
    return clock_ms() >= end_ms;
}

/* A connection, or INVALID_HANDLE_VALUE: refused, or all instances are busy with others like us. */
static HANDLE dial(void)
{
    HANDLE pipe = CreateFileW(pipe_name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                              FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    if (pipe == INVALID_HANDLE_VALUE)
        WaitNamedPipeW(pipe_name, 100);
    return pipe;
}

/* Writes, or gives up when the attack is over: a server that does not read is no reason to stay. */
static bool write_all(HANDLE pipe, const void *data, DWORD size)
{
    OVERLAPPED at = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    DWORD count = 0;
    bool done = WriteFile(pipe, data, size, &count, &at);
    if (!done && GetLastError() == ERROR_IO_PENDING) {
        while (!is_over() && WaitForSingleObject(at.hEvent, 200) != WAIT_OBJECT_0)
            ;
        if (WaitForSingleObject(at.hEvent, 0) != WAIT_OBJECT_0)
            CancelIoEx(pipe, &at);
        done = GetOverlappedResult(pipe, &at, &count, TRUE);
    }
    CloseHandle(at.hEvent);
    return done && count == size;
}

/* Waits for the server to hang up, reading what comes; false: it has not by the end of the attack. */
static bool is_hung_up(HANDLE pipe)
{
    static _Thread_local uint8_t room[65536];
    OVERLAPPED at = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    DWORD count;
    bool up = true;
    while (up && !is_over()) {
        ResetEvent(at.hEvent);
        if (!ReadFile(pipe, room, sizeof room, &count, &at) && GetLastError() != ERROR_IO_PENDING)
            break;
        while (!is_over() && WaitForSingleObject(at.hEvent, 200) != WAIT_OBJECT_0)
            ;
        if (WaitForSingleObject(at.hEvent, 0) != WAIT_OBJECT_0)
            CancelIoEx(pipe, &at);
        up = GetOverlappedResult(pipe, &at, &count, TRUE);
    }
    CloseHandle(at.hEvent);
    return !is_over() || !up;
}

/* Throws away what has arrived. */
static void drop_answers(HANDLE pipe)
{
    static _Thread_local uint8_t room[65536];
    DWORD waiting = 0, count;
    while (PeekNamedPipe(pipe, NULL, 0, NULL, &waiting, NULL) && waiting > 0) {
        OVERLAPPED at = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
        bool done = ReadFile(pipe, room, sizeof room, &count, &at) ||
                    (GetLastError() == ERROR_IO_PENDING && GetOverlappedResult(pipe, &at, &count, TRUE));
        CloseHandle(at.hEvent);
        if (!done)
            return;
    }
}

/* ---- HTTP/2 by hand (RFC 9113, RFC 7541 literals without indexing) ---- */

static size_t frame(uint8_t *out, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream)
{
    const uint8_t header[] = {
        (uint8_t)(size >> 16),   (uint8_t)(size >> 8),    (uint8_t)size,          type,           flags,
        (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    memcpy(out, header, sizeof header);
    return sizeof header;
}

static size_t literal(uint8_t *out, const char *name, const char *value)
{
    size_t name_size = strlen(name), value_size = strlen(value), at = 0;
    out[at++] = 0;
    out[at++] = (uint8_t)name_size;
    memcpy(out + at, name, name_size);
    at += name_size;
    out[at++] = (uint8_t)value_size;
    memcpy(out + at, value, value_size);
    return at + value_size;
}

/* HEADERS of a call that goes on. */
static size_t headers(uint8_t *out, uint32_t stream, const char *path)
{
    uint8_t block[512];
    size_t size = literal(block, ":method", "POST");
    size += literal(block + size, ":scheme", "http");
    size += literal(block + size, ":path", path);
    size += literal(block + size, ":authority", "hcsd");
    size += literal(block + size, "te", "trailers");
    size += literal(block + size, "content-type", "application/grpc");
    size_t at = frame(out, (uint32_t)size, 1, 4 /* END_HEADERS */, stream);
    memcpy(out + at, block, size);
    return at + size;
}

static HANDLE open_http(void)
{
    uint8_t opening[64];
    HANDLE pipe = dial();
    if (pipe == INVALID_HANDLE_VALUE)
        return pipe;
    memcpy(opening, PREFACE, sizeof PREFACE - 1);
    size_t size = sizeof PREFACE - 1;
    size += frame(opening + size, 0, 4, 0, 0);
    if (write_all(pipe, opening, (DWORD)size))
        return pipe;
    CloseHandle(pipe);
    return INVALID_HANDLE_VALUE;
}

/* ---- the attacks; each is repeated until the end. False: the server has not done what it must ---- */

static bool attack_garbage(unsigned *seed)
{
    uint8_t noise[4096];
    HANDLE pipe = dial();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)((*seed = *seed * 1103515245u + 12345u) >> 16);
    write_all(pipe, noise, sizeof noise);
    bool hung_up = is_hung_up(pipe);
    CloseHandle(pipe);
    return hung_up || is_over();
}

/* Good opening, then frames of noise. */
static bool attack_frames(unsigned *seed)
{
    uint8_t noise[2048];
    HANDLE pipe = open_http();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    for (unsigned round = 0; round < 50 && !is_over(); round++) {
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)((*seed = *seed * 1103515245u + 12345u) >> 16);
        frame(noise, sizeof noise - 9, (uint8_t)(*seed >> 20) % 12, (uint8_t)(*seed >> 8), *seed >> 24 | 1);
        if (!write_all(pipe, noise, sizeof noise))
            break;
        drop_answers(pipe);
    }
    CloseHandle(pipe);
    return true;
}

static bool attack_half_open(unsigned *seed)
{
    (void)seed;
    HANDLE pipe = dial();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    write_all(pipe, PREFACE, 10);
    bool hung_up = is_hung_up(pipe);
    CloseHandle(pipe);
    return hung_up || is_over();
}

static bool attack_silent(unsigned *seed)
{
    (void)seed;
    HANDLE pipe = dial();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    bool hung_up = is_hung_up(pipe);
    CloseHandle(pipe);
    return hung_up || is_over();
}

/* A message that claims 20 MiB, and its bytes as long as somebody takes them. */
static bool attack_oversized(unsigned *seed)
{
    (void)seed;
    static uint8_t data[16384 + 9]; /* zeros; each thread writes the same header into it */
    uint8_t out[1024];
    HANDLE pipe = open_http();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    size_t size = headers(out, 1, "/containerd.task.v3.Task/Create");
    size += frame(out + size, 5, 0, 0, 1);
    const uint8_t length[] = {0, OVERSIZE >> 24, (OVERSIZE >> 16) & 255, (OVERSIZE >> 8) & 255, OVERSIZE & 255};
    memcpy(out + size, length, sizeof length);
    bool open = write_all(pipe, out, (DWORD)(size + sizeof length));
    frame(data, 16384, 0, 0, 1);
    for (uint32_t sent = 0; open && sent < OVERSIZE && !is_over(); sent += 16384) {
        open = write_all(pipe, data, sizeof data);
        drop_answers(pipe);
    }
    CloseHandle(pipe);
    return true;
}

/* 10,000 calls on one connection, none of which ever ends. */
static bool attack_streams(unsigned *seed)
{
    (void)seed;
    uint8_t out[1024];
    HANDLE pipe = open_http();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    for (uint32_t i = 0; i < STREAMS && !is_over(); i++) {
        size_t size = headers(out, 2 * i + 1, "/containerd.task.v3.Task/Wait");
        if (!write_all(pipe, out, (DWORD)size))
            break;
        if (i % 16 == 0)
            drop_answers(pipe);
    }
    CloseHandle(pipe);
    return true;
}

/* Asks and never reads. */
static bool attack_slow_reader(unsigned *seed)
{
    (void)seed;
    uint8_t out[1024];
    HANDLE pipe = open_http();
    if (pipe == INVALID_HANDLE_VALUE)
        return true;
    for (uint32_t i = 0; i < 2000 && !is_over(); i++) {
        size_t size = headers(out, 2 * i + 1, "/hcsd.v1.Diagnostics/Version");
        size += frame(out + size, 5, 0, 1 /* END_STREAM */, 2 * i + 1);
        memset(out + size, 0, 5);
        if (!write_all(pipe, out, (DWORD)size + 5))
            break;
    }
    CloseHandle(pipe);
    return true;
}

static bool attack_flood(unsigned *seed)
{
    (void)seed;
    for (unsigned i = 0; i < 50 && !is_over(); i++) {
        HANDLE pipe = dial();
        if (pipe != INVALID_HANDLE_VALUE)
            CloseHandle(pipe);
    }
    return true;
}

static struct attack {
    const char *name;
    bool (*run)(unsigned *seed);
    unsigned threads;
    _Atomic unsigned times, unexpected;
} attacks[] = {
    {"garbage", attack_garbage, 2, 0, 0},         {"frames", attack_frames, 2, 0, 0},
    {"half_open", attack_half_open, 8, 0, 0},     {"silent", attack_silent, 8, 0, 0},
    {"oversized", attack_oversized, 1, 0, 0},     {"streams", attack_streams, 1, 0, 0},
    {"slow_reader", attack_slow_reader, 4, 0, 0}, {"flood", attack_flood, 2, 0, 0},
};
#define ATTACKS (sizeof attacks / sizeof attacks[0])

static DWORD WINAPI attacker(void *parameter)
{
    struct attack *attack = parameter;
    unsigned seed = GetCurrentThreadId();
    while (!is_over()) {
        if (!attack->run(&seed))
            atomic_fetch_add(&attack->unexpected, 1);
        atomic_fetch_add(&attack->times, 1);
    }
    return 0;
}

static int attack_all(void)
{
    HANDLE threads[64];
    size_t count = 0;
    for (size_t i = 0; i < ATTACKS; i++)
        for (unsigned n = 0; n < attacks[i].threads; n++)
            if ((threads[count] = CreateThread(NULL, 0, attacker, &attacks[i], 0, NULL)) != NULL)
                count++;
    for (size_t i = 0; i < count; i++) {
        WaitForSingleObject(threads[i], INFINITE); /* each looks at the time after every wait */
        CloseHandle(threads[i]);
    }
    printf("{");
    for (size_t i = 0; i < ATTACKS; i++)
        printf("%s\"%s\":{\"times\":%u,\"unexpected\":%u}", i == 0 ? "" : ",", attacks[i].name,
               atomic_load(&attacks[i].times), atomic_load(&attacks[i].unexpected));
    printf("}\n");
    return 0;
}

/* ---- the one that behaves ---- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int behave(void)
{
    struct client *client = NULL;
    char *address = text_from_utf16z(pipe_name);
    struct error *error = client_dial(&(struct client_options){.address = address, .dial_ms = 30000}, &client);
    uint32_t *times = mem_new_array(GOOD_MAX, uint32_t);
    size_t calls = 0, errors = 0;
    char *first = NULL;
    LARGE_INTEGER frequency, before, after;
    QueryPerformanceFrequency(&frequency);
    while (error == NULL && !is_over() && calls < GOOD_MAX) {
        Hcsd__V1__ListTasksRequest request = HCSD__V1__LIST_TASKS_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        QueryPerformanceCounter(&before);
        struct error *failed = client_call(client, "/hcsd.v1.Tasks/List", &request.base,
                                           &hcsd__v1__list_tasks_response__descriptor, 30000, &answer);
        QueryPerformanceCounter(&after);
        times[calls++] = (uint32_t)((after.QuadPart - before.QuadPart) * 1000000 / frequency.QuadPart);
        if (failed != NULL) {
            if (errors++ == 0)
                first = error_text(failed);
            error_free(failed);
        } else {
            protobuf_c_message_free_unpacked(answer, NULL);
        }
    }
    if (error != NULL) {
        errors++;
        first = error_text(error);
        error_free(error);
    }
    for (char *at = first; at != NULL && *at != 0; at++)
        if (*at == '"' || *at == '\\')
            *at = '\'';
    qsort(times, calls, sizeof *times, compare);
    printf("{\"calls\":%zu,\"errors\":%zu,\"first_error\":\"%s\",\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n", calls,
           errors, first != NULL ? first : "", calls > 0 ? times[calls / 2] : 0,
           calls > 0 ? times[calls * 99 / 100] : 0, calls > 0 ? times[calls - 1] : 0);
    client_close(client);
    free(address);
    free(first);
    free(times);
    return 0;
}

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
    if (argc != 4 && argc != 5) {
        fputs("usage: hostile.exe attack|good PIPE SECONDS [KIND]\n", stderr);
        return 2;
    }
    for (size_t i = 0; argc == 5 && i < ATTACKS; i++) {
        char *kind = text_from_utf16z(argv[4]);
        if (strcmp(kind, attacks[i].name) != 0)
            attacks[i].threads = 0;
        free(kind);
    }
    pipe_name = argv[2];
    end_ms = clock_ms() + wcstoul(argv[3], NULL, 10) * 1000ull;
    return wcscmp(argv[1], L"good") == 0 ? behave() : attack_all();
}
