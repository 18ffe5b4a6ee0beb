/* A bounded queue with a thread that takes records out of it: what stands between those who tell something and a place
 * that may be slow or stuck (the event log service, a disk). Windows only. */
#ifndef HCSD_DAEMON_LOG_WRITER_H
#define HCSD_DAEMON_LOG_WRITER_H

#include "daemon/log/record.h"

struct log_writer;

struct log_writer_options {
    size_t limit; /* records that wait; one more is dropped and counted */
    /* Called on the writer's thread, one record at a time; may block. `lost` records were dropped since the last call. */
    void (*write)(void *context, const struct log_record *record, uint64_t lost);
    void *context;
};

struct error *log_writer_open(const struct log_writer_options *options,
                              struct log_writer **ret_writer) ERROR_MUST_CHECK;

/* Takes the record. Thread-safe; never waits for `write`. */
void log_writer_put(struct log_writer *writer, struct log_record *record);

/* Waits at most `milliseconds` until everything that was put before has been written. */
void log_writer_flush(struct log_writer *writer, unsigned milliseconds);

/* Lets what is queued be written, for at most `milliseconds`, and ends the thread. False: `write` did not come back; the
 * writer and whatever `context` is must then stay. Nobody may put any more. NULL is fine. */
bool log_writer_close(struct log_writer *writer, unsigned milliseconds);

#endif
