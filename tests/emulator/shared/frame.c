#include "frame.h"

#include <stdlib.h>
#include <string.h>

void frame_add(struct buffer *out, const json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    size_t length = text == NULL ? 0 : strlen(text);
    uint32_t prefix = (uint32_t)length;

    buffer_add(out, &prefix, sizeof prefix);
    if (length > 0)
        buffer_add(out, text, length);
    free(text);
}

bool frame_take(struct buffer *in, json_t **ret_message)
{
    uint32_t length;
    json_t *message;

    *ret_message = NULL;
    if (in->size < sizeof length)
        return true;
    memcpy(&length, in->data, sizeof length);
    if (length == 0 || length > FRAME_LIMIT)
        return false;
    if (in->size - sizeof length < length)
        return true;
    message = json_loadb((const char *)in->data + sizeof length, length, 0, NULL);
    if (message == NULL)
        return false;
    buffer_drop(in, sizeof length + length);
    *ret_message = message;
    return true;
}

const char *frame_text(const json_t *message, const char *key)
{
    const char *text = json_string_value(json_object_get(message, key));
    return text == NULL ? "" : text;
}

int64_t frame_number(const json_t *message, const char *key)
{
    return json_integer_value(json_object_get(message, key));
}

bool frame_flag(const json_t *message, const char *key)
{
    return json_is_true(json_object_get(message, key));
}
