/* The first bytes of a client: HTTP/2's preface and the header of the SETTINGS frame behind it (RFC 9113, 3.4). Pure;
 * thread-safe. */
#ifndef HCSD_DAEMON_RPC_OPENING_H
#define HCSD_DAEMON_RPC_OPENING_H

#include <stddef.h>
#include <stdint.h>

enum opening {
    OPENING_MORE,        /* good so far */
    OPENING_WHOLE,       /* all of it is there, maybe with more behind it */
    OPENING_NO_HTTP2,    /* no preface */
    OPENING_NO_SETTINGS, /* the first frame is another, or one of a stream */
};

/* Judges by the first byte that is wrong: a client that speaks something else is known as soon as it does. */
enum opening opening_check(const uint8_t *data, size_t size);

#endif
