/* Messages on their way in: checked on the wire before a byte of memory is spent on them. Pure; thread-safe. */
#ifndef HCSD_DAEMON_RPC_MESSAGE_H
#define HCSD_DAEMON_RPC_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

/* Sub-messages in one another, and fields in all, that a message may have. */
#define MESSAGE_DEPTH_MAX  32u
#define MESSAGE_FIELDS_MAX 262144u

/* Walks the wire format (protobuf.dev/programming-guides/encoding) along the descriptor: tags and lengths in order, strings
 * strict UTF-8 and without NUL (protobuf-c would cut them off there), bounds on depth and number of fields. Fields that the
 * descriptor does not know are passed by. INVALID_ARGUMENT names message and field. */
struct error *message_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
                            size_t size) ERROR_MUST_CHECK;

/* message_check, then unpacks. The caller frees with protobuf_c_message_free_unpacked and the same allocator (NULL: malloc). */
struct error *message_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size,
                             ProtobufCAllocator *allocator, ProtobufCMessage **ret_message) ERROR_MUST_CHECK;

#endif
