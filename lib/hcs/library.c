#include "hcs/library.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"

static const char *const export_names[] = {
#define HCS_NAME(name, parameters) #name,
    HCS_STORAGE_EXPORTS(HCS_NAME) HCS_COMPUTE_EXPORTS(HCS_NAME)
#undef HCS_NAME
};

static const size_t export_offsets[] = {
#define HCS_OFFSET(name, parameters) offsetof(struct hcs_library, name),
    HCS_STORAGE_EXPORTS(HCS_OFFSET) HCS_COMPUTE_EXPORTS(HCS_OFFSET)
#undef HCS_OFFSET
};

const char *hcs_export_name(enum hcs_export export)
{
    return export_names[export];
}

static FARPROC *slot(struct hcs_library *library, enum hcs_export export)
{
    return (FARPROC *)(void *)((char *)library + export_offsets[export]);
}

struct error *hcs_library_new(const char *path, struct hcs_library **ret_library)
{
    if (path != NULL && !path_is_absolute(path))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "load library", path,
                          "the path of hcs.library must be absolute");
    struct hcs_library *library = mem_new(struct hcs_library);
    library->path = str_copy(path);
    InitializeSRWLock(&library->lock);
    *ret_library = library;
    return NULL;
}

void hcs_library_free(struct hcs_library *library)
{
    if (library == NULL)
        return;
    if (library->module != NULL)
        FreeLibrary(library->module);
    free(library->path);
    free(library);
}

/* With the lock held. */
static struct error *load(struct hcs_library *library)
{
    const char *name = library->path != NULL ? library->path : "vmcompute.dll";
    wchar_t *wide = NULL;
    struct error *error = NULL;
    HMODULE module = NULL, ole = NULL;
    if (library->path == NULL) {
        module = LoadLibraryExW(L"vmcompute.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    } else {
        error = win_wide(library->path, &wide);
        if (error != NULL)
            return error;
        for (wchar_t *at = wide; *at != 0; at++) /* LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR wants backslashes */
            if (*at == L'/')
                *at = L'\\';
        module = LoadLibraryExW(wide, NULL, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
        free(wide);
    }
    if (module == NULL) {
        DWORD code = GetLastError();
        error =
            library->path == NULL
                ? error_win32(code, "load library", name,
                              "the Host Compute Service is not installed; install the Windows feature \"Containers\"")
                : error_win32(code, "load library", name, "check hcs.library in the configuration");
        return error_set_kind(error, ERROR_KIND_UNAVAILABLE);
    }
    ole = LoadLibraryExW(L"ole32.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32); /* stays for good */
    FARPROC free_text = ole == NULL ? NULL : GetProcAddress(ole, "CoTaskMemFree");
    if (free_text == NULL) {
        error = error_set_kind(error_win32(GetLastError(), "load library", "ole32.dll", NULL), ERROR_KIND_UNAVAILABLE);
        FreeLibrary(module);
        return error;
    }
    library->free_text = (void(WINAPI *)(void *))(void *)free_text;
    for (unsigned i = 0; i < HCS_EXPORT_COUNT; i++)
        *slot(library, i) = GetProcAddress(module, export_names[i]);
    library->module = module;
    library->loaded = true;
    return NULL;
}

static struct error *ensure_loaded(struct hcs_library *library)
{
    struct error *error = NULL;
    AcquireSRWLockExclusive(&library->lock);
    if (!library->loaded)
        error = load(library);
    ReleaseSRWLockExclusive(&library->lock);
    return error;
}

struct error *hcs_library_require(struct hcs_library *library, enum hcs_export export)
{
    struct error *error = ensure_loaded(library);
    if (error == NULL && *slot(library, export) == NULL)
        error = error_win32(ERROR_PROC_NOT_FOUND, export_names[export],
                            library->path != NULL ? library->path : "vmcompute.dll", NULL);
    return error;
}

bool hcs_library_has(struct hcs_library *library, enum hcs_export export)
{
    struct error *error = hcs_library_require(library, export);
    error_free(error);
    return error == NULL;
}
