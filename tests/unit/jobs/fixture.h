/* What the tests of daemon/jobs share: a folder of their own with layers and a private emulator, listeners that remember
 * what they were told, the events, and faults. The test program is its own worker image. */
#ifndef HCSD_TESTS_JOBS_FIXTURE_H
#define HCSD_TESTS_JOBS_FIXTURE_H

#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/jobs/jobs.h"
#include "daemon/jobs/process.h"

#include "client.h"

struct fixture {
    char *root, *emulator, *library, *staging, *state, *out, *layers; /* absolute paths */
    struct jobs *jobs;
};

/* `name` is the program's: folders of different programs do not meet. Called once per program, before all else: it becomes a
 * worker when the command line says so, and a daemon of the restart test when it says that. */
void fixture_main(const char *name);
/* A fresh folder; NULL options: two workers, a queue of 4, stall and calls 20 s, destroy 2 s: what is not about time does not
 * depend on it. */
void fixture_open(struct fixture *fixture, const struct jobs_options *options);
void fixture_open_jobs(struct fixture *fixture, const struct jobs_options *options); /* again, after a close */
void fixture_close_jobs(struct fixture *fixture);
/* Closes, and checks that nothing is left: no staging folder, nothing activated, no process of ours. */
void fixture_close(struct fixture *fixture);
struct jobs_options fixture_options(void);
const char *fixture_image(void);
void fixture_check(struct error *error); /* fails the test with it, unless it is NULL */

/* A layer folder whose merged view has `files` small files and `big` bytes in one more. Returns its path. */
char *fixture_layer(const struct fixture *fixture, const char *name, unsigned files, size_t big);
void fixture_scratch(const struct fixture *fixture, const char *name, char **ret_path);

/* Rows of the emulator's fault file, "" for none. */
void fixture_faults(const struct fixture *fixture, const char *rows);
/* "KIND PHASE hang|crash": what the worker is to do when a job gets there; "rename refused": somebody has something open in every
 * folder; "" for nothing. hang lasts until it is changed. */
void fixture_phase_fault(const struct fixture *fixture, const char *fault);

/* What workers were asked to mount volumes on so far, "FOLDER VOLUME" or "FOLDER off" a line; a folder with "refused" in its name is.
 * The caller frees it. */
char *fixture_targets(const struct fixture *fixture);

/* What the emulator's broker holds; the caller frees it with json_decref. */
struct json_t;
struct json_t *fixture_books(const struct fixture *fixture);
void fixture_check_released(const struct fixture *fixture);
size_t fixture_count_entries(const char *folder); /* . and .. not counted */
bool fixture_exists(const char *path);

/* ---- jobs ---- */

/* Waits until the job is in the phase (or in the state); *ret_pid (may be NULL) is its worker. */
void job_wait(struct jobs *jobs, const char *id, const char *phase, uint32_t *ret_pid);
struct job_view *job_look(struct jobs *jobs, const char *id, size_t *ret_count);

/* ---- events ---- */

void events_clear(void);
/* The names of those that came since, in order, with a blank between; only those of which `filter` (a list of names, NULL:
 * all) has one. The caller frees it. */
char *events_seen(const char *filter);
void events_wait(const char *name, unsigned count);
/* Whether an event of that name had `words` in one of its arguments. */
bool events_said(const char *name, const char *words);
void events_print(void); /* all that came, to stderr */

void kill_process(uint32_t pid);

#endif
