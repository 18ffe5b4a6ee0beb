/* Relay processes and their sessions, without HCS: the test is the client, the process, and the hcsd that goes and comes back.
 *
 *   test_relays.exe RELAY_IMAGE [FILTER]       --logger FILE: what the test gives as a logger */
#include "relay/state.h" /* before all else: windows.h */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <tlhelp32.h>
#include <wchar.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "pipes.h"

#define HOLD_MS 300u

static struct relays *relays;
static char *image, *folder, *event_text_all;
static SRWLOCK lock = SRWLOCK_INIT;
static CONDITION_VARIABLE changed = CONDITION_VARIABLE_INIT;
static unsigned generation;

/* ---- what is told ---- */

static void emit(void *context, const struct event_entry *entry, const char *const *arguments)
{
    (void)context;
    char *text = event_text(entry, arguments);
    AcquireSRWLockExclusive(&lock);
    char *all = str_format("%s%s|%s\n", event_text_all ? event_text_all : "", entry->name, text);
    free(event_text_all);
    event_text_all = all;
    ReleaseSRWLockExclusive(&lock);
    WakeAllConditionVariable(&changed);
    free(text);
}

static void debug(void *context, const char *line)
{
    (void)context, (void)line;
}

static bool has_event(void *part)
{
    return event_text_all && strstr(event_text_all, part);
}

static void await(bool (*condition)(void *), void *context, const char *what)
{
    uint64_t bound = clock_ms() + PIPES_BOUND_MS;
    AcquireSRWLockExclusive(&lock);
    while (!condition(context) && clock_ms() < bound)
        SleepConditionVariableSRW(&changed, &lock, 20, 0);
    bool met = condition(context);
    ReleaseSRWLockExclusive(&lock);
    if (!met)
        print_error("waited in vain for %s; events:\n%s", what, event_text_all ? event_text_all : "");
    assert_true(met);
}

static void await_event(const char *part)
{
    await(has_event, (void *)part, part);
}

static bool is_set(void *flag)
{
    return *(volatile LONG *)flag != 0;
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
    WakeAllConditionVariable(&changed);
}

static void on_stdin_end(void *context)
{
    InterlockedExchange(context, 1);
    WakeAllConditionVariable(&changed);
}

/* ---- fixtures ---- */

static void must(struct error *error)
{
    if (!error)
        return;
    char *text = error_text(error);
    print_error("%s\n", text);
    free(text);
    fail();
}

static void open_relays(const char *version, unsigned idle_ms)
{
    char *state = str_format("%s\\state%u", folder, generation);
    const struct relays_options options = {
        .image = image, .version = version, .state_dir = state, .hold_ms = HOLD_MS, .idle_ms = idle_ms};
    must(relays_open(&options, &relays));
    free(state);
}

static int setup(void **state)
{
    (void)state;
    generation++;
    free(event_text_all);
    event_text_all = NULL;
    open_relays(NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct relays_counters counters;
    relays_count(relays, &counters);
    relays_close(relays);
    assert_int_equal(counters.sessions, 0);
    return 0;
}

static struct session *open_session(const char *id, const char *in, const char *out)
{
    const struct session_request request = {
        .containerd_namespace = "default", .id = id, .stdin_path = in, .stdout_path = out, .stderr_path = ""};
    struct session *session = NULL;
    must(session_open(relays, &request, &session));
    assert_non_null(session);
    return session;
}

/* An output to a pipe that the test serves, connected and attached. */
static struct session *open_output(const char *name, struct served *served, HANDLE *ret_theirs)
{
    HANDLE ours;
    served_open(served, name);
    struct session *session = open_session(name, "", served->path);
    served_await(served);
    process_pipe(name, &ours, ret_theirs);
    must(session_attach(session, NULL, ours, NULL));
    return session;
}

static void drain(struct session *session, unsigned quiet_ms, unsigned milliseconds, struct drained *drained)
{
    *drained = (struct drained){0};
    session_drain(session, quiet_ms, milliseconds, on_drained, drained);
    await(is_set, (void *)&drained->called, "the drain");
}

static uint32_t relay_pid(void)
{
    return relays->first->launch.pid;
}

/* What the one relay has counted. */
static struct relay_view glance(void)
{
    volatile LONG called = 0;
    struct relay_view *views, view;
    size_t count;
    relays_glance(relays, on_stdin_end, (void *)&called);
    await(is_set, (void *)&called, "the relays' figures");
    relays_view(relays, &views, &count);
    assert_int_equal(count, 1);
    view = views[0];
    view.version = NULL;
    relay_views_free(views, count);
    print_message("relay %u: %u sessions, %llu in, %llu out, %llu dropped, answers: %d\n", view.pid, view.sessions,
                  (unsigned long long)view.stdin_bytes, (unsigned long long)view.output_bytes,
                  (unsigned long long)view.dropped_bytes, view.answers);
    return view;
}

/* ---- streams ---- */

static void test_copies_all(void **state)
{
    (void)state;
    struct served out;
    struct drained drained;
    HANDLE theirs;
    struct session *session = open_output("all", &out, &theirs);
    for (uint64_t at = 0, size = 1; at < 1u << 20; at += size, size = size * 3 + 1) {
        assert_true(process_write(theirs, at, size < 60000 ? size : 60000, PIPES_BOUND_MS, NULL));
        size = size < 60000 ? size : 60000;
        assert_int_equal(served_expect(&out, at, size), size);
        if (at + size >= 1u << 20)
            break;
    }
    CloseHandle(theirs);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 0);
    assert_true(served_at_end(&out));
    assert_false(session_close(session));
    served_close(&out);
}

/* A process that writes while the test reads. */
struct writer {
    HANDLE theirs, thread;
    uint64_t position, size, written;
};

static DWORD WINAPI writer_run(void *context)
{
    struct writer *writer = context;
    process_write(writer->theirs, writer->position, writer->size, PIPES_BOUND_MS, &writer->written);
    return 0;
}

static void writer_start(struct writer *writer, HANDLE theirs, uint64_t position, uint64_t size)
{
    *writer = (struct writer){.theirs = theirs, .position = position, .size = size};
    writer->thread = CreateThread(NULL, 0, writer_run, writer, 0, NULL);
    assert_non_null(writer->thread);
}

static void writer_join(struct writer *writer)
{
    assert_int_equal(WaitForSingleObject(writer->thread, PIPES_BOUND_MS), WAIT_OBJECT_0);
    CloseHandle(writer->thread);
    assert_int_equal(writer->written, writer->size);
}

/* A reader that is away for a moment misses nothing: what is written meanwhile waits for it. */
static void test_reader_comes_back(void **state)
{
    (void)state;
    struct served out;
    struct drained drained;
    struct writer writer;
    HANDLE theirs;
    struct session *session = open_output("back", &out, &theirs);
    assert_true(process_write(theirs, 0, 5000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 0, 5000), 5000);
    served_close(&out);
    served_open(&out, "back"); /* as a containerd that is there again */
    writer_start(&writer, theirs, 5000, 500000);
    served_await(&out);
    assert_int_equal(served_expect(&out, 5000, 500000), 500000);
    writer_join(&writer);
    CloseHandle(theirs);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 0);
    assert_true(served_at_end(&out));
    session_close(session);
    served_close(&out);
    assert_false(has_event((void *)"TASK_OUTPUT_DROPPED"));
}

/* One that stays away holds nobody up for ever: its output is dropped, counted and told; it is served when it is back. */
static void test_reader_stays_away(void **state)
{
    (void)state;
    struct served out;
    struct drained drained;
    HANDLE theirs;
    struct session *session = open_output("away", &out, &theirs);
    assert_true(process_write(theirs, 0, 100, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 0, 100), 100);
    served_close(&out);
    assert_true(process_write(theirs, 100, 300000, PIPES_BOUND_MS, NULL)); /* more than all buffers hold */
    await_event("TASK_OUTPUT_DROPPED|The reader of container away");
    served_open(&out, "away");
    served_await(&out);
    drain(session, 100, PIPES_BOUND_MS, &drained); /* so that nothing of the old is under way any more */
    assert_int_equal(drained.lost, 300000);
    assert_true(process_write(theirs, 7000, 5000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 7000, 5000), 5000);
    CloseHandle(theirs);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 300000);
    session_close(session);
    served_close(&out);
    struct relay_view counted = glance();
    assert_true(counted.answers);
    assert_int_equal(counted.dropped_bytes, 300000);
    assert_int_equal(counted.output_bytes, 5100);
}

/* The figures of sessions that run and of those that are over; of a relay that does not answer the last ones, and soon. */
static void test_counts(void **state)
{
    (void)state;
    struct served in, out;
    HANDLE ours, theirs, out_theirs;
    size_t count;
    struct relay_view *views;
    relays_view(relays, &views, &count);
    assert_int_equal(count, 0);
    relay_views_free(views, count);
    volatile LONG called = 0;
    relays_glance(relays, on_stdin_end, (void *)&called); /* nobody is to be waited for */
    assert_int_equal(called, 1);

    struct session *output = open_output("counted", &out, &out_theirs);
    served_open(&in, "counted-in");
    struct session *input = open_session("counted-in", in.path, "");
    served_await(&in);
    process_pipe("counted-in", &ours, &theirs);
    must(session_attach(input, ours, NULL, NULL));
    assert_true(process_write(out_theirs, 0, 1000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 0, 1000), 1000);
    served_write(&in, "seven!\n");
    process_expect(theirs, "seven!\n");
    struct relay_view counted = glance();
    while (counted.stdin_bytes != 7 || counted.output_bytes != 1000) /* a transfer is counted when it has come back */
        counted = glance();
    assert_int_equal(counted.pid, relay_pid());
    assert_int_equal(counted.sessions, 2);
    assert_true(counted.answers);
    session_close(output);
    session_close(input);
    CloseHandle(out_theirs);
    CloseHandle(theirs);
    while (counted.sessions) /* a transfer that is broken off comes back first */
        counted = glance();
    assert_int_equal(counted.output_bytes, 1000);
    assert_int_equal(counted.stdin_bytes, 7);
    assert_int_equal(counted.dropped_bytes, 0);

    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    LONG(WINAPI * suspend)(HANDLE) = (LONG(WINAPI *)(HANDLE))(void *)GetProcAddress(ntdll, "NtSuspendProcess");
    LONG(WINAPI * resume)(HANDLE) = (LONG(WINAPI *)(HANDLE))(void *)GetProcAddress(ntdll, "NtResumeProcess");
    assert_int_equal(suspend(relays->first->launch.process), 0);
    counted = glance();
    assert_false(counted.answers);
    assert_int_equal(counted.output_bytes, 1000);
    counted = glance();
    assert_false(counted.answers);
    assert_int_equal(resume(relays->first->launch.process), 0);
    while (!counted.answers)
        counted = glance();
    served_close(&in);
    served_close(&out);
}

/* Nobody reads: the drain has its bound, and what was not taken is counted; what is just on its way counts as lost. */
static void test_reader_does_not_read(void **state)
{
    (void)state;
    struct served out;
    struct drained drained;
    HANDLE theirs;
    struct session *session = open_output("stall", &out, &theirs);
    assert_true(process_write(theirs, 0, 120000, PIPES_BOUND_MS, NULL)); /* two pipes hold that */
    drain(session, 50, 200, &drained);
    assert_in_range(drained.lost, 1, 119999);
    session_close(session);
    uint64_t got = served_expect(&out, 0, 120000);
    assert_in_range(got + drained.lost, 120000, 120000 + 65536);
    CloseHandle(theirs);
    served_close(&out);
}

/* Another process still holds the pipe: quiet is enough. */
static void test_quiet(void **state)
{
    (void)state;
    struct served out;
    struct drained drained;
    HANDLE theirs;
    struct session *session = open_output("quiet", &out, &theirs);
    assert_true(process_write(theirs, 0, 5, PIPES_BOUND_MS, NULL));
    drain(session, 50, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 0);
    session_close(session);
    assert_int_equal(served_expect(&out, 0, 6), 5);
    CloseHandle(theirs);
    served_close(&out);
}

static void test_close_takes_the_drain_back(void **state)
{
    (void)state;
    struct served out;
    struct drained drained = {0};
    HANDLE theirs;
    struct session *session = open_output("taken", &out, &theirs);
    session_drain(session, 0, PIPES_BOUND_MS, on_drained, &drained);
    assert_true(session_close(session));
    assert_true(served_at_end(&out));
    assert_int_equal(drained.called, 0);
    CloseHandle(theirs);
    served_close(&out);
}

/* stdin is closed half-way, and output goes on. */
static void test_stdin_ends(void **state)
{
    (void)state;
    struct served in, out;
    struct drained drained;
    volatile LONG ended = 0;
    HANDLE in_ours, in_theirs, out_ours, out_theirs;
    served_open(&in, "in");
    served_open(&out, "in-out");
    struct session *session = open_session("in", in.path, out.path);
    process_pipe("in", &in_ours, &in_theirs);
    process_pipe("in-out", &out_ours, &out_theirs);
    served_await(&in);
    served_await(&out);
    must(session_attach(session, in_ours, out_ours, NULL));
    session_on_stdin_end(session, on_stdin_end, (void *)&ended);
    served_write(&in, "one ");
    process_expect(in_theirs, "one ");
    assert_true(process_write(out_theirs, 0, 1000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 0, 1000), 1000);
    served_write(&in, "two");
    process_expect(in_theirs, "two");
    served_close(&in);
    assert_true(process_at_end(in_theirs));
    await(is_set, (void *)&ended, "the end of stdin");
    assert_true(process_write(out_theirs, 1000, 70000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 1000, 70000), 70000);
    CloseHandle(out_theirs);
    CloseHandle(in_theirs);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 0);
    session_close(session);
    served_close(&out);
}

/* hcsd ends stdin by itself. */
static void test_close_stdin(void **state)
{
    (void)state;
    struct served in;
    volatile LONG ended = 0;
    HANDLE ours, theirs;
    served_open(&in, "close");
    struct session *session = open_session("close", in.path, "");
    process_pipe("close", &ours, &theirs);
    served_await(&in);
    must(session_attach(session, ours, NULL, NULL));
    session_on_stdin_end(session, on_stdin_end, (void *)&ended);
    served_write(&in, "all");
    process_expect(theirs, "all");
    session_close_stdin(session);
    assert_true(process_at_end(theirs));
    await(is_set, (void *)&ended, "the end of stdin");
    session_close(session);
    CloseHandle(theirs);
    served_close(&in);
}

/* ---- refusals ---- */

static void expect_refused(const char *in, const char *out, const char *err, enum error_kind kind)
{
    const struct session_request request = {
        .containerd_namespace = "default", .id = "refused", .stdin_path = in, .stdout_path = out, .stderr_path = err};
    struct session *session = NULL;
    struct error *error = session_open(relays, &request, &session);
    assert_non_null(error);
    print_message("%s\n", error->message);
    assert_int_equal(error->kind, kind);
    assert_null(session);
    error_free(error);
}

static void test_refused(void **state)
{
    (void)state;
    struct served in;
    expect_refused("", "\\\\server\\pipe\\x", "", ERROR_KIND_INVALID_ARGUMENT);
    expect_refused("", "", "binary:///C:/l.exe", ERROR_KIND_INVALID_ARGUMENT);
    served_open(&in, "refused");
    expect_refused(in.path, "\\\\.\\pipe\\hcsd-test-nobody", "", ERROR_KIND_NOT_FOUND);
    assert_true(served_at_end(&in)); /* what had been opened for it is given back */
    served_close(&in);
    expect_refused("", "file:///C:/no/such/folder/x.log", "", ERROR_KIND_NOT_FOUND);
    char *link = str_format("%s\\log.txt", folder), *other = str_format("%s\\other.txt", folder);
    wchar_t *wide_link = NULL, *wide_other = NULL;
    must(file_replace(link, "x", 1, NULL));
    must(win_path(link, &wide_link));
    must(win_path(other, &wide_other));
    assert_true(CreateHardLinkW(wide_other, wide_link, NULL));
    char *url = str_format("file:///%s", link);
    for (char *at = url; *at; at++)
        if (*at == '\\')
            *at = '/';
    expect_refused("", url, "", ERROR_KIND_FAILED_PRECONDITION);
    free(url);
    free(link);
    free(other);
    free(wide_link);
    free(wide_other);
}

/* ---- loggers ---- */

static char *own_url(const char *scheme, const char *query)
{
    wchar_t path[MAX_PATH];
    GetModuleFileNameW(NULL, path, MAX_PATH);
    char *text = win_text(path), *url = str_format("%s:///%s?%s", scheme, text, query);
    for (char *at = url; *at; at++)
        if (*at == '\\')
            *at = '/';
    free(text);
    return url;
}

static HANDLE logger_dial(const wchar_t *name, DWORD access)
{
    wchar_t pipe[256];
    if (!GetEnvironmentVariableW(name, pipe, 256))
        return INVALID_HANDLE_VALUE;
    return CreateFileW(pipe, access, 0, NULL, OPEN_EXISTING, 0, NULL);
}

/* What the relay starts: test_relays.exe --logger FILE [--mute]. Writes what it is given to FILE, both streams, stdout first. */
static int run_logger(wchar_t **argv, int argc)
{
    DWORD bytes, done;
    static uint8_t data[65536];
    wchar_t id[64] = L"", path[16];
    if (GetEnvironmentVariableW(L"PATH", path, 16)) /* nothing of SYSTEM's own is given away */
        return 9;
    GetEnvironmentVariableW(L"CONTAINER_ID", id, 64);
    if (argc > 4 && !wcscmp(argv[3], L"--code"))
        return (int)wcstol(argv[4], NULL, 10);
    HANDLE streams[2] = {logger_dial(L"CONTAINER_STDOUT", GENERIC_READ),
                         logger_dial(L"CONTAINER_STDERR", GENERIC_READ)};
    HANDLE wait = logger_dial(L"CONTAINER_WAIT", GENERIC_WRITE);
    HANDLE file = CreateFileW(argv[2], GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS, 0, NULL);
    WriteFile(file, id, (DWORD)(wcslen(id) * 2), &done, NULL);
    if (argc > 3)
        WriteFile(wait, "x", 1, &done, NULL);
    CloseHandle(wait);
    for (unsigned i = 0; i < 2; i++)
        while (streams[i] != INVALID_HANDLE_VALUE && ReadFile(streams[i], data, sizeof data, &bytes, NULL) && bytes)
            WriteFile(file, data, bytes, &done, NULL);
    CloseHandle(file);
    return 0;
}

static bool is_logged(void *context)
{
    struct buffer content = {0};
    struct error *error = file_read(context, 1u << 20, &content);
    /* "log" as UTF-16, then 3000 bytes of stdout and 2000 of stderr */
    bool whole = !error && content.size == 6 + 5000 && !memcmp(content.data, L"log", 6);
    for (size_t i = 0; whole && i < 5000; i++)
        whole = content.data[6 + i] == pattern_byte(i);
    error_free(error);
    buffer_free(&content);
    return whole;
}

static void log_by(const char *scheme, const char *more)
{
    HANDLE ours[2], theirs[2];
    struct drained drained;
    struct session *session = NULL;
    char *file = str_format("%s\\%s.txt", folder, scheme), *query = str_format("--logger=%s%s", file, more);
    char *url = own_url(scheme, query);
    const struct session_request request = {
        .containerd_namespace = "default", .id = "log", .stdin_path = "", .stdout_path = url, .stderr_path = url};
    must(session_open(relays, &request, &session));
    process_pipe("log-out", &ours[0], &theirs[0]);
    process_pipe("log-err", &ours[1], &theirs[1]);
    must(session_attach(session, NULL, ours[0], ours[1]));
    assert_true(process_write(theirs[0], 0, 3000, PIPES_BOUND_MS, NULL));
    assert_true(process_write(theirs[1], 3000, 2000, PIPES_BOUND_MS, NULL));
    CloseHandle(theirs[0]);
    CloseHandle(theirs[1]);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 0);
    session_close(session);
    await(is_logged, file, "what the logger wrote");
    free(url);
    free(query);
    free(file);
}

static void test_logger(void **state)
{
    (void)state;
    log_by("binary", "");
    log_by("binary-v2", "&--say");
}

static void test_bad_loggers(void **state)
{
    (void)state;
    char *mute = own_url("binary-v2", "--logger=C:/mute.txt"), *code = own_url("binary", "--logger=C:/x.txt&--code=7");
    expect_refused("", mute, mute, ERROR_KIND_FAILED_PRECONDITION); /* closes the wait pipe and says nothing */
    expect_refused("", "binary:///C:/no/such/logger.exe", "", ERROR_KIND_NOT_FOUND);
    expect_refused("", code, "", ERROR_KIND_FAILED_PRECONDITION);
    free(mute);
    free(code);
}

/* ---- hcsd goes and comes back ---- */

static void test_restart(void **state)
{
    (void)state;
    struct served out, in, over, unused;
    struct drained drained;
    struct writer writer, other;
    volatile LONG ended = 0;
    HANDLE theirs, in_ours, in_theirs, over_theirs;
    struct session *session = open_output("restart", &out, &theirs);
    struct session *stdin_session, *left = open_output("nobody", &over, &over_theirs);
    served_open(&in, "restart-in");
    stdin_session = open_session("restart-in", in.path, "");
    process_pipe("restart-in", &in_ours, &in_theirs);
    served_await(&in);
    must(session_attach(stdin_session, in_ours, NULL, NULL));
    session_on_stdin_end(stdin_session, on_stdin_end, (void *)&ended);
    served_open(&unused, "unused");
    struct session *never = open_session("unused", "", unused.path);
    served_await(&unused);

    writer_start(&writer, theirs, 0, 8u << 20);
    assert_int_equal(served_expect(&out, 0, 1u << 20), 1u << 20);
    char *name = str_copy(session_name(session)), *in_name = str_copy(session_name(stdin_session));
    uint32_t pid = relay_pid();
    session_leave(session);
    session_leave(stdin_session);
    session_leave(left);
    session_leave(never);
    relays_close(relays);
    /* Meanwhile: output goes on, and a client is through with stdin. */
    assert_int_equal(served_expect(&out, 1u << 20, 1u << 20), 1u << 20);
    served_write(&in, "last");
    process_expect(in_theirs, "last");
    served_close(&in);
    assert_true(process_at_end(in_theirs));

    open_relays(NULL, 0);
    await_event("STDIO_RELAY_FOUND");
    assert_int_equal(relay_pid(), pid);
    session = session_resume(relays, name);
    assert_non_null(session);
    assert_true(session_attached(session));
    assert_null(session_resume(relays, name)); /* it is taken */
    assert_null(session_resume(relays, "1-2#3"));
    stdin_session = session_resume(relays, in_name);
    assert_non_null(stdin_session);
    session_on_stdin_end(stdin_session, on_stdin_end, (void *)&ended);
    await(is_set, (void *)&ended, "the end of stdin that came meanwhile");
    relays_settle(relays);
    assert_true(served_at_end(&unused)); /* no process had it, and nobody asked for it */

    writer_start(&other, over_theirs, 0, 1u << 20); /* nobody asked for this one either, but a process has it */
    assert_int_equal(served_expect(&over, 0, 1u << 20), 1u << 20);
    writer_join(&other);
    CloseHandle(over_theirs);
    assert_true(served_at_end(&over));
    assert_int_equal(served_expect(&out, 2u << 20, 6u << 20), 6u << 20);
    writer_join(&writer);
    CloseHandle(theirs);
    CloseHandle(in_theirs);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    assert_int_equal(drained.lost, 0);
    assert_true(served_at_end(&out));
    session_close(session);
    session_close(stdin_session);
    served_close(&out);
    served_close(&over);
    served_close(&unused);
    free(name);
    free(in_name);
}

/* A newer hcsd goes on with the relay of an older one, and starts one of its own for new sessions. */
static void test_other_version(void **state)
{
    (void)state;
    struct served out, fresh_out;
    HANDLE theirs, fresh_theirs;
    struct relays_counters counters;
    struct drained drained;
    struct session *session = open_output("old", &out, &theirs);
    char *name = str_copy(session_name(session));
    session_leave(session);
    relays_close(relays);
    open_relays("9.9.9", 0);
    session = session_resume(relays, name);
    assert_non_null(session);
    relays_settle(relays);
    struct session *fresh = open_output("new", &fresh_out, &fresh_theirs);
    assert_string_not_equal(session_name(fresh), name);
    relays_count(relays, &counters);
    assert_int_equal(counters.relays, 2);
    assert_true(process_write(theirs, 0, 1000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 0, 1000), 1000);
    assert_true(process_write(fresh_theirs, 0, 1000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&fresh_out, 0, 1000), 1000);
    CloseHandle(theirs);
    CloseHandle(fresh_theirs);
    drain(session, 0, PIPES_BOUND_MS, &drained);
    session_close(session);
    session_close(fresh);
    served_close(&out);
    served_close(&fresh_out);
    free(name);
}

static void test_relay_dies(void **state)
{
    (void)state;
    struct served out, again;
    HANDLE theirs, again_theirs, process;
    struct drained drained = {0};
    struct session *session = open_output("dies", &out, &theirs);
    uint32_t pid = relay_pid();
    session_drain(session, 0, PIPES_BOUND_MS, on_drained, &drained);
    process = OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, pid);
    assert_non_null(process);
    assert_true(TerminateProcess(process, 77));
    assert_int_equal(WaitForSingleObject(process, PIPES_BOUND_MS), WAIT_OBJECT_0);
    CloseHandle(process);
    await(is_set, (void *)&drained.called, "the drain that nobody will answer");
    await_event("STDIO_RELAY_LOST");
    drain(session, 0, PIPES_BOUND_MS, &drained); /* answered at once */
    session_close_stdin(session);
    struct session *fresh = open_output("dies-new", &again, &again_theirs);
    assert_int_not_equal(relay_pid(), pid);
    assert_true(process_write(again_theirs, 0, 1000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&again, 0, 1000), 1000);
    session_close(session);
    session_close(fresh);
    CloseHandle(theirs);
    CloseHandle(again_theirs);
    served_close(&out);
    served_close(&again);
}

static HANDLE relay_process(void)
{
    HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, relay_pid());
    assert_non_null(process);
    return process;
}

/* It ends when it has nothing to hold: after a while, and when hcsd goes. */
static void test_relay_ends(void **state)
{
    (void)state;
    struct served out;
    HANDLE theirs;
    relays_close(relays);
    open_relays(NULL, 50);
    session_close(open_output("ends", &out, &theirs));
    HANDLE process = relay_process();
    assert_int_equal(WaitForSingleObject(process, PIPES_BOUND_MS), WAIT_OBJECT_0);
    CloseHandle(process);
    CloseHandle(theirs);
    served_close(&out);

    relays_close(relays);
    open_relays(NULL, 0);
    struct session *session = open_output("ends", &out, &theirs);
    process = relay_process();
    session_leave(session);
    relays_close(relays);
    CloseHandle(theirs); /* the last output is passed on while no hcsd is there … */
    assert_true(served_at_end(&out));
    served_close(&out);
    open_relays(NULL, 0); /* … which hcsd is told when it is back */
    assert_int_equal(relays->first->listed_count, 1);
    assert_int_equal(relays->first->listed[0].state, RELAY_STATE_ATTACHED | RELAY_STATE_ENDED);
    relays_settle(relays);
    relays_close(relays);
    assert_int_equal(WaitForSingleObject(process, PIPES_BOUND_MS), WAIT_OBJECT_0);
    CloseHandle(process);
    open_relays(NULL, 0);
    assert_null(relays->first);
}

/* Who does not keep the rules is thrown out, and the next is served. */
static void test_garbage(void **state)
{
    (void)state;
    static const uint8_t garbage[][24] = {
        {0xFF, 0xFF, 0xFF, 0xFF, 1}, {4, 0, 0, 0, 99}, {8, 0, 0, 0, 6}, {0, 0, 0, 0, 8}, "GET / HTTP/1.1\r\n"};
    struct served out;
    HANDLE theirs;
    struct session *session = open_output("garbage", &out, &theirs);
    char *name = str_copy(session_name(session));
    struct launch launch = relays->first->launch;
    struct launch copy = {.pid = launch.pid, .created = launch.created, .pipe = str_copy(launch.pipe)};
    session_leave(session);
    relays_close(relays);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        HANDLE pipe = NULL;
        must(launch_dial(&copy, PIPES_BOUND_MS, &pipe));
        uint64_t written;
        OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
        (void)written;
        WriteFile(pipe, garbage[i], sizeof garbage[i], NULL, &overlapped);
        assert_true(process_at_end(pipe));
        CloseHandle(pipe);
        CloseHandle(overlapped.hEvent);
    }
    copy.pid++;
    HANDLE pipe = NULL;
    struct error *error = launch_dial(&copy, PIPES_BOUND_MS, &pipe); /* not who it should be */
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_PERMISSION_DENIED);
    error_free(error);
    struct launch found;
    assert_false(launch_find(copy.pid - 1, copy.created + 1, copy.pipe, &found));
    open_relays(NULL, 0);
    session = session_resume(relays, name);
    assert_non_null(session);
    assert_true(process_write(theirs, 0, 1000, PIPES_BOUND_MS, NULL));
    assert_int_equal(served_expect(&out, 0, 1000), 1000);
    session_close(session);
    CloseHandle(theirs);
    served_close(&out);
    free(copy.pipe);
    free(name);
}

/* ---- many ---- */

static unsigned thread_count(uint32_t pid)
{
    unsigned count = 0;
    THREADENTRY32 entry = {.dwSize = sizeof entry};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry))
        count += entry.th32OwnerProcessID == pid;
    CloseHandle(snapshot);
    return count;
}

static void test_hundred(void **state)
{
    (void)state;
    static struct served out[100];
    static HANDLE theirs[100];
    static struct session *sessions[100];
    for (unsigned i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "many-%u", i);
        sessions[i] = open_output(name, &out[i], &theirs[i]);
    }
    for (unsigned i = 0; i < 100; i++)
        assert_true(process_write(theirs[i], i, 20000, PIPES_BOUND_MS, NULL));
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(served_expect(&out[i], i, 20000), 20000);
    unsigned relay_threads = thread_count(relay_pid()), own = thread_count(GetCurrentProcessId());
    print_message("threads: relay %u, this program %u\n", relay_threads, own);
    assert_in_range(relay_threads, 1, 6);
    assert_in_range(own, 1, 16);
    for (unsigned i = 0; i < 100; i++) {
        session_close(sessions[i]);
        CloseHandle(theirs[i]);
        served_close(&out[i]);
    }
}

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_copies_all),
        TEST(test_reader_comes_back),
        TEST(test_reader_stays_away),
        TEST(test_counts),
        TEST(test_reader_does_not_read),
        TEST(test_quiet),
        TEST(test_close_takes_the_drain_back),
        TEST(test_stdin_ends),
        TEST(test_close_stdin),
        TEST(test_refused),
        TEST(test_logger),
        TEST(test_bad_loggers),
        TEST(test_restart),
        TEST(test_other_version),
        TEST(test_relay_dies),
        TEST(test_relay_ends),
        TEST(test_garbage),
        TEST(test_hundred),
    };
    static const struct event_sink sink = {emit, debug, NULL};
    wchar_t temporary[MAX_PATH];
    if (argc > 2 && !wcscmp(argv[1], L"--logger"))
        return run_logger(argv, argc);
    if (argc < 2)
        return 2;
    char *filter = argc > 2 ? win_text(argv[2]) : NULL;
    if (filter)
        cmocka_set_test_filter(filter);
    char *given = win_text(argv[1]);
    image = given[0] == '/' ? str_format("Z:%s", given) : str_copy(given);
    for (char *at = image; *at; at++)
        if (*at == '/')
            *at = '\\';
    free(given);
    GetTempPathW(MAX_PATH, temporary);
    char *base = win_text(temporary);
    folder = str_format("%shcsd-relay-%lu", base, GetCurrentProcessId());
    free(base);
    must(file_ensure_folder(folder));
    event_set_sink(&sink);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    event_set_sink(NULL);
    free(folder);
    free(image);
    free(filter);
    free(event_text_all);
    return failed;
}
