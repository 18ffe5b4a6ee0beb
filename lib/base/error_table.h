/* What system codes mean: the table behind error_win32 and the like. Pure but for error_system_text. Thread-safe. */
#ifndef HCSD_BASE_ERROR_TABLE_H
#define HCSD_BASE_ERROR_TABLE_H

#include <stddef.h>

#include "base/error.h"

struct error_row {
    uint32_t code;
    enum error_kind kind;
    const char *sentence; /* lower case, no stop: it follows a colon */
};

/* The row of a code, or NULL. HRESULTs of facility WIN32 count as Win32 codes, those of NTSTATUS form as statuses, and
 * HCS's codes are found in both forms they come in (0xC037xxxx, 0x8037xxxx). */
const struct error_row *error_table_find(enum error_origin origin, uint32_t code);

/* The Win32 code inside an HRESULT of facility WIN32, else 0. */
uint32_t error_win32_of_hresult(uint32_t hresult);

/* The table's rows, for tests and documents; NULL for an origin that has none. */
const struct error_row *error_table_rows(enum error_origin origin, size_t *ret_count);

/* The operating system's own text for a code without line ends, or NULL. The caller frees it. Natively there is text for
 * errno only. */
char *error_system_text(enum error_origin origin, uint32_t code);

#endif
