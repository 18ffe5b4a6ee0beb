#include "relay/protocol.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum field_kind { FIELD_U32 = 1, FIELD_U64, FIELD_TEXT };

struct field {
    enum field_kind kind; /* 0 ends the list */
    size_t offset;
};

#define U32(member)                                                                                                    \
    {                                                                                                                  \
        FIELD_U32, offsetof(struct relay_message, member)                                                              \
    }
#define U64(member)                                                                                                    \
    {                                                                                                                  \
        FIELD_U64, offsetof(struct relay_message, member)                                                              \
    }
#define TEXT(member)                                                                                                   \
    {                                                                                                                  \
        FIELD_TEXT, offsetof(struct relay_message, member)                                                             \
    }
#define FIELDS_MAX 8

static const struct row {
    enum relay_type type;
    struct field fields[FIELDS_MAX];
} rows[] = {
    {RELAY_HELLO, {U32(protocol), TEXT(version)}},
    {RELAY_OPEN, {TEXT(containerd_namespace), TEXT(id), TEXT(paths[0]), TEXT(paths[1]), TEXT(paths[2]), U32(hold_ms)}},
    {RELAY_ATTACH, {U64(session), U64(handles[0]), U64(handles[1]), U64(handles[2])}},
    {RELAY_CLOSE_STDIN, {U64(session)}},
    {RELAY_DRAIN, {U64(session), U32(quiet_ms), U32(milliseconds)}},
    {RELAY_CLOSE, {U64(session)}},
    {RELAY_RELEASE, {U64(session)}},
    {RELAY_LIST, {{0, 0}}},
    {RELAY_END, {{0, 0}}},
    {RELAY_COUNT, {{0, 0}}},
    {RELAY_WELCOME, {U32(protocol), TEXT(version)}},
    {RELAY_DONE, {{0, 0}}},
    {RELAY_FAILED, {U32(kind), U32(origin), U32(code), TEXT(operation), TEXT(object), TEXT(message)}},
    {RELAY_OPENED, {U64(session)}},
    {RELAY_SESSION, {U64(session), TEXT(id), U32(state), U64(passed), U64(lost)}},
    {RELAY_COUNTS, {U32(sessions), U64(taken), U64(passed), U64(lost)}},
    {RELAY_STDIN_ENDED, {U64(session)}},
    {RELAY_DRAINED, {U64(session), U64(passed), U64(lost)}},
    {RELAY_LOSING, {U64(session), TEXT(id), U64(lost)}},
};

static const struct row *find(unsigned type)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

static void put(struct buffer *buffer, uint64_t value, unsigned bytes)
{
    uint8_t data[8];
    for (unsigned i = 0; i < bytes; i++)
        data[i] = (uint8_t)(value >> 8 * i);
    buffer_add(buffer, data, bytes);
}

static uint64_t get(const uint8_t *data, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)data[i] << 8 * i;
    return value;
}

static struct error *broken(const char *why)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read a message of the stdio relay", NULL, "%s", why);
}

struct error *relay_encode(const struct relay_message *message, struct buffer *buffer)
{
    size_t start = buffer->size;
    const struct row *row = find(message->type);
    if (!row)
        return error_make(ERROR_KIND_INTERNAL, "write a message to the stdio relay", NULL, "no message has type %u",
                          (unsigned)message->type);
    put(buffer, 0, 4);
    put(buffer, message->type, 2);
    put(buffer, 0, 2);
    put(buffer, message->tag, 8);
    for (const struct field *field = row->fields; field < row->fields + FIELDS_MAX && field->kind; field++) {
        const void *value = (const char *)message + field->offset;
        if (field->kind == FIELD_U32)
            put(buffer, *(const uint32_t *)value, 4);
        else if (field->kind == FIELD_U64)
            put(buffer, *(const uint64_t *)value, 8);
        else {
            const char *text = *(const char *const *)value;
            size_t size = text ? strlen(text) : 0;
            if (size > RELAY_PAYLOAD_MAX) {
                buffer->size = start;
                return error_make(ERROR_KIND_INTERNAL, "write a message to the stdio relay", NULL,
                                  "a text is too long");
            }
            put(buffer, size, 2);
            if (size)
                buffer_add(buffer, text, size);
            put(buffer, 0, 1);
        }
    }
    size_t payload = buffer->size - start - RELAY_HEADER_SIZE;
    if (payload > RELAY_PAYLOAD_MAX) {
        buffer->size = start;
        return error_make(ERROR_KIND_INTERNAL, "write a message to the stdio relay", NULL, "its texts are too long");
    }
    for (unsigned i = 0; i < 4; i++)
        buffer->data[start + i] = (uint8_t)(payload >> 8 * i);
    return NULL;
}

struct error *relay_frame(const uint8_t *data, size_t size, size_t *ret_size)
{
    *ret_size = 0;
    if (size < 4)
        return NULL;
    uint64_t payload = get(data, 4);
    if (payload > RELAY_PAYLOAD_MAX)
        return broken("it is longer than any message");
    if (size >= RELAY_HEADER_SIZE + payload)
        *ret_size = (size_t)(RELAY_HEADER_SIZE + payload);
    return NULL;
}

struct error *relay_decode(const uint8_t *data, size_t size, struct relay_message *ret_message)
{
    struct relay_message message = {.version = "",
                                    .containerd_namespace = "",
                                    .id = "",
                                    .paths = {"", "", ""},
                                    .operation = "",
                                    .object = "",
                                    .message = ""};
    if (size < RELAY_HEADER_SIZE || get(data, 4) != size - RELAY_HEADER_SIZE)
        return broken("its size is wrong");
    const struct row *row = find((unsigned)get(data + 4, 2));
    if (!row)
        return broken("its type is not known");
    message.type = row->type;
    message.tag = get(data + 8, 8);
    const uint8_t *at = data + RELAY_HEADER_SIZE, *end = data + size;
    for (const struct field *field = row->fields; field < row->fields + FIELDS_MAX && field->kind; field++) {
        void *value = (char *)&message + field->offset;
        size_t left = (size_t)(end - at), need = field->kind == FIELD_U32 ? 4 : field->kind == FIELD_U64 ? 8 : 2;
        if (left < need)
            return broken("it ends too early");
        if (field->kind == FIELD_U32)
            *(uint32_t *)value = (uint32_t)get(at, 4);
        else if (field->kind == FIELD_U64)
            *(uint64_t *)value = get(at, 8);
        else {
            size_t length = (size_t)get(at, 2);
            const char *text = (const char *)at + 2;
            if (left < 2 + length + 1)
                return broken("it ends too early");
            if (text[length] || memchr(text, 0, length) || !text_is_utf8(text, length))
                return broken("a text in it is none");
            *(const char **)value = text;
            need += length + 1;
        }
        at += need;
    }
    *ret_message = message;
    return NULL;
}

void relay_pack_error(const struct error *error, struct relay_message *message)
{
    message->type = RELAY_FAILED;
    message->kind = error->kind;
    message->origin = error->origin;
    message->code = error->code;
    message->operation = error->operation;
    message->object = error->object;
    message->message = error->message;
}

struct error *relay_unpack_error(const struct relay_message *message)
{
    uint32_t kind = message->kind;
    if (kind < ERROR_KIND_CANCELLED || kind > ERROR_KIND_DATA_LOSS)
        kind = ERROR_KIND_UNKNOWN;
    struct error *error =
        error_make((enum error_kind)kind, message->operation, message->object, "%s", message->message);
    if (message->origin <= ERROR_ORIGIN_ERRNO) {
        error->origin = (enum error_origin)message->origin;
        error->code = message->code;
    }
    return error;
}
