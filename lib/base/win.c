#include "base/win.h"

#include <stdlib.h>

#include "base/path.h"
#include "base/text.h"

void win_close_handle(HANDLE *handle)
{
    if (*handle != NULL && *handle != INVALID_HANDLE_VALUE)
        CloseHandle(*handle);
    *handle = NULL;
}

struct error *win_wide(const char *text, wchar_t **ret_wide)
{
    char16_t *units = text_to_utf16(text, NULL);
    if (units == NULL)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "convert text", text, "the text is no valid UTF-8");
    *ret_wide = (wchar_t *)units;
    return NULL;
}

char *win_text(const wchar_t *wide)
{
    return text_from_utf16z((const char16_t *)wide);
}

struct error *win_path(const char *path, wchar_t **ret_wide)
{
    char *verbatim = NULL;
    struct error *error = path_verbatim(path, &verbatim);
    if (error == NULL)
        error = win_wide(verbatim, ret_wide);
    free(verbatim);
    return error;
}

FARPROC win_function(const wchar_t *module, const char *name)
{
    HMODULE loaded = GetModuleHandleW(module);
    return loaded == NULL ? NULL : GetProcAddress(loaded, name);
}

unsigned win_build(void)
{
    typedef LONG(WINAPI * get_version)(OSVERSIONINFOW *);
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    get_version call = (get_version)(void *)win_function(L"ntdll.dll", "RtlGetVersion");
    return call != NULL && call(&version) == 0 ? version.dwBuildNumber : 0;
}

USHORT win_native_machine(void)
{
    typedef BOOL(WINAPI * is_wow64)(HANDLE, USHORT *, USHORT *);
    USHORT process = 0, native = 0;
    is_wow64 call = (is_wow64)(void *)win_function(L"kernel32.dll", "IsWow64Process2");
    return call != NULL && call(GetCurrentProcess(), &process, &native) ? native : 0;
}
