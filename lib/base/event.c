#include "base/event.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"

const struct event_entry event_catalogue[] = {
#define EVENT(number, name, severity, category, arguments, message, action)                                            \
    {(enum event_id)number, #name, EVENT_##severity, EVENT_CATEGORY_##category, arguments, message, action},
#include "base/event.def"
#undef EVENT
};
const size_t event_catalogue_size = sizeof event_catalogue / sizeof event_catalogue[0];

#define ARGUMENT_LIMIT 9

static struct event_sink sink;

const struct event_entry *event_find(enum event_id id)
{
    size_t low = 0, high = event_catalogue_size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (event_catalogue[middle].id == id)
            return &event_catalogue[middle];
        if (event_catalogue[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *event_category_name(enum event_category category)
{
    static const char *const names[] = {"", "Service", "Containers", "Exports", "Watchdog", "Layers"};
    return category >= 1 && category <= EVENT_CATEGORY_COUNT ? names[category] : "";
}

void event_set_sink(const struct event_sink *new_sink)
{
    sink = new_sink == NULL ? (struct event_sink){0} : *new_sink;
}

static void emit(const struct event_entry *entry, const char *const *arguments)
{
    const char *filled[ARGUMENT_LIMIT] = {0};
    for (unsigned i = 0; i < entry->arguments; i++)
        filled[i] = arguments[i] == NULL ? "" : arguments[i];
    if (sink.emit != NULL)
        sink.emit(sink.context, entry, filled);
}

void event_emit(enum event_id id, ...)
{
    const struct event_entry *entry = event_find(id);
    if (entry == NULL)
        return;
    const char *arguments[ARGUMENT_LIMIT] = {0};
    va_list list;
    va_start(list, id);
    for (unsigned i = 0; i < entry->arguments; i++)
        arguments[i] = va_arg(list, const char *);
    va_end(list);
    emit(entry, arguments);
}

void event_emit_array(enum event_id id, const char *const *arguments, size_t count)
{
    const struct event_entry *entry = event_find(id);
    if (entry == NULL)
        return;
    const char *filled[ARGUMENT_LIMIT] = {0};
    for (size_t i = 0; i < count && i < entry->arguments; i++)
        filled[i] = arguments[i];
    emit(entry, filled);
    if (count != entry->arguments)
        log_debug("event %s was given %zu arguments instead of %u", entry->name, count, entry->arguments);
}

void log_debug(const char *format, ...)
{
    if (sink.debug == NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    char *line = str_format_args(format, arguments);
    va_end(arguments);
    sink.debug(sink.context, line);
    free(line);
}

char *event_text(const struct event_entry *entry, const char *const *arguments)
{
    struct buffer text = {0};
    buffer_add_text(&text, "");
    for (const char *at = entry->message; *at != 0; at++) {
        if (at[0] == '%' && at[1] >= '1' && (unsigned)(at[1] - '0') <= entry->arguments) {
            const char *argument = arguments[at[1] - '1'];
            buffer_add_text(&text, argument == NULL ? "" : argument);
            at++;
        } else {
            buffer_add(&text, at, 1);
        }
    }
    return (char *)text.data;
}
