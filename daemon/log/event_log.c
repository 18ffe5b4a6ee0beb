#include "daemon/log/event_log.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"

#define QUEUE_LIMIT 512

struct event_log {
    struct event_log_calls calls;
    wchar_t *source;
    HANDLE handle; /* the writer's thread opens it */
    uint64_t lost; /* on the writer's thread: dropped or refused, not told yet */
    struct log_writer *writer;
};

static const WORD types[] = {
    [EVENT_INFORMATION] = EVENTLOG_INFORMATION_TYPE,
    [EVENT_WARNING] = EVENTLOG_WARNING_TYPE,
    [EVENT_ERROR] = EVENTLOG_ERROR_TYPE,
};

static bool report(struct event_log *log, const struct event_entry *entry, const char *const *arguments)
{
    wchar_t *strings[LOG_ARGUMENTS_MAX] = {0};
    if (log->handle == NULL)
        log->handle = log->calls.open(NULL, log->source);
    if (log->handle == NULL)
        return false;
    for (unsigned i = 0; i < entry->arguments; i++) {
        char *text = log_event_string(arguments[i]);
        struct error *error = win_wide(text, &strings[i]);
        error_free(error); /* log_event_string gives UTF-8 only */
        free(text);
    }
    bool done = log->calls.report(log->handle, types[entry->severity], (WORD)entry->category, log_event_id(entry), NULL,
                                  (WORD)entry->arguments, 0, (const wchar_t **)strings, NULL) != 0;
    for (unsigned i = 0; i < entry->arguments; i++)
        free(strings[i]);
    if (!done) {
        log->calls.close(log->handle); /* the EventLog service may have been restarted: a new handle next time */
        log->handle = NULL;
    }
    return done;
}

static void event_log_write(void *context, const struct log_record *record, uint64_t lost)
{
    struct event_log *log = context;
    log->lost += lost;
    if (log->lost != 0) {
        char *count = str_format("%llu", (unsigned long long)log->lost);
        if (report(log, event_find(EVENT_EVENTS_LOST), (const char *const[]){count}))
            log->lost = 0;
        free(count);
    }
    if (!report(log, record->entry, (const char *const *)record->arguments))
        log->lost++;
}

struct error *event_log_open(const char *source, const struct event_log_calls *calls, struct event_log **ret_log)
{
    static const struct event_log_calls system_calls = {RegisterEventSourceW, ReportEventW, DeregisterEventSource};
    struct event_log *log = mem_new(struct event_log);
    log->calls = calls == NULL ? system_calls : *calls;
    struct error *error = win_wide(source, &log->source);
    if (error == NULL) {
        struct log_writer_options options = {.limit = QUEUE_LIMIT, .write = event_log_write, .context = log};
        error = log_writer_open(&options, &log->writer);
    }
    if (error != NULL) {
        free(log->source);
        free(log);
        return error;
    }
    *ret_log = log;
    return NULL;
}

void event_log_put(struct event_log *log, const struct event_entry *entry, const char *const *arguments)
{
    log_writer_put(log->writer, log_record_new(entry, arguments, clock_wall_ns()));
}

void event_log_flush(struct event_log *log, unsigned milliseconds)
{
    log_writer_flush(log->writer, milliseconds);
}

void event_log_close(struct event_log *log, unsigned milliseconds)
{
    if (log == NULL || !log_writer_close(log->writer, milliseconds))
        return;
    if (log->handle != NULL)
        log->calls.close(log->handle);
    free(log->source);
    free(log);
}
