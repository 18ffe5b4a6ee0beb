/* The broker's state: everything that outlives the programs that call vmcompute.dll.
 *
 * One lock guards all of it. It is never held while a process is made, a pipe is connected or a file is read, except
 * the fault file. Functions say "locked" when their caller holds it. */
#ifndef EMULATOR_BROKER_H
#define EMULATOR_BROKER_H

#include <windows.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "shared/faults.h"
#include "shared/names.h"

struct client;
struct system;
struct process;
struct layer;

struct broker {
    CRITICAL_SECTION lock;
    struct names names;
    struct faults *faults;
    struct client *clients;
    struct system *systems;
    struct layer *layers;
    json_t *calls; /* name -> how often it was asked for */
    HANDLE stop;   /* set when the broker is to end */
};

/* The process's own state, set up by main before the first client. */
extern struct broker broker;

/* How notifications are delivered, after a fault row had its say. */
struct delivery {
    uint32_t delay_ms;
    bool twice;
};

/* What a client opened: one handle of a system or of a process. */
struct handle {
    struct handle *next_of_client;
    struct handle *next_of_object;
    struct client *client;
    uint64_t value; /* chosen by the client */
    struct system *system;
    struct process *process; /* NULL: the handle is the system's */
};

/* Locked. 0x80070006 when the client has no such handle of that kind. */
struct error *handle_find_system(struct client *client, const json_t *request,
                                 struct system **ret_system) ERROR_MUST_CHECK;
struct error *handle_find_process(struct client *client, const json_t *request,
                                  struct process **ret_process) ERROR_MUST_CHECK;
/* Locked. Opens a handle under the number that the request names: "process" for one of `process`, "handle" for one of
 * `system` when there is no process. */
struct error *handle_open(struct client *client, const json_t *request, struct system *system,
                          struct process *process) ERROR_MUST_CHECK;
/* Locked. Closing the last handle of a system or process may end it. */
void handle_close(struct handle *handle);
void handle_close_all(struct client *client);
/* Locked. The handle is gone without any effect on what it was of: the service was disconnected. */
void handle_forget_all(struct client *client);

/* Locked. Tells one handle, or all handles of a list, of a notification. */
void handle_notify(struct handle *handle, uint32_t type, int32_t status, struct delivery delivery);
void handle_notify_all(struct handle *handles, uint32_t type, int32_t status, struct delivery delivery);

/* Milliseconds and 100 ns since 1601. */
uint64_t broker_filetime(void);

#endif
