/* Small helpers next to Windows calls. Windows only. */
#ifndef HCSD_BASE_WIN_H
#define HCSD_BASE_WIN_H

#include <windows.h>

#include "base/error.h"

/* Closes a handle unless it is NULL or INVALID_HANDLE_VALUE, and sets it to NULL. */
#define win_close(handle) win_close_handle(&(handle))
void win_close_handle(HANDLE *handle);

/* WTF-8 <-> UTF-16 for a call. INVALID_ARGUMENT when the text is no WTF-8. The caller frees the result. */
struct error *win_wide(const char *text, wchar_t **ret_wide) ERROR_MUST_CHECK;
char *win_text(const wchar_t *wide); /* NULL stays NULL */

/* A path for a Windows call: path_verbatim, then UTF-16. The caller frees it. */
struct error *win_path(const char *path, wchar_t **ret_wide) ERROR_MUST_CHECK;

/* A function of a DLL that is loaded anyway (kernel32, ntdll), or NULL: for calls that not every Windows has. */
FARPROC win_function(const wchar_t *module, const char *name);

/* Build number of this Windows (RtlGetVersion: needs no manifest), e.g. 20348. */
unsigned win_build(void);

/* What the machine is, whatever this program was built for (IsWow64Process2): IMAGE_FILE_MACHINE_AMD64; 0 when the system does
 * not say (GetLastError tells why). */
USHORT win_native_machine(void);

#endif
