/* The JSON log file: FOLDER\hcsd.log, one object a line, rotated by size (hcsd.log.1 is the newest of the old ones). Never
 * more than LOG_FILE_SIZE_MAX * (LOG_FILE_COUNT + 1) bytes in all. Not thread-safe: a writer's thread uses it. Windows only. */
#ifndef HCSD_DAEMON_LOG_LOG_FILE_H
#define HCSD_DAEMON_LOG_LOG_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define LOG_FILE_SIZE_MAX (8u << 20)
#define LOG_FILE_COUNT    4u /* the current one and three old ones */

struct log_file;

/* The folder is made when it is absent. Tests choose a smaller `size_max`; 0: LOG_FILE_SIZE_MAX. */
struct error *log_file_open(const char *folder, uint64_t size_max, struct log_file **ret_file) ERROR_MUST_CHECK;
/* Adds one line. What cannot be written (a full disk) is dropped. */
void log_file_write(struct log_file *file, const void *line, size_t size);
void log_file_close(struct log_file *file); /* NULL is fine */

#endif
