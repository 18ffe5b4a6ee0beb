/* The broker's pipe: connections, requests, events. Each connection is one client process. Reading and writing are
 * overlapped on the thread pool; a client that does not read costs memory up to a limit and is then dropped. */
#ifndef EMULATOR_BROKER_SERVER_H
#define EMULATOR_BROKER_SERVER_H

#include "broker.h"

struct client {
    struct client *next;
    struct handle *handles;
    ULONG pid;
    HANDLE process; /* to hand pipe ends over; NULL when it could not be opened */
    bool connected;
    void *connection; /* server.c's own */
};

/* Takes clients from now on. */
struct error *server_start(void) ERROR_MUST_CHECK;

/* Locked. Queues an event for the client; a client that is gone drops it. */
void server_send(struct client *client, const json_t *message);

/* Answers one request: fills in `reply`, or fails. requests.c. */
struct error *requests_handle(struct client *client, const json_t *request, json_t *reply) ERROR_MUST_CHECK;

#endif
