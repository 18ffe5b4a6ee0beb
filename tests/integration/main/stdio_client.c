/* A client with stdio: serves the pipes that it gives to hcsd, as containerd does, and checks every byte that comes.
 *
 *   stdio_client.exe read ID BUNDLE          creates and starts a container with a stdout; says "reading" after the first MiB, and reads on
 *                                            when a line comes on its own stdin; at the end {"bytes","digest"}
 *   stdio_client.exe echo ID BUNDLE LINES    a terminal: each line comes back before the next is sent; then stdin is closed
 *   stdio_client.exe exec ID EXEC LINES      the same with an exec; half-way it says "half" and goes on when a line comes on its own stdin
 *   stdio_client.exe many COUNT PREFIX BUNDLE_PREFIX   COUNT containers with stdin and stdout that say "before", and "after" once their
 *                                            stdin has ended; says "running", and ends stdin when a line comes
 *   stdio_client.exe copy BYTES              a bare copy, pipe to pipe, of one thread: what a relay is measured beside; {"seconds"}
 *   stdio_client.exe time ID BUNDLE          as read, without a stop, with {"seconds"} from the first byte to the end
 *
 * Exit status 0; else 1 and one line on stderr. */
#include "containerd/task/v3/shim.pb-c.h" /* first: it has members that <stdio.h> makes macros of */

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>
#include <wchar.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "cli/client.h"
#include "export/sha256.h"

#undef stdin
#undef stdout
#undef stderr

#define CALL_MS 60000u
#define IDLE_MS 120000u /* for the next byte */
#define PIECE   65536u

static const char pattern[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-\n";

static void say(DWORD handle, char *line)
{
    DWORD done;
    WriteFile(GetStdHandle(handle), line, (DWORD)strlen(line), &done, NULL);
    free(line);
}

static _Noreturn void die(const char *what, struct error *error)
{
    char *text = error ? error_text(error) : str_format("error %lu", GetLastError());
    say(STD_ERROR_HANDLE, str_format("stdio_client: %s: %s\n", what, text));
    ExitProcess(1);
}

static void await_line(void)
{
    char byte;
    DWORD got;
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), &byte, 1, &got, NULL) && got && byte != '\n')
        ;
}

/* ---- pipes ---- */

static HANDLE serve(const char *id, const char *stream, char **ret_path)
{
    wchar_t *wide = NULL;
    *ret_path = str_format("\\\\.\\pipe\\stdio-client-%s-%s", id, stream);
    if (win_wide(*ret_path, &wide) != NULL)
        die("pipe name", NULL);
    HANDLE pipe = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                   PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, PIECE, PIECE, 0, NULL);
    if (pipe == INVALID_HANDLE_VALUE)
        die(*ret_path, NULL);
    free(wide);
    return pipe;
}

/* One transfer, bounded. 0: the end. */
static DWORD transfer(HANDLE pipe, bool write, void *data, DWORD size)
{
    static HANDLE event;
    DWORD bytes = 0;
    if (!event)
        event = CreateEventW(NULL, TRUE, FALSE, NULL);
    OVERLAPPED overlapped = {.hEvent = event};
    ResetEvent(event);
    BOOL done = write ? WriteFile(pipe, data, size, NULL, &overlapped) : ReadFile(pipe, data, size, NULL, &overlapped);
    if (!done && GetLastError() != ERROR_IO_PENDING)
        return 0;
    if (WaitForSingleObject(event, IDLE_MS) != WAIT_OBJECT_0) {
        CancelIoEx(pipe, &overlapped);
        GetOverlappedResult(pipe, &overlapped, &bytes, TRUE);
        SetLastError(WAIT_TIMEOUT);
        die(write ? "nobody reads stdin" : "nothing more comes", NULL);
    }
    return GetOverlappedResult(pipe, &overlapped, &bytes, FALSE) ? bytes : 0;
}

/* ---- calls ---- */

static struct client *dial(void)
{
    struct client *client = NULL;
    struct error *error = client_dial(&(struct client_options){.dial_ms = 30000}, &client);
    if (error)
        die("dial", error);
    return client;
}

static void call(struct client *client, const char *method, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *response)
{
    ProtobufCMessage *answer = NULL;
    struct error *error = client_call(client, method, request, response, CALL_MS, &answer);
    if (error)
        die(method, error);
    protobuf_c_message_free_unpacked(answer, NULL);
}

static void begin(struct client *client, const char *id, const char *bundle, char *in, char *out, bool terminal)
{
    Containerd__Task__V3__CreateTaskRequest create = CONTAINERD__TASK__V3__CREATE_TASK_REQUEST__INIT;
    Containerd__Task__V3__StartRequest start = CONTAINERD__TASK__V3__START_REQUEST__INIT;
    create.id = start.id = (char *)(uintptr_t)id;
    create.bundle = (char *)(uintptr_t)bundle;
    create.terminal = terminal;
    if (in)
        create.stdin = in;
    create.stdout = out;
    call(client, "/containerd.task.v3.Task/Create", &create.base,
         &containerd__task__v3__create_task_response__descriptor);
    call(client, "/containerd.task.v3.Task/Start", &start.base, &containerd__task__v3__start_response__descriptor);
}

/* ---- what it does ---- */

/* Everything up to the end, with every byte looked at. */
static void read_all(HANDLE pipe, bool stop, bool timed)
{
    static uint8_t data[PIECE];
    struct sha256 sha;
    uint8_t digest[32];
    char text[72];
    uint64_t size = 0, first_ms = 0;
    sha256_init(&sha);
    for (DWORD bytes; (bytes = transfer(pipe, false, data, PIECE)) != 0; size += bytes) {
        if (!size)
            first_ms = clock_ms();
        if (timed)
            continue;
        for (DWORD i = 0; i < bytes; i++)
            if (data[i] != (uint8_t)pattern[(size + i) % 64])
                die("a byte is not the one that was written there", NULL);
        sha256_add(&sha, data, bytes);
        if (stop && size + bytes >= 1u << 20) {
            stop = false;
            say(STD_OUTPUT_HANDLE, str_copy("reading\n"));
            await_line();
        }
    }
    sha256_end(&sha, digest);
    sha256_text(digest, text);
    say(STD_OUTPUT_HANDLE, str_format("{\"bytes\":%llu,\"digest\":\"%s\",\"seconds\":%.3f}\n", (unsigned long long)size,
                                      text, (double)(clock_ms() - first_ms) / 1000));
}

static void run_read(const char *id, const char *bundle, bool timed)
{
    char *path;
    HANDLE pipe = serve(id, "stdout", &path);
    struct client *client = dial();
    begin(client, id, bundle, NULL, path, false);
    client_close(client);
    read_all(pipe, !timed, timed);
}

static void expect(HANDLE pipe, const char *text)
{
    char data[256];
    size_t size = strlen(text);
    for (size_t got = 0; got < size;) {
        DWORD bytes = transfer(pipe, false, data, (DWORD)(size - got < sizeof data ? size - got : sizeof data));
        if (!bytes || memcmp(data, text + got, bytes) != 0)
            die("something else came back", error_make(ERROR_KIND_DATA_LOSS, "expect", text, "%.*s", (int)bytes, data));
        got += bytes;
    }
}

/* An exec with a terminal that gives back what it gets. */
static void begin_exec(struct client *client, const char *id, const char *exec_id, char *in, char *out)
{
    static char type[] = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    static char spec[] = "{\"cwd\":\"C:\\\\\",\"terminal\":true,\"commandLine\":\"emu:echo;exit 3\"}";
    Containerd__Task__V3__ExecProcessRequest exec = CONTAINERD__TASK__V3__EXEC_PROCESS_REQUEST__INIT;
    Containerd__Task__V3__StartRequest start = CONTAINERD__TASK__V3__START_REQUEST__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    exec.id = start.id = (char *)(uintptr_t)id;
    exec.exec_id = start.exec_id = (char *)(uintptr_t)exec_id;
    exec.terminal = true;
    exec.stdin = in;
    exec.stdout = out;
    exec.spec = &any;
    any.type_url = type;
    any.value.data = (uint8_t *)spec;
    any.value.len = strlen(spec);
    call(client, "/containerd.task.v3.Task/Exec", &exec.base, &google__protobuf__empty__descriptor);
    call(client, "/containerd.task.v3.Task/Start", &start.base, &containerd__task__v3__start_response__descriptor);
}

static void exchange(HANDLE in, HANDLE out, unsigned number)
{
    char *line = str_format("line %u\n", number);
    if (transfer(in, true, line, (DWORD)strlen(line)) != strlen(line))
        die("stdin", NULL);
    expect(out, line);
    free(line);
}

static void run_exec(const char *id, const char *exec_id, unsigned lines)
{
    char *in_path, *out_path, byte;
    HANDLE in = serve(exec_id, "stdin", &in_path), out = serve(exec_id, "stdout", &out_path);
    struct client *client = dial();
    begin_exec(client, id, exec_id, in_path, out_path);
    client_close(client);
    for (unsigned i = 0; i < lines; i++) {
        if (i == lines / 2) {
            say(STD_OUTPUT_HANDLE, str_copy("half\n"));
            await_line();
        }
        exchange(in, out, i);
    }
    CloseHandle(in);
    if (transfer(out, false, &byte, 1))
        die("more than the lines came back", NULL);
    say(STD_OUTPUT_HANDLE, str_format("{\"lines\":%u}\n", lines));
}

static void run_echo(const char *id, const char *bundle, unsigned lines)
{
    char *in_path, *out_path, byte;
    HANDLE in = serve(id, "stdin", &in_path), out = serve(id, "stdout", &out_path);
    struct client *client = dial();
    begin(client, id, bundle, in_path, out_path, true);
    client_close(client);
    for (unsigned i = 0; i < lines; i++) {
        char *line = str_format("line %u of %u\n", i, lines);
        if (transfer(in, true, line, (DWORD)strlen(line)) != strlen(line))
            die("stdin", NULL);
        expect(out, line);
        free(line);
    }
    CloseHandle(in);
    if (transfer(out, false, &byte, 1))
        die("more than the lines came back", NULL);
    say(STD_OUTPUT_HANDLE, str_format("{\"lines\":%u}\n", lines));
}

static void run_many(unsigned count, const char *prefix, const char *bundle_prefix)
{
    HANDLE *in = mem_new_array(count, HANDLE), *out = mem_new_array(count, HANDLE);
    struct client *client = dial();
    for (unsigned i = 0; i < count; i++) {
        char *id = str_format("%s%u", prefix, i), *bundle = str_format("%s%u", bundle_prefix, i), *in_path, *out_path;
        in[i] = serve(id, "stdin", &in_path);
        out[i] = serve(id, "stdout", &out_path);
        begin(client, id, bundle, in_path, out_path, false);
        expect(out[i], "before\n");
    }
    client_close(client);
    say(STD_OUTPUT_HANDLE, str_copy("running\n"));
    await_line();
    for (unsigned i = 0; i < count; i++)
        CloseHandle(in[i]);
    for (unsigned i = 0; i < count; i++) {
        char byte;
        expect(out[i], "after\n");
        if (transfer(out[i], false, &byte, 1))
            die("more came than was written", NULL);
    }
    say(STD_OUTPUT_HANDLE, str_format("{\"ended\":%u}\n", count));
}

/* ---- the bare copy ---- */

struct bare {
    HANDLE from, to;
};

static HANDLE pipe_end(const char *name)
{
    wchar_t *wide = NULL;
    if (win_wide(name, &wide) != NULL)
        die("pipe name", NULL);
    HANDLE handle = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (handle == INVALID_HANDLE_VALUE)
        die(name, NULL);
    free(wide);
    return handle;
}

static DWORD WINAPI copy_thread(void *context)
{
    static uint8_t data[PIECE];
    struct bare *bare = context;
    DWORD bytes, done;
    while (ReadFile(bare->from, data, PIECE, &bytes, NULL) && bytes)
        if (!WriteFile(bare->to, data, bytes, &done, NULL))
            break;
    CloseHandle(bare->to);
    return 0;
}

struct source {
    HANDLE to;
    uint64_t size;
};

static DWORD WINAPI source_thread(void *context)
{
    static uint8_t data[PIECE];
    struct source *source = context;
    DWORD done;
    for (uint64_t sent = 0; sent < source->size; sent += done)
        if (!WriteFile(source->to, data, (DWORD)(source->size - sent < PIECE ? source->size - sent : PIECE), &done,
                       NULL))
            break;
    CloseHandle(source->to);
    return 0;
}

/* Both pipes are byte pipes of 64 KiB as the emulator's and the client's are. */
static void run_copy(uint64_t size)
{
    char *first, *second;
    HANDLE from = serve("bare", "from", &first), to = serve("bare", "to", &second);
    struct source source = {from, size};
    struct bare bare = {pipe_end(first), pipe_end(second)};
    HANDLE threads[] = {CreateThread(NULL, 0, source_thread, &source, 0, NULL),
                        CreateThread(NULL, 0, copy_thread, &bare, 0, NULL)};
    if (!threads[0] || !threads[1])
        die("CreateThread", NULL);
    read_all(to, false, true);
    WaitForMultipleObjects(2, threads, TRUE, IDLE_MS);
}

int wmain(int argc, wchar_t **argv);
int wmain(int argc, wchar_t **argv)
{
    const char *arguments[5] = {"", "", "", "", ""};
    for (int i = 1; i < argc && i < 5; i++)
        arguments[i] = win_text(argv[i]);
    const char *what = arguments[1];
    if (!strcmp(what, "read") && argc == 4)
        run_read(arguments[2], arguments[3], false);
    else if (!strcmp(what, "time") && argc == 4)
        run_read(arguments[2], arguments[3], true);
    else if (!strcmp(what, "echo") && argc == 5)
        run_echo(arguments[2], arguments[3], (unsigned)wcstoul(argv[4], NULL, 10));
    else if (!strcmp(what, "exec") && argc == 5)
        run_exec(arguments[2], arguments[3], (unsigned)wcstoul(argv[4], NULL, 10));
    else if (!strcmp(what, "many") && argc == 5)
        run_many((unsigned)wcstoul(argv[2], NULL, 10), arguments[3], arguments[4]);
    else if (!strcmp(what, "copy") && argc == 3)
        run_copy(wcstoull(argv[2], NULL, 10));
    else
        die("usage", error_make(ERROR_KIND_INVALID_ARGUMENT, "usage", NULL, "see the head of stdio_client.c"));
    return 0;
}
