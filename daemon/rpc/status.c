#include "daemon/rpc/status.h"

#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "hcsd/v1/error.pb-c.h"

#define DETAIL_TYPE "hcsd.v1.ErrorDetail"

static const char *const origin_names[] = {
    [ERROR_ORIGIN_NONE] = "",           [ERROR_ORIGIN_WIN32] = "WIN32",
    [ERROR_ORIGIN_HRESULT] = "HRESULT", [ERROR_ORIGIN_NTSTATUS] = "NTSTATUS",
    [ERROR_ORIGIN_ERRNO] = "ERRNO",
};

static char *cut(const char *text)
{
    return text_printable(text, strlen(text), STATUS_TEXT_MAX);
}

static char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return cut(text != NULL ? text : "");
}

/* HCS's ErrorEvents (hcsschema, ErrorEvent) as messages; strings belong to them. */
static size_t events_read(const char *events_json, Hcsd__V1__HcsEvent **ret_events)
{
    json_t *array = events_json != NULL ? json_loads(events_json, 0, NULL) : NULL;
    size_t count = json_array_size(array);
    Hcsd__V1__HcsEvent *events = mem_new_array(count + 1, Hcsd__V1__HcsEvent);
    for (size_t i = 0; i < count; i++) {
        const json_t *from = json_array_get(array, i);
        hcsd__v1__hcs_event__init(&events[i]);
        events[i].message = text_of(from, "Message");
        events[i].stack_trace = text_of(from, "StackTrace");
        events[i].provider = text_of(from, "Provider");
        events[i].source = text_of(from, "Source");
        events[i].event_id = (uint32_t)json_integer_value(json_object_get(from, "EventId"));
        events[i].flags = (uint32_t)json_integer_value(json_object_get(from, "Flags"));
    }
    json_decref(array);
    *ret_events = events;
    return count;
}

static void events_free(Hcsd__V1__HcsEvent *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(events[i].message);
        free(events[i].stack_trace);
        free(events[i].provider);
        free(events[i].source);
    }
    free(events);
}

void status_from_error(const struct error *error, struct status *ret_status)
{
    char *text = error_text(error);
    ret_status->code = (int)error->kind;
    ret_status->message = cut(text);
    free(text);

    Hcsd__V1__HcsEvent *events;
    size_t count = events_read(error->hcs_events, &events);
    Hcsd__V1__HcsEvent **pointers = mem_new_array(count + 1, Hcsd__V1__HcsEvent *);
    for (size_t i = 0; i < count; i++)
        pointers[i] = &events[i];
    char *object = cut(error->object), *operation = cut(error->operation), *message = cut(error->message);
    Hcsd__V1__ErrorDetail detail = HCSD__V1__ERROR_DETAIL__INIT;
    detail.code = error->code;
    detail.code_kind = (char *)origin_names[error->origin];
    detail.operation = operation;
    detail.object = object;
    detail.message = message;
    detail.events = pointers;
    detail.n_events = count;
    while (detail.n_events > 0 && hcsd__v1__error_detail__get_packed_size(&detail) > STATUS_DETAILS_MAX)
        detail.n_events--;
    if (hcsd__v1__error_detail__get_packed_size(&detail) > STATUS_DETAILS_MAX)
        detail.message = (char *)"";

    uint8_t *packed = mem_zero(hcsd__v1__error_detail__get_packed_size(&detail));
    Hcsd__V1__StatusDetail any = HCSD__V1__STATUS_DETAIL__INIT, *anys[] = {&any};
    any.type_url = (char *)DETAIL_TYPE;
    any.value.data = packed;
    any.value.len = hcsd__v1__error_detail__pack(&detail, packed);
    Hcsd__V1__Status status = HCSD__V1__STATUS__INIT;
    status.code = (int)error->kind;
    status.message = (char *)""; /* it stands in grpc-message */
    status.details = anys;
    status.n_details = 1;
    ret_status->details = mem_zero(hcsd__v1__status__get_packed_size(&status));
    ret_status->details_size = hcsd__v1__status__pack(&status, ret_status->details);

    free(packed);
    free(object);
    free(operation);
    free(message);
    free(pointers);
    events_free(events, count);
}

void status_free(struct status *status)
{
    free(status->message);
    free(status->details);
    *status = (struct status){0};
}

static char *events_write(const Hcsd__V1__ErrorDetail *detail)
{
    if (detail->n_events == 0)
        return NULL;
    json_t *document = json_object(), *array = json_array();
    for (size_t i = 0; i < detail->n_events; i++) {
        const Hcsd__V1__HcsEvent *event = detail->events[i];
        json_array_append_new(array, json_pack("{s:s,s:s,s:s,s:I,s:I,s:s}", "Message", event->message, "StackTrace",
                                               event->stack_trace, "Provider", event->provider, "EventId",
                                               (json_int_t)event->event_id, "Flags", (json_int_t)event->flags, "Source",
                                               event->source));
    }
    json_object_set_new(document, "ErrorEvents", array);
    char *dumped = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    return dumped;
}

/* The last part of a type url counts (google.protobuf.Any). */
static bool is_detail(const char *type_url)
{
    const char *slash = strrchr(type_url, '/');
    return strcmp(slash != NULL ? slash + 1 : type_url, DETAIL_TYPE) == 0;
}

struct error *status_to_error(int code, const char *message, size_t message_size, const uint8_t *details,
                              size_t details_size, const char *operation, const char *object)
{
    enum error_kind kind =
        code >= ERROR_KIND_CANCELLED && code <= ERROR_KIND_DATA_LOSS ? (enum error_kind)code : ERROR_KIND_UNKNOWN;
    Hcsd__V1__Status *status = details_size > 0 ? hcsd__v1__status__unpack(NULL, details_size, details) : NULL;
    Hcsd__V1__ErrorDetail *detail = NULL;
    for (size_t i = 0; status != NULL && i < status->n_details && detail == NULL; i++)
        if (is_detail(status->details[i]->type_url))
            detail =
                hcsd__v1__error_detail__unpack(NULL, status->details[i]->value.len, status->details[i]->value.data);
    char *text = str_copy_n(message, message_size);
    struct error *error;
    if (detail != NULL) {
        error =
            error_make(kind, detail->operation, detail->object, "%s", detail->message[0] != 0 ? detail->message : text);
        for (size_t i = 0; i < sizeof origin_names / sizeof origin_names[0]; i++)
            if (strcmp(origin_names[i], detail->code_kind) == 0)
                error->origin = (enum error_origin)i;
        error->code = error->origin != ERROR_ORIGIN_NONE ? detail->code : 0;
        char *events = events_write(detail);
        if (events != NULL)
            error_add_hcs_result(error, events);
        free(events);
    } else {
        error = error_make(kind, operation, object, "%s", text);
    }
    free(text);
    if (detail != NULL)
        hcsd__v1__error_detail__free_unpacked(detail, NULL);
    if (status != NULL)
        hcsd__v1__status__free_unpacked(status, NULL);
    return error;
}
