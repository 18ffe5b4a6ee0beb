/* A logger: a program that takes the output of one process (binary:///C:/dir/name.exe?k=v; facts containerd.md 4, from
 * containerd's docs/runtime-v2.md and hcsshim's internal/cmd/io_binary.go).
 *
 * It is started with the pipes to read from in its environment (CONTAINER_STDOUT, CONTAINER_STDERR), and with CONTAINER_WAIT,
 * a pipe that it connects to and closes, or writes one byte to, when it is ready: it has LOGGER_READY_MS for that. Nothing else
 * is in its environment but CONTAINER_ID and CONTAINER_NAMESPACE; its arguments are the URL's keys and values. It runs as
 * SYSTEM, so it must be a program that only administrators can write; who may name one is as good as an administrator. At the
 * end its pipes are closed; it has LOGGER_END_MS to end by itself. */
#ifndef HCSD_DAEMON_RELAY_LOGGER_H
#define HCSD_DAEMON_RELAY_LOGGER_H

#include "daemon/relay/loop.h"
#include "relay/endpoint.h"

#define LOGGER_READY_MS 10000u
#define LOGGER_END_MS   10000u

struct logger;

/* `done` is called once, on the loop's thread, not before this returns: with an error, or with our ends of its pipes (NULL
 * where the process has no such stream), tied to the loop, for the caller to close. `id` names the container and
 * the exec. */
typedef void (*logger_done)(void *context, struct error *error, HANDLE out, HANDLE err);
struct logger *logger_start(struct loop *loop, const struct endpoint *endpoint, const char *containerd_namespace,
                            const char *id, bool has_stdout, bool has_stderr, logger_done done, void *context);
/* Its pipes are closed by now, or `done` is not wanted any more: waits for its end on its own, ends it when it is late, and
 * frees it. NULL is fine. */
void logger_end(struct logger *logger);

#endif
