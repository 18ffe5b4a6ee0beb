/* Stdio through whole containers on the emulator; tests/unit/relay tests the relay by itself. */
#include "host.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"

/* ---- a client's end: serves one pipe and reads it to its end, on a thread ---- */

struct reader {
    char name[64];
    HANDLE pipe, thread;
    uint8_t *data;
    size_t size, capacity;
    HANDLE hold; /* not NULL: nothing is read until it is set */
    bool vanish; /* closes after the first byte */
    volatile LONG ended;
};

static DWORD WINAPI reader_run(void *context)
{
    struct reader *reader = context;
    DWORD got;
    if (!ConnectNamedPipe(reader->pipe, NULL) && GetLastError() != ERROR_PIPE_CONNECTED)
        goto end;
    if (reader->hold)
        WaitForSingleObject(reader->hold, HOST_BOUND_MS);
    for (;;) {
        if (reader->capacity - reader->size < 65536) {
            reader->capacity = reader->capacity * 2 + 65536;
            reader->data = mem_resize_array(reader->data, reader->capacity, 1);
        }
        if (!ReadFile(reader->pipe, reader->data + reader->size, reader->vanish ? 1 : 65536, &got, NULL) || !got)
            break;
        reader->size += got;
        if (reader->vanish)
            break;
    }
end:
    CloseHandle(reader->pipe);
    InterlockedExchange(&reader->ended, 1);
    return 0;
}

static void reader_serve(struct reader *reader, const char *name)
{
    wchar_t wide[64];
    snprintf(reader->name, sizeof reader->name, "\\\\.\\pipe\\hcsd-test-%lu-%s", GetCurrentProcessId(), name);
    MultiByteToWideChar(CP_UTF8, 0, reader->name, -1, wide, 64);
    reader->pipe = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE | PIPE_WAIT, 1, 65536, 65536, 0, NULL);
    assert_true(reader->pipe != INVALID_HANDLE_VALUE);
    reader->thread = CreateThread(NULL, 0, reader_run, reader, 0, NULL);
    assert_non_null(reader->thread);
}

static void reader_join(struct reader *reader)
{
    assert_int_equal(WaitForSingleObject(reader->thread, HOST_BOUND_MS), WAIT_OBJECT_0);
    CloseHandle(reader->thread);
}

static void reader_free(struct reader *reader)
{
    reader_join(reader);
    free(reader->data);
    *reader = (struct reader){0};
}

/* Serves a pipe that nobody reads from: the client's end of stdin. */
static HANDLE serve_stdin(const char *name, char path[64])
{
    wchar_t wide[64];
    snprintf(path, 64, "\\\\.\\pipe\\hcsd-test-%lu-%s", GetCurrentProcessId(), name);
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 64);
    HANDLE pipe = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE | PIPE_WAIT, 1, 65536, 65536, 0, NULL);
    assert_true(pipe != INVALID_HANDLE_VALUE);
    return pipe;
}

/* ---- the relay by itself ---- */

/* A process's pipe: ours for the relay (overlapped), the process's for the test. */
static void process_pipe(const char *name, HANDLE *ret_ours, HANDLE *ret_theirs)
{
    char path[64];
    wchar_t wide[64];
    snprintf(path, sizeof path, "\\\\.\\pipe\\hcsd-test-%lu-process-%s", GetCurrentProcessId(), name);
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 64);
    *ret_ours =
        CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE, 1, 65536, 65536, 0, NULL);
    assert_true(*ret_ours != INVALID_HANDLE_VALUE);
    *ret_theirs = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(*ret_theirs != INVALID_HANDLE_VALUE);
}

struct drained {
    volatile LONG called;
    volatile uint64_t lost;
};

static void on_drained(void *context, uint64_t lost)
{
    struct drained *drained = context;
    drained->lost = lost;
    InterlockedExchange(&drained->called, 1);
}

static bool is_called(void *context)
{
    return ((struct drained *)context)->called != 0;
}

/* A session of a relay process, between the pipe of a client (or whatever `out` names) and one of a process. */
static struct session *begin_session(const char *name, const char *in, const char *out, HANDLE *ret_theirs)
{
    const struct session_request request = {
        .containerd_namespace = "default", .id = name, .stdin_path = in, .stdout_path = out, .stderr_path = ""};
    struct session *session = NULL;
    HANDLE ours;
    struct error *error = session_open(host.relays, &request, &session);
    if (error)
        print_error("%s\n", error->message);
    assert_null(error);
    process_pipe(name, &ours, ret_theirs);
    error = *in ? session_attach(session, ours, NULL, NULL) : session_attach(session, NULL, ours, NULL);
    if (error)
        print_error("%s\n", error->message);
    assert_null(error);
    return session;
}

static void test_file(void **state)
{
    (void)state;
    struct session *session;
    struct drained drained = {0};
    HANDLE theirs;
    DWORD written;
    char *path = host_path("output.log"), *url = str_format("file:///%s", path);
    for (char *at = url; *at; at++)
        if (*at == '\\')
            *at = '/';
    assert_null(file_replace(path, "before\n", 7, NULL));
    session = begin_session("file", "", url, &theirs);
    for (unsigned i = 0; i < 3; i++)
        assert_true(WriteFile(theirs, "line\n", 5, &written, NULL));
    CloseHandle(theirs);
    session_drain(session, 0, HOST_BOUND_MS, on_drained, &drained);
    await(is_called, &drained, "the drain");
    session_close(session);
    struct buffer content = {0};
    assert_null(file_read(path, 1000, &content));
    assert_string_equal((const char *)content.data, "before\nline\nline\nline\n");
    buffer_free(&content);
    free(path);
    free(url);
}

/* ---- through containers ---- */

static void run(const char *id, const char *command, const char *in, const char *out, const char *error)
{
    char *bundle = host_bundle(id, command);
    expect_ok(begin_create_stdio(id, bundle, in, out, error), "create");
    expect_ok(begin_start(id), "start");
    free(bundle);
}

static void test_output(void **state)
{
    (void)state;
    struct reader out = {0}, error = {0};
    reader_serve(&out, "c-out");
    reader_serve(&error, "c-err");
    run("web", "emu:print hello;error oh no;exit 3", "", out.name, error.name);
    assert_int_equal(expect_exit("web"), 3);
    reader_join(&out);
    reader_join(&error);
    assert_int_equal(out.size, 6);
    assert_memory_equal(out.data, "hello\n", 6);
    assert_int_equal(error.size, 6);
    assert_memory_equal(error.data, "oh no\n", 6);
    free(out.data);
    free(error.data);
    expect_ok(begin_delete("web", false), "delete");
}

/* All output is out before the exit is told, however slow the reader was to begin. */
static void test_much_output(void **state)
{
    (void)state;
    struct reader out = {0};
    reader_serve(&out, "c-much");
    run("web", "emu:write 16777216", "", out.name, "");
    expect_exit("web");
    reader_join(&out);
    assert_int_equal(out.size, 16777216);
    for (size_t i = 0; i < out.size; i += 4097)
        assert_int_equal(out.data[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-\n"[i % 64]);
    free(out.data);
    expect_ok(begin_delete("web", false), "delete");
    assert_false(operator_event("TASK_OUTPUT_LOST", "web"));
}

static void test_real_output(void **state)
{
    (void)state;
    struct reader out = {0};
    reader_serve(&out, "c-real");
    run("cmd", "cmd.exe /c echo from a real process", "", out.name, "");
    assert_int_equal(expect_exit("cmd"), 0);
    reader_join(&out);
    assert_int_equal(out.size, 21);
    assert_memory_equal(out.data, "from a real process\r\n", 21);
    free(out.data);
    expect_ok(begin_delete("cmd", false), "delete");
}

static void test_echo(void **state)
{
    (void)state;
    struct reader out = {0};
    char in[64];
    DWORD written;
    HANDLE stdin_pipe = serve_stdin("c-in", in);
    reader_serve(&out, "c-echo");
    run("echo", "emu:echo;exit 5", in, out.name, "");
    assert_true(WriteFile(stdin_pipe, "one ", 4, &written, NULL));
    assert_true(WriteFile(stdin_pipe, "two", 3, &written, NULL));
    FlushFileBuffers(stdin_pipe);
    CloseHandle(stdin_pipe); /* the client is through: the process sees the end */
    assert_int_equal(expect_exit("echo"), 5);
    reader_join(&out);
    assert_int_equal(out.size, 7);
    assert_memory_equal(out.data, "one two", 7);
    free(out.data);
    expect_ok(begin_delete("echo", false), "delete");
}

/* The exit is told although nobody takes the output; the operator hears of it. */
static void test_lost_output(void **state)
{
    (void)state;
    struct reader out = {.hold = CreateEventW(NULL, TRUE, FALSE, NULL)};
    reader_serve(&out, "c-lost");
    run("web", "emu:write 100000000", "", out.name, "");
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    await_operator_event("TASK_OUTPUT_LOST", "web");
    SetEvent(out.hold);
    reader_join(&out);
    CloseHandle(out.hold);
    free(out.data);
    expect_ok(begin_delete("web", false), "delete");
}

/* The pipes are dialled in Create and given back when nothing comes of it. */
static void test_never_started(void **state)
{
    (void)state;
    struct reader out = {0};
    reader_serve(&out, "c-never");
    char *bundle = host_bundle("web", "emu:exit 0");
    expect_ok(begin_create_stdio("web", bundle, "", out.name, ""), "create");
    free(bundle);
    expect_ok(begin_delete("web", false), "delete");
    reader_join(&out);
    assert_int_equal(out.size, 0);
    free(out.data);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file),
        TEST(test_output),
        TEST(test_much_output),
        TEST(test_real_output),
        TEST(test_echo),
        TEST(test_lost_output),
        TEST(test_never_started),
    };
    if (argc < 3)
        return 2;
    if (argc > 3)
        cmocka_set_test_filter(argv[3]);
    host_init(argv[1], argv[2]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_end();
    return failed;
}
