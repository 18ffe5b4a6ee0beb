#include "server.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "shared/frame.h"
#include "shared/result.h"

#define READ_SIZE   (64u << 10)
#define QUEUE_LIMIT (64u << 20)

/* One instance of the pipe. References: one for the reader, one for a write in flight, one for each request. */
struct connection {
    struct client client;
    HANDLE pipe;
    PTP_IO io;
    OVERLAPPED reading;
    OVERLAPPED writing;
    struct buffer in;
    struct buffer out;    /* waits for the write in flight */
    struct buffer flying; /* is being written */
    bool writes;
    bool listens; /* no client yet */
    bool broken;  /* to be closed by its reader */
    LONG references;
};

struct request {
    struct connection *connection;
    json_t *message;
};

static struct error *connection_listen(void) ERROR_MUST_CHECK;

/* Locked. */
static void connection_release(struct connection *connection)
{
    if (--connection->references > 0)
        return;
    CloseHandle(connection->pipe);
    CloseThreadpoolIo(connection->io);
    if (connection->client.process != NULL)
        CloseHandle(connection->client.process);
    buffer_free(&connection->in);
    buffer_free(&connection->out);
    buffer_free(&connection->flying);
    free(connection);
}

/* Locked. The client is gone, or is made to go. */
static void connection_close(struct connection *connection)
{
    struct client **place;

    if (!connection->client.connected)
        return;
    connection->client.connected = false;
    for (place = &broker.clients; *place != NULL; place = &(*place)->next) {
        if (*place != &connection->client)
            continue;
        *place = connection->client.next;
        break;
    }
    connection->broken = true;
    handle_close_all(&connection->client);
    CancelIoEx(connection->pipe, NULL);
}

/* Locked. The reader is made to close the connection. Not done at once: the caller may be walking through handles. */
static void connection_break(struct connection *connection)
{
    connection->broken = true;
    CancelIoEx(connection->pipe, NULL);
}

/* Locked. */
static void connection_write(struct connection *connection)
{
    struct buffer empty = connection->flying;

    if (connection->writes || connection->out.size == 0 || !connection->client.connected || connection->broken)
        return;
    buffer_clear(&empty);
    connection->flying = connection->out;
    connection->out = empty;
    connection->writes = true;
    connection->references++;
    StartThreadpoolIo(connection->io);
    if (WriteFile(connection->pipe, connection->flying.data, (DWORD)connection->flying.size, NULL,
                  &connection->writing) ||
        GetLastError() == ERROR_IO_PENDING)
        return;
    CancelThreadpoolIo(connection->io);
    connection->writes = false;
    connection->references--;
    connection_break(connection);
}

/* Locked. False when nothing more will be read. */
static bool connection_read(struct connection *connection)
{
    uint8_t *place = buffer_reserve(&connection->in, READ_SIZE);

    if (connection->broken)
        return false;
    StartThreadpoolIo(connection->io);
    if (ReadFile(connection->pipe, place, READ_SIZE, NULL, &connection->reading) || GetLastError() == ERROR_IO_PENDING)
        return true;
    CancelThreadpoolIo(connection->io);
    return false;
}

void server_send(struct client *client, const json_t *message)
{
    struct connection *connection = client->connection;

    if (!client->connected)
        return;
    frame_add(&connection->out, message);
    if (connection->out.size > QUEUE_LIMIT) {
        connection_break(connection);
        return;
    }
    connection_write(connection);
}

static void CALLBACK request_run(PTP_CALLBACK_INSTANCE instance, void *context)
{
    struct request *request = context;
    struct client *client = &request->connection->client;
    json_t *reply = json_pack("{s:I}", "n", (json_int_t)frame_number(request->message, "n"));
    struct error *error;

    (void)instance;
    EnterCriticalSection(&broker.lock);
    error = requests_handle(client, request->message, reply);
    if (error != NULL) {
        json_object_set_new(reply, "hr", json_integer(result_code(error)));
        json_object_set_new(reply, "message", json_string(error->message));
    } else if (json_object_get(reply, "hr") == NULL) {
        json_object_set_new(reply, "hr", json_integer(S_OK));
    }
    server_send(client, reply);
    connection_release(request->connection);
    LeaveCriticalSection(&broker.lock);
    error_free(error);
    json_decref(reply);
    json_decref(request->message);
    free(request);
}

/* Locked. False when the bytes are no frames. */
static bool connection_dispatch(struct connection *connection)
{
    for (;;) {
        struct request *request;
        json_t *message;
        if (!frame_take(&connection->in, &message))
            return false;
        if (message == NULL)
            return true;
        request = mem_new(struct request);
        request->connection = connection;
        request->message = message;
        connection->references++;
        if (!TrySubmitThreadpoolCallback(request_run, request, NULL)) {
            connection->references--;
            json_decref(message);
            free(request);
            return false;
        }
    }
}

/* Locked. */
static void connection_accept(struct connection *connection)
{
    connection->listens = false;
    connection->client.connected = true;
    GetNamedPipeClientProcessId(connection->pipe, &connection->client.pid);
    connection->client.process = OpenProcess(PROCESS_DUP_HANDLE, FALSE, connection->client.pid);
    connection->client.next = broker.clients;
    broker.clients = &connection->client;
    error_free(connection_listen());
}

/* Locked. */
static void reading_completed(struct connection *connection, ULONG result, ULONG_PTR bytes)
{
    bool goes_on = result == NO_ERROR || result == ERROR_PIPE_CONNECTED;

    if (connection->listens) {
        if (goes_on) {
            connection_accept(connection);
        } else {
            error_free(connection_listen());
        }
    } else if (goes_on && bytes > 0) {
        connection->in.size += bytes;
        goes_on = connection_dispatch(connection);
    } else {
        goes_on = false;
    }
    if (goes_on && connection_read(connection))
        return;
    connection_close(connection);
    connection_release(connection);
}

static void CALLBACK io_completed(PTP_CALLBACK_INSTANCE instance, void *context, void *overlapped, ULONG result,
                                  ULONG_PTR bytes, PTP_IO io)
{
    struct connection *connection = context;

    (void)instance;
    (void)io;
    EnterCriticalSection(&broker.lock);
    if (overlapped == &connection->reading) {
        reading_completed(connection, result, bytes);
    } else {
        connection->writes = false;
        if (result == NO_ERROR) {
            connection_write(connection);
        } else {
            connection_break(connection);
        }
        connection_release(connection);
    }
    LeaveCriticalSection(&broker.lock);
}

/* One more instance that waits for a client. Locked, or before the first client. */
static struct error *connection_listen(void)
{
    struct connection *connection = mem_new(struct connection);
    DWORD code;

    connection->client.connection = connection;
    connection->listens = true;
    connection->references = 1;
    connection->pipe = CreateNamedPipeW(broker.names.pipe, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                                        PIPE_UNLIMITED_INSTANCES, READ_SIZE, READ_SIZE, 0, NULL);
    if (connection->pipe == INVALID_HANDLE_VALUE) {
        code = GetLastError();
        free(connection);
        return error_win32(code, "CreateNamedPipe", NULL, NULL);
    }
    connection->io = CreateThreadpoolIo(connection->pipe, io_completed, connection, NULL);
    if (connection->io == NULL) {
        code = GetLastError();
        CloseHandle(connection->pipe);
        free(connection);
        return error_win32(code, "CreateThreadpoolIo", NULL, NULL);
    }
    StartThreadpoolIo(connection->io);
    if (ConnectNamedPipe(connection->pipe, &connection->reading) || GetLastError() == ERROR_IO_PENDING)
        return NULL;
    code = GetLastError();
    CancelThreadpoolIo(connection->io);
    if (code == ERROR_PIPE_CONNECTED) {
        connection_accept(connection);
        if (!connection_read(connection)) {
            connection_close(connection);
            connection_release(connection);
        }
        return NULL;
    }
    connection_release(connection);
    return error_win32(code, "ConnectNamedPipe", NULL, NULL);
}

struct error *server_start(void)
{
    struct error *error;

    EnterCriticalSection(&broker.lock);
    error = connection_listen();
    LeaveCriticalSection(&broker.lock);
    return error;
}
