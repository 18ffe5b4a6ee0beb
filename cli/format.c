#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/output.h"

#include "google/protobuf/timestamp.pb-c.h"

/* Code points; wide and combining characters are not looked after. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != 0; text++)
        width += (*text & 0xC0) != 0x80;
    return width;
}

void table_add(struct table *table, const char *cell)
{
    table->cells = mem_resize_array(table->cells, table->count + 1, sizeof *table->cells);
    table->cells[table->count++] = text_printable(cell, strlen(cell), 0);
}

void table_format(const struct table *table, struct buffer *text)
{
    size_t *widths = mem_new_array(table->columns, size_t);
    for (size_t i = 0; i < table->count; i++) {
        size_t width = width_of(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t i = 0; i < table->count; i++) {
        bool last = i % table->columns == table->columns - 1;
        buffer_add_text(text, table->cells[i]);
        for (size_t at = width_of(table->cells[i]); !last && at < widths[i % table->columns] + 2; at++)
            buffer_add(text, " ", 1);
        if (last)
            buffer_add(text, "\n", 1);
    }
    free(widths);
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
}

char *format_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    return str_format(unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

char *format_count(uint64_t count)
{
    char digits[32], text[48];
    int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count), at = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
    return str_copy(text);
}

char *format_seconds(double seconds)
{
    unsigned long long whole = seconds < 0 ? 0 : (unsigned long long)seconds;
    if (seconds < 9.95)
        return str_format("%.1f s", seconds < 0 ? 0 : seconds);
    if (whole < 60)
        return str_format("%llu s", whole);
    if (whole < 3600)
        return str_format("%llu min %llu s", whole / 60, whole % 60);
    return str_format("%llu h %llu min", whole / 3600, whole % 3600 / 60);
}

void format_error(const struct error *error, const char *noun, const char *verb, bool json, struct buffer *text)
{
    char *body = json ? error_json(error) : error_text(error);
    if (json)
        buffer_add_format(text, "{\"error\":%s}\n", body);
    else
        buffer_add_format(text, "hcsctl: %s%s%s%s%s\n", noun == NULL ? "" : noun, verb == NULL ? "" : " ",
                          verb == NULL ? "" : verb, noun == NULL ? "" : ": ", body);
    free(body);
}

void format_deviation(const char *head, const char *kind, const char *path, const char *detail, struct buffer *text)
{
    buffer_add_format(text, "%s %s%s%s: %s\n", head, kind, *path == 0 ? "" : " ", path, detail);
}

json_t *format_time(const void *timestamp)
{
    const Google__Protobuf__Timestamp *time = timestamp;
    char text[40];
    if (time == NULL || (time->seconds == 0 && time->nanos == 0))
        return json_null();
    if (time->seconds > INT64_MAX / 1000000000 - 1 || time->seconds < INT64_MIN / 1000000000 + 1)
        return json_null(); /* beyond what RFC 3339 text of ours reaches */
    clock_format_rfc3339(time->seconds * 1000000000 + time->nanos, text);
    return json_string(text);
}

void format_progress(const struct progress_figures *figures, size_t width, struct buffer *line)
{
    char *entries = format_count(figures->entries), *bytes = format_bytes(figures->bytes);
    char *seconds = format_seconds(figures->seconds);
    struct buffer text = {0};
    buffer_add_format(&text, "%s  %s  %s entries  %s", figures->phase, seconds, entries, bytes);
    if (figures->bytes_rate >= 0) {
        char *rate = format_bytes((uint64_t)figures->bytes_rate);
        buffer_add_format(&text, "  %.0f entries/s  %s/s", figures->entries_rate, rate);
        free(rate);
    }
    if (figures->path != NULL && *figures->path != 0)
        buffer_add_format(&text, "  %s", figures->path);
    /* The end of a path says more, but cutting the line there is simple and steady. */
    size_t size = 0, shown = 0;
    while (size < text.size && shown < width) {
        size++;
        while (size < text.size && (text.data[size] & 0xC0) == 0x80)
            size++;
        shown++;
    }
    buffer_add(line, text.data, size);
    buffer_free(&text);
    free(seconds);
    free(bytes);
    free(entries);
}
