#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "export/sha256.h"
#include "fixture.h"

static void note(struct client *client, char letter)
{
    size_t size = strlen(client->order);
    if (size + 1 < sizeof client->order && (size == 0 || letter == '.' || client->order[size - 1] != letter))
        client->order[size] = letter;
}

static void on_progress(void *context, const struct export_counters *counters, const char *phase, const char *path)
{
    struct client *client = context;
    (void)counters;
    (void)path;
    AcquireSRWLockExclusive(&client->lock);
    assert_non_null(phase);
    client->progress++;
    note(client, 'p');
    ReleaseSRWLockExclusive(&client->lock);
}

static void on_data(void *context, const uint8_t *data, size_t size)
{
    struct client *client = context;
    AcquireSRWLockExclusive(&client->lock);
    assert_false(client->untaken);
    client->untaken = true;
    client->bytes += size;
    sha256_add(client->digest, data, size);
    note(client, 'd');
    bool take = !client->hold && client->id != NULL;
    if (take)
        client->untaken = false;
    ReleaseSRWLockExclusive(&client->lock);
    WakeAllConditionVariable(&client->changed);
    if (take)
        jobs_data_taken(client->jobs, client->id);
}

static void on_result(void *context, const struct export_result *result)
{
    struct client *client = context;
    uint8_t digest[32];
    AcquireSRWLockExclusive(&client->lock);
    client->results++;
    client->result = export_result_copy(result);
    sha256_end(client->digest, digest);
    sha256_text(digest, client->data_digest);
    note(client, 'r');
    ReleaseSRWLockExclusive(&client->lock);
    WakeAllConditionVariable(&client->changed);
}

static void on_cleanup(void *context, const char *outcome, double seconds, const struct export_deviation *left,
                       size_t count)
{
    struct client *client = context;
    (void)left;
    AcquireSRWLockExclusive(&client->lock);
    assert_true(seconds >= 0);
    client->cleanups++;
    client->left = count;
    snprintf(client->cleanup, sizeof client->cleanup, "%s", outcome);
    size_t size = strlen(client->outcomes);
    snprintf(client->outcomes + size, sizeof client->outcomes - size, "%s%s", size > 0 ? " " : "", outcome);
    note(client, 'c');
    ReleaseSRWLockExclusive(&client->lock);
    WakeAllConditionVariable(&client->changed);
}

static void on_failed(void *context, struct error *error)
{
    struct client *client = context;
    AcquireSRWLockExclusive(&client->lock);
    client->failures++;
    client->error = error;
    note(client, 'f');
    ReleaseSRWLockExclusive(&client->lock);
    WakeAllConditionVariable(&client->changed);
}

static void on_closed(void *context)
{
    struct client *client = context;
    AcquireSRWLockExclusive(&client->lock);
    assert_false(client->closed);
    client->closed = true;
    note(client, '.');
    ReleaseSRWLockExclusive(&client->lock);
    WakeAllConditionVariable(&client->changed);
}

static const struct job_listener listener = {on_progress, on_data, on_result, on_cleanup, on_failed, on_closed};

void client_submit(struct client *client, struct jobs *jobs, const struct export_request *request, uint64_t key,
                   enum error_kind expected)
{
    bool hold = client->hold;
    *client = (struct client){.jobs = jobs, .hold = hold};
    InitializeSRWLock(&client->lock);
    InitializeConditionVariable(&client->changed);
    client->digest = mem_new(struct sha256);
    sha256_init(client->digest);
    char *id = NULL;
    struct job_submit submit = {request, "test", key, &listener, client};
    struct error *error = jobs_submit_export(jobs, &submit, &id);
    if (error != NULL && error->kind != expected)
        fixture_check(error);
    if ((error != NULL) != (expected != 0))
        fail_msg("expected %s, found none", error_kind_name(expected));
    client->error = error;
    AcquireSRWLockExclusive(&client->lock);
    client->id = id;
    bool take = client->untaken && !client->hold;
    client->untaken = client->untaken && !take;
    ReleaseSRWLockExclusive(&client->lock);
    if (take)
        jobs_data_taken(jobs, id);
}

void client_take(struct client *client)
{
    AcquireSRWLockExclusive(&client->lock);
    client->hold = false;
    bool take = client->untaken;
    client->untaken = false;
    ReleaseSRWLockExclusive(&client->lock);
    if (take)
        jobs_data_taken(client->jobs, client->id);
}

static bool is_closed(const struct client *client)
{
    return client->closed;
}

static bool has_result(const struct client *client)
{
    return client->results > 0 || client->closed;
}

static bool has_data(const struct client *client)
{
    return client->bytes > 0 || client->closed;
}

static void client_wait(struct client *client, bool (*reached)(const struct client *client), const char *what)
{
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    AcquireSRWLockExclusive(&client->lock);
    while (!reached(client) && clock_ms() < deadline)
        SleepConditionVariableSRW(&client->changed, &client->lock, (DWORD)(deadline - clock_ms()), 0);
    bool ok = reached(client);
    ReleaseSRWLockExclusive(&client->lock);
    if (!ok) {
        events_print();
        fail_msg("job %s: %s did not come; came: %s", client->id, what, client->order);
    }
}

void client_wait_closed(struct client *client)
{
    client_wait(client, is_closed, "its end");
}

void client_wait_result(struct client *client)
{
    client_wait(client, has_result, "its result");
}

void client_wait_data(struct client *client)
{
    client_wait(client, has_data, "data");
}

void client_expect_error(struct client *client, enum error_kind kind, const char *words)
{
    if (client->error == NULL)
        fail_msg("expected %s, found success", error_kind_name(kind));
    char *text = error_text(client->error);
    if (client->error->kind != kind || (words != NULL && strstr(text, words) == NULL))
        fail_msg("expected %s with \"%s\", found %s: %s", error_kind_name(kind), words != NULL ? words : "",
                 error_kind_name(client->error->kind), text);
    free(text);
}

void client_expect_done(struct client *client)
{
    if (client->error != NULL)
        fixture_check(error_copy(client->error));
    assert_int_equal(client->results, 1);
    assert_int_equal(client->failures, 0);
    assert_true(client->closed);
    assert_string_equal(client->cleanup, "done");
}

void client_free(struct client *client)
{
    free(client->id);
    free(client->digest);
    export_result_free(client->result);
    error_free(client->error);
    *client = (struct client){0};
}
