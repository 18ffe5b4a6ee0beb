#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <winternl.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/win.h"
#include "cli/client.h"
#include "daemon/rpc/offences.h"
#include "fixture.h"

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE_SIZE (sizeof PREFACE - 1)
static const char SETTINGS[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};

static void must_succeed(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    print_error("%s\n", text);
    free(text);
    fail();
}

static int open_server(void **state)
{
    struct rpc_server_options options = {
        .handshake_ms = 300, .stall_ms = 500, .max_connections = 12, .max_handshakes = 8, .max_process_connections = 6};
    if (*state != NULL)
        options = *(struct rpc_server_options *)*state;
    must_succeed(fixture_open(options));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    assert_int_equal(fixture_close(4000), 0);
    return 0;
}

/* A client of bytes. */
static HANDLE connect_raw(void)
{
    wchar_t *pipe = NULL;
    HANDLE handle;
    must_succeed(win_wide(fixture.pipe, &pipe));
    for (unsigned i = 0; i < 100; i++) {
        handle = CreateFileW(pipe, GENERIC_READ | FILE_WRITE_DATA, 0, NULL, OPEN_EXISTING,
                             SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        if (handle != INVALID_HANDLE_VALUE || GetLastError() != ERROR_PIPE_BUSY)
            break;
        WaitNamedPipeW(pipe, 1000);
    }
    free(pipe);
    assert_ptr_not_equal(handle, INVALID_HANDLE_VALUE);
    return handle;
}

static void send_raw(HANDLE handle, const void *data, size_t size)
{
    DWORD written;
    assert_true(WriteFile(handle, data, (DWORD)size, &written, NULL));
    assert_int_equal(written, size);
}

/* Reads until the server closes: returns how many bytes came. */
static size_t read_to_end(HANDLE handle)
{
    char buffer[4096];
    DWORD size;
    size_t total = 0;
    while (ReadFile(handle, buffer, sizeof buffer, &size, NULL))
        total += size;
    assert_true(GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_PIPE_NOT_CONNECTED);
    CloseHandle(handle);
    return total;
}

/* A well-behaved client, to see that others did not harm it. */
static void echo(struct client *client)
{
    Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
    request.id = (char *)"web";
    ProtobufCMessage *response = NULL;
    must_succeed(client_call(client, ECHO "Echo", &request.base, &containerd__task__v3__state_response__descriptor,
                             10000, &response));
    protobuf_c_message_free_unpacked(response, NULL);
}

static struct client *dial(void)
{
    struct client *client = NULL;
    struct client_options options = {.address = fixture.pipe, .dial_ms = 10000};
    must_succeed(client_dial(&options, &client));
    echo(client);
    return client;
}

static void refused(const char *why)
{
    assert_true(fixture_event_wait(EVENT_CLIENT_REFUSED));
    char *text = fixture_event_last(), pid[32];
    snprintf(pid, sizeof pid, "pid %lu", GetCurrentProcessId());
    if (strstr(text, why) == NULL || strstr(text, pid) == NULL)
        fail_msg("expected '%s' of '%s', found '%s'", why, pid, text);
    free(text);
}

/* ---- hostile clients ---- */

static void silent_client_is_dropped(void **state)
{
    (void)state;
    HANDLE handle = connect_raw();
    assert_int_equal(read_to_end(handle), 0);
    refused("in time");
    client_close(dial());
}

static void half_a_preface_is_dropped(void **state)
{
    (void)state;
    for (size_t size = 1; size < PREFACE_SIZE + sizeof SETTINGS; size += 8) {
        HANDLE handle = connect_raw();
        send_raw(handle, PREFACE, size < PREFACE_SIZE ? size : PREFACE_SIZE);
        assert_int_equal(read_to_end(handle), 0);
    }
    refused("in time");
}

static void preface_in_pieces_is_served(void **state)
{
    (void)state;
    HANDLE handle = connect_raw();
    for (size_t i = 0; i < PREFACE_SIZE; i++)
        send_raw(handle, PREFACE + i, 1);
    for (size_t i = 0; i < sizeof SETTINGS; i++)
        send_raw(handle, SETTINGS + i, 1);
    /* The server's own SETTINGS come at once. */
    char header[9];
    DWORD size;
    assert_true(ReadFile(handle, header, sizeof header, &size, NULL));
    assert_int_equal(size, sizeof header);
    assert_int_equal(header[3], 4);
    CloseHandle(handle);
    assert_int_equal(fixture_event_count(EVENT_CLIENT_REFUSED), 0);
}

static void garbage_is_dropped_at_once(void **state)
{
    (void)state;
    HANDLE handle = connect_raw();
    send_raw(handle, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_int_equal(read_to_end(handle), 0);
    refused("does not speak gRPC");
    handle = connect_raw();
    send_raw(handle, PREFACE, PREFACE_SIZE);
    send_raw(handle, "\0\0\0\0\0\0\0\0\0\0", 10);
    assert_int_equal(read_to_end(handle), 0);
    /* And after a good opening: gRPC closes it. */
    handle = connect_raw();
    send_raw(handle, PREFACE, PREFACE_SIZE);
    send_raw(handle, SETTINGS, sizeof SETTINGS);
    char garbage[80];
    memset(garbage, 0xff, sizeof garbage);
    send_raw(handle, garbage, sizeof garbage);
    read_to_end(handle);
    client_close(dial());
}

static void going_away_is_no_event(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        CloseHandle(connect_raw());
    client_close(dial());
    assert_int_equal(fixture_event_count(EVENT_CLIENT_REFUSED), 0);
}

static void anonymous_client_is_refused(void **state)
{
    (void)state;
    wchar_t *pipe = NULL;
    must_succeed(win_wide(fixture.pipe, &pipe));
    HANDLE handle = CreateFileW(pipe, GENERIC_READ | FILE_WRITE_DATA, 0, NULL, OPEN_EXISTING,
                                SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, NULL);
    free(pipe);
    assert_ptr_not_equal(handle, INVALID_HANDLE_VALUE);
    char opening[PREFACE_SIZE + sizeof SETTINGS];
    memcpy(opening, PREFACE, PREFACE_SIZE);
    memcpy(opening + PREFACE_SIZE, SETTINGS, sizeof SETTINGS);
    send_raw(handle, opening, sizeof opening);
    char header[9];
    DWORD size;
    if (ReadFile(handle, header, sizeof header, &size, NULL)) {
        print_message("this system does not keep to the client's impersonation level (Wine 8): not refused\n");
        CloseHandle(handle);
        return;
    }
    CloseHandle(handle);
    refused("anonymously");
}

static void limits_hold(void **state)
{
    (void)state;
    struct client *clients[6];
    for (unsigned i = 0; i < 6; i++)
        clients[i] = dial();
    HANDLE handle = connect_raw();
    send_raw(handle, PREFACE, PREFACE_SIZE);
    send_raw(handle, SETTINGS, sizeof SETTINGS);
    assert_int_equal(read_to_end(handle), 0);
    refused("its process has too many connections");
    for (unsigned i = 0; i < 6; i++) {
        echo(clients[i]);
        client_close(clients[i]);
    }
    /* There is room again: connections are gone when the server has read their end. */
    client_close(dial());
}

static void handshakes_are_bounded(void **state)
{
    (void)state;
    HANDLE handles[30];
    for (unsigned i = 0; i < 30; i++)
        handles[i] = connect_raw();
    refused("too many clients are connecting");
    struct rpc_server_counters counters;
    rpc_server_count(fixture.server, &counters);
    assert_true(counters.handshakes <= 8);
    /* Refusals are said, but not all of them. */
    assert_true(fixture_event_count(EVENT_CLIENT_REFUSED) <= 5);
    for (unsigned i = 0; i < 30; i++)
        read_to_end(handles[i]);
    client_close(dial());
}

/* A client that asks for much and reads nothing: its connection is cut when a write has waited for stall_ms. */
static void writer_is_not_held_up_by_who_does_not_read(void **state)
{
    (void)state;
    /* HEADERS for /test.Echo/Stream with literal names, and DATA with a request for much; windows are opened wide. */
    static const char headers[] = "\x83\x86\x44\x11/test.Echo/Stream\x41\x01x\x5f\x10"
                                  "application/grpc\x40\x02te\x08trailers";
    static const char data[] = "\0\0\0\0\x10\x0a\x07"
                               "1000000\x12\x05"
                               "65536";
    char frames[256];
    size_t size = 0;
    memcpy(frames, PREFACE, PREFACE_SIZE);
    size += PREFACE_SIZE;
    memcpy(frames + size, "\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff", 15); /* INITIAL_WINDOW_SIZE 2^31-1 */
    size += 15;
    memcpy(frames + size, "\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0", 13); /* WINDOW_UPDATE of the connection */
    size += 13;
    memcpy(frames + size, "\0\0", 2);
    frames[size + 2] = sizeof headers - 1;
    memcpy(frames + size + 3, "\x01\x04\0\0\0\x01", 6);
    memcpy(frames + size + 9, headers, sizeof headers - 1);
    size += 9 + sizeof headers - 1;
    memcpy(frames + size, "\0\0", 2);
    frames[size + 2] = sizeof data - 1;
    memcpy(frames + size + 3, "\0\x01\0\0\0\x01", 6);
    memcpy(frames + size + 9, data, sizeof data - 1);
    size += 9 + sizeof data - 1;
    HANDLE handle = connect_raw();
    send_raw(handle, frames, size);
    struct client *client = dial();
    /* The stream's end is seen by its handler, and meanwhile others are served. */
    for (unsigned i = 0; i < 10000 && fixture.streams_lost == 0; i++)
        echo(client);
    assert_int_equal(fixture.streams_lost, 1);
    assert_int_equal(fixture.streams_ended, 0);
    client_close(client);
    read_to_end(handle);
}

/* A client that makes one call after the other without an end to any, and never says that it has seen the limit. */
static void calls_beyond_the_limit_end_the_connection(void **state)
{
    (void)state;
    static const char headers[] = "\x83\x86\x44\x0f/test.Echo/Hold\x41\x01x\x5f\x10"
                                  "application/grpc\x40\x02te\x08trailers";
    static const char data[] = "\0\0\x05\0\x01\0\0\0\0\0\0\0\0\0";
    enum { FRAME = 9, CALL = FRAME + sizeof headers - 1 + sizeof data - 1, CALLS = 300 };
    HANDLE handle = connect_raw();
    char *calls = mem_zero(CALLS * CALL);
    for (unsigned i = 0; i < CALLS; i++) {
        char *at = calls + i * CALL, stream[] = {0, 0, (char)((2 * i + 1) >> 8), (char)(2 * i + 1)};
        at[2] = sizeof headers - 1;
        at[3] = 1;
        at[4] = 4; /* END_HEADERS */
        memcpy(at + 5, stream, sizeof stream);
        memcpy(at + FRAME, headers, sizeof headers - 1);
        memcpy(at + FRAME + sizeof headers - 1, data, sizeof data - 1);
        memcpy(at + FRAME + sizeof headers - 1 + 5, stream, sizeof stream);
    }
    send_raw(handle, PREFACE, PREFACE_SIZE);
    send_raw(handle, SETTINGS, sizeof SETTINGS);
    DWORD written;
    WriteFile(handle, calls, CALLS * CALL, &written, NULL); /* all of it, or it was disconnected on the way */
    free(calls);
    read_to_end(handle);
    struct rpc_server_counters counters;
    rpc_server_count(fixture.server, &counters);
    assert_true(counters.calls_begun > 0);
    assert_true(counters.calls_begun <= 2 * 10);
    client_close(dial());
}

/* One connection for each call is no offence, however many they are. */
static void who_dials_anew_for_each_call_is_served(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3 * OFFENCES_MOST; i++)
        client_close(dial());
    assert_int_equal(fixture_event_count(EVENT_CLIENT_REFUSED), 0);
}

/* Whoever is there stays, whoever breaks the rules is not even read any more, and it is all forgotten. */
static void who_breaks_the_rules_too_often_is_held(void **state)
{
    (void)state;
    struct client *client = dial();
    struct rpc_server_counters before, after;
    bool held = false;
    unsigned times = 0;
    for (; !held && times < 1000; times++) {
        rpc_server_count(fixture.server, &before);
        HANDLE handle = connect_raw();
        DWORD written;
        WriteFile(handle, "GET / HTTP/1.1\r\n\r\n", 18, &written, NULL); /* or it is closed already */
        assert_int_equal(read_to_end(handle), 0);
        rpc_server_count(fixture.server, &after);
        assert_int_equal(after.clients_refused, before.clients_refused + 1);
        held = after.connections_accepted == before.connections_accepted;
    }
    assert_true(held);
    assert_true(times > OFFENCES_MOST);
    echo(client);
    client_close(client);
    /* Each attempt takes as long as a client is held, so one offence is forgotten with each. */
    struct client *again = NULL;
    for (unsigned i = 0; i < 100 && again == NULL; i++) {
        struct client_options options = {.address = fixture.pipe, .dial_ms = 10000};
        Containerd__Task__V3__StateRequest request = CONTAINERD__TASK__V3__STATE_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        must_succeed(client_dial(&options, &again));
        struct error *error = client_call(again, ECHO "Echo", &request.base,
                                          &containerd__task__v3__state_response__descriptor, 10000, &response);
        if (error == NULL) {
            protobuf_c_message_free_unpacked(response, NULL);
            break;
        }
        error_free(error);
        client_close(again);
        again = NULL;
    }
    assert_non_null(again);
    client_close(again);
}

static struct rpc_server_options few_streams = {.max_streams = 10};
static struct rpc_server_options patient = {.handshake_ms = 60000, .stall_ms = 60000};

static void close_waits_for_no_silent_client(void **state)
{
    (void)state;
    HANDLE silent = connect_raw(), half = connect_raw();
    send_raw(half, PREFACE, 10);
    assert_int_equal(fixture_close(2000), 0);
    CloseHandle(silent);
    CloseHandle(half);
}

/* ---- the name ---- */

static void name_in_use_is_refused(void **state)
{
    (void)state;
    struct rpc_server *other = NULL;
    struct rpc_server_options options = {.pipe = fixture.pipe};
    struct error *error = rpc_server_open(&options, &other);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    char expected[64];
    snprintf(expected, sizeof expected, "held by process %lu", GetCurrentProcessId());
    if (strstr(error->message, expected) == NULL)
        fail_msg("expected '%s', found '%s'", expected, error->message);
    error_free(error);
    client_close(dial());
    /* The instance that holds the name took none of these clients, here too. */
    assert_int_equal(fixture_event_count(EVENT_SERVICE_FALLBACK), 0);
}

static void name_is_free_after_the_close(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        client_close(dial());
        assert_int_equal(fixture_close(4000), 0);
        must_succeed(fixture_open((struct rpc_server_options){0}));
    }
}

/* ---- leaks ---- */

typedef struct {
    ULONG count;
    struct {
        USHORT pid, trace;
        UCHAR type, flags;
        USHORT handle;
        void *object;
        ULONG access;
    } handles[];
} HANDLES;

/* SystemHandleInformation (16): GetProcessHandleCount gives 0 under Wine 8. */
static unsigned count_handles(void)
{
    unsigned own = 0;
    ULONG size = 1 << 20, needed;
    HANDLES *handles = mem_zero(size);
    while (NtQuerySystemInformation((SYSTEM_INFORMATION_CLASS)16, handles, size, &needed) != 0) {
        free(handles);
        size *= 2;
        handles = mem_zero(size);
    }
    for (ULONG i = 0; i < handles->count; i++)
        own += handles->handles[i].pid == GetCurrentProcessId();
    free(handles);
    return own;
}

static struct rpc_server_options any_conduct = {.any_conduct = true};

static void many_connects_leave_no_handles(void **state)
{
    (void)state;
    unsigned before = 0, after = 0;
    for (unsigned i = 0; i < 2000; i++) {
        if (i == 500)
            before = count_handles();
        if (i % 4 == 0)
            client_close(dial());
        else
            CloseHandle(connect_raw());
    }
    after = count_handles();
    print_message("handles after 500 connects: %u, after 2000: %u\n", before, after);
    assert_true(before > 10);
    assert_true(after <= before + 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(void)
{
    struct CMUnitTest tests[] = {
        TEST(silent_client_is_dropped),
        TEST(half_a_preface_is_dropped),
        TEST(preface_in_pieces_is_served),
        TEST(garbage_is_dropped_at_once),
        TEST(going_away_is_no_event),
        TEST(anonymous_client_is_refused),
        TEST(limits_hold),
        TEST(handshakes_are_bounded),
        TEST(writer_is_not_held_up_by_who_does_not_read),
        cmocka_unit_test_prestate_setup_teardown(close_waits_for_no_silent_client, open_server, NULL, &patient),
        cmocka_unit_test_prestate_setup_teardown(calls_beyond_the_limit_end_the_connection, open_server, close_server,
                                                 &few_streams),
        TEST(name_in_use_is_refused),
        TEST(name_is_free_after_the_close),
        TEST(who_dials_anew_for_each_call_is_served),
        TEST(who_breaks_the_rules_too_often_is_held),
        cmocka_unit_test_prestate_setup_teardown(many_connects_leave_no_handles, open_server, close_server,
                                                 &any_conduct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
