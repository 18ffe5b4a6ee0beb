#include "spec/document.h"

struct error *spec_refuse(enum error_kind kind, const struct spec_render *render, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *message = str_format_args(format, arguments);
    va_end(arguments);
    struct error *error = error_make(kind, "render spec", render->id, "%s", message);
    free(message);
    return error;
}

void spec_warn(struct spec_warnings *warnings, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    warnings->texts = mem_resize_array(warnings->texts, warnings->count + 1, sizeof *warnings->texts);
    warnings->texts[warnings->count++] = str_format_args(format, arguments);
    va_end(arguments);
}

void spec_warnings_free(struct spec_warnings *warnings)
{
    if (warnings == NULL)
        return;
    for (size_t i = 0; i < warnings->count; i++)
        free(warnings->texts[i]);
    free(warnings->texts);
    *warnings = (struct spec_warnings){0};
}
