#include "daemon/rpc/message.h"

#include <string.h>

#include "base/text.h"
#include "daemon/rpc/wire.h"

struct walk {
    const ProtobufCMessageDescriptor *root;
    unsigned fields;
};

static struct error *malformed(const ProtobufCMessageDescriptor *descriptor, const char *field, const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "decode request", descriptor->name, "%s%s%s", field,
                      field[0] != 0 ? " " : "", why);
}

static struct error *check(struct walk *walk, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
                           size_t size, unsigned depth)
{
    if (depth > MESSAGE_DEPTH_MAX)
        return malformed(descriptor, "", "is nested too deeply");
    struct wire wire = {data, data + size};
    struct wire_field at;
    for (;;) {
        enum wire_result result = wire_next(&wire, &at);
        if (result == WIRE_END)
            return NULL;
        const ProtobufCFieldDescriptor *field =
            at.number != 0 ? protobuf_c_message_descriptor_get_field(descriptor, at.number) : NULL;
        const char *name = field != NULL ? field->name : "";
        if (result == WIRE_BROKEN)
            return malformed(descriptor, name, "is no protobuf, or is cut off");
        if (++walk->fields > MESSAGE_FIELDS_MAX)
            return malformed(walk->root, "", "has too many fields");
        if (field == NULL || at.type != WIRE_LENGTH)
            continue;
        if (field->type == PROTOBUF_C_TYPE_STRING) {
            if (!text_is_utf8((const char *)at.data, at.size))
                return malformed(descriptor, name, "is not UTF-8");
            if (memchr(at.data, 0, at.size) != NULL)
                return malformed(descriptor, name, "has a NUL character in it");
        } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            struct error *error = check(walk, field->descriptor, at.data, at.size, depth + 1);
            if (error != NULL)
                return error;
        }
    }
}

struct error *message_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size)
{
    struct walk walk = {.root = descriptor};
    return size == 0 ? NULL : check(&walk, descriptor, data, size, 1);
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
