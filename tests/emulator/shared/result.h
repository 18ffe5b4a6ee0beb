/* Failures of the emulator: a `struct error` inside, an HRESULT and HCS's result document outside. */
#ifndef EMULATOR_SHARED_RESULT_H
#define EMULATOR_SHARED_RESULT_H

#include <windows.h>

#include "base/error.h"

/* The HRESULT a client sees for `error`; S_OK for NULL. */
HRESULT result_code(const struct error *error);

/* The same, and the error is freed. */
HRESULT result_end(struct error *error);

/* HCS's result document for a failure: {"Error","ErrorMessage","ErrorEvents":[…]} as UTF-8. The caller frees it. */
char *result_document(HRESULT code, const char *message);

/* `code` as one of facility WIN32. */
#define RESULT_WIN32(code) ((HRESULT)(0x80070000u | (uint32_t)(code)))
#define RESULT_LOST_BROKER RESULT_WIN32(RPC_S_CALL_FAILED)

#endif
