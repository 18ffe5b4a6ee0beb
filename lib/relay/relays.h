/* hcsd's side of the stdio relays: processes that hold the pipes of containers, so that stdio goes on while hcsd is restarted.
 *
 * A relay is started when the first session needs one, outside of any job object, and ends when nothing is left to hold. It is
 * journalled with its pid, creation time and control pipe, and found again by them at the next start; one that an older hcsd
 * has started keeps its sessions, new ones go to a relay of this version. A relay that dies or does not answer is told (event
 * RELAY_LOST), its sessions are cut off, containers go on running, and the next session gets a new relay.
 *
 * A session is the stdio of one process. Calls that wait for a relay have a bound; the others only queue what they ask.
 *
 * Thread-safe. Callbacks come from threads of the pool, with no lock held, and must not block. */
#ifndef HCSD_RELAY_RELAYS_H
#define HCSD_RELAY_RELAYS_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define RELAY_START_MS  20000u /* to start one and be greeted */
#define RELAY_ANSWER_MS 10000u
#define RELAY_OPEN_MS   40000u /* three ends, each with the relay's own bound of 10 s */

struct relays;
struct session;

struct relays_options {
    const char *image;     /* NULL: hcsd-relay-VERSION.exe in this program's folder */
    const char *version;   /* of the relays that new sessions go to; NULL: this program's */
    const char *state_dir; /* absolute; where relays are journalled; made when it is not there */
    uint32_t hold_ms;      /* how long output waits for a reader that is gone: stdio.drain_seconds */
    unsigned idle_ms;      /* how long a relay without sessions is kept; 0: 60 s */
};

/* Reads the journal and greets the relays that run; takes at most RELAY_ANSWER_MS for each. DATA_LOSS or FAILED_PRECONDITION
 * for a journal that cannot be used. */
struct error *relays_open(const struct relays_options *options, struct relays **ret_relays) ERROR_MUST_CHECK;
/* Once all sessions that are known have been resumed: those nobody asked for go on to their end by themselves, those that no
 * process was attached to are closed. */
void relays_settle(struct relays *relays);
/* For sessions opened from now on. */
void relays_set_hold(struct relays *relays, uint32_t hold_ms);
/* Relays go on by themselves. All sessions are closed or left by now. NULL is fine. False: somebody still uses it, and it stays. */
bool relays_close(struct relays *relays);

struct relays_counters {
    unsigned relays, sessions;
};
void relays_count(struct relays *relays, struct relays_counters *ret_counters);

/* Asks all relays what they have copied and calls `done` once, maybe before it returns: when all have answered, and after
 * RELAY_GLANCE_MS at the latest; relays_view has it then. For diag. */
#define RELAY_GLANCE_MS 500u
void relays_glance(struct relays *relays, void (*done)(void *context), void *context);
/* Each relay and what it has copied since it was started, as of its last answer. */
struct relay_view {
    uint32_t pid;
    char *version;
    uint32_t sessions; /* that it holds; of an old one those that this hcsd knows */
    uint64_t stdin_bytes, output_bytes;
    uint64_t dropped_bytes; /* of output, that nobody took */
    bool answers;           /* false: it did not answer when it was asked last, or is too old to */
};
void relays_view(struct relays *relays, struct relay_view **ret_views, size_t *ret_count);
void relay_views_free(struct relay_view *views, size_t count);

/* ---- sessions ---- */

struct session_request {
    const char *containerd_namespace, *id; /* "ID/EXEC" of an exec; for loggers and for the journal's readers */
    const char *stdin_path, *stdout_path, *stderr_path; /* relay/endpoint.h; "": none */
};

/* Has the relay open what the client gave, in the order stdin, stdout, stderr. INVALID_ARGUMENT, NOT_FOUND for a pipe that nobody
 * serves; UNAVAILABLE without a relay. Nothing to open is no session: *ret_session is NULL then. */
struct error *session_open(struct relays *relays, const struct session_request *request,
                           struct session **ret_session) ERROR_MUST_CHECK;

/* Gives the process's ends (NULL: none) to the relay, which begins to copy; they are taken also on failure. They must be
 * overlapped, and not tied to a completion port yet. */
struct error *session_attach(struct session *session, HANDLE process_stdin, HANDLE process_stdout,
                             HANDLE process_stderr) ERROR_MUST_CHECK;

/* What finds the session again after a restart, as text for the journal; lives as long as the session. */
const char *session_name(const struct session *session);
/* NULL when its relay is gone, or it has no such session any more. */
struct session *session_resume(struct relays *relays, const char *name);
bool session_attached(const struct session *session);

/* From now on `ended` is called once when the client has closed its end of stdin and all of it was passed on (the process's end
 * is closed by then); maybe before this returns, when it has come about already. */
void session_on_stdin_end(struct session *session, void (*ended)(void *context), void *context);

/* Ends stdin, as if the client had closed it: what it has written by now still arrives. */
void session_close_stdin(struct session *session);

/* Calls `drained` once, maybe before it returns: when all output has been passed on and the process's ends are closed; or when
 * nothing was left to pass on for quiet_ms (0: that does not count), as when another process still holds the pipe; or after
 * `milliseconds`. `lost` is how many bytes could not be passed on so far. Once more only after `drained`. */
void session_drain(struct session *session, unsigned quiet_ms, unsigned milliseconds,
                   void (*drained)(void *context, uint64_t lost), void *context);

/* Closes all ends and frees the session. True: a `drained` was outstanding and is not called any more. False: there was none, or it
 * was or is being called. NULL is fine (false). */
bool session_close(struct session *session);
/* The same on this side only: in the relay it goes on, and can be resumed. */
bool session_leave(struct session *session);

#endif
