/* A process's standard streams: one-instance byte pipes. The host's end is overlapped and is handed to the client, once;
 * it breaks when whoever holds it dies. The child's end is inheritable and synchronous, or overlapped for a command that
 * runs inside the broker. */
#ifndef EMULATOR_BROKER_PIPES_H
#define EMULATOR_BROKER_PIPES_H

#include "broker.h"

enum stdio_stream { STDIO_IN, STDIO_OUT, STDIO_ERR };
#define STDIO_COUNT 3

struct stdio {
    HANDLE host[STDIO_COUNT];  /* NULL where no pipe was asked for, or it was handed out */
    HANDLE child[STDIO_COUNT]; /* NULL where no pipe was asked for */
};

/* Makes the pipes that are wanted. `inside`: for a command inside the broker. */
struct error *stdio_open(struct stdio *stdio, const bool wanted[STDIO_COUNT], bool inside) ERROR_MUST_CHECK;

/* Hands the host's ends to the client's process and puts their values there into `reply` as "stdin", "stdout",
 * "stderr". */
struct error *stdio_hand_out(struct stdio *stdio, const struct client *client, json_t *reply) ERROR_MUST_CHECK;

void stdio_close_child(struct stdio *stdio);
void stdio_close(struct stdio *stdio);

#endif
