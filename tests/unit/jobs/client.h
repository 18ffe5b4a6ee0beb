/* A client of the job queue: submits an export and remembers what it was told. */
#ifndef HCSD_TESTS_JOBS_CLIENT_H
#define HCSD_TESTS_JOBS_CLIENT_H

#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/jobs/jobs.h"

#define PATIENCE_MS 60000 /* a bound, not a measure: what takes longer is stuck */

struct client {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
    struct jobs *jobs;
    char *id;
    bool hold; /* does not take its data */
    bool untaken, closed;
    uint64_t bytes; /* of data */
    char data_digest[72];
    void *digest;
    unsigned progress, results, cleanups, failures;
    struct export_result *result;
    struct error *error;
    char cleanup[16];   /* the last outcome */
    char outcomes[128]; /* all of them */
    size_t left;
    char order[512]; /* what came, one letter each: p d r c f . */
};

/* Submits; the expected error kind, or 0. */
void client_submit(struct client *client, struct jobs *jobs, const struct export_request *request, uint64_t key,
                   enum error_kind expected);
void client_free(struct client *client);
/* Each waits until it has happened, at most PATIENCE_MS. */
void client_wait_closed(struct client *client);
void client_wait_result(struct client *client);
void client_wait_data(struct client *client);
void client_take(struct client *client); /* from here on it takes its data */
void client_expect_error(struct client *client, enum error_kind kind, const char *words); /* NULL: any */
void client_expect_done(struct client *client);

#endif
