/* Frames between hcsd and a worker, over one duplex byte pipe whose both ends are open for overlapped I/O.
 *
 * A frame is a header of eight bytes (payload size and type, both 32-bit little-endian) and its payload: JSON, or bytes of
 * an archive on their way to a client. docs/worker.md says which messages there are.
 *
 * wire_write may be called by any thread; the reading functions by one. Windows only. */
#ifndef HCSD_DAEMON_WORKER_WIRE_H
#define HCSD_DAEMON_WORKER_WIRE_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"

enum wire_type { WIRE_JSON = 1, WIRE_DATA = 2 };
#define WIRE_JSON_MAX (16u << 20)
#define WIRE_DATA_MAX (256u << 10)

struct wire_frame {
    enum wire_type type;
    uint8_t *data; /* malloc'ed; followed by a NUL */
    size_t size;
};

struct wire;
struct wire *wire_new(HANDLE pipe); /* takes the handle */
void wire_free(struct wire *wire);  /* calls back what is under way */

/* Blocks until the peer's end has taken all of it: DEADLINE_EXCEEDED after `milliseconds` (INFINITE: as long as the peer
 * lives), after which the stream is torn and only wire_free is left. UNAVAILABLE: the peer is gone. */
struct error *wire_write(struct wire *wire, enum wire_type type, const void *data, size_t size,
                         uint32_t milliseconds) ERROR_MUST_CHECK;
/* Takes `message`. */
struct error *wire_write_json(struct wire *wire, json_t *message, uint32_t milliseconds) ERROR_MUST_CHECK;

/* A last word of a process that is about to end: JSON text, at once or not at all. */
void wire_write_last(struct wire *wire, const char *text);

/* Asks for more unless that is under way. Then wait for the event, then call wire_read_end. */
struct error *wire_read_begin(struct wire *wire) ERROR_MUST_CHECK;
HANDLE wire_read_event(struct wire *wire);
/* Takes what came. *ret_whole: a frame is complete and *ret_frame the caller's. UNAVAILABLE: the peer is gone; DATA_LOSS: it
 * does not keep the rules. */
struct error *wire_read_end(struct wire *wire, bool *ret_whole, struct wire_frame *ret_frame) ERROR_MUST_CHECK;

/* The frame's JSON object; DATA_LOSS when it is none. The caller releases it. */
struct error *wire_frame_json(const struct wire_frame *frame, json_t **ret_message) ERROR_MUST_CHECK;

#endif
