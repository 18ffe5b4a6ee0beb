#include "names.h"

#include <stdint.h>
#include <wchar.h>

/* FNV-1a over the folder without regard to case. */
static uint64_t names_hash(const wchar_t *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text != 0; text++) {
        wchar_t unit = *text >= L'A' && *text <= L'Z' ? (wchar_t)(*text + 32) : *text;
        hash = (hash ^ (unit & 0xFF)) * 0x100000001b3u;
        hash = (hash ^ (unit >> 8)) * 0x100000001b3u;
    }
    return hash;
}

BOOL names_init(struct names *names, HMODULE module)
{
    DWORD size = GetModuleFileNameW(module, names->folder, MAX_PATH);
    wchar_t *slash;
    uint64_t hash;

    if (size == 0 || size >= MAX_PATH)
        return FALSE;
    slash = wcsrchr(names->folder, L'\\');
    if (slash == NULL)
        return FALSE;
    *slash = 0;
    hash = names_hash(names->folder);
    swprintf(names->pipe, 64, L"\\\\.\\pipe\\hcsemu-%016llx", (unsigned long long)hash);
    swprintf(names->mutex, 64, L"hcsemu-%016llx", (unsigned long long)hash);
    swprintf(names->broker, MAX_PATH + 32, L"%ls\\hcsemu.exe", names->folder);
    swprintf(names->faults, MAX_PATH + 32, L"%ls\\vmcompute-faults.json", names->folder);
    swprintf(names->settings, MAX_PATH + 32, L"%ls\\vmcompute-settings.json", names->folder);
    return TRUE;
}
