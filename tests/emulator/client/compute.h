/* What the files of the compute half share. */
#ifndef EMULATOR_CLIENT_COMPUTE_H
#define EMULATOR_CLIENT_COMPUTE_H

#include <jansson.h>

#include "export.h"
#include "object.h"
#include "shared/faults.h"

/* One call on a handle, from the checks to its result: the fault file, the broker, the result document. `request` is
 * dropped; *ret_reply (may be NULL) is the caller's to drop. */
HRESULT compute_call(const char *call, enum object_kind kind, void *handle, json_t *request, json_t **ret_reply,
                     PWSTR *result);

/* A close. The handle is gone afterwards unless a fault row had the call fail. */
HRESULT compute_close(const char *call, enum object_kind kind, void *handle);

/* Ends a call: puts the result document into *result (may be NULL) when it failed. */
HRESULT compute_end(struct error *error, const json_t *reply, PWSTR *result);

/* Adds what the fault file holds in store for the broker. */
void compute_add_fault(json_t *request, const struct fault *fault);

/* UTF-8 <-> the caller's text. compute_text allocates with CoTaskMemAlloc. */
json_t *compute_json(PCWSTR text);
char *compute_utf8(PCWSTR text);
PWSTR compute_text(const char *text);

#endif
