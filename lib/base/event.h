/* What hcsd tells its operator: the event catalogue and the one place that events and log lines go through.
 *
 * Each event has a stable number, a severity, a category and a message; they stand in event.def and nowhere else. The
 * event log's message DLL, docs/events.md and the JSON log are made from that table. Libraries call event_emit and
 * log_debug; the process decides where they go by setting a sink. With no sink both are dropped.
 *
 * Thread-safe. event_emit never blocks on the event log: the sink queues. */
#ifndef HCSD_BASE_EVENT_H
#define HCSD_BASE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum event_severity { EVENT_INFORMATION, EVENT_WARNING, EVENT_ERROR };

enum event_category {
    EVENT_CATEGORY_SERVICE = 1,  /* start, stop, configuration, clients */
    EVENT_CATEGORY_TASK = 2,     /* containers and processes */
    EVENT_CATEGORY_EXPORT = 3,   /* jobs, workers, staging */
    EVENT_CATEGORY_WATCHDOG = 4, /* stalls, ladders, lost calls */
    EVENT_CATEGORY_LAYER = 5,    /* mounts, scratch, destroy */
};
#define EVENT_CATEGORY_COUNT 5

enum event_id {
#define EVENT(number, name, severity, category, arguments, message, action) EVENT_##name = number,
#include "base/event.def"
#undef EVENT
};

struct event_entry {
    enum event_id id;
    const char *name; /* TASK_CREATE_FAILED */
    enum event_severity severity;
    enum event_category category;
    unsigned arguments;  /* how many insertion strings the message takes */
    const char *message; /* %1 … %9 are the insertion strings */
    const char *action;  /* what the operator is to do; "" where nothing */
};

/* The catalogue in ascending order of number. */
extern const struct event_entry event_catalogue[];
extern const size_t event_catalogue_size;
const struct event_entry *event_find(enum event_id id);
const char *event_category_name(enum event_category category);

struct event_sink {
    /* `arguments` are UTF-8 and live only for the call. Must not block. */
    void (*emit)(void *context, const struct event_entry *entry, const char *const *arguments);
    void (*debug)(void *context, const char *line);
    void *context;
};

/* Replaces the sink, once at process start and once at its end (NULL). Not while other threads emit. */
void event_set_sink(const struct event_sink *sink);

/* As many `const char *` follow as the entry has arguments (NULL counts as ""); the count is checked by the
 * macro-generated wrappers in the tests, and at run time: missing ones are never read. */
void event_emit(enum event_id id, ...);
/* The same with the arguments in an array; `count` that differs from the entry's is an error of the program. */
void event_emit_array(enum event_id id, const char *const *arguments, size_t count);

void log_debug(const char *format, ...) ERROR_PRINTF(1, 2);

/* The entry's message with its arguments filled in. The caller frees it. */
char *event_text(const struct event_entry *entry, const char *const *arguments);

#endif
