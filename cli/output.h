/* What hcsctl prints: JSON, tables, figures for people. Pure but for output_… themselves, which write to the standard
 * handles (console.h). */
#ifndef HCSD_CLI_OUTPUT_H
#define HCSD_CLI_OUTPUT_H

#include <stdint.h>

#include <jansson.h>

#include "base/buffer.h"
#include "base/error.h"

/* ---- forms (format.c; pure) ---- */

/* Columns as wide as their widest cell, two blanks between; cells are UTF-8 and are copied. */
struct table {
    char **cells;
    size_t columns, count;
};
void table_add(struct table *table, const char *cell); /* row by row; the first row is the head */
void table_format(const struct table *table, struct buffer *text);
void table_free(struct table *table);

/* "95.1 MB", "17 KB", "512 B": decimal units. */
char *format_bytes(uint64_t bytes);
/* "1,234,567" */
char *format_count(uint64_t count);
/* "0.4 s", "12 s", "3 min 5 s", "2 h 10 min" */
char *format_seconds(double seconds);

/* An error on one line: `{"error":{…}}`, or `hcsctl: task start: …`. With the line end. */
void format_error(const struct error *error, const char *noun, const char *verb, bool json, struct buffer *text);

/* What an export did not write as it was, or did not remove, on a line of its own; a path of "" is left out. */
void format_deviation(const char *head, const char *kind, const char *path, const char *detail, struct buffer *text);

/* A protobuf Timestamp as RFC 3339, or JSON null when it is absent or zero. */
json_t *format_time(const void *timestamp);

/* One line of the progress of an export, without a line end: phase, entries, bytes and rates since the last line. */
struct progress_figures {
    const char *phase, *path;
    uint64_t entries, bytes;
    double seconds;                  /* since the begin */
    double entries_rate, bytes_rate; /* of the last moments; negative: not known yet */
};
void format_progress(const struct progress_figures *figures, size_t width, struct buffer *line);

/* ---- writing (output.c) ---- */

/* One line of compact JSON; takes the value. */
struct error *output_json(json_t *value) ERROR_MUST_CHECK;
struct error *output_table(const struct table *table) ERROR_MUST_CHECK;
struct error *output_text(const char *format, ...) ERROR_PRINTF(1, 2) ERROR_MUST_CHECK;
/* To stderr; what cannot be written is dropped. */
void output_note(const char *format, ...) ERROR_PRINTF(1, 2);
/* Bytes to stdout, all of them. Fails when the reader is gone. */
struct error *output_bytes(const void *data, size_t size) ERROR_MUST_CHECK;

#endif
