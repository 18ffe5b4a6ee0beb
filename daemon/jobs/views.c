/* Snapshots, for those who look on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "daemon/jobs/state.h"

static char *printable(const char *text)
{
    return text == NULL ? str_copy("") : text_printable(text, strlen(text), 0);
}

static double seconds_since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? (double)(now_ms - then_ms) / 1000 : 0;
}

static void fill(struct job_view *view, const struct job *job, uint64_t now_ms)
{
    bool running = job->watch.kind != NULL;
    *view = (struct job_view){
        .id = str_copy(job->id),
        .kind = str_copy(job->kind),
        .object = printable(job->object),
        .state = str_copy(job_state_name(job->state)),
        .phase = str_copy(job->phase),
        .cleanup = str_copy(job->cleanup),
        .client = printable(job->client),
        .step = str_copy(job->step),
        .path = printable(job->path),
        .submitted_ns = job->submitted_ns,
        .started_ns = job->started_ns,
        .ended_ns = job->ended_ns,
        .age_seconds = seconds_since(job->submitted_ms, job->ended_ms != 0 && !running ? job->ended_ms : now_ms),
        .last_progress_seconds = running ? (double)watch_idle_ms(&job->watch, now_ms) / 1000 : 0,
        .worker_pid = job->worker_pid,
        .attempts = job->attempts,
        .counters = job->counters,
        .result = job->result != NULL ? export_result_copy(job->result) : NULL,
        .error = job->error != NULL ? error_copy(job->error) : NULL,
        .history_count = job->history_count,
    };
    view->history = mem_zero_array(job->history_count + 1, sizeof view->history[0]);
    for (size_t i = 0; i < job->history_count; i++) {
        view->history[i].at_ns = job->history[i].at_ns;
        view->history[i].text = str_copy(job->history[i].text);
    }
}

void jobs_view(struct jobs *jobs, const char *id, struct job_view **ret_views, size_t *ret_count)
{
    size_t count = 0;
    AcquireSRWLockShared(&jobs->lock);
    for (const struct job *job = jobs->jobs; job != NULL; job = job->next)
        count++;
    struct job_view *views = mem_new_array(count + 1, struct job_view);
    uint64_t now_ms = clock_ms();
    count = 0;
    for (const struct job *job = jobs->jobs; job != NULL; job = job->next)
        if (id == NULL || strcmp(job->id, id) == 0)
            fill(&views[count++], job, now_ms);
    ReleaseSRWLockShared(&jobs->lock);
    *ret_views = views;
    *ret_count = count;
}

void job_views_free(struct job_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct job_view *view = &views[i];
        char *texts[] = {view->id,      view->kind,   view->object, view->state, view->phase,
                         view->cleanup, view->client, view->step,   view->path};
        for (size_t j = 0; j < sizeof texts / sizeof texts[0]; j++)
            free(texts[j]);
        for (size_t j = 0; j < view->history_count; j++)
            free(view->history[j].text);
        free(view->history);
        export_result_free(view->result);
        error_free(view->error);
    }
    free(views);
}

void jobs_workers(struct jobs *jobs, struct worker_view **ret_workers, size_t *ret_count)
{
    static const char *const states[] = {[WORKER_STARTING] = "busy",
                                         [WORKER_IDLE] = "idle",
                                         [WORKER_BUSY] = "busy",
                                         [WORKER_ENDING] = "ending",
                                         [WORKER_ABANDONED] = "abandoned"};
    static const char *const lanes[] = {[LANE_EXPORT] = "export", [LANE_MOUNT] = "mount", [LANE_CLEAN] = "clean"};
    size_t count = 0;
    AcquireSRWLockShared(&jobs->lock);
    for (const struct worker *worker = jobs->workers; worker != NULL; worker = worker->next)
        count++;
    for (const struct zombie *zombie = jobs->zombies; zombie != NULL; zombie = zombie->next)
        count++;
    struct worker_view *views = mem_new_array(count + 1, struct worker_view);
    count = 0;
    for (const struct worker *worker = jobs->workers; worker != NULL; worker = worker->next) {
        struct worker_view *view = &views[count++];
        view->pid = worker->process.pid;
        view->state = worker->killed ? "ending" : states[worker->state];
        view->lane = lanes[worker->lane];
        if (worker->job != NULL)
            snprintf(view->job, sizeof view->job, "%s", worker->job->id);
    }
    for (const struct zombie *zombie = jobs->zombies; zombie != NULL; zombie = zombie->next) {
        if (zombie->gone)
            continue;
        views[count].pid = zombie->process.pid;
        views[count].lane = "";
        views[count++].state = "abandoned";
    }
    ReleaseSRWLockShared(&jobs->lock);
    *ret_workers = views;
    *ret_count = count;
}

void jobs_quarantined(struct jobs *jobs, char ***ret_folders, size_t *ret_count)
{
    size_t count = 0;
    AcquireSRWLockShared(&jobs->lock);
    for (const struct remains *remains = jobs->remains; remains != NULL; remains = remains->next)
        count++;
    char **folders = mem_new_array(count + 1, char *);
    count = 0;
    for (const struct remains *remains = jobs->remains; remains != NULL; remains = remains->next)
        if (remains->quarantined && remains->staging != NULL)
            folders[count++] = str_copy(remains->staging);
        else if (remains->making && remains->making_told)
            folders[count++] = str_copy(remains->layer);
    ReleaseSRWLockShared(&jobs->lock);
    *ret_folders = folders;
    *ret_count = count;
}
