/* The protocol between the DLL and the broker: JSON messages, each behind its length as a 32-bit number.
 *
 * A client process has one connection. It sends requests {"n": number, "call": name, …}; the broker answers each once,
 * in any order, with {"n", "hr": HRESULT, "message" (failures), …}. In between it sends events:
 *   {"event":"notify","handle","type","status","delay_ms","twice"}   for a handle that the client opened
 *   {"event":"disconnect"}                                           all handles of the client are invalid now
 * Handles are numbers that the client chooses, so that an event never overtakes the answer that would name them. */
#ifndef EMULATOR_SHARED_FRAME_H
#define EMULATOR_SHARED_FRAME_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

#define FRAME_LIMIT (16u << 20)

/* Appends `message` as one frame. */
void frame_add(struct buffer *out, const json_t *message);

/* Takes the first whole frame off `in`. *ret_message is NULL while there is none yet; the caller drops it otherwise.
 * False when the bytes are no frame: the connection is to be closed. */
bool frame_take(struct buffer *in, json_t **ret_message);

/* Members of a message; absent ones and those of another type give "", 0, false. */
const char *frame_text(const json_t *message, const char *key);
int64_t frame_number(const json_t *message, const char *key);
bool frame_flag(const json_t *message, const char *key);

#endif
