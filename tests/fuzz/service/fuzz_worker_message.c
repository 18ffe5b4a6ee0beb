/* Any JSON as a worker's message: what is taken from it can be packed and taken again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *packed = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
    struct export_request *request = NULL;
    struct export_result *result = NULL;
    struct export_deviation *rows = NULL;
    size_t count = 0;
    if (packed == NULL)
        return 0;
    error_free(message_unpack_error(packed));
    message_unpack_deviations(packed, &rows, &count);
    message_free_deviations(rows, count);
    message_text(packed, "type");
    message_number(packed, "number");
    message_real(packed, "real");
    struct error *error = message_unpack_request(packed, &request);
    if (error == NULL) {
        json_t *again = message_pack_request(request);
        struct export_request *copy = NULL;
        struct error *refused = message_unpack_request(again, &copy);
        if (refused != NULL)
            abort();
        message_free_request(copy);
        json_decref(again);
    }
    message_free_request(request);
    error_free(error);
    error = message_unpack_result(packed, &result);
    if (error == NULL)
        export_result_free(result);
    error_free(error);
    json_decref(packed);
    return 0;
}
