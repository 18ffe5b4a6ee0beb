/* The messages have members of these names, which the C library makes macros of. */
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include <containerd/events/task.pb-c.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "daemon/events/envelope.h"

struct envelope {
    _Atomic unsigned references;
    Containerd__Types__Envelope message;
    Google__Protobuf__Timestamp timestamp;
    Google__Protobuf__Any event;
    ProtobufCMessage *payload; /* decoded, for filters */
    bool decoded;
    size_t size;
    char data[]; /* the texts and the payload */
};

/* What filters can look into. */
static const ProtobufCMessageDescriptor *const known[] = {
    &containerd__events__task_create__descriptor,       &containerd__events__task_start__descriptor,
    &containerd__events__task_delete__descriptor,       &containerd__events__task_exit__descriptor,
    &containerd__events__task_oom__descriptor,          &containerd__events__task_exec_added__descriptor,
    &containerd__events__task_exec_started__descriptor, &containerd__events__task_paused__descriptor,
    &containerd__events__task_resumed__descriptor,      &containerd__events__task_checkpointed__descriptor,
};

static char *put(char **at, const void *data, size_t size)
{
    char *begin = *at;
    if (size != 0)
        memcpy(begin, data, size);
    begin[size] = 0;
    *at += size + 1;
    return begin;
}

struct envelope *envelope_new(int64_t wall_ns, const char *containerd_namespace, const char *topic,
                              const char *type_url, const void *value, size_t size)
{
    size_t total = strlen(containerd_namespace) + strlen(topic) + strlen(type_url) + size + 4;
    struct envelope *envelope = mem_zero(sizeof *envelope + total);
    char *at = envelope->data;
    atomic_init(&envelope->references, 1);
    envelope->size = sizeof *envelope + total;
    containerd__types__envelope__init(&envelope->message);
    google__protobuf__timestamp__init(&envelope->timestamp);
    google__protobuf__any__init(&envelope->event);
    envelope->timestamp.seconds = wall_ns / 1000000000;
    envelope->timestamp.nanos = (int32_t)(wall_ns % 1000000000);
    if (envelope->timestamp.nanos < 0) {
        envelope->timestamp.nanos += 1000000000;
        envelope->timestamp.seconds--;
    }
    envelope->message.timestamp = &envelope->timestamp;
    envelope->message.namespace_ = put(&at, containerd_namespace, strlen(containerd_namespace));
    envelope->message.topic = put(&at, topic, strlen(topic));
    envelope->event.type_url = put(&at, type_url, strlen(type_url));
    envelope->event.value.data = (uint8_t *)put(&at, value, size);
    envelope->event.value.len = size;
    envelope->message.event = &envelope->event;
    return envelope;
}

struct envelope *envelope_ref(struct envelope *envelope)
{
    atomic_fetch_add(&envelope->references, 1);
    return envelope;
}

void envelope_unref(struct envelope *envelope)
{
    if (envelope == NULL || atomic_fetch_sub(&envelope->references, 1) != 1)
        return;
    if (envelope->payload != NULL)
        protobuf_c_message_free_unpacked(envelope->payload, NULL);
    free(envelope);
}

size_t envelope_size(const struct envelope *envelope)
{
    return envelope->size;
}

const Containerd__Types__Envelope *envelope_message(const struct envelope *envelope)
{
    return &envelope->message;
}

/* ---- fields ---- */

static const ProtobufCMessage *payload_of(struct envelope *envelope)
{
    const char *url = envelope->event.type_url, *slash = strrchr(url, '/');
    const char *name = slash == NULL ? url : slash + 1;
    for (size_t i = 0; i < sizeof known / sizeof known[0] && !envelope->decoded; i++)
        if (strcmp(known[i]->name, name) == 0)
            envelope->payload =
                protobuf_c_message_unpack(known[i], NULL, envelope->event.value.len, envelope->event.value.data);
    envelope->decoded = true;
    return envelope->payload;
}

static const char *text_of(const ProtobufCMessage *message, const char *const *path, size_t depth)
{
    for (size_t i = 0; message != NULL && i < depth; i++) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(message->descriptor, path[i]);
        const void *member = field == NULL ? NULL : (const char *)message + field->offset;
        if (field == NULL || field->label == PROTOBUF_C_LABEL_REPEATED)
            return NULL;
        if (field->type == PROTOBUF_C_TYPE_STRING)
            return i + 1 == depth ? *(const char *const *)member : NULL;
        message = field->type == PROTOBUF_C_TYPE_MESSAGE ? *(const ProtobufCMessage *const *)member : NULL;
    }
    return NULL;
}

const char *envelope_field(void *context, const char *const *path, size_t depth)
{
    struct envelope *envelope = context;
    if (depth == 1 && strcmp(path[0], "namespace") == 0)
        return envelope->message.namespace_;
    if (depth == 1 && strcmp(path[0], "topic") == 0)
        return envelope->message.topic;
    if (depth > 1 && strcmp(path[0], "event") == 0)
        return text_of(payload_of(envelope), path + 1, depth - 1);
    return NULL;
}

/* ---- what comes from outside ---- */

static bool is_topic(const char *topic)
{
    if (topic[0] != '/' || topic[1] == 0)
        return false;
    for (const char *at = topic; *at == '/';) {
        size_t size = strcspn(at + 1, "/");
        char *part = str_copy_n(at + 1, size);
        bool good = text_is_identifier(part);
        free(part);
        if (!good)
            return false;
        at += 1 + size;
    }
    return true;
}

struct error *envelope_check(const char *containerd_namespace, const char *topic, const Google__Protobuf__Any *event)
{
    if (!text_is_identifier(containerd_namespace))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "publish", containerd_namespace,
                          "a namespace has 1 to 76 letters, digits, and single '.', '_' or '-' between them");
    if (!is_topic(topic))
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "publish", topic,
                          "a topic begins with a slash and has identifiers between its slashes");
    if (event == NULL || event->type_url[0] == 0)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "publish", topic, "the event is missing, or its type");
    if (event->value.len > ENVELOPE_EVENT_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "publish", topic, "the event has %zu bytes; %u are possible",
                          event->value.len, ENVELOPE_EVENT_MAX);
    return NULL;
}
