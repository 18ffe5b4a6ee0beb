/* Events as JSON. Pure. */
#ifndef HCSD_CLI_EVENT_FORM_H
#define HCSD_CLI_EVENT_FORM_H

#include <jansson.h>

#include "containerd/types/event.pb-c.h"

#define COMMAND_EVENT_FILTERS 64

/* {"timestamp","namespace","topic","type","event"}: the last is the payload's members by their names on the wire, or null where the
 * type is not known. */
json_t *event_json(const Containerd__Types__Envelope *envelope);

/* Any message of protobuf-c as JSON: texts, numbers, truth values, times as RFC 3339, messages in it and arrays of all these. Bytes
 * and messages that are not there are left out. */
json_t *message_json(const ProtobufCMessage *message);

#endif
