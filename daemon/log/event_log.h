/* Events into the Windows event log. ReportEvent is a call into the EventLog service and can block or fail, at boot above
 * all: it is made from a writer's thread (daemon/log/writer.h), and what was lost is told by the event EVENTS_LOST as soon as
 * one gets through again. Windows only. */
#ifndef HCSD_DAEMON_LOG_EVENT_LOG_H
#define HCSD_DAEMON_LOG_EVENT_LOG_H

#include <windows.h>

#include "daemon/log/writer.h"

/* The calls, for tests; the system's when NULL is given. */
struct event_log_calls {
    HANDLE(WINAPI *open)(const wchar_t *server, const wchar_t *source);
    BOOL(WINAPI *report)
    (HANDLE log, WORD type, WORD category, DWORD id, PSID user, WORD count, DWORD size, const wchar_t **strings,
     void *data);
    BOOL(WINAPI *close)(HANDLE log);
};

struct event_log;

/* `source`: the service's name. Nothing is opened before the first event. */
struct error *event_log_open(const char *source, const struct event_log_calls *calls,
                             struct event_log **ret_log) ERROR_MUST_CHECK;
/* Thread-safe, never blocks. */
void event_log_put(struct event_log *log, const struct event_entry *entry, const char *const *arguments);
/* Waits at most `milliseconds` until what is queued has been written. */
void event_log_flush(struct event_log *log, unsigned milliseconds);
/* Waits at most `milliseconds` for what is queued; a log that is stuck is left to the end of the process. NULL is fine. */
void event_log_close(struct event_log *log, unsigned milliseconds);

#endif
