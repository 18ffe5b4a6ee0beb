#include "spec/spec.h"

#include <string.h>

#include "base/buffer.h"

/* N backslashes before a quote become 2N, and the quote gets one more; only a blank or tab makes quotes necessary. The same
 * as Go's syscall.EscapeArg, and what CommandLineToArgvW undoes. */
static void escape(struct buffer *line, const char *argument)
{
    bool quoted = argument[0] == 0 || strpbrk(argument, " \t") != NULL;
    size_t backslashes = 0;
    if (quoted)
        buffer_add_text(line, "\"");
    for (const char *at = argument; *at != 0; at++) {
        if (*at == '"')
            for (size_t i = 0; i < backslashes + 1; i++)
                buffer_add_text(line, "\\");
        backslashes = *at == '\\' ? backslashes + 1 : 0;
        buffer_add(line, at, 1);
    }
    if (quoted) {
        for (size_t i = 0; i < backslashes; i++)
            buffer_add_text(line, "\\");
        buffer_add_text(line, "\"");
    }
}

char *spec_escape_args(const char *const *args, size_t count)
{
    struct buffer line = {0};
    buffer_add_text(&line, "");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buffer_add_text(&line, " ");
        escape(&line, args[i]);
    }
    return (char *)line.data;
}
