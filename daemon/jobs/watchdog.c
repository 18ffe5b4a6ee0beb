/* The one thread that runs the ladders. It sleeps until the nearest deadline, and for good when nothing runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/jobs/state.h"

#define THREAD_STACK (256u << 10)

void watchdog_kick(struct jobs *jobs)
{
    SetEvent(jobs->watchdog_wake);
}

void watchdog_expect(struct jobs *jobs, const struct watch *watch)
{
    if (watch_next_deadline(watch) < jobs->watchdog_ms)
        watchdog_kick(jobs);
}

static const char *in_hand(const struct job *job)
{
    return job->path != NULL && job->path[0] != '\0' ? job->path : job->object;
}

/* ---- the rungs; locked ------------------------------------------------------------------------------------------------- */

struct rung {
    struct job *job;
    uint64_t now_ms;
    char name[600]; /* "export abc-7 of C:\layers\app" */
    char seconds[24];
};

static void rung_notice(const struct rung *rung)
{
    event_emit(EVENT_STALL_NOTICED, rung->name, rung->seconds, rung->job->phase, in_hand(rung->job));
}

static void rung_go_around(const struct rung *rung)
{
    struct job *job = rung->job;
    event_emit(EVENT_STALL_GO_AROUND, rung->name, in_hand(job));
    worker_post(job->worker, json_pack("{s:s, s:s}", "type", "go_around", "job", job->id));
}

static struct error *deadline_error(const struct rung *rung)
{
    const struct job *job = rung->job;
    if (job_is_call(job) && strcmp(job->kind, "import") != 0)
        return error_make(ERROR_KIND_DEADLINE_EXCEEDED, supervise_operation(job), job->object,
                          "it has not returned within %u seconds", (unsigned)(job->jobs->limits.ms[WATCH_CALL] / 1000));
    return error_make(ERROR_KIND_DEADLINE_EXCEEDED, supervise_operation(job), job->object,
                      "no progress for %s seconds in phase %s, in hand: %s; its worker %u was ended", rung->seconds,
                      job->phase, in_hand(job), (unsigned)job->worker_pid);
}

static void rung_answer(const struct rung *rung)
{
    mounts_answer(rung->job, deadline_error(rung));
}

static void rung_kill(const struct rung *rung)
{
    struct job *job = rung->job;
    char pid[16];
    snprintf(pid, sizeof pid, "%u", (unsigned)job->worker_pid);
    if (!job->cancel_requested || job->complete)
        event_emit(EVENT_STALL_WORKER_KILLED, rung->name, pid, in_hand(job));
    if (job->kill_error == NULL)
        job->kill_error = deadline_error(rung);
    if (job_is_call(job))
        mounts_answer(job, error_copy(job->kill_error));
    worker_kill(job->worker);
}

static void rung_abandon(const struct rung *rung)
{
    worker_abandon(rung->job->worker);
}

static void climb(struct job *job, enum watch_action action, uint64_t now_ms)
{
    static void (*const rungs[WATCH_ACTION_COUNT])(const struct rung *rung) = {
        [WATCH_NOTICE] = rung_notice, [WATCH_GO_AROUND] = rung_go_around, [WATCH_ANSWER] = rung_answer,
        [WATCH_KILL] = rung_kill,     [WATCH_ABANDON] = rung_abandon,
    };
    struct rung rung = {.job = job, .now_ms = now_ms};
    snprintf(rung.name, sizeof rung.name, "%s %s of %s", job->kind, job->id, job->object);
    snprintf(rung.seconds, sizeof rung.seconds, "%llu",
             (unsigned long long)(watch_idle_ms(&job->watch, now_ms) / 1000));
    job->step = watch_action_name(action);
    job_note(job, "watchdog: %s after %s seconds without progress in phase %s", job->step, rung.seconds, job->phase);
    if (rungs[action] != NULL && (job->worker != NULL || action == WATCH_ANSWER))
        rungs[action](&rung);
}

/* ---- the thread -------------------------------------------------------------------------------------------------------- */

static uint64_t nearest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t look_at_jobs(struct jobs *jobs, uint64_t now_ms)
{
    uint64_t next = WATCH_NEVER;
    for (struct job *job = jobs->jobs, *following; job != NULL; job = following) {
        enum watch_action action;
        following = job->next;
        job_hold(job);
        while ((action = watch_tick(&job->watch, now_ms)) != WATCH_NONE)
            climb(job, action, now_ms);
        next = nearest(next, watch_next_deadline(&job->watch));
        if (job->answer_ms != WATCH_NEVER && now_ms >= job->answer_ms)
            supervise_answer(job);
        next = nearest(next, job->answer_ms);
        job_drop(job);
    }
    return next;
}

static uint64_t look_at_workers(struct jobs *jobs, uint64_t now_ms)
{
    uint64_t next = WATCH_NEVER;
    for (struct worker *worker = jobs->workers; worker != NULL; worker = worker->next) {
        enum watch_action action;
        while ((action = watch_tick(&worker->watch, now_ms)) != WATCH_NONE) {
            if (action == WATCH_KILL)
                worker_kill(worker);
            else if (action == WATCH_ABANDON)
                worker_abandon(worker);
        }
        next = nearest(next, watch_next_deadline(&worker->watch));
    }
    return next;
}

static DWORD WINAPI watchdog_thread(void *context)
{
    struct jobs *jobs = context;
    for (;;) {
        AcquireSRWLockExclusive(&jobs->lock);
        bool stop = jobs->watchdog == NULL;
        uint64_t now = clock_ms();
        uint64_t next = stop ? WATCH_NEVER : nearest(look_at_jobs(jobs, now), look_at_workers(jobs, now));
        if (!stop)
            next = nearest(next, janitor_tick(jobs, now));
        jobs->watchdog_ms = next;
        ReleaseSRWLockExclusive(&jobs->lock);
        if (stop)
            return 0;
        now = clock_ms();
        DWORD milliseconds = INFINITE;
        if (next != WATCH_NEVER)
            milliseconds = next <= now ? 0 : next - now < 0x7FFFFFFF ? (DWORD)(next - now) : 0x7FFFFFFF;
        /* A deadline that is now but brought nothing must not become a busy loop. */
        WaitForSingleObject(jobs->watchdog_wake, milliseconds == 0 ? 1 : milliseconds);
    }
}

struct error *watchdog_start(struct jobs *jobs)
{
    jobs->watchdog_wake = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (jobs->watchdog_wake == NULL)
        return error_win32(GetLastError(), "start the watchdog", NULL, NULL);
    AcquireSRWLockExclusive(&jobs->lock);
    jobs->watchdog = CreateThread(NULL, THREAD_STACK, watchdog_thread, jobs, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    DWORD code = GetLastError();
    ReleaseSRWLockExclusive(&jobs->lock);
    return jobs->watchdog != NULL ? NULL : error_win32(code, "start the watchdog", NULL, NULL);
}

void watchdog_stop(struct jobs *jobs)
{
    AcquireSRWLockExclusive(&jobs->lock);
    HANDLE thread = jobs->watchdog;
    jobs->watchdog = NULL;
    ReleaseSRWLockExclusive(&jobs->lock);
    if (thread != NULL) {
        SetEvent(jobs->watchdog_wake);
        WaitForSingleObject(thread, INFINITE); /* it does nothing that blocks */
        CloseHandle(thread);
    }
    win_close(jobs->watchdog_wake);
}
