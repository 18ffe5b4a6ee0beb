/* What hcsd and a stdio relay say to each other over the relay's control pipe. Pure; thread-safe.
 *
 * A frame is a header of 16 bytes (payload size u32, type u16, zero u16, tag u64; little-endian) and the payload: the fields
 * of its type in the order of the table in protocol.c, a text as u16 size, its bytes and a NUL. What follows the known
 * fields is ignored: a newer protocol adds fields at the end and types, and never changes those that are here, since an
 * hcsd talks to relays that an older one has started.
 *
 * hcsd asks, with a tag of its own; a reply carries the same tag. Tag 0: no reply is wanted, or it is news that nobody asked
 * for. The first message is HELLO; a peer whose protocol is older than RELAY_PROTOCOL_OLDEST is not talked to. */
#ifndef HCSD_RELAY_PROTOCOL_H
#define HCSD_RELAY_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define RELAY_PROTOCOL        2u
#define RELAY_PROTOCOL_OLDEST 1u
#define RELAY_HEADER_SIZE     16u
#define RELAY_PAYLOAD_MAX     16384u

#define RELAY_STREAMS         3 /* stdin, stdout, stderr */

enum relay_type {
    /* from hcsd */
    RELAY_HELLO = 1,       /* protocol, version -> WELCOME */
    RELAY_OPEN = 2,        /* what a session is to be connected to -> OPENED or FAILED */
    RELAY_ATTACH = 3,      /* session, the process's ends as handles of the relay -> DONE or FAILED */
    RELAY_CLOSE_STDIN = 4, /* session */
    RELAY_DRAIN = 5,       /* session, quiet_ms, milliseconds; later DRAINED */
    RELAY_CLOSE = 6,       /* session: all its ends are closed, it is forgotten */
    RELAY_RELEASE = 7,     /* session: it goes on to its end by itself and is forgotten then */
    RELAY_LIST = 8,        /* -> SESSION for each, then DONE */
    RELAY_END = 9,         /* end as soon as there are no sessions */
    RELAY_COUNT = 10,      /* -> COUNTS; not known to protocol 1 */
    /* from the relay */
    RELAY_WELCOME = 64,     /* protocol, version */
    RELAY_DONE = 65,        /* */
    RELAY_FAILED = 66,      /* an error */
    RELAY_OPENED = 67,      /* session */
    RELAY_SESSION = 68,     /* session, id, state, passed, lost */
    RELAY_COUNTS = 69,      /* sessions, taken, passed, lost: since the relay was started */
    RELAY_STDIN_ENDED = 96, /* session: the client is through, the process's end is closed */
    RELAY_DRAINED = 97,     /* session, passed, lost */
    RELAY_LOSING = 98,      /* session, id, lost: the reader is gone for longer than output is held */
};

/* Bits of `state`. */
#define RELAY_STATE_ATTACHED    1u
#define RELAY_STATE_STDIN_ENDED 2u
#define RELAY_STATE_ENDED       4u /* all outputs have come to their end */

/* Texts are never NULL in a decoded message; NULL is written as "". */
struct relay_message {
    enum relay_type type;
    uint64_t tag;
    uint64_t session;
    uint32_t protocol;
    const char *version;
    const char *containerd_namespace, *id; /* of the container, "ID/EXEC" of an exec */
    const char *paths[RELAY_STREAMS];      /* as the client gave them; "" : none */
    uint32_t hold_ms;                      /* how long output waits for a reader that is gone */
    uint64_t handles[RELAY_STREAMS];       /* 0: none */
    uint32_t quiet_ms, milliseconds;
    uint32_t state;
    uint64_t passed, lost; /* bytes of output */
    uint64_t taken;        /* bytes of stdin */
    uint32_t sessions;
    uint32_t kind, origin, code;
    const char *operation, *object, *message;
};

/* Appends the frame. INTERNAL when it would be too long. */
struct error *relay_encode(const struct relay_message *message, struct buffer *buffer) ERROR_MUST_CHECK;

/* The size of the frame that `data` begins with, 0 while that is not known or not all of it is there. DATA_LOSS for a payload
 * longer than any message's. */
struct error *relay_frame(const uint8_t *data, size_t size, size_t *ret_size) ERROR_MUST_CHECK;

/* One whole frame. The texts lie in `data`. DATA_LOSS for an unknown type, fields that are missing, a text that is no UTF-8 or
 * has a NUL in it. */
struct error *relay_decode(const uint8_t *data, size_t size, struct relay_message *ret_message) ERROR_MUST_CHECK;

/* An error as a FAILED message that borrows its texts, and back. */
void relay_pack_error(const struct error *error, struct relay_message *message);
struct error *relay_unpack_error(const struct relay_message *message) ERROR_MUST_CHECK;

#endif
