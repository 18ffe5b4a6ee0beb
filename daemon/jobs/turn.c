/* PrepareLayer's turn: one at a time over all workers, for parallel calls time out (layers.md 2). docs/worker.md tells the rest. */
#include <string.h>

#include "daemon/jobs/state.h"

static void tell(struct job *job, const char *type)
{
    if (job->worker != NULL)
        worker_post(job->worker, json_pack("{s:s, s:s, s:s}", "type", type, "step", "prepare", "job", job->id));
}

void turn_lend(struct job *job, json_t *message)
{
    struct jobs *jobs = job->jobs;
    if (strcmp(job->kind, "mount") != 0 || jobs->turn_holder != NULL)
        return;
    jobs->turn_holder = job;
    job->turn_lent = true;
    json_object_set_new(message, "turn", json_true());
}

void turn_take(struct job *job)
{
    struct jobs *jobs = job->jobs;
    if (jobs->turn_holder == NULL) {
        jobs->turn_holder = job;
        tell(job, "grant");
        return;
    }
    job->wants_turn = true;
    job->turn_order = jobs->next_turn++;
    if (jobs->turn_holder->turn_lent) {
        jobs->turn_holder->turn_lent = false;
        tell(jobs->turn_holder, "recall");
    }
}

void turn_pass(struct job *job)
{
    struct jobs *jobs = job->jobs;
    struct job *next = NULL;
    job->wants_turn = job->turn_lent = false;
    if (jobs->turn_holder != job)
        return;
    jobs->turn_holder = NULL;
    for (struct job *other = jobs->jobs; other != NULL; other = other->next)
        if (other->wants_turn && other->worker != NULL && (next == NULL || other->turn_order < next->turn_order))
            next = other;
    if (next == NULL)
        return;
    next->wants_turn = false;
    jobs->turn_holder = next;
    tell(next, "grant");
}
