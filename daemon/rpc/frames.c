#include "daemon/rpc/frames.h"

#define HEADER_SIZE 9u /* length (3), type, flags, stream (4) */
#define LENGTH_SIZE 3u

void frames_init(struct frames *frames, uint32_t skip)
{
    *frames = (struct frames){.left = skip};
}

size_t frames_take(struct frames *frames, const uint8_t *data, size_t size, unsigned *budget)
{
    size_t at = 0;
    while (*budget > 0 && at < size) {
        if (frames->left > 0) {
            uint32_t step = size - at < frames->left ? (uint32_t)(size - at) : frames->left;
            at += step;
            frames->left -= step;
        } else {
            if (frames->header_bytes < LENGTH_SIZE)
                frames->length = frames->length << 8 | data[at];
            at++;
            if (++frames->header_bytes < HEADER_SIZE)
                continue;
            frames->left = frames->length;
        }
        if (frames->left == 0 && frames->header_bytes == HEADER_SIZE)
            --*budget;
        if (frames->left == 0)
            frames->header_bytes = frames->length = 0;
    }
    return at;
}
