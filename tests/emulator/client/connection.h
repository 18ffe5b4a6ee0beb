/* The DLL's connection to the broker: one per process, made at the first call that needs it, again after it was lost.
 * Thread-safe. */
#ifndef EMULATOR_CLIENT_CONNECTION_H
#define EMULATOR_CLIENT_CONNECTION_H

#include <windows.h>

#include <jansson.h>

#include "base/error.h"
#include "shared/names.h"

/* Names of this DLL's folder. */
const struct names *connection_names(void);

/* Sends {"call": call, …} (`request` is changed and dropped) and waits for the answer; the broker is started when none
 * runs. `epoch` is 0, or the connection that the caller's handle belongs to: with another one by now the call fails
 * with 6. The caller drops *ret_reply (may be NULL). 0x800706BE when the broker dies meanwhile.
 * Not bounded in time, as HCS's own calls are not. */
struct error *connection_call(const char *call, uint64_t epoch, json_t *request, json_t **ret_reply) ERROR_MUST_CHECK;

/* Connects if need be and returns the connection's number. Handles belong to one connection. */
struct error *connection_epoch(uint64_t *ret_epoch) ERROR_MUST_CHECK;

#endif
