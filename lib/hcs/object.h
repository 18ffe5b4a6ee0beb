/* What systems and processes have in common: the owned HCS handle and the record of a guarded compute call. Internal to
 * lib/hcs. */
#ifndef HCSD_HCS_OBJECT_H
#define HCSD_HCS_OBJECT_H

#include "hcs/compute.h"
#include "hcs/notification.h"

struct compute {
    volatile LONG refs; /* the owner, each object, each record, each watch */
    struct hcs_library *library;
    struct guard *guard;
    compute_disconnected disconnected;
    void *context;
    SRWLOCK lock;
    uint64_t epoch;  /* counts losses of the connection */
    unsigned failed; /* calls that the last loss failed */
    PTP_WORK work;   /* tells `disconnected` */
};

void compute_retain(struct compute *compute);
void compute_release(struct compute *compute);
/* A new watch of this connection. */
struct watch *compute_watch(struct compute *compute, enum hcs_notification exit_type);

/* A system or process. Each call on it holds a share; the handle is closed with the last one. */
struct object {
    volatile LONG refs;
    volatile LONG closed; /* by its owner */
    struct compute *compute;
    struct watch *watch;
    char *name; /* "ID" or "ID/PID" */
    bool process;
    void *raw; /* HCS_SYSTEM or HCS_PROCESS */
    HCS_CALLBACK registration;
};
struct hcs_system {
    struct object object;
};
struct hcs_process {
    struct object object;
    uint32_t pid;
};

/* For the owner's close function: no further calls, listeners told, and the share given up. NULL is fine. */
struct error *object_close(struct object *object) ERROR_MUST_CHECK;

/* Gives up a share that was taken with InterlockedIncrement(&object->refs). */
struct error *object_release(struct object *object) ERROR_MUST_CHECK;
struct error *object_wait_exit(struct object *object, const struct guard_wait *wait,
                               struct hcs_exit *ret_exit) ERROR_MUST_CHECK;

/* The record of any compute call. Inputs are set before it runs, results after. */
struct compute_call {
    struct guard_call base;
    struct compute *compute; /* share */
    struct object *object;   /* share, or NULL */
    struct watch *watch;     /* share: of the object that is being made, or NULL */
    bool settled;            /* it returned in time */
    wchar_t *id;
    wchar_t *text; /* options, query, document */
    uint32_t pid;
    struct error *error; /* the library lacks the export */
    HRESULT result;
    const char *culprit; /* the call that result is of, where it is not base.name; static */
    PWSTR document;      /* properties, list */
    PWSTR result_text;   /* HCS's result document */
    void *raw;           /* a new handle, and its registration */
    HCS_CALLBACK registration;
    HCS_PROCESS_INFORMATION information;
};

typedef void (*compute_run)(struct compute_call *call);

/* A record that calls `run` as `export`; `object` may be NULL. */
struct compute_call *call_new(struct compute *compute, struct object *object, enum hcs_export export, const char *name,
                              compute_run run);
/* Both take WTF-8 and fail with INVALID_ARGUMENT on anything else. */
struct error *call_set_id(struct compute_call *call, const char *id) ERROR_MUST_CHECK;
struct error *call_set_text(struct compute_call *call, const char *text) ERROR_MUST_CHECK;

/* Runs it under the guard. FAILED_PRECONDITION when the object was closed. After success call->result is what HCS said;
 * after an error the results must not be touched. */
struct error *call_make(struct compute_call *call, const struct guard_wait *wait) ERROR_MUST_CHECK;
/* What HCS said as an error with its events; NULL for success (pending counts as failure here). */
struct error *call_error(const struct compute_call *call) ERROR_MUST_CHECK;
bool call_is_pending(const struct compute_call *call);
/* A call that is a question, with `query` (may be NULL) as its text: makes it, gives its document as UTF-8 and frees it. HCS's
 * error, or INTERNAL when the document is missing or empty. */
struct error *call_ask(struct compute_call *call, const char *query, const struct guard_wait *wait,
                       char **ret_json) ERROR_MUST_CHECK;
void call_free(struct compute_call *call);

/* Whether HCS's result is this code in either of its forms (0xC037xxxx, 0x8037xxxx), or this HRESULT. */
bool hresult_is(HRESULT result, uint32_t code);

/* The late function of a call that brings nothing but texts; those that bring more end with it. */
const char *call_late(struct guard_call *base);

/* One call with text in and nothing out: the shape of most. *ret_result (may be NULL) is set when HCS answered at all, also
 * when an error is returned. */
struct error *object_call(struct object *object, enum hcs_export export, compute_run run, const char *text,
                          const struct guard_wait *wait, HRESULT *ret_result) ERROR_MUST_CHECK;

/* On a call thread, of a new handle that nobody wants: unregisters and closes, naming the steps. */
void call_discard_handle(struct compute_call *call, bool process);

#endif
