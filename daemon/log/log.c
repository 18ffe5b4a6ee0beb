#include "daemon/log/log.h"

#include <stdatomic.h>
#include <windows.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/log/console.h"
#include "daemon/log/event_log.h"
#include "daemon/log/log_file.h"

#define QUEUE_LIMIT 4096

struct log {
    struct event_log *event_log;
    struct log_writer *writer; /* console and file */
    bool console;
    _Atomic(struct log_file *) file;
    struct buffer line; /* the writer's thread */
};

static void write_record(void *context, const struct log_record *record, uint64_t lost)
{
    struct log *log = context;
    struct log_file *file = atomic_load(&log->file);
    if (file != NULL) {
        buffer_clear(&log->line);
        log_record_json(record, lost, &log->line);
        log_file_write(file, log->line.data, log->line.size);
    }
    if (log->console && record->entry != NULL) {
        buffer_clear(&log->line);
        log_record_text(record, lost, &log->line);
        console_write(GetStdHandle(STD_ERROR_HANDLE), (const char *)log->line.data, log->line.size);
    }
}

static void log_emit(void *context, const struct event_entry *entry, const char *const *arguments)
{
    struct log *log = context;
    if (log->event_log != NULL)
        event_log_put(log->event_log, entry, arguments);
    if (log->console || atomic_load(&log->file) != NULL)
        log_writer_put(log->writer, log_record_new(entry, arguments, clock_wall_ns()));
}

static void log_line(void *context, const char *line)
{
    struct log *log = context;
    if (atomic_load(&log->file) != NULL)
        log_writer_put(log->writer, log_record_new(NULL, &line, clock_wall_ns()));
}

struct error *log_open(const char *source, bool console, struct log **ret_log)
{
    struct log *log = mem_new(struct log);
    log->console = console;
    struct log_writer_options options = {.limit = QUEUE_LIMIT, .write = write_record, .context = log};
    struct error *error = log_writer_open(&options, &log->writer);
    if (error == NULL && source != NULL)
        error = event_log_open(source, NULL, &log->event_log);
    if (error != NULL) {
        log_close(log, INFINITE);
        return error;
    }
    event_set_sink(&(struct event_sink){.emit = log_emit, .debug = log_line, .context = log});
    *ret_log = log;
    return NULL;
}

struct error *log_add_file(struct log *log, const char *folder)
{
    struct log_file *file = NULL;
    struct error *error = log_file_open(folder, 0, &file);
    if (error == NULL)
        atomic_store(&log->file, file);
    return error;
}

static unsigned left_until(uint64_t end)
{
    uint64_t now = clock_ms();
    return now < end ? (unsigned)(end - now) : 0;
}

void log_flush(struct log *log, unsigned milliseconds)
{
    uint64_t end = clock_ms() + milliseconds;
    log_writer_flush(log->writer, milliseconds);
    if (log->event_log != NULL)
        event_log_flush(log->event_log, left_until(end));
}

void log_close(struct log *log, unsigned milliseconds)
{
    if (log == NULL)
        return;
    event_set_sink(NULL);
    uint64_t end = clock_ms() + milliseconds;
    bool ended = log_writer_close(log->writer, milliseconds);
    event_log_close(log->event_log, left_until(end));
    if (!ended)
        return; /* the thread still uses it */
    log_file_close(atomic_load(&log->file));
    buffer_free(&log->line);
    free(log);
}
