#include "daemon/services/runtime_options.h"

#include <string.h>

#include <containerd/runhcs/v1/runhcs.pb-c.h>

#include "base/memory.h"

#define ANNOTATIONS_MAX 1024u
#define VM_MEMORY_MAX   (1 << 24) /* MiB: 16 TiB */
#define VM_COUNT_MAX    4096

static struct error *refuse(const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the runtime's options", NULL, "%s", why);
}

struct error *runtime_options_parse(const Google__Protobuf__Any *any, struct runtime_options *ret_options)
{
    const char *slash = any ? strrchr(any->type_url, '/') : NULL, *type = slash ? slash + 1 : any ? any->type_url : "";
    *ret_options = (struct runtime_options){0};
    if (strcmp(type, containerd__runhcs__v1__options__descriptor.name) != 0)
        return NULL;
    Containerd__Runhcs__V1__Options *message =
        containerd__runhcs__v1__options__unpack(NULL, any->value.len, any->value.data);
    if (!message)
        return refuse("they are no message of their type");
    struct error *error = NULL;
    if (message->sandbox_isolation != CONTAINERD__RUNHCS__V1__OPTIONS__SANDBOX_ISOLATION__PROCESS &&
        message->sandbox_isolation != CONTAINERD__RUNHCS__V1__OPTIONS__SANDBOX_ISOLATION__HYPERVISOR)
        error = refuse("sandbox_isolation must be PROCESS or HYPERVISOR");
    else if (message->vm_processor_count < 0 || message->vm_processor_count > VM_COUNT_MAX)
        error = refuse("vm_processor_count is out of range");
    else if (message->vm_memory_size_in_mb < 0 || message->vm_memory_size_in_mb > VM_MEMORY_MAX)
        error = refuse("vm_memory_size_in_mb is out of range");
    else if (message->n_default_container_annotations > ANNOTATIONS_MAX)
        error = refuse("there are too many default_container_annotations");
    if (error) {
        containerd__runhcs__v1__options__free_unpacked(message, NULL);
        return error;
    }
    size_t count = message->n_default_container_annotations;
    const char **annotations = mem_new_array(2 * count, const char *);
    for (size_t i = 0; i < count; i++) {
        annotations[2 * i] = message->default_container_annotations[i]->key;
        annotations[2 * i + 1] = message->default_container_annotations[i]->value;
    }
    *ret_options = (struct runtime_options){
        .runtime =
            {
                .given = any->value.len != 0,
                .hypervisor =
                    message->sandbox_isolation == CONTAINERD__RUNHCS__V1__OPTIONS__SANDBOX_ISOLATION__HYPERVISOR,
                .platform = message->sandbox_platform,
                .vm_processors = (uint32_t)message->vm_processor_count,
                .vm_memory_mb = (uint32_t)message->vm_memory_size_in_mb,
                .annotations = annotations,
                .annotation_count = count,
            },
        .message = message,
        .annotations = annotations,
    };
    return NULL;
}

void runtime_options_free(struct runtime_options *options)
{
    if (options->message)
        containerd__runhcs__v1__options__free_unpacked(options->message, NULL);
    free(options->annotations);
    *options = (struct runtime_options){0};
}
