#include "daemon/rpc/change.h"

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"

#define VALUE_MAX 300 /* bytes of a path or id that the log takes */

static const char *const looks[] = {
    "State",
    "Pids",
    "Wait",
    "Stats",
    "Connect",
    "List",
    "Get",
    "Show",
    "Host",
    "Version",
    "Check",
    "Watch",
    "Subscribe",
    "RenderCreate",
    "Shutdown", /* containerd's, which ends nothing here */
    "ServerReflectionInfo",
};

/* What names the object of a call, in the messages of all services. */
static const char *const names[] = {"id", "container_id", "exec_id", "layer", "scratch", "path", "output", "bundle"};

static bool is_listed(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

char *change_text(const struct rpc_service *service, const struct rpc_method *method, const struct rpc_caller *caller,
                  const ProtobufCMessage *request)
{
    if (is_listed(method->name, looks, sizeof looks / sizeof looks[0]))
        return NULL;
    struct buffer text = {0};
    buffer_add_format(&text, "%s/%s", service->name, method->name);
    for (unsigned i = 0; request != NULL && i < request->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &request->descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_STRING || field->label == PROTOBUF_C_LABEL_REPEATED ||
            (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 ||
            !is_listed(field->name, names, sizeof names / sizeof names[0]))
            continue;
        const void *member = (const char *)request + field->offset;
        const char *value = *(char *const *)member;
        if (value == NULL || *value == 0)
            continue;
        char *shown = text_printable(value, strlen(value), VALUE_MAX);
        buffer_add_format(&text, " %s=%s", field->name, shown);
        free(shown);
    }
    buffer_add_format(&text, " in %s, for pid %u, %s", caller->containerd_namespace, (unsigned)caller->pid,
                      caller->user);
    return (char *)text.data;
}
