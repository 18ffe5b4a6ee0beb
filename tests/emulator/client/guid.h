/* Layer ids from names. */
#ifndef EMULATOR_CLIENT_GUID_H
#define EMULATOR_CLIENT_GUID_H

#include <windows.h>

/* A name-based GUID (RFC 4122, version 5, SHA-1) in a namespace of the emulator's own over the name as UTF-16LE. How
 * HCS makes them is not known, but for one name; that one's GUID is HCS's. */
GUID guid_from_name(const wchar_t *name);

#endif
