/* The threads that serve clients: a pool of their own, so that clients take no thread from what else the process does, and so many
 * at most that a crowd of clients takes a known amount of memory. Thread-safe; nothing blocks. */
#ifndef HCSD_DAEMON_RPC_PIPE_POOL_H
#define HCSD_DAEMON_RPC_PIPE_POOL_H

#include "base/error.h"

/* What is done on them does not wait (call.h), but for the lookup of an account's name that is not known yet; so this leaves
 * some to serve others while many of those wait. */
#define PIPE_POOL_THREADS 32u

struct pipe_pool;

struct error *pipe_pool_open(struct pipe_pool **ret_pool) ERROR_MUST_CHECK;
/* What was submitted still runs. Takes NULL. */
void pipe_pool_close(struct pipe_pool *pool);

/* A PTP_CALLBACK_ENVIRON, for as long as the pool is open. */
void *pipe_pool_environment(struct pipe_pool *pool);
/* Runs it on a thread of the pool once nothing else waits for one; at once when the system has no resources. */
void pipe_pool_run_last(struct pipe_pool *pool, void (*run)(void *context), void *context);

#endif
