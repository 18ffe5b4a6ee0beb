/* One event on its way to subscribers: containerd.types.Envelope, made once and shared. Pure; thread-safe. */
#ifndef HCSD_DAEMON_EVENTS_ENVELOPE_H
#define HCSD_DAEMON_EVENTS_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <containerd/types/event.pb-c.h>

#include "base/error.h"

#define ENVELOPE_EVENT_MAX (64u << 10) /* bytes of a payload from outside */

struct envelope;

/* Everything is copied. The reference is the caller's. */
struct envelope *envelope_new(int64_t wall_ns, const char *containerd_namespace, const char *topic,
                              const char *type_url, const void *value, size_t size);
struct envelope *envelope_ref(struct envelope *envelope);
void envelope_unref(struct envelope *envelope);

size_t envelope_size(const struct envelope *envelope); /* bytes that it takes */
const Containerd__Types__Envelope *envelope_message(const struct envelope *envelope);

/* The value of a field path, as filters see it: "namespace", "topic", and "event" with the name of a text in the payload, where its
 * type is known. NULL: there is none. Lives as long as the envelope. Not thread-safe: the payload is decoded at the first
 * question. `envelope` is a struct envelope. */
const char *envelope_field(void *envelope, const char *const *path, size_t depth);

/* containerd's rules for what comes from outside: a topic begins with "/" and is made of identifiers, a namespace is one.
 * INVALID_ARGUMENT. */
struct error *envelope_check(const char *containerd_namespace, const char *topic,
                             const Google__Protobuf__Any *event) ERROR_MUST_CHECK;

#endif
