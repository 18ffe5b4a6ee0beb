#include "daemon/rpc/opening.h"

#include <string.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE_SIZE (sizeof preface - 1)
#define HEADER_SIZE  9u /* length (3), type, flags, stream (4) */

enum opening opening_check(const uint8_t *data, size_t size)
{
    static const uint8_t settings[HEADER_SIZE - 3] = {4, 0, 0, 0, 0, 0};
    if (memcmp(data, preface, size < PREFACE_SIZE ? size : PREFACE_SIZE) != 0)
        return OPENING_NO_HTTP2;
    if (size < PREFACE_SIZE + HEADER_SIZE)
        return OPENING_MORE;
    return memcmp(data + PREFACE_SIZE + 3, settings, sizeof settings) == 0 ? OPENING_WHOLE : OPENING_NO_SETTINGS;
}
