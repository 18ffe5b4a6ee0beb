/* A worker process: started in the job object that dies with hcsd, with one pipe to it and nothing else inherited; ended by
 * force; recognised later by its number and time of creation. Windows only; thread-safe; nothing here waits. */
#ifndef HCSD_DAEMON_JOBS_PROCESS_H
#define HCSD_DAEMON_JOBS_PROCESS_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct process {
    HANDLE handle;
    uint32_t pid;
    uint64_t created; /* FILETIME */
};

/* Kill-on-close, its handle not inheritable. */
struct error *process_job_new(HANDLE *ret_job) ERROR_MUST_CHECK;

struct process_start {
    const char *image;       /* NULL: this process's own */
    const char *hcs_library; /* NULL: System32's */
    HANDLE job;
};
/* *ret_pipe is hcsd's end, for overlapped I/O. */
struct error *process_begin(const struct process_start *start, struct process *ret_process,
                            HANDLE *ret_pipe) ERROR_MUST_CHECK;
void process_close(struct process *process);

/* Success means that it has begun to end. Dead is a process only when its handle is signalled. */
void process_end_by_force(const struct process *process);
bool process_has_ended(const struct process *process, uint32_t *ret_code);

/* The process with this number if it is the one that was created then and has not ended: *ret_handle can be waited for.
 * False otherwise. */
bool process_find(uint32_t pid, uint64_t created, HANDLE *ret_handle);

/* What tests replace to get a process that does not die. */
struct process_calls {
    void (*terminate)(HANDLE process);
};
extern struct process_calls process_calls;

#endif
