#include "result.h"

#include <jansson.h>

HRESULT result_code(const struct error *error)
{
    if (error == NULL)
        return S_OK;
    switch (error->origin) {
    case ERROR_ORIGIN_WIN32:
        return error->code == 0 ? E_FAIL : RESULT_WIN32(error->code & 0xFFFF);
    case ERROR_ORIGIN_HRESULT:
        return (HRESULT)error->code;
    case ERROR_ORIGIN_NTSTATUS:
        return (HRESULT)(error->code | FACILITY_NT_BIT);
    case ERROR_ORIGIN_NONE:
    case ERROR_ORIGIN_ERRNO:
        break;
    }
    return E_FAIL;
}

HRESULT result_end(struct error *error)
{
    HRESULT code = result_code(error);
    error_free(error);
    return code;
}

char *result_document(HRESULT code, const char *message)
{
    if (message == NULL)
        message = "";
    json_t *event = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s}", "Message", message, "StackTrace", "", "Provider",
                              "{17a2a8c5-1c6d-4d3c-9f1e-7d5e3a0b6c21}", "EventId", 1, "Flags", 0, "Source", "hcsemu");
    json_t *document =
        json_pack("{s:i, s:s, s:[o]}", "Error", (int)code, "ErrorMessage", message, "ErrorEvents", event);
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    return text;
}
