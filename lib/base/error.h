/* The one error object of hcsd: what failed, on what, why.
 *
 * A function that can fail returns `struct error *`: NULL is success, anything else is an error that
 * the caller owns and passes on, or ends with error_free. Outputs (`ret_…`) are untouched on failure.
 * An error is made where the call failed, is wrapped with context on the way up and logged once, by
 * whoever stops passing it on.
 *
 * None of these functions fails or blocks; an error belongs to one thread at a time. */
#ifndef HCSD_BASE_ERROR_H
#define HCSD_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What class of failure it is, as a client may act on it. Numbers and names are those of gRPC's status
 * codes (grpc/doc/statuscodes.md), with containerd's meaning; this is the only place that says so. */
enum error_kind {
    ERROR_KIND_CANCELLED = 1,
    ERROR_KIND_UNKNOWN = 2,
    ERROR_KIND_INVALID_ARGUMENT = 3,
    ERROR_KIND_DEADLINE_EXCEEDED = 4,
    ERROR_KIND_NOT_FOUND = 5,
    ERROR_KIND_ALREADY_EXISTS = 6,
    ERROR_KIND_PERMISSION_DENIED = 7,
    ERROR_KIND_RESOURCE_EXHAUSTED = 8,
    ERROR_KIND_FAILED_PRECONDITION = 9,
    ERROR_KIND_ABORTED = 10,
    ERROR_KIND_OUT_OF_RANGE = 11,
    ERROR_KIND_UNIMPLEMENTED = 12,
    ERROR_KIND_INTERNAL = 13,
    ERROR_KIND_UNAVAILABLE = 14,
    ERROR_KIND_DATA_LOSS = 15,
};

/* Whose number `code` is. */
enum error_origin {
    ERROR_ORIGIN_NONE,     /* hcsd's own judgement, no system code */
    ERROR_ORIGIN_WIN32,    /* GetLastError() */
    ERROR_ORIGIN_HRESULT,  /* a COM or HCS result */
    ERROR_ORIGIN_NTSTATUS, /* a native call's status */
    ERROR_ORIGIN_ERRNO,    /* the C library's errno */
};

struct error {
    enum error_kind kind;
    enum error_origin origin;
    uint32_t code;       /* 0 when origin is NONE */
    char *operation;     /* the call or step that failed: "HcsStartComputeSystem", "read config.json" */
    char *object;        /* the id or path it failed on; "" when there is none */
    char *message;       /* one sentence in UTF-8 without a line end: why, and what to do where that is known */
    char *hcs_events;    /* HCS's ErrorEvents as a JSON array, or NULL */
    size_t context_size; /* how many bytes of message error_wrap put in front */
};

/* All texts in an error are strict UTF-8 on one line whatever was passed in (text_printable). */
#if defined(__GNUC__)
#define ERROR_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#define ERROR_MUST_CHECK        __attribute__((warn_unused_result))
#endif
#if defined(__clang__)
#undef ERROR_PRINTF
#define ERROR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#endif

/* hcsd's own judgement. `operation` and `object` are copied; object may be NULL. */
struct error *error_make(enum error_kind kind, const char *operation, const char *object, const char *format, ...)
    ERROR_PRINTF(4, 5) ERROR_MUST_CHECK;

/* A system code. The kind and a sentence for the code come from the table in error_table.c; `format` (may be
 * NULL) says what it means here and comes first: "FORMAT: SENTENCE". error_win32 and the like keep the code as given; an HRESULT of facility
 * WIN32 counts as its Win32 code when the kind is looked up. */
struct error *error_win32(uint32_t code, const char *operation, const char *object, const char *format, ...)
    ERROR_PRINTF(4, 5) ERROR_MUST_CHECK;
struct error *error_hresult(uint32_t code, const char *operation, const char *object, const char *format, ...)
    ERROR_PRINTF(4, 5) ERROR_MUST_CHECK;
struct error *error_ntstatus(uint32_t code, const char *operation, const char *object, const char *format, ...)
    ERROR_PRINTF(4, 5) ERROR_MUST_CHECK;
struct error *error_errno(int code, const char *operation, const char *object, const char *format, ...)
    ERROR_PRINTF(4, 5) ERROR_MUST_CHECK;

/* Puts "context: " in front of the message and returns the same error. NULL stays NULL. */
struct error *error_wrap(struct error *error, const char *format, ...) ERROR_PRINTF(2, 3) ERROR_MUST_CHECK;

/* Sets another kind, where the caller knows better than the table (an open that fails with 2 on a client's
 * bundle is NOT_FOUND, on our own file INTERNAL). Returns the same error; NULL stays NULL. */
struct error *error_set_kind(struct error *error, enum error_kind kind) ERROR_MUST_CHECK;

/* Attaches HCS's result document ({"Error":…,"ErrorMessage":…,"ErrorEvents":[…]}, UTF-8). Text that is no such
 * document is ignored, as the clients of vmcompute.dll do. */
void error_add_hcs_result(struct error *error, const char *result_json);

struct error *error_copy(const struct error *error);
void error_free(struct error *error);

/* Frees `error` if `*first` is set already, else stores it there: for cleanups that try every step and report
 * the first failure. */
void error_keep_first(struct error **first, struct error *error);

/* "NOT_FOUND" and so on, and back (0 when the name is none). */
const char *error_kind_name(enum error_kind kind);
enum error_kind error_kind_parse(const char *name);

/* Whether whoever asked did wrong (bad argument, absent or taken id, wrong state, cancelled): that is told to the caller and is
 * no news for the operator. False for NULL. */
bool error_is_callers(const struct error *error);

/* The whole error in one line for people, e.g. `start container web: HcsStartComputeSystem: …  (0xC037010E)`; the
 * object follows the operation unless the message names it. The caller frees it. */
char *error_text(const struct error *error);

/* The code as an HRESULT (a Win32 code with facility WIN32); 0 when there is none. */
uint32_t error_as_hresult(const struct error *error);

/* The error as clients see it with --json: {"code","operation","object","message"} plus "hresult" and
 * "events" where present, as text. The caller frees it. */
char *error_json(const struct error *error);

#endif
