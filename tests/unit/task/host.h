/* What a test of lib/task needs around it: the emulator in a folder of its own, lib/hcs over it, tasks over that, bundles and
 * layers on disk, and every asynchronous call as one that returns. Each wait has a bound; none measures time. */
#ifndef HCSD_TEST_TASK_HOST_H
#define HCSD_TEST_TASK_HOST_H

#include "hcs/compute.h" /* before all else: windows.h */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/relays.h"
#include "task/tasks.h"

#define HOST_BOUND_MS      60000u
#define HOST_DRAIN_SECONDS 2

struct host {
    struct hcs_library *library;
    struct guard *guard;
    struct compute *compute;
    struct relays *relays;
    struct tasks *tasks;
    char *folder; /* of this program, with the emulator in it */
    uint64_t event_count;
    unsigned
        kill_seconds; /* kill.answer_seconds: 3, unless set behind host_begin by a program that tests no stuck kill */
};
extern struct host host;

/* From a program's command line: where the emulator was built, the stdio relay, and which tests (a pattern; all without). False when
 * the first two are missing. */
bool host_begin(int argc, char **argv);
void host_end(void);

/* cmocka fixtures: tasks with short bounds over an empty journal; closed, and checked to have left nothing, at the end. */
int host_setup(void **state);
int host_teardown(void **state);
/* Opens the tasks over the journal that there is, once they were closed. */
void host_open(bool terminate_survivors);
/* Closes and opens the tasks, as a restart does; *options may change them (NULL: as before). */
void host_restart(bool terminate_survivors);

/* A bundle whose init runs `command` in layers of its own; the folder's path. The caller frees it. */
char *host_bundle(const char *id, const char *command);
/* The same with more members in windows and at the top: `,"hyperv":{}`. */
char *host_bundle_with(const char *id, const char *command, const char *windows, const char *top);
/* The same with a config.json of its own. */
char *host_bundle_text(const char *id, const char *config);
char *host_path(const char *name);  /* below the folder; the caller frees it */
char *host_state(void);             /* the state folder of the test that runs; the caller frees it */
void host_faults(const char *rows); /* NULL: none */

/* An answer: an error, or a view; host_answer_free. */
struct answer {
    bool called;
    struct error *error;
    enum task_status status;
    uint32_t pid, exit_status;
    int64_t exited_ns;
    char *stuck;
    DWORD thread; /* that it came on */
};
void answer_free(struct answer *answer);

struct request; /* one that is under way */
/* For calls that have no begin_…: request_done is the completion, the request its context. */
struct request *request_new(void);
void request_done(void *context, struct error *error, const struct task_view *view);
struct request *begin_create(const char *id, const char *bundle);
struct request *begin_create_stdio(const char *id, const char *bundle, const char *in, const char *out,
                                   const char *error);
struct request *begin_start(const char *id);
struct request *begin_exec(const char *id, const char *exec_id, const char *command, const char *out);
struct request *begin_start_exec(const char *id, const char *exec_id);
struct request *begin_wait_exec(const char *id, const char *exec_id);
struct request *begin_kill_exec(const char *id, const char *exec_id, uint32_t signal);
struct request *begin_delete_exec(const char *id, const char *exec_id);
struct request *begin_kill(const char *id, uint32_t signal);
struct request *begin_delete(const char *id, bool force);
struct request *begin_wait(const char *id);
uint64_t request_ticket(const struct request *request);
bool request_answered(struct request *request);
/* Waits for the answer; frees the request. */
struct answer finish(struct request *request);
void abandon(struct request *request); /* one whose completion will not come */

/* Create and so on, which must succeed. */
void expect_ok(struct request *request, const char *what);
/* Fails with this kind, and with `part` (may be NULL) somewhere in its text. */
void expect_error(struct request *request, enum error_kind kind, const char *part);
uint32_t expect_exit(const char *id);      /* waits; the code */
enum task_status state_of(const char *id); /* TASK_UNKNOWN: not found */

/* Events: "topic id status code\n" each, in order. */
char *events(void);
void await_event_text(const char *part);
size_t event_lines(const char *part);
/* Operator events (base/event.h) seen so far. */
bool operator_event(const char *name, const char *part);
void await_operator_event(const char *name, const char *part);

void await(bool (*condition)(void *context), void *context, const char *what);
unsigned long host_handles(void); /* of this process */
bool host_layer_mounted(const char *id);

#endif
