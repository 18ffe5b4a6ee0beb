/* hcsd.v1.Layers: an export is a job whose listener writes the stream.
 *
 * The transport takes one message at a time, so what is to be said waits in a small outbox: the job's id, the latest progress
 * (older ones are dropped, and one a quarter second is enough), one piece of data (the job sends the next only when it was
 * taken), the result, the cleanup's outcome. */
#include <windows.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <hcsd/v1/layers.pb-c.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/path.h"
#include "daemon/services/job_message.h"
#include "daemon/services/layer_calls.h"
#include "daemon/services/service.h"

#define PROGRESS_MS 250u
#define PARENTS_MAX 256u

struct cleanup {
    char *outcome;
    double seconds;
    struct export_deviation *left;
    size_t count;
};

struct export_call {
    _Atomic unsigned references; /* handler, listener, `gone` */
    SRWLOCK lock;
    struct jobs *jobs;
    struct rpc_call *call;
    char *id; /* NULL until the job is queued */
    bool wait_cleanup;

    /* The outbox. */
    bool accepted_sent;
    bool progress_waits, data_waits, data_under_way;
    struct export_counters counters;
    char phase[16];
    char *path;
    uint64_t progress_ms; /* when the last one was sent */
    struct buffer data;
    struct export_result *result;
    bool result_sent;
    struct cleanup cleanup;
    bool cleanup_waits, cleanup_sent;
    struct error *failure;
    bool closed; /* nothing more comes from the job */

    bool sending; /* a message is under way */
    bool gone;    /* the client is */
    bool ended;   /* the call is */
};

static void pump(struct export_call *export);

static void cleanup_clear(struct cleanup *cleanup)
{
    for (size_t i = 0; i < cleanup->count; i++) {
        free(cleanup->left[i].kind);
        free(cleanup->left[i].path);
        free(cleanup->left[i].detail);
    }
    free(cleanup->left);
    free(cleanup->outcome);
    *cleanup = (struct cleanup){0};
}

static void release(struct export_call *export)
{
    if (atomic_fetch_sub(&export->references, 1) != 1)
        return;
    free(export->id);
    free(export->path);
    buffer_free(&export->data);
    export_result_free(export->result);
    cleanup_clear(&export->cleanup);
    error_free(export->failure);
    free(export);
}

/* ---- sending ---- */

enum letter { LETTER_NONE, LETTER_ACCEPTED, LETTER_PROGRESS, LETTER_DATA, LETTER_RESULT, LETTER_CLEANUP, LETTER_END };

/* The lock held: what is said next. */
static enum letter next_letter(struct export_call *export)
{
    if (export->sending || export->ended || !export->id)
        return LETTER_NONE;
    if (export->gone || export->failure)
        return LETTER_END;
    if (!export->accepted_sent)
        return LETTER_ACCEPTED;
    if (export->progress_waits && !export->result && clock_ms() - export->progress_ms >= PROGRESS_MS)
        return LETTER_PROGRESS;
    if (export->data_waits)
        return LETTER_DATA;
    if (export->result && !export->result_sent)
        return LETTER_RESULT;
    if (!export->result_sent)
        return export->closed ? LETTER_END : LETTER_NONE;
    if (!export->wait_cleanup || export->cleanup_sent)
        return LETTER_END;
    if (export->cleanup_waits)
        return LETTER_CLEANUP;
    return export->closed ? LETTER_END : LETTER_NONE;
}

static void sent(void *context, bool ok)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    export->sending = false;
    if (!ok)
        export->gone = true;
    bool taken = export->data_under_way;
    export->data_under_way = false;
    ReleaseSRWLockExclusive(&export->lock);
    if (taken)
        jobs_data_taken(export->jobs, export->id);
    pump(export);
    release(export);
}

static void end_call(struct export_call *export)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&export->lock);
    if (export->failure) {
        error = export->failure;
        export->failure = NULL;
    } else if (export->gone)
        error = error_make(ERROR_KIND_CANCELLED, "export", export->id, "the client has gone away");
    else if (!export->result_sent)
        error = error_make(ERROR_KIND_INTERNAL, "export", export->id, "the job ended without a result");
    ReleaseSRWLockExclusive(&export->lock);
    if (rpc_call_off_gone(export->call))
        release(export);
    if (error)
        rpc_call_fail(export->call, error);
    else
        rpc_call_finish(export->call);
}

static void send_letter(struct export_call *export, enum letter letter)
{
    Hcsd__V1__ExportResponse response = HCSD__V1__EXPORT_RESPONSE__INIT;
    Hcsd__V1__ExportAccepted accepted = HCSD__V1__EXPORT_ACCEPTED__INIT;
    Hcsd__V1__ExportCleanup cleanup = HCSD__V1__EXPORT_CLEANUP__INIT;
    Hcsd__V1__ExportProgress progress;
    struct job_result_message result = {0};
    Hcsd__V1__Deviation *rows = NULL;
    char phase[sizeof export->phase];
    char *path = NULL;

    switch (letter) {
    case LETTER_ACCEPTED:
        accepted.job = export->id;
        response.kind_case = HCSD__V1__EXPORT_RESPONSE__KIND_ACCEPTED;
        response.accepted = &accepted;
        break;
    case LETTER_PROGRESS: {
        AcquireSRWLockExclusive(&export->lock);
        struct export_counters counters = export->counters;
        memcpy(phase, export->phase, sizeof phase);
        path = export->path;
        export->path = NULL;
        ReleaseSRWLockExclusive(&export->lock);
        job_progress_fill(&progress, &counters, phase, path);
        response.kind_case = HCSD__V1__EXPORT_RESPONSE__KIND_PROGRESS;
        response.progress = &progress;
        break;
    }
    case LETTER_DATA: /* nothing touches the data until it was sent: the job waits */
        response.kind_case = HCSD__V1__EXPORT_RESPONSE__KIND_DATA;
        response.data.data = export->data.data;
        response.data.len = export->data.size;
        break;
    case LETTER_RESULT:
        job_result_fill(&result, export->id, export->result);
        response.kind_case = HCSD__V1__EXPORT_RESPONSE__KIND_RESULT;
        response.result = &result.message;
        break;
    case LETTER_CLEANUP:
        cleanup.outcome = export->cleanup.outcome;
        cleanup.seconds = export->cleanup.seconds;
        cleanup.left = job_deviations(export->cleanup.left, export->cleanup.count, &rows);
        cleanup.n_left = export->cleanup.count;
        response.kind_case = HCSD__V1__EXPORT_RESPONSE__KIND_CLEANUP;
        response.cleanup = &cleanup;
        break;
    default:
        break;
    }
    atomic_fetch_add(&export->references, 1); /* sent's */
    rpc_call_send(export->call, &response.base, sent, export);
    job_result_clear(&result);
    free(cleanup.left);
    free(rows);
    free(path);
}

static void pump(struct export_call *export)
{
    AcquireSRWLockExclusive(&export->lock);
    enum letter letter = next_letter(export);
    bool drop = export->gone && export->data_waits && export->id; /* so that the job comes to its end */
    if (drop)
        export->data_waits = false;
    switch (letter) {
    case LETTER_ACCEPTED:
        export->accepted_sent = true;
        break;
    case LETTER_PROGRESS:
        export->progress_waits = false;
        export->progress_ms = clock_ms();
        break;
    case LETTER_DATA:
        export->data_waits = false;
        export->data_under_way = true;
        break;
    case LETTER_RESULT:
        export->result_sent = true;
        break;
    case LETTER_CLEANUP:
        export->cleanup_waits = false;
        export->cleanup_sent = true;
        break;
    case LETTER_END:
        export->ended = true;
        break;
    case LETTER_NONE:
        break;
    }
    if (letter != LETTER_NONE && letter != LETTER_END)
        export->sending = true;
    ReleaseSRWLockExclusive(&export->lock);
    if (drop)
        jobs_data_taken(export->jobs, export->id);
    if (letter == LETTER_END)
        end_call(export);
    else if (letter != LETTER_NONE)
        send_letter(export, letter);
}

/* ---- the listener ---- */

static void on_progress(void *context, const struct export_counters *counters, const char *phase, const char *path)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    export->progress_waits = true;
    export->counters = *counters;
    snprintf(export->phase, sizeof export->phase, "%s", phase ? phase : "");
    free(export->path);
    export->path = str_copy(path);
    ReleaseSRWLockExclusive(&export->lock);
    pump(export);
}

static void on_data(void *context, const uint8_t *data, size_t size)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    buffer_clear(&export->data);
    buffer_add(&export->data, data, size);
    export->data_waits = true;
    bool drop = export->ended; /* the client is gone, and its call over */
    if (drop)
        export->data_waits = false;
    ReleaseSRWLockExclusive(&export->lock);
    if (drop)
        jobs_data_taken(export->jobs, export->id);
    else
        pump(export);
}

static void on_result(void *context, const struct export_result *result)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    if (!export->result)
        export->result = export_result_copy(result);
    ReleaseSRWLockExclusive(&export->lock);
    pump(export);
}

static void on_cleanup(void *context, const char *outcome, double seconds, const struct export_deviation *left,
                       size_t count)
{
    struct export_call *export = context;
    if (!strcmp(outcome, "pending"))
        return; /* another call follows */
    struct cleanup cleanup = {str_copy(outcome), seconds, mem_new_array(count, struct export_deviation), count};
    for (size_t i = 0; i < count; i++) {
        cleanup.left[i].kind = str_copy(left[i].kind);
        cleanup.left[i].path = str_copy(left[i].path);
        cleanup.left[i].detail = str_copy(left[i].detail);
    }
    AcquireSRWLockExclusive(&export->lock);
    if (export->cleanup_waits || export->cleanup_sent) {
        struct cleanup second = cleanup;
        ReleaseSRWLockExclusive(&export->lock);
        cleanup_clear(&second);
        return;
    }
    export->cleanup = cleanup;
    export->cleanup_waits = true;
    ReleaseSRWLockExclusive(&export->lock);
    pump(export);
}

static void on_failed(void *context, struct error *error)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    error_keep_first(&export->failure, error);
    ReleaseSRWLockExclusive(&export->lock);
    pump(export);
}

static void on_closed(void *context)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    export->closed = true;
    ReleaseSRWLockExclusive(&export->lock);
    pump(export);
    release(export);
}

static const struct job_listener listener = {
    .progress = on_progress,
    .data = on_data,
    .result = on_result,
    .cleanup = on_cleanup,
    .failed = on_failed,
    .closed = on_closed,
};

/* ---- the call ---- */

static void on_gone(void *context)
{
    struct export_call *export = context;
    AcquireSRWLockExclusive(&export->lock);
    export->gone = true;
    char *id = str_copy(export->id);
    ReleaseSRWLockExclusive(&export->lock);
    if (id)
        error_free(jobs_cancel(export->jobs, id, "its client has gone away")); /* one that has ended needs none */
    free(id);
    pump(export);
    release(export);
}

static struct error *check_path(const char *name, const char *path)
{
    if (path_is_absolute(path))
        return NULL;
    return error_make(ERROR_KIND_INVALID_ARGUMENT, name, path, "an absolute path is needed");
}

static struct error *check(const Hcsd__V1__ExportRequest *request)
{
    struct error *error = check_path("layer", request->layer);
    if (!error && request->n_parents > PARENTS_MAX)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "parents", request->layer,
                           "%zu parents were given; at most %u are possible", request->n_parents, PARENTS_MAX);
    for (size_t i = 0; !error && i < request->n_parents; i++)
        error = check_path("parents", request->parents[i]);
    if (!error && *request->output)
        error = check_path("output", request->output);
    int level_max = request->compression == HCSD__V1__COMPRESSION__COMPRESSION_ZSTD   ? 19
                    : request->compression == HCSD__V1__COMPRESSION__COMPRESSION_GZIP ? 12
                                                                                      : 0;
    if (!error && (request->compression < 0 || request->compression > HCSD__V1__COMPRESSION__COMPRESSION_NONE))
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "compression", NULL,
                           "%d is none of gzip (0), zstd (1), none (2)", (int)request->compression);
    if (!error && (request->level < 0 || request->level > level_max))
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "level", NULL,
                           "%d is not in 0 to %d, which this compression has", request->level, level_max);
    return error;
}

static void handle_export(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct service *service = context;
    const Hcsd__V1__ExportRequest *request = (const Hcsd__V1__ExportRequest *)message;
    struct error *error = check(request);
    char *id = NULL;
    if (error) {
        rpc_call_fail(call, error);
        return;
    }
    struct export_call *export = mem_new(struct export_call);
    atomic_init(&export->references, 3);
    InitializeSRWLock(&export->lock);
    export->jobs = service->jobs;
    export->call = call;
    export->wait_cleanup = request->wait_cleanup;

    const struct export_request job = {
        .layer = request->layer,
        .parents = request->parents,
        .parent_count = request->n_parents,
        .output = request->output,
        .overwrite = request->overwrite,
        .compression = (enum export_compression)request->compression,
        .level = request->level,
    };
    char *client = service_client(call);
    const struct job_submit submit = {
        .request = &job,
        .client = client,
        .fairness_key = rpc_call_caller(call)->connection,
        .listener = &listener,
        .context = export,
    };
    error = jobs_submit_export(service->jobs, &submit, &id);
    free(client);
    if (error) {
        rpc_call_fail(call, error);
        free(export);
        return;
    }
    /* Until the id is here nothing is sent and the call cannot end. */
    rpc_call_on_gone(call, on_gone, export);
    AcquireSRWLockExclusive(&export->lock);
    export->id = id;
    bool gone = export->gone;
    ReleaseSRWLockExclusive(&export->lock);
    if (gone)
        error_free(jobs_cancel(service->jobs, id, "its client has gone away"));
    pump(export);
    release(export);
}

#define UNARY(method, message, handler)                                                                                \
    METHOD(method, hcsd__v1__##message##_request, hcsd__v1__##message##_response, RPC_UNARY, handler)

static const struct rpc_method methods[] = {
    METHOD("Export", hcsd__v1__export_request, hcsd__v1__export_response, RPC_SERVER_STREAM, handle_export),
    UNARY("Mount", mount, layer_handle_mount),
    UNARY("Unmount", unmount, layer_handle_unmount),
    UNARY("List", list_layers, layer_handle_list),
    UNARY("CreateScratch", create_scratch, layer_handle_create_scratch),
    UNARY("Expand", expand, layer_handle_expand),
    UNARY("Stat", stat_layer, layer_handle_stat),
    UNARY("ProcessImage", process_image, layer_handle_process_image),
    UNARY("Destroy", destroy, layer_handle_destroy),
    UNARY("Import", import, layer_handle_import),
};

const struct rpc_service *layers_service_open(struct jobs *jobs, struct machines *machines)
{
    struct layers_service *layers = (struct layers_service *)service_new(sizeof *layers, "hcsd.v1.Layers", NULL,
                                                                         methods, sizeof methods / sizeof *methods);
    layers->service.jobs = jobs;
    layers->machines = machines;
    layer_calls_open(layers);
    return &layers->service.table;
}
