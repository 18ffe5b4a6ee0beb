#include <windows.h>

#include <string.h>

#include "base/error_table.h"
#include "base/text.h"

char *error_system_text(enum error_origin origin, uint32_t code)
{
    DWORD flags = FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_FROM_SYSTEM;
    HMODULE module = NULL;
    switch (origin) {
    case ERROR_ORIGIN_ERRNO:
    case ERROR_ORIGIN_NONE:
        return NULL;
    case ERROR_ORIGIN_NTSTATUS:
        module = GetModuleHandleW(L"ntdll.dll");
        flags = FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_FROM_HMODULE;
        break;
    default:
        break;
    }
    wchar_t units[512];
    /* English first: the event log's other texts are English; the system's language where English is not installed. */
    DWORD count = FormatMessageW(flags, module, code, MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), units, 512, NULL);
    if (count == 0)
        count = FormatMessageW(flags, module, code, 0, units, 512, NULL);
    for (DWORD i = 0; i < count; i++)
        if (units[i] == L'\r' || units[i] == L'\n')
            units[i] = L' ';
    while (count > 0 && (units[count - 1] == L' ' || units[count - 1] == L'.'))
        count--;
    return count == 0 ? NULL : text_from_utf16((const char16_t *)units, count);
}
