/* One event or debug line on its way to a sink, and its forms: for the event log, for the JSON log file, for a console.
 * Pure; thread-safe. */
#ifndef HCSD_DAEMON_LOG_RECORD_H
#define HCSD_DAEMON_LOG_RECORD_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/event.h"

#define LOG_ARGUMENTS_MAX 9

struct log_record {
    const struct event_entry *entry; /* NULL: a debug line, whose text is arguments[0] */
    int64_t wall_ns;
    char *arguments[LOG_ARGUMENTS_MAX]; /* NULL beyond entry->arguments */
};

/* Copies; arguments are made printable and cut at LOG_TEXT_MAX bytes. */
#define LOG_TEXT_MAX 32000
struct log_record *log_record_new(const struct event_entry *entry, const char *const *arguments, int64_t wall_ns);
void log_record_free(struct log_record *record);

/* The number that the event log knows the event by: the severity in the two top bits, as message tables have it
 * ([MS-DTYP] 2.3 / winerror.h), and the catalogue's number, which is what the event viewer shows. */
uint32_t log_event_id(const struct event_entry *entry);

/* An insertion string as the event log can take it: at most 4,000 UTF-16 units, a cut marked by "…"; `%%` in front of a
 * digit, which viewers would replace from a parameter file (facts: windows.md 10), as `% %`. The caller frees it. */
#define LOG_EVENT_STRING_MAX 4000
char *log_event_string(const char *text);

/* One line of JSON with its line end: {"time","level","event","name","category","text","arguments"}; debug lines have time,
 * level and text. `lost` records before this one were dropped: "lost" is added when it is not 0. */
void log_record_json(const struct log_record *record, uint64_t lost, struct buffer *line);

/* One line for people with its line end. */
void log_record_text(const struct log_record *record, uint64_t lost, struct buffer *line);

/* docs/events.md. */
void log_events_document(struct buffer *markdown);

#endif
