/* Containers and processes as HCS has them. Every call is guarded (hcs/guard.h); documents go in and out as JSON text in
 * UTF-8. Windows only.
 *
 * Ownership. `struct hcs_system` and `struct hcs_process` belong to who created or opened them, until the close function.
 * Any number of threads may call into one object at a time (HCS itself queues calls on one handle: whoever must not wait
 * behind a hanging call opens a second object by id). The HCS handle is closed when the object is closed and the last
 * call on it has returned; a call that never returns keeps its handle.
 *
 * Bounds. Each function waits at most `wait->ms` (NULL or 0: hcs.call_seconds) for the call, and functions that have to wait
 * for a notification after it the same time again. See guard_run for the errors of the bound. Results come back as
 * HRESULT errors with HCS's ErrorEvents attached; `object` is the container id, or "ID/PID" for a process.
 *
 * Exits. A notification latches the exit; it is seen however late one looks. on_exit tells it without a waiting thread. */
#ifndef HCSD_HCS_COMPUTE_H
#define HCSD_HCS_COMPUTE_H

#include "hcs/guard.h"
#include "hcs/library.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct compute;
struct hcs_system;
struct hcs_process;

/* Called once for each loss of the connection (many objects notice it, one is enough), on a pool thread: calls in flight
 * and waits have failed with UNAVAILABLE, every open object is of no use any more: close it, enumerate, open again. */
typedef void (*compute_disconnected)(void *context);

/* Both are borrowed and outlive it. `disconnected` may be NULL. */
struct error *compute_new(struct hcs_library *library, struct guard *guard, compute_disconnected disconnected,
                          void *context, struct compute **ret_compute) ERROR_MUST_CHECK;
/* When all objects are closed. What late calls still use stays in memory until they return. */
void compute_free(struct compute *compute);

/* ---- systems (containers) ---- */

/* HcsCreateComputeSystem and, when it is pending, the wait for its completion. On a failure after the call nothing is left
 * behind as far as HCS lets us: the new system is terminated and closed, also when the call returns late.
 * ALREADY_EXISTS, INVALID_ARGUMENT (document), ABORTED (ended while it was created), … */
struct error *hcs_system_create(struct compute *compute, const char *id, const char *document,
                                const struct guard_wait *wait, struct hcs_system **ret_system) ERROR_MUST_CHECK;
/* NOT_FOUND (0xC037010E) when HCS has no such system. */
struct error *hcs_system_open(struct compute *compute, const char *id, const struct guard_wait *wait,
                              struct hcs_system **ret_system) ERROR_MUST_CHECK;

const char *hcs_system_id(const struct hcs_system *system);

/* Start, pause and resume wait for completion. ABORTED with code 0xC0370106 when the system exits meanwhile. */
struct error *hcs_system_start(struct hcs_system *system, const struct guard_wait *wait) ERROR_MUST_CHECK;
struct error *hcs_system_pause(struct hcs_system *system, const struct guard_wait *wait) ERROR_MUST_CHECK;
struct error *hcs_system_resume(struct hcs_system *system, const struct guard_wait *wait) ERROR_MUST_CHECK;

/* Asks for the end and does not wait for it: that is hcs_system_wait_exit or on_exit. Pending is success. `*ret_gone` (may
 * be NULL) is true when HCS says that it has stopped already or does not exist: success too, and no exit notification
 * need follow. */
struct error *hcs_system_shutdown(struct hcs_system *system, const struct guard_wait *wait,
                                  bool *ret_gone) ERROR_MUST_CHECK;
struct error *hcs_system_terminate(struct hcs_system *system, const struct guard_wait *wait,
                                   bool *ret_gone) ERROR_MUST_CHECK;

/* `query` is "{}" or {"PropertyTypes":["Statistics"|"ProcessList"|…]}. The caller frees *ret_json. */
struct error *hcs_system_properties(struct hcs_system *system, const char *query, const struct guard_wait *wait,
                                    char **ret_json) ERROR_MUST_CHECK;
/* {"ResourcePath" or "ResourceType", "Settings", "RequestType"} */
struct error *hcs_system_modify(struct hcs_system *system, const char *request,
                                const struct guard_wait *wait) ERROR_MUST_CHECK;

/* `query` is e.g. {"Owners":["hcsd"]}. *ret_json is an array; the caller frees it. */
struct error *hcs_enumerate(struct compute *compute, const char *query, const struct guard_wait *wait,
                            char **ret_json) ERROR_MUST_CHECK;

/* ---- exits ---- */

enum hcs_exit_reason {
    HCS_EXIT_EXITED,       /* the notification came */
    HCS_EXIT_DISCONNECTED, /* the connection broke first; whether it runs is not known */
    HCS_EXIT_CLOSED,       /* the object was closed first */
};

struct hcs_exit {
    enum hcs_exit_reason reason;
    uint32_t status; /* EXITED: the notification's; 0, or e.g. 0xC0370106: it exited all the same, unexpectedly */
    int64_t wall_ns; /* when it was noticed */
};

typedef void (*hcs_exit_function)(void *context, const struct hcs_exit *exit);

/* `function` is called exactly once, on a thread-pool thread, also when the exit came before: so whatever `context` holds
 * is given back there. It may call anything here, closing the object included. One per object: a second is
 * FAILED_PRECONDITION; RESOURCE_EXHAUSTED when the pool has no memory; after an error it is not called. */
struct error *hcs_system_on_exit(struct hcs_system *system, hcs_exit_function function, void *context) ERROR_MUST_CHECK;
struct error *hcs_process_on_exit(struct hcs_process *process, hcs_exit_function function,
                                  void *context) ERROR_MUST_CHECK;

/* Waits until it has exited: DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE (connection broke). `ret_exit` may be NULL. */
struct error *hcs_system_wait_exit(struct hcs_system *system, const struct guard_wait *wait,
                                   struct hcs_exit *ret_exit) ERROR_MUST_CHECK;
struct error *hcs_process_wait_exit(struct hcs_process *process, const struct guard_wait *wait,
                                    struct hcs_exit *ret_exit) ERROR_MUST_CHECK;
/* Whether the exit has been notified; never blocks. `ret_exit` may be NULL and is set only when true. */
bool hcs_system_has_exited(struct hcs_system *system, struct hcs_exit *ret_exit);
bool hcs_process_has_exited(struct hcs_process *process, struct hcs_exit *ret_exit);

/* Unregisters and closes the handle, now or when the last call on it returns. The object is gone also when an error comes
 * back (the call failed or did not return in time). NULL is fine. */
struct error *hcs_system_close(struct hcs_system *system) ERROR_MUST_CHECK;
struct error *hcs_process_close(struct hcs_process *process) ERROR_MUST_CHECK;

/* ---- processes ---- */

/* Our ends of a process's pipes, overlapped; NULL where none was asked for. HCS hands them out once. */
struct hcs_pipes {
    HANDLE in;
    HANDLE out;
    HANDLE error;
};
void hcs_pipes_close(struct hcs_pipes *pipes);

/* HcsCreateProcess. The caller owns the pipes. A process whose creation returns late, or that cannot be watched, is
 * terminated and closed, its pipes too. */
struct error *hcs_process_create(struct hcs_system *system, const char *parameters, const struct guard_wait *wait,
                                 struct hcs_process **ret_process, struct hcs_pipes *ret_pipes) ERROR_MUST_CHECK;
/* NOT_FOUND when it has ended (0x8037011F, 0x490). */
struct error *hcs_process_open(struct hcs_system *system, uint32_t pid, const struct guard_wait *wait,
                               struct hcs_process **ret_process) ERROR_MUST_CHECK;

uint32_t hcs_process_pid(const struct hcs_process *process);

/* Success also when it is ending or has ended (5, 0xC0370110, 0x8037011F, 0x490): then *ret_gone (may be NULL) is true.
 * "Invalid state" and "system does not exist" are errors: HCS can lose the exit then; see lifecycle 9. */
struct error *hcs_process_terminate(struct hcs_process *process, const struct guard_wait *wait,
                                    bool *ret_gone) ERROR_MUST_CHECK;
/* `options` is e.g. {"Signal":"CtrlShutdown"} or {"Signal":15}. *ret_gone as above. */
struct error *hcs_process_signal(struct hcs_process *process, const char *options, const struct guard_wait *wait,
                                 bool *ret_gone) ERROR_MUST_CHECK;

/* Closes the guest's end of stdin. That the process or container is gone or ending is success. Closing our own end is the
 * owner's. */
struct error *hcs_process_close_stdin(struct hcs_process *process, const struct guard_wait *wait) ERROR_MUST_CHECK;
struct error *hcs_process_resize(struct hcs_process *process, uint16_t width, uint16_t height,
                                 const struct guard_wait *wait) ERROR_MUST_CHECK;

struct hcs_process_properties {
    uint32_t pid;
    bool exited;
    uint32_t exit_code; /* 0xFFFFFFFF unless it is known: exited and LastWaitResult 0 */
    bool exit_code_known;
};
struct error *hcs_process_properties(struct hcs_process *process, const struct guard_wait *wait,
                                     struct hcs_process_properties *ret_properties) ERROR_MUST_CHECK;

/* HcsGetProcessInfo: the pipes of a process that was opened, once. */
struct error *hcs_process_pipes(struct hcs_process *process, const struct guard_wait *wait,
                                struct hcs_pipes *ret_pipes) ERROR_MUST_CHECK;

#endif
