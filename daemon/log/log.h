/* Where this process's events and debug lines go: the event log, the JSON log file, and a console. Opening it sets the sink
 * of base/event.h for the process. Windows only. */
#ifndef HCSD_DAEMON_LOG_LOG_H
#define HCSD_DAEMON_LOG_LOG_H

#include <stdbool.h>

#include "base/error.h"

struct log;

/* Events go to the event log as `source` at once (NULL: none), and as text to stderr when `console`. */
struct error *log_open(const char *source, bool console, struct log **ret_log) ERROR_MUST_CHECK;

/* From here on events and debug lines also go to FOLDER\hcsd.log; what was told before is not repeated there. Once. */
struct error *log_add_file(struct log *log, const char *folder) ERROR_MUST_CHECK;

/* Waits at most `milliseconds` until what was told so far has been written: for a process that is about to end with threads
 * left that may still tell something. */
void log_flush(struct log *log, unsigned milliseconds);

/* Takes the sink away and waits at most `milliseconds` for what is queued. Nobody may emit any more. NULL is fine. */
void log_close(struct log *log, unsigned milliseconds);

#endif
