/* The messages have members of these names, which the C library makes macros of. */
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include <containerd/events/task.pb-c.h>
#include <string.h>

#include "cli/event_form.h"
#include "cli/output.h"

static const ProtobufCMessageDescriptor *const known[] = {
    &containerd__events__task_create__descriptor,       &containerd__events__task_start__descriptor,
    &containerd__events__task_delete__descriptor,       &containerd__events__task_exit__descriptor,
    &containerd__events__task_oom__descriptor,          &containerd__events__task_exec_added__descriptor,
    &containerd__events__task_exec_started__descriptor, &containerd__events__task_paused__descriptor,
    &containerd__events__task_resumed__descriptor,      &containerd__events__task_checkpointed__descriptor,
};

/* NULL: there is nothing to show. */
static json_t *value_json(const ProtobufCFieldDescriptor *field, const void *member)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(const char *const *)member;
        return json_string(text == NULL ? "" : text);
    }
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)member);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)member);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        return json_integer(*(const int32_t *)member);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_integer(*(const int64_t *)member);
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *message = *(const ProtobufCMessage *const *)member;
        if (message == NULL)
            return NULL;
        return message->descriptor == &google__protobuf__timestamp__descriptor ? format_time(message)
                                                                               : message_json(message);
    }
    default:
        return NULL;
    }
}

static json_t *array_json(const ProtobufCFieldDescriptor *field, const char *message)
{
    size_t count = *(const size_t *)(const void *)(message + field->quantifier_offset);
    const char *values = *(const char *const *)(const void *)(message + field->offset);
    json_t *array = json_array();
    /* Only what is pointed to is ever repeated in these messages. */
    if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
        return array;
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, value_json(field, values + i * sizeof(void *)));
    return array;
}

json_t *message_json(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    json_t *json = json_object();
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        json_t *value = field->label == PROTOBUF_C_LABEL_REPEATED
                            ? array_json(field, (const char *)message)
                            : value_json(field, (const char *)message + field->offset);
        if (value != NULL)
            json_object_set_new(json, field->name, value);
    }
    return json;
}

static json_t *payload_json(const Google__Protobuf__Any *any)
{
    const char *slash = strrchr(any->type_url, '/'), *name = slash == NULL ? any->type_url : slash + 1;
    json_t *json = NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0] && json == NULL; i++) {
        if (strcmp(known[i]->name, name) != 0)
            continue;
        ProtobufCMessage *message = protobuf_c_message_unpack(known[i], NULL, any->value.len, any->value.data);
        if (message == NULL)
            break;
        json = message_json(message);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return json == NULL ? json_null() : json;
}

json_t *event_json(const Containerd__Types__Envelope *envelope)
{
    const Google__Protobuf__Any *any = envelope->event;
    return json_pack("{s:o, s:s, s:s, s:s, s:o}", "timestamp", format_time(envelope->timestamp), "namespace",
                     envelope->namespace_, "topic", envelope->topic, "type", any == NULL ? "" : any->type_url, "event",
                     any == NULL ? json_null() : payload_json(any));
}
