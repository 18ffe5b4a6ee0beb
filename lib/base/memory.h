/* Memory. hcsd's own small allocations do not fail: when the system has no memory left, mem_* writes one line to
 * stderr and ends the process with exit code 1455 (ERROR_COMMITMENT_LIMIT); the service manager restarts it and
 * the journal tells it where it was. gRPC C core does the same. Whatever has a size that comes from outside is
 * checked against a limit before it is asked for here. All of it is freed with free(), and is thread-safe. */
#ifndef HCSD_BASE_MEMORY_H
#define HCSD_BASE_MEMORY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/error.h"

void *mem_zero(size_t size);                                  /* zeroed; size 0 gives one byte */
void *mem_zero_array(size_t count, size_t size);              /* overflow of count * size ends the process too */
void *mem_resize_array(void *old, size_t count, size_t size); /* contents kept, new part not zeroed */
void *mem_copy(const void *data, size_t size);

char *str_copy(const char *text);                /* NULL stays NULL */
char *str_copy_n(const char *text, size_t size); /* the first `size` bytes, terminated */
char *str_format(const char *format, ...) ERROR_PRINTF(1, 2);
char *str_format_args(const char *format, va_list arguments) ERROR_PRINTF(1, 0);

#define mem_new(type)              ((type *)mem_zero(sizeof(type)))
#define mem_new_array(count, type) ((type *)mem_zero_array((count), sizeof(type)))

#endif
