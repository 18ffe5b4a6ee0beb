/* Who may use the pipe, changed while it is open: the name's access as a client sees it, and what becomes of those who are
 * connected. A listener alone, whose clients are served by reading from them. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <aclapi.h>
#include <cmocka.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/rpc/pipe_listener.h"

#define LONG_MS  10000
#define EVERYONE "D:P(A;;GA;;;WD)"
#define MEMBER   "(A;;0x12019b;;;S-1-5-21-1-2-3-1001)"

/* HTTP/2's opening: the preface and an empty SETTINGS frame. */
static const char opening[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

static struct {
    char pipe[64];
    struct pipe_listener *listener;
    HANDLE served, closed, stopped; /* the first two auto-reset */
    volatile LONG refused;
} test;

static void on_event(void *context, const struct event_entry *entry, const char *const *arguments)
{
    (void)context;
    if (entry->id == EVENT_CLIENT_REFUSED && strstr(arguments[0], "may not use the pipe") != NULL)
        InterlockedIncrement(&test.refused);
}

static void on_debug(void *context, const char *line)
{
    (void)context;
    (void)line;
}

/* ---- the server ---- */

static char room[64];

static void go_on(struct pipe_connection *connection, uint32_t code)
{
    uint32_t size = 0;
    while (code == ERROR_SUCCESS)
        code = pipe_stream_read(pipe_connection_stream(connection), room, sizeof room, &size);
    if (code != ERROR_IO_PENDING)
        pipe_stream_close(pipe_connection_stream(connection));
}

static void on_done(void *context, enum pipe_operation operation, uint32_t error, uint32_t size)
{
    (void)operation;
    (void)size;
    go_on(context, error);
}

static void on_closed(void *context)
{
    pipe_connection_closed(context);
    SetEvent(test.closed);
}

static void serve(void *context, struct pipe_connection *connection, const uint8_t *first, size_t size)
{
    static const struct pipe_stream_handler handler = {on_done, NULL, on_closed};
    (void)context;
    (void)first;
    (void)size;
    pipe_stream_set_handler(pipe_connection_stream(connection), &handler, connection);
    SetEvent(test.served);
    go_on(connection, ERROR_SUCCESS);
}

static void on_stopped(void *context)
{
    SetEvent(context);
}

static int open_listener(void **state)
{
    static const struct event_sink sink = {on_event, on_debug, NULL};
    (void)state;
    event_set_sink(&sink);
    snprintf(test.pipe, sizeof test.pipe, "\\\\.\\pipe\\hcsd-test-access-%lu", GetCurrentProcessId());
    test.served = CreateEventW(NULL, FALSE, FALSE, NULL);
    test.closed = CreateEventW(NULL, FALSE, FALSE, NULL);
    test.stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
    test.refused = 0;
    const struct pipe_listener_options options = {.pipe = test.pipe, .sddl = EVERYONE};
    assert_null(pipe_listener_open(&options, &test.listener));
    pipe_listener_start(test.listener, serve, NULL);
    return 0;
}

static int close_listener(void **state)
{
    (void)state;
    pipe_listener_stop(test.listener, on_stopped, test.stopped);
    assert_int_equal(WaitForSingleObject(test.stopped, LONG_MS), WAIT_OBJECT_0);
    pipe_listener_abort(test.listener, PIPE_LISTENER_ABORT_ALL);
    pipe_listener_close(test.listener);
    event_set_sink(NULL);
    CloseHandle(test.served);
    CloseHandle(test.closed);
    CloseHandle(test.stopped);
    return 0;
}

/* ---- clients ---- */

static HANDLE connect_as(DWORD access)
{
    wchar_t *pipe = NULL;
    assert_null(win_wide(test.pipe, &pipe));
    HANDLE handle =
        CreateFileW(pipe, access, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    while (handle == INVALID_HANDLE_VALUE && GetLastError() == ERROR_PIPE_BUSY && WaitNamedPipeW(pipe, LONG_MS))
        handle =
            CreateFileW(pipe, access, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    free(pipe);
    return handle;
}

/* A client that has begun to speak. INVALID_HANDLE_VALUE: the system has refused it. */
static HANDLE speak(void)
{
    DWORD written;
    HANDLE client = connect_as(GENERIC_READ | FILE_WRITE_DATA);
    if (client != INVALID_HANDLE_VALUE)
        assert_true(WriteFile(client, opening, sizeof opening, &written, NULL));
    return client;
}

static void assert_ended(HANDLE client)
{
    char byte;
    DWORD size;
    assert_false(ReadFile(client, &byte, 1, &size, NULL));
    assert_true(GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_PIPE_NOT_CONNECTED);
    CloseHandle(client);
}

static void assert_access(const char *ace, bool expected)
{
    wchar_t *wide = NULL;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    HANDLE handle = connect_as(READ_CONTROL);
    assert_ptr_not_equal(handle, INVALID_HANDLE_VALUE);
    assert_int_equal(
        GetSecurityInfo(handle, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, NULL, NULL, &descriptor), 0);
    assert_true(ConvertSecurityDescriptorToStringSecurityDescriptorW(descriptor, SDDL_REVISION_1,
                                                                     DACL_SECURITY_INFORMATION, &wide, NULL));
    char *text = win_text(wide);
    if ((strstr(text, ace) != NULL) != expected)
        fail_msg("expected the access %s %s, found %s", expected ? "with" : "without", ace, text);
    free(text);
    LocalFree(wide);
    LocalFree(descriptor);
    CloseHandle(handle);
}

/* ---- tests ---- */

/* The instances that wait, those that are connected and those to come have one access. */
static void access_changes_for_the_name(void **state)
{
    (void)state;
    HANDLE client = speak();
    assert_int_equal(WaitForSingleObject(test.served, LONG_MS), WAIT_OBJECT_0);
    assert_access("S-1-5-21-1-2-3-1001", false);
    assert_null(pipe_listener_set_access(test.listener, EVERYONE MEMBER));
    for (unsigned i = 0; i < 8; i++)
        assert_access(MEMBER, true);
    struct error *error = pipe_listener_set_access(test.listener, "no SDDL");
    assert_non_null(error);
    error_free(error);
    assert_access(MEMBER, true);
    assert_null(pipe_listener_set_access(test.listener, EVERYONE));
    assert_access("S-1-5-21-1-2-3-1001", false);
    /* Who may use it all the time is left in peace. */
    assert_int_equal(test.refused, 0);
    assert_int_equal(WaitForSingleObject(test.closed, 0), WAIT_TIMEOUT);
    CloseHandle(client);
    assert_int_equal(WaitForSingleObject(test.closed, LONG_MS), WAIT_OBJECT_0);
}

/* This account loses its access: what it has open ends, and what it opens is refused, even where the system does not ask (Wine). */
static void who_has_lost_access_is_disconnected(void **state)
{
    (void)state;
    HANDLE client = speak();
    assert_int_equal(WaitForSingleObject(test.served, LONG_MS), WAIT_OBJECT_0);
    assert_null(pipe_listener_set_access(test.listener, "D:P" MEMBER));
    assert_ended(client);
    assert_int_equal(WaitForSingleObject(test.closed, LONG_MS), WAIT_OBJECT_0);
    assert_int_equal(test.refused, 1);
    client = speak();
    if (client != INVALID_HANDLE_VALUE) {
        assert_ended(client);
        assert_int_equal(test.refused, 2);
    }
    /* And has it again. */
    assert_null(pipe_listener_set_access(test.listener, EVERYONE));
    client = speak();
    assert_int_equal(WaitForSingleObject(test.served, LONG_MS), WAIT_OBJECT_0);
    CloseHandle(client);
    assert_int_equal(WaitForSingleObject(test.closed, LONG_MS), WAIT_OBJECT_0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(access_changes_for_the_name, open_listener, close_listener),
        cmocka_unit_test_setup_teardown(who_has_lost_access_is_disconnected, open_listener, close_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
