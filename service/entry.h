/* hcsd as a service: what it tells the service manager, and what it does on its controls.
 *
 * The control handler only posts; a loop on the service's own thread does the work. So the handler returns at once however
 * long a stop takes, and tests can call it with controls that Wine never sends. Windows only. */
#ifndef HCSD_SERVICE_ENTRY_H
#define HCSD_SERVICE_ENTRY_H

#include <windows.h>

#include <stdbool.h>

#include "base/error.h"
#include "daemon/daemon.h"

#define SERVICE_WAIT_HINT_MS 30000 /* the service manager expects a checkpoint within it */

enum service_stop {
    SERVICE_STOP_ASKED,
    SERVICE_STOP_PRESHUTDOWN,
    SERVICE_STOP_SHUTDOWN, /* the machine goes down and HCS beside us: no calls into it any more */
    SERVICE_STOP_FAILED,   /* entry_fail */
};

/* What the service does; daemon.h behind it, or a test. Called on the service's thread, one at a time. */
struct entry_work {
    /* Returns when the pipe answers. */
    struct error *(*start)(void *context, const struct daemon_progress *progress);
    void (*reload)(void *context);
    /* Ends within `milliseconds` and a little. False: something is left that would not end, and the process must be ended
     * the hard way. Called only after a start that succeeded. */
    bool (*stop)(void *context, enum service_stop why, unsigned milliseconds, const struct daemon_progress *progress);
    /* Right before STOPPED is reported, always: what must be written before the process ends. */
    void (*end)(void *context);
    void *context;
};

#define SERVICE_STOP_MS                20000 /* MSI waits 30 s at most (facts: windows.md 15) */
#define SERVICE_PRESHUTDOWN_RESERVE_MS 5000  /* of the system's time at preshutdown, for what follows the draining */
#define SERVICE_SHUTDOWN_MS            2000  /* the system kills services 5 s after SHUTDOWN */

/* The calls into the service manager, for tests. */
struct entry_calls {
    BOOL(WINAPI *set_status)(SERVICE_STATUS_HANDLE handle, SERVICE_STATUS *status);
    /* How long the system waits at preshutdown, in ms; 0 when it does not say. */
    unsigned (*preshutdown_ms)(void *context);
    void *context;
};

struct entry;

struct error *entry_new(const struct entry_work *work, const struct entry_calls *calls,
                        struct entry **ret_entry) ERROR_MUST_CHECK;
void entry_free(struct entry *entry);

/* The control handler, `context` being the struct entry. Never blocks. */
DWORD WINAPI entry_control(DWORD control, DWORD event_type, void *event_data, void *context);

/* Asks for the end with a failure: the service manager is told an error, so that its recovery actions run. Thread-safe. */
void entry_fail(struct entry *entry);

/* From START_PENDING to STOPPED. Returns whether `stop` left nothing behind. */
bool entry_loop(struct entry *entry, SERVICE_STATUS_HANDLE handle);

#endif
