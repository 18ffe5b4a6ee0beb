/* Any bytes as the request of a call: refused with INVALID_ARGUMENT, or unpacked within the arena's limit into a message whose
 * strings are UTF-8 and that packs again into what the check takes. The first byte chooses the message. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <containerd/task/v3/shim.pb-c.h>
#include <hcsd/v1/layers.pb-c.h>
#include <hcsd/v1/tasks.pb-c.h>

#include "base/memory.h"
#include "base/text.h"
#include "daemon/rpc/arena.h"
#include "daemon/rpc/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const descriptors[] = {
    &containerd__task__v3__create_task_request__descriptor,
    &containerd__task__v3__exec_process_request__descriptor,
    &containerd__task__v3__update_task_request__descriptor,
    &containerd__task__v3__kill_request__descriptor,
    &hcsd__v1__export_request__descriptor,
    &hcsd__v1__list_tasks_request__descriptor,
    &hcsd__v1__list_tasks_response__descriptor,
};

static void check_strings(const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_STRING || field->label == PROTOBUF_C_LABEL_REPEATED ||
            (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
            continue;
        const void *member = (const char *)message + field->offset;
        const char *text = *(char *const *)member;
        if (text != NULL && !text_is_utf8(text, strlen(text)))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *descriptor = descriptors[data[0] % (sizeof descriptors / sizeof descriptors[0])];
    struct arena *arena = mem_new(struct arena);
    ProtobufCMessage *message = NULL;
    arena_init(arena);
    struct error *error = message_unpack(descriptor, data + 1, size - 1, &arena->allocator, &message);
    if ((error == NULL) != (message != NULL))
        abort();
    if (error == NULL) {
        check_strings(message);
        size_t packed = protobuf_c_message_get_packed_size(message);
        uint8_t *again = mem_zero(packed);
        if (protobuf_c_message_pack(message, again) != packed)
            abort();
        struct error *refused = message_check(descriptor, again, packed);
        if (refused != NULL)
            abort();
        free(again);
    }
    error_free(error);
    arena_reset(arena);
    free(arena);
    return 0;
}
