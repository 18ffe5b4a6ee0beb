/* The worker process: `hcsd.exe --worker --control HANDLE [--hcs-library PATH]`. Started by daemon/jobs and by nobody else.
 *
 * It makes the storage calls and walks and removes folders, so that none of this can block or end hcsd.exe. It does one
 * job at a time, tells its phase and progress while it does, and ends when the pipe to hcsd breaks. An exception that
 * nobody handles becomes its exit code. docs/worker.md has the protocol. */
#ifndef HCSD_DAEMON_WORKER_WORKER_H
#define HCSD_DAEMON_WORKER_WORKER_H

#include <stdbool.h>
#include <wchar.h>

/* Whether the command line asks for a worker: argv[1] is --worker. */
bool worker_wanted(int argc, wchar_t **argv);
/* To be called first thing in wmain; returns the process's exit code, if it returns. */
int worker_main(int argc, wchar_t **argv);

/* A test's worker image may block, crash or note here what a job has reached: called on the job's thread as each phase
 * begins. NULL in hcsd.exe. */
extern void (*worker_phase_hook)(const char *kind, const char *phase);
/* MoveFileExW, and what a test puts in its place: Windows refuses to rename a folder below which anything is open, Wine does
 * not. */
extern bool (*worker_rename_folder)(const wchar_t *from, const wchar_t *to);

#endif
