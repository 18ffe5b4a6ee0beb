/* Counts the HTTP/2 frames (RFC 9113, 4.1) of a byte stream, so that a client's bytes can be taken a few frames at a time: a frame
 * of a dozen bytes may be a call, and a read of 128 KiB thousands of them. Pure; not thread-safe. */
#ifndef HCSD_DAEMON_RPC_FRAMES_H
#define HCSD_DAEMON_RPC_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct frames {
    uint32_t left;         /* bytes until the next header */
    uint32_t length;       /* of the header that is being read: what is known of its length field */
    unsigned header_bytes; /* of that header that have passed */
};

/* `skip` bytes come before the first frame: HTTP/2's preface. */
void frames_init(struct frames *frames, uint32_t skip);

/* How many of the `size` bytes may go on: up to the last byte of the frame with which *budget, which is counted down, is used up,
 * or all. Bytes that went on are not given again. A frame counts once it is whole; its content is not looked at. */
size_t frames_take(struct frames *frames, const uint8_t *data, size_t size, unsigned *budget);

#ifdef __cplusplus
}
#endif

#endif
