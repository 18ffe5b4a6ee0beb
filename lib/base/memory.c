#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/process.h"

#if defined(__MINGW32__)
#define vsnprintf __mingw_vsnprintf /* msvcrt's knows neither %zu nor C99's result */
#endif

#define ERROR_COMMITMENT_LIMIT 1455

static _Noreturn void memory_is_gone(void)
{
    process_end(ERROR_COMMITMENT_LIMIT, "hcsd: out of memory\n");
}

void *mem_zero(size_t size)
{
    void *memory = calloc(1, size == 0 ? 1 : size);
    if (memory == NULL)
        memory_is_gone();
    return memory;
}

void *mem_zero_array(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        memory_is_gone();
    return mem_zero(count * size);
}

void *mem_resize_array(void *old, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        memory_is_gone();
    size_t bytes = count * size;
    void *memory = realloc(old, bytes == 0 ? 1 : bytes);
    if (memory == NULL)
        memory_is_gone();
    return memory;
}

void *mem_copy(const void *data, size_t size)
{
    void *memory = mem_zero(size);
    if (size != 0)
        memcpy(memory, data, size);
    return memory;
}

char *str_copy(const char *text)
{
    return text == NULL ? NULL : str_copy_n(text, strlen(text));
}

char *str_copy_n(const char *text, size_t size)
{
    if (size == SIZE_MAX)
        memory_is_gone();
    char *copy = mem_zero(size + 1);
    if (size != 0)
        memcpy(copy, text, size);
    return copy;
}

char *str_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    return text;
}

char *str_format_args(const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return str_copy(
            format); /* an encoding error of %ls, which nobody uses: the bare format still tells something */
    char *text = mem_zero((size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    return text;
}
