/* Any bytes on the control pipe: frames are found as both sides do it; what decodes encodes to the same bytes (but for what
 * follows the known fields), and its texts are texts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "relay/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *frame, size_t size)
{
    struct relay_message message, again;
    struct buffer buffer = {0};
    struct error *error = relay_decode(frame, size, &message);
    if (error) {
        error_free(error);
        return;
    }
    const char *texts[] = {message.version,   message.id,       message.containerd_namespace,
                           message.paths[0],  message.paths[1], message.paths[2],
                           message.operation, message.object,   message.message};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!text_is_utf8(texts[i], strlen(texts[i])))
            abort();
    error = relay_encode(&message, &buffer);
    if (error || buffer.size > size || memcmp(buffer.data + 16, frame + 16, buffer.size - 16) != 0)
        abort();
    if (relay_decode(buffer.data, buffer.size, &again) != NULL || again.session != message.session)
        abort();
    buffer_free(&buffer);
    if (message.type == RELAY_FAILED)
        error_free(relay_unpack_error(&message));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (;;) {
        size_t frame = 0;
        struct error *error = relay_frame(data, size, &frame);
        if (error || !frame) {
            error_free(error);
            return 0;
        }
        if (frame > size || frame < RELAY_HEADER_SIZE)
            abort();
        check(data, frame);
        data += frame;
        size -= frame;
    }
}
