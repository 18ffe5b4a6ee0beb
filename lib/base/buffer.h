/* A growing run of bytes. Zero-initialised is empty; pure; one thread at a time. */
#ifndef HCSD_BASE_BUFFER_H
#define HCSD_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct buffer {
    uint8_t *data; /* always followed by a NUL once something was added, so that text needs no copy */
    size_t size;
    size_t capacity;
};

void buffer_add(struct buffer *buffer, const void *data, size_t size);
void buffer_add_text(struct buffer *buffer, const char *text);
void buffer_add_format(struct buffer *buffer, const char *format, ...) ERROR_PRINTF(2, 3);
/* Makes room for `size` more bytes and returns where they go; the caller then adds to buffer->size. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);
/* Drops the first `size` bytes. */
void buffer_drop(struct buffer *buffer, size_t size);
void buffer_clear(struct buffer *buffer); /* empties, keeps the memory */
void buffer_free(struct buffer *buffer);  /* empties and frees; the struct is zero again */

#endif
