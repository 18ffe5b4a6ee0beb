#include "daemon/rpc/message.h"

#include <stdbool.h>
#include <string.h>

#include "base/text.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

struct walk {
    const ProtobufCMessageDescriptor *root;
    unsigned fields;
};

static struct error *malformed(const ProtobufCMessageDescriptor *descriptor, const char *field, const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "decode request", descriptor->name, "%s%s%s", field,
                      field[0] != 0 ? " " : "", why);
}

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static struct error *check(struct walk *walk, const ProtobufCMessageDescriptor *descriptor, const uint8_t *at,
                           const uint8_t *end, unsigned depth)
{
    if (depth > MESSAGE_DEPTH_MAX)
        return malformed(descriptor, "", "is nested too deeply");
    while (at < end) {
        uint64_t key, length = 0;
        if (!read_varint(&at, end, &key) || key >> 3 == 0 || key >> 3 > 536870911)
            return malformed(descriptor, "", "is no protobuf message");
        if (++walk->fields > MESSAGE_FIELDS_MAX)
            return malformed(walk->root, "", "has too many fields");
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
        const char *name = field != NULL ? field->name : "";
        switch ((enum wire_type)(key & 7)) {
        case WIRE_VARINT:
            if (!read_varint(&at, end, &length))
                return malformed(descriptor, name, "is cut off");
            continue;
        case WIRE_FIXED64:
            length = 8;
            break;
        case WIRE_FIXED32:
            length = 4;
            break;
        case WIRE_LENGTH:
            if (!read_varint(&at, end, &length))
                return malformed(descriptor, name, "is cut off");
            break;
        default:
            return malformed(descriptor, name, "has a wire type that protobuf 3 does not know");
        }
        if (length > (uint64_t)(end - at))
            return malformed(descriptor, name, "is cut off");
        if (field != NULL && (key & 7) == WIRE_LENGTH) {
            if (field->type == PROTOBUF_C_TYPE_STRING) {
                if (!text_is_utf8((const char *)at, (size_t)length))
                    return malformed(descriptor, name, "is not UTF-8");
                if (memchr(at, 0, (size_t)length) != NULL)
                    return malformed(descriptor, name, "has a NUL character in it");
            } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                struct error *error = check(walk, field->descriptor, at, at + length, depth + 1);
                if (error != NULL)
                    return error;
            }
        }
        at += length;
    }
    return NULL;
}

struct error *message_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size)
{
    struct walk walk = {.root = descriptor};
    return size == 0 ? NULL : check(&walk, descriptor, data, data + size, 1);
}

struct error *message_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size,
                             ProtobufCAllocator *allocator, ProtobufCMessage **ret_message)
{
    static const uint8_t empty[1];
    struct error *error = message_check(descriptor, data, size);
    if (error != NULL)
        return error;
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, allocator, size, size != 0 ? data : empty);
    if (message == NULL)
        return malformed(descriptor, "", "does not fit its description (a field has another type)");
    *ret_message = message;
    return NULL;
}
