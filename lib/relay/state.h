/* What relays.c and session.c share. One lock guards all of it; nothing blocks under it. */
#ifndef HCSD_RELAY_STATE_H
#define HCSD_RELAY_STATE_H

#include "relay/endpoint.h"
#include "relay/launch.h"
#include "relay/link.h"
#include "relay/relays.h"

struct journal;

/* A question that somebody waits for the answer of. */
struct call {
    struct call *next;
    uint64_t tag;
    bool answered;
    uint64_t session;
    struct error *error;
    char *version;
    uint32_t protocol;
};

/* Somebody who waits for all relays to have told what they have counted. */
struct glance {
    struct glance *next;
    uint64_t end_ms;
    void (*done)(void *context);
    void *context;
};

/* A session that a found relay has and nobody has asked for yet. */
struct listed {
    uint64_t number;
    uint32_t state;
};

struct session {
    struct session *next, *previous; /* of its relay */
    struct relay *relay;
    uint64_t number;
    char *id, *name;
    bool attached, stdin_ended;
    void (*on_stdin_end)(void *context);
    void *stdin_context;
    void (*drained)(void *context, uint64_t lost);
    void *drained_context;
    uint64_t drain_late_ms; /* when the relay should have answered long ago */
};

/* One relay process. */
struct relay {
    struct relay *next;
    unsigned references; /* the list, the link, each session, each caller */
    struct relays *relays;
    struct launch launch;
    char *key, *version;
    struct link *link; /* NULL: broken */
    bool trusted;      /* takes new sessions */
    bool ending;       /* was told to */
    bool told;         /* that it does not answer */
    uint32_t protocol;
    /* What it has counted, as of its last answer; the tags of the last question and of that. */
    uint64_t asked_tag, counted_tag;
    uint32_t held;
    uint64_t stdin_bytes, output_bytes, dropped_bytes;
    struct call *calls;
    struct session *sessions;
    unsigned session_count;
    struct listed *listed;
    size_t listed_count;
    uint64_t idle_ms; /* since when it has no sessions */
};

struct relays {
    SRWLOCK lock;
    CONDITION_VARIABLE changed; /* an answer, a start that is over, a link that is gone */
    char *image, *version;
    _Atomic uint32_t hold_ms;
    unsigned idle_ms;
    struct journal *journal;
    struct relay *first;
    unsigned links; /* whose end has not been told yet */
    uint64_t last_tag;
    struct glance *glances;
    bool starting, closing;
    PTP_TIMER timer;
};

/* relay.c: one with one reference, which takes what is in `launch`; connected and asked what it has. */
struct relay *relay_new(struct relays *relays, struct launch *launch);
struct error *relay_greet(struct relay *relay) ERROR_MUST_CHECK;
void relay_unsave(struct relay *relay); /* forgets it in the journal; blocks on the disk */
void relay_free(struct relay *relay);

/* A relay that takes new sessions, started if there is none. The caller gives it back with relay_release. */
struct error *relay_acquire(struct relays *relays, struct relay **ret_relay) ERROR_MUST_CHECK;
void relay_release(struct relay *relay);

/* Asks and waits for the answer. UNAVAILABLE, DEADLINE_EXCEEDED, or what the relay says. The caller clears *ret_call. */
struct error *relay_call(struct relay *relay, struct relay_message *message, unsigned milliseconds,
                         struct call *ret_call) ERROR_MUST_CHECK;
void call_clear(struct call *call);

/* ---- the lock held ---- */

/* Takes those that need not wait any longer; glances_done calls and frees them, without the lock. */
struct glance *glances_take(struct relays *relays);
void glances_done(struct glance *glances);
/* Queues; a relay that does not take it is on its way out. */
void relay_send(struct relay *relay, const struct relay_message *message);
void relay_add_session(struct relay *relay, struct session *session);
void relay_remove_session(struct relay *relay, struct session *session);
/* Has the timer look at drains and idle relays in time. */
void relays_arm(struct relays *relays);

#endif
