/* hcsd as a whole, without the service manager: opens everything in order and closes it in reverse. Windows only; one thread
 * at a time. */
#ifndef HCSD_DAEMON_DAEMON_H
#define HCSD_DAEMON_DAEMON_H

#include <stdbool.h>

#include "base/error.h"
#include "daemon/log/log.h"

struct daemon;

/* Called while something long makes headway, at least every few seconds. */
struct daemon_progress {
    void (*step)(void *context);
    void *context;
};

struct daemon_options {
    const char *service;     /* its name */
    const char *config_file; /* absolute; NULL: %ProgramData%\hcsd\config.json, which may be absent */
    struct log *log;         /* gets the log file of the state folder */
    /* Called once, from any thread, when too many calls into HCS were lost: hcsd is to be ended and started again. Must not
     * block. */
    void (*exhausted)(void *context);
    void *context;
};

/* Returns when the pipe answers. What an older Windows lacks is told by events; HCS that cannot be used is no failure, calls
 * that need it are (health is then NOT_SERVING). */
struct error *daemon_start(const struct daemon_options *options, const struct daemon_progress *progress,
                           struct daemon **ret_daemon) ERROR_MUST_CHECK;

/* Reads the configuration again and tells what changed, or that it was not taken and why. */
void daemon_reload(struct daemon *daemon);

/* Refuses new work, lets what is under way end for at most `milliseconds`, cancels the rest, closes. Containers go on
 * running. With `milliseconds` 0 nothing is waited for. The pointer is gone. False: threads or calls are left that would not end; the
 * process must be ended the hard way (process_end). */
bool daemon_stop(struct daemon *daemon, unsigned milliseconds, const struct daemon_progress *progress);

/* At the shutdown of the machine, when HCS stops beside us: refuses new work and tells that it has stopped. Makes no call into
 * HCS and waits for nothing: what must survive is in the journal already. The process must be ended the hard way next. */
void daemon_leave(struct daemon *daemon);

#endif
