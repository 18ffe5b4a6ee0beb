/* vmcompute.dll: loaded at the first call, one pointer per export. Windows only.
 *
 * Tests make a `struct hcs_library` of their own, set `loaded` and fill what they need; what stays NULL is a missing
 * export. Thread-safe. */
#ifndef HCSD_HCS_LIBRARY_H
#define HCSD_HCS_LIBRARY_H

#include "hcs/abi.h" /* before all else: windows.h */

#include <stdbool.h>

#include "base/error.h"

struct hcs_library {
#define HCS_POINTER(name, parameters) HRESULT(WINAPI *name) parameters;
    HCS_STORAGE_EXPORTS(HCS_POINTER)
    HCS_COMPUTE_EXPORTS(HCS_POINTER)
#undef HCS_POINTER
    void(WINAPI *free_text)(void *text); /* CoTaskMemFree */
    bool loaded;                         /* the pointers are final */
    char *path;                          /* absolute, or NULL for System32's vmcompute.dll */
    HMODULE module;
    SRWLOCK lock; /* over loading only */
};

/* clang-format off */
enum hcs_export {
#define HCS_EXPORT(name, parameters) HCS_EXPORT_##name,
    HCS_STORAGE_EXPORTS(HCS_EXPORT)
    HCS_COMPUTE_EXPORTS(HCS_EXPORT)
#undef HCS_EXPORT
    HCS_EXPORT_COUNT
};
/* clang-format on */

const char *hcs_export_name(enum hcs_export export);

/* `path` NULL: vmcompute.dll from System32 and nowhere else. Else an absolute path, whose own folder and System32 are
 * searched for what it needs; INVALID_ARGUMENT when it is not absolute. Loads nothing yet. */
struct error *hcs_library_new(const char *path, struct hcs_library **ret_library) ERROR_MUST_CHECK;
/* Unloads the DLL. Only when no call is in it; a process with stuck calls leaves it. */
void hcs_library_free(struct hcs_library *library);

/* Loads the DLL unless it is loaded, and checks that it has the export. UNAVAILABLE when the DLL cannot be loaded (tried
 * again at the next call: the feature may have been installed), ERROR_PROC_NOT_FOUND as UNIMPLEMENTED when it lacks the
 * export. After success library->NAME may be called. */
struct error *hcs_library_require(struct hcs_library *library, enum hcs_export export) ERROR_MUST_CHECK;

/* Whether the export is there, without an error; false too when the DLL cannot be loaded. For diag. */
bool hcs_library_has(struct hcs_library *library, enum hcs_export export);

#endif
