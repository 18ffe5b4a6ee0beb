#include "daemon/rpc/wire.h"

#include <stdbool.h>

#define FIELD_MAX 536870911u

static bool read_varint(struct wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && wire->at < wire->end; shift += 7) {
        uint8_t byte = *wire->at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

enum wire_result wire_next(struct wire *wire, struct wire_field *ret_field)
{
    uint64_t tag, length = 0;
    *ret_field = (struct wire_field){.start = wire->at};
    if (wire->at == wire->end)
        return WIRE_END;
    if (!read_varint(wire, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_MAX)
        return WIRE_BROKEN;
    ret_field->number = (uint32_t)(tag >> 3);
    ret_field->type = (enum wire_type)(tag & 7);
    switch (ret_field->type) {
    case WIRE_VARINT:
        return read_varint(wire, &length) ? WIRE_FIELD : WIRE_BROKEN;
    case WIRE_FIXED64:
        length = 8;
        break;
    case WIRE_FIXED32:
        length = 4;
        break;
    case WIRE_LENGTH:
        if (!read_varint(wire, &length))
            return WIRE_BROKEN;
        break;
    default:
        return WIRE_BROKEN;
    }
    if (length > (uint64_t)(wire->end - wire->at))
        return WIRE_BROKEN;
    ret_field->data = wire->at;
    ret_field->size = (size_t)length;
    wire->at += length;
    return WIRE_FIELD;
}

static void add_varint(struct buffer *buffer, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    do {
        bytes[count] = (uint8_t)(value & 0x7f);
        value >>= 7;
        bytes[count++] |= value != 0 ? 0x80 : 0;
    } while (value != 0);
    buffer_add(buffer, bytes, count);
}

void wire_add(struct buffer *buffer, uint32_t number, const void *data, size_t size)
{
    add_varint(buffer, (uint64_t)number << 3 | WIRE_LENGTH);
    add_varint(buffer, size);
    buffer_add(buffer, data, size);
}
