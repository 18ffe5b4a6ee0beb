#include "daemon/log/record.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

static const char *const severity_names[] = {
    [EVENT_INFORMATION] = "information",
    [EVENT_WARNING] = "warning",
    [EVENT_ERROR] = "error",
};

struct log_record *log_record_new(const struct event_entry *entry, const char *const *arguments, int64_t wall_ns)
{
    struct log_record *record = mem_new(struct log_record);
    size_t count = entry == NULL ? 1 : entry->arguments;
    record->entry = entry;
    record->wall_ns = wall_ns;
    for (size_t i = 0; i < count && i < LOG_ARGUMENTS_MAX; i++) {
        const char *text = arguments[i] == NULL ? "" : arguments[i];
        record->arguments[i] = text_printable(text, strlen(text), LOG_TEXT_MAX);
    }
    return record;
}

void log_record_free(struct log_record *record)
{
    if (record == NULL)
        return;
    for (size_t i = 0; i < LOG_ARGUMENTS_MAX; i++)
        free(record->arguments[i]);
    free(record);
}

uint32_t log_event_id(const struct event_entry *entry)
{
    return ((uint32_t)entry->severity + 1) << 30 | (uint32_t)entry->id;
}

char *log_event_string(const char *text)
{
    char *printable = text_printable(text, strlen(text), 0);
    struct buffer out = {0};
    size_t units = 0;
    buffer_add_text(&out, "");
    for (const char *at = printable; *at != 0;) {
        size_t size = 1;
        while ((at[size] & 0xC0) == 0x80)
            size++;
        size_t more = size == 4 ? 2 : 1; /* four bytes of UTF-8 are a surrogate pair */
        bool split = at[0] == '%' && at[1] == '%' && at[2] >= '0' && at[2] <= '9';
        if (split)
            more = 2;
        if (units + more > LOG_EVENT_STRING_MAX - 1 && at[size] != 0) {
            buffer_add_text(&out, "…");
            break;
        }
        buffer_add(&out, at, size);
        if (split)
            buffer_add_text(&out, " ");
        units += more;
        at += size;
    }
    free(printable);
    return (char *)out.data;
}

static char *record_message(const struct log_record *record)
{
    if (record->entry == NULL)
        return str_copy(record->arguments[0]);
    return event_text(record->entry, (const char *const *)record->arguments);
}

void log_record_json(const struct log_record *record, uint64_t lost, struct buffer *line)
{
    char time[40], *text = record_message(record);
    clock_format_rfc3339(record->wall_ns, time);
    json_t *object = json_object();
    json_object_set_new(object, "time", json_string(time));
    json_object_set_new(object, "level",
                        json_string(record->entry == NULL ? "debug" : severity_names[record->entry->severity]));
    if (record->entry != NULL) {
        json_t *arguments = json_array();
        for (unsigned i = 0; i < record->entry->arguments; i++)
            json_array_append_new(arguments, json_string(record->arguments[i]));
        json_object_set_new(object, "event", json_integer(record->entry->id));
        json_object_set_new(object, "name", json_string(record->entry->name));
        json_object_set_new(object, "category", json_string(event_category_name(record->entry->category)));
        json_object_set_new(object, "text", json_string(text));
        json_object_set_new(object, "arguments", arguments);
    } else {
        json_object_set_new(object, "text", json_string(text));
    }
    if (lost != 0)
        json_object_set_new(object, "lost", json_integer((json_int_t)lost));
    char *json = json_dumps(object, JSON_COMPACT);
    buffer_add_format(line, "%s\n", json);
    free(json);
    json_decref(object);
    free(text);
}

void log_record_text(const struct log_record *record, uint64_t lost, struct buffer *line)
{
    char time[40], *text = record_message(record);
    clock_format_rfc3339(record->wall_ns, time);
    if (lost != 0)
        buffer_add_format(line, "%s %llu lines were dropped\n", time, (unsigned long long)lost);
    if (record->entry == NULL)
        buffer_add_format(line, "%s debug: %s\n", time, text);
    else
        buffer_add_format(line, "%s %s %u: %s%s%s\n", time, severity_names[record->entry->severity],
                          (unsigned)record->entry->id, text,
                          *record->entry->action == 0                     ? ""
                          : text[0] != 0 && text[strlen(text) - 1] == '.' ? " "
                                                                          : ". ",
                          record->entry->action);
    free(text);
}

void log_events_document(struct buffer *markdown)
{
    buffer_add_text(
        markdown,
        "# Events\n"
        "\n"
        "<!-- Made from lib/base/event.def; tests/unit/log/test_record.c keeps them equal. -->\n"
        "\n"
        "hcsd tells its operator what happened in the Application log, source `hcsd` (the service's name), and in\n"
        "`log\\hcsd.log` below the state folder, one JSON object a line with the same numbers. A number never changes\n"
        "its meaning and is never used again. `%1` and so on are what the event inserts.\n");
    enum event_category category = 0;
    for (size_t i = 0; i < event_catalogue_size; i++) {
        const struct event_entry *entry = &event_catalogue[i];
        if (entry->category != category) {
            category = entry->category;
            buffer_add_format(
                markdown, "\n## %s (category %u)\n\n| event | severity | message | what to do |\n|---|---|---|---|\n",
                event_category_name(category), (unsigned)category);
        }
        buffer_add_format(markdown, "| %u %s | %s | %s | %s |\n", (unsigned)entry->id, entry->name,
                          severity_names[entry->severity], entry->message, entry->action);
    }
}
