#include "base/buffer.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    size_t wanted = buffer->size + size + 1; /* the NUL */
    if (wanted <= size)
        wanted = SIZE_MAX; /* ends in mem_resize_array */
    if (wanted > buffer->capacity) {
        size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
        while (capacity < wanted)
            capacity = capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity * 2;
        buffer->data = mem_resize_array(buffer->data, capacity, 1);
        buffer->capacity = capacity;
    }
    buffer->data[buffer->size] = 0;
    return buffer->data + buffer->size;
}

void buffer_add(struct buffer *buffer, const void *data, size_t size)
{
    uint8_t *end = buffer_reserve(buffer, size);
    if (size != 0)
        memmove(end, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = 0;
}

void buffer_add_text(struct buffer *buffer, const char *text)
{
    buffer_add(buffer, text, strlen(text));
}

void buffer_add_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    buffer_add_text(buffer, text);
    free(text);
}

void buffer_drop(struct buffer *buffer, size_t size)
{
    if (buffer->size == 0)
        return;
    if (size > buffer->size)
        size = buffer->size;
    buffer->size -= size;
    memmove(buffer->data, buffer->data + size, buffer->size);
    buffer->data[buffer->size] = 0;
}

void buffer_clear(struct buffer *buffer)
{
    buffer_drop(buffer, buffer->size);
}

void buffer_free(struct buffer *buffer)
{
    if (buffer == NULL)
        return;
    free(buffer->data);
    *buffer = (struct buffer){0};
}
