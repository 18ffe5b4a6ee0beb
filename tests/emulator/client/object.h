/* Handles and registrations of this process, and the delivery of notifications to it.
 *
 * The rules that HCS keeps and clients rely on:
 *  - what happened before a registration is still delivered to it;
 *  - at most once for each thing that happened, to each registration;
 *  - unregistering returns only after running callbacks came back, and none follows;
 *  - every registration on a system or process hears of its exit.
 * Callbacks of one registration run one after another on the thread pool, those of different ones side by side; a
 * callback that blocks holds up nobody else. A fault row may have one delivered late or twice (see faults.h): late ones
 * still outstanding are delivered while Unregister waits, that is after it began.
 *
 * Thread-safe. */
#ifndef EMULATOR_CLIENT_OBJECT_H
#define EMULATOR_CLIENT_OBJECT_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "hcs/abi.h"

enum object_kind { OBJECT_SYSTEM, OBJECT_PROCESS };

/* A new handle number, before the broker knows of it, so that no event can come too early. `name` is what fault rows
 * match on. */
uint64_t object_new(enum object_kind kind, uint64_t epoch, const char *name);
void object_set_name(uint64_t handle, const char *name);

/* Is it a handle of that kind, and still good? Gives the connection it belongs to and its name (the caller frees it).
 * 6 otherwise. */
struct error *object_check(uint64_t handle, enum object_kind kind, uint64_t *ret_epoch,
                           char **ret_name) ERROR_MUST_CHECK;

/* The handle is closed, or never came to be. Its registrations hear nothing more. False when there is none. */
bool object_drop(uint64_t handle, enum object_kind kind);

struct error *object_register(uint64_t handle, enum object_kind kind, HCS_NOTIFICATION_CALLBACK callback, void *context,
                              HCS_CALLBACK *ret_registration) ERROR_MUST_CHECK;
struct error *object_unregister(HCS_CALLBACK registration) ERROR_MUST_CHECK;
/* The name of the object that a registration is on, "" when that is closed; the caller frees it. */
char *object_registered_name(HCS_CALLBACK registration);

/* From the broker: something happened. */
void object_notify(uint64_t handle, uint32_t type, int32_t status, uint32_t delay_ms, bool twice);

/* All handles of connection `epoch` are void: their registrations hear ServiceDisconnect. */
void objects_disconnect(uint64_t epoch);

#endif
