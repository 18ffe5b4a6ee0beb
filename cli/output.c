#include "cli/output.h"

#include <windows.h>

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/log/console.h"

struct error *output_bytes(const void *data, size_t size)
{
    if (!console_write(GetStdHandle(STD_OUTPUT_HANDLE), data, size))
        return error_win32(GetLastError(), "write", "standard output", NULL);
    return NULL;
}

struct error *output_json(json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    json_decref(value);
    if (text == NULL)
        return error_make(ERROR_KIND_INTERNAL, "write JSON", "standard output", "a text in the answer is not UTF-8");
    struct error *error = output_text("%s\n", text);
    free(text);
    return error;
}

struct error *output_table(const struct table *table)
{
    struct buffer text = {0};
    table_format(table, &text);
    struct error *error = output_bytes(text.data, text.size);
    buffer_free(&text);
    return error;
}

struct error *output_text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    struct error *error = output_bytes(text, strlen(text));
    free(text);
    return error;
}

void output_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = str_format_args(format, arguments);
    va_end(arguments);
    console_write(GetStdHandle(STD_ERROR_HANDLE), text, strlen(text));
    free(text);
}
