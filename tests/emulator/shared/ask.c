#include "shared/ask.h"

#include "shared/frame.h"

json_t *broker_ask(const struct names *names, const json_t *request)
{
    struct buffer bytes = {0};
    json_t *reply = NULL;
    HANDLE pipe = INVALID_HANDLE_VALUE;
    DWORD done;

    for (int tries = 0; pipe == INVALID_HANDLE_VALUE && tries < 50; tries++) {
        pipe = CreateFileW(names->pipe, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                           SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        if (pipe != INVALID_HANDLE_VALUE)
            break;
        if (GetLastError() != ERROR_PIPE_BUSY)
            return NULL;
        WaitNamedPipeW(names->pipe, 100);
    }
    frame_add(&bytes, request);
    if (WriteFile(pipe, bytes.data, (DWORD)bytes.size, &done, NULL)) {
        buffer_clear(&bytes);
        while (reply == NULL) {
            uint8_t *place = buffer_reserve(&bytes, 65536);
            if (!ReadFile(pipe, place, 65536, &done, NULL) || done == 0)
                break;
            bytes.size += done;
            if (!frame_take(&bytes, &reply))
                break;
            if (reply != NULL && json_object_get(reply, "n") == NULL) { /* an event */
                json_decref(reply);
                reply = NULL;
            }
        }
    }
    buffer_free(&bytes);
    CloseHandle(pipe);
    return reply;
}
