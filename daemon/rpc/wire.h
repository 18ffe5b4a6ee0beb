/* Protobuf's wire format, one field at a time (protobuf.dev/programming-guides/encoding). Pure. */
#ifndef HCSD_DAEMON_RPC_WIRE_H
#define HCSD_DAEMON_RPC_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

struct wire {
    const uint8_t *at, *end;
};

struct wire_field {
    uint32_t number; /* set as soon as it is known, also when the rest is broken */
    enum wire_type type;
    const uint8_t *start; /* of the whole field, tag included */
    const uint8_t *data;  /* of WIRE_LENGTH: the contents */
    size_t size;          /* of `data` */
};

enum wire_result { WIRE_FIELD, WIRE_END, WIRE_BROKEN };

/* Reads the next field. WIRE_BROKEN: a bad tag, a type that protobuf 3 does not have, or something cut off. */
enum wire_result wire_next(struct wire *wire, struct wire_field *ret_field);

/* Appends a field of type WIRE_LENGTH. */
void wire_add(struct buffer *buffer, uint32_t number, const void *data, size_t size);

#endif
