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
        if (!ReadFile(reader->pipe, reader->data + reader->size, 65536, &got, NULL) || !got)
            break;
        reader->size += got;
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

static void run(const char *id, const char *command, const char *in, const char *out, const char *error)
{
    char *bundle = host_bundle(id, command);
    expect_ok(begin_create_stdio(id, bundle, in, out, error), "create");
    expect_ok(begin_start(id), "start");
    free(bundle);
}

/* file:/// adds to what is there; both streams may name the same file. */
static void test_file(void **state)
{
    (void)state;
    char *path = host_path("output.log"), *url = str_format("file:///%s", path);
    struct buffer content = {0};
    for (char *at = url; *at; at++)
        if (*at == '\\')
            *at = '/';
    assert_null(file_replace(path, "before\n", 7, NULL));
    run("file", "emu:print one;print two;error three", "", url, url);
    assert_int_equal(expect_exit("file"), 0);
    assert_null(file_read(path, 1000, &content));
    assert_int_equal(content.size, 21);
    assert_memory_equal(content.data, "before\n", 7);
    assert_non_null(strstr((const char *)content.data, "one\ntwo\n"));
    assert_non_null(strstr((const char *)content.data, "three\n"));
    expect_ok(begin_delete("file", false), "delete");
    buffer_free(&content);
    free(path);
    free(url);
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

/* More waits in its pipe than the pipe takes: so the relay's write is under way. */
static bool is_full(void *context)
{
    const struct reader *reader = context;
    DWORD waiting = 0;
    return PeekNamedPipe(reader->pipe, NULL, 0, NULL, &waiting, NULL) && waiting > 65536;
}

/* The exit is told although nobody takes the output; the operator hears of it. */
static void test_lost_output(void **state)
{
    (void)state;
    struct reader out = {.hold = CreateEventW(NULL, TRUE, FALSE, NULL)};
    reader_serve(&out, "c-lost");
    run("web", "emu:write 100000000", "", out.name, "");
    await(is_full, &out, "the reader's pipe to be full");
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

/* What was dialled in Create is there when hcsd comes back, and the process starts with it. */
static void test_restart_of_a_created_one(void **state)
{
    (void)state;
    struct reader out = {0};
    reader_serve(&out, "c-created");
    char *bundle = host_bundle("web", "emu:print hello");
    expect_ok(begin_create_stdio("web", bundle, "", out.name, ""), "create");
    free(bundle);
    host_restart(false);
    await_operator_event("TASK_RECOVERED", "web");
    expect_ok(begin_start("web"), "start");
    assert_int_equal(expect_exit("web"), 0);
    reader_join(&out);
    assert_int_equal(out.size, 6);
    assert_memory_equal(out.data, "hello\n", 6);
    free(out.data);
    expect_ok(begin_delete("web", false), "delete");
}

/* stdin, output and the exit of one that runs go on over a restart; so does the output of an exec. */
static void test_restart_of_a_running_one(void **state)
{
    (void)state;
    struct reader out = {0}, exec_out = {0};
    char in[64];
    DWORD written;
    HANDLE stdin_pipe = serve_stdin("c-again-in", in);
    reader_serve(&out, "c-again");
    reader_serve(&exec_out, "c-again-exec");
    run("echo", "emu:print one;echo;print three;exit 5", in, out.name, "");
    expect_ok(begin_exec("echo", "x", "emu:print begin;sleep 1;print end", exec_out.name), "exec");
    expect_ok(begin_start_exec("echo", "x"), "start exec");
    host_restart(false);
    await_operator_event("TASK_RECOVERED", "echo");
    assert_true(WriteFile(stdin_pipe, "two", 3, &written, NULL));
    reader_join(&exec_out);
    assert_int_equal(exec_out.size, 10);
    assert_memory_equal(exec_out.data, "begin\nend\n", 10);
    FlushFileBuffers(stdin_pipe);
    CloseHandle(stdin_pipe);
    assert_int_equal(expect_exit("echo"), 5);
    reader_join(&out);
    assert_int_equal(out.size, 13);
    assert_memory_equal(out.data, "one\ntwothree\n", 13);
    assert_false(operator_event("TASK_OUTPUT_LOST", "echo"));
    assert_int_equal(event_lines("/tasks/exit echo 3 5"), 1);
    free(out.data);
    free(exec_out.data);
    expect_ok(begin_delete("echo", false), "delete");
}

static void begin_piped_exec(const char *exec_id, const char *command, const char *in, const char *out)
{
    struct request *request = request_new();
    char *spec = str_format("{\"cwd\":\"C:\\\\\",\"commandLine\":\"%s\"}", command);
    const struct task_exec exec = {
        .containerd_namespace = "default",
        .id = "web",
        .exec_id = exec_id,
        .stdin_path = in,
        .stdout_path = out,
        .stderr_path = "",
        .spec = spec,
        .spec_size = strlen(spec),
    };
    task_exec(host.tasks, &exec, request_done, request);
    expect_ok(request, "exec");
    free(spec);
}

static uint32_t exec_exit(const char *exec_id)
{
    struct answer answer = finish(begin_wait_exec("web", exec_id));
    assert_null(answer.error);
    uint32_t code = answer.exit_status;
    answer_free(&answer);
    return code;
}

/* Two restarts: stdin, output and exit of an exec that runs, and of one that was only created, go on; not a byte is lost or doubled.
 * One whose stdin has ended while hcsd was away ends. */
static void test_restart_of_execs(void **state)
{
    (void)state;
    struct reader outs[3] = {0};
    static const char *const ids[3] = {"runs", "created", "closed"};
    char ins[3][64];
    HANDLE stdins[3];
    DWORD written;
    run("web", "emu:sleep 3600", "", "", "");
    for (unsigned i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "x-in-%u", i);
        stdins[i] = serve_stdin(name, ins[i]);
        snprintf(name, sizeof name, "x-out-%u", i);
        reader_serve(&outs[i], name);
        begin_piped_exec(ids[i], "emu:print begin;echo;print end;exit 4", ins[i], outs[i].name);
    }
    expect_ok(begin_start_exec("web", "runs"), "start");
    expect_ok(begin_start_exec("web", "closed"), "start");
    assert_true(WriteFile(stdins[0], "one ", 4, &written, NULL));
    tasks_close(host.tasks, HOST_BOUND_MS);
    relays_close(host.relays);
    assert_true(WriteFile(stdins[0], "two ", 4, &written, NULL));
    assert_true(WriteFile(stdins[2], "x\n", 2, &written, NULL));
    FlushFileBuffers(stdins[2]);
    CloseHandle(stdins[2]);
    host_open(false);
    await_operator_event("TASK_RECOVERED", "web");
    host_restart(false);
    uint32_t closed = exec_exit("closed");
    assert_true(closed == 4 || closed == 0xFFFFFFFFu); /* it may have ended while nobody held a handle */
    struct request *start;
    do { /* until it has been taken up again */
        start = begin_start_exec("web", "created");
        struct answer answer = finish(start);
        bool again = answer.error && answer.error->kind == ERROR_KIND_UNAVAILABLE;
        assert_true(again || !answer.error);
        answer_free(&answer);
        start = again ? start : NULL;
    } while (start);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(WriteFile(stdins[i], "three\n", 6, &written, NULL));
        FlushFileBuffers(stdins[i]);
        CloseHandle(stdins[i]);
        assert_int_equal(exec_exit(ids[i]), 4);
    }
    static const char *const texts[3] = {"begin\none two three\nend\n", "begin\nthree\nend\n", "begin\nx\nend\n"};
    for (unsigned i = 0; i < 3; i++) {
        reader_join(&outs[i]);
        print_message("%s: expected \"%s\", found \"%.*s\"\n", ids[i], texts[i], (int)outs[i].size, outs[i].data);
        assert_int_equal(outs[i].size, strlen(texts[i]));
        assert_memory_equal(outs[i].data, texts[i], outs[i].size);
        free(outs[i].data);
        char line[64];
        snprintf(line, sizeof line, "/tasks/exit web/%s 3 %u", ids[i], i < 2 ? 4 : closed);
        assert_int_equal(event_lines(line), 1);
    }
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    expect_ok(begin_delete("web", false), "delete");
    assert_false(operator_event("TASK_STDIO_GONE", "web"));
}

/* What was opened for an exec is closed when it is killed before its start. */
static void test_exec_killed_before_its_start(void **state)
{
    (void)state;
    struct reader out = {0};
    run("web", "emu:sleep 3600", "", "", "");
    reader_serve(&out, "k-out");
    begin_piped_exec("x", "emu:exit 0", "", out.name);
    expect_ok(begin_kill_exec("web", "x", 9), "kill");
    reader_join(&out);
    assert_int_equal(out.size, 0);
    assert_int_equal(exec_exit("x"), 1);
    free(out.data);
    expect_ok(begin_kill("web", 9), "kill");
    expect_exit("web");
    expect_ok(begin_delete("web", false), "delete");
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
        TEST(test_restart_of_a_created_one),
        TEST(test_restart_of_a_running_one),
        TEST(test_restart_of_execs),
        TEST(test_exec_killed_before_its_start),
    };
    if (!host_begin(argc, argv))
        return 2;
    host.kill_seconds = 60; /* the broker may be busy with a flood of output */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_end();
    return failed;
}
