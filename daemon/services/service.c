#include "daemon/services/service.h"

#include "base/memory.h"

struct service *service_new(size_t size, const char *name, const char *alias, const struct rpc_method *methods,
                            size_t method_count)
{
    struct service *service = mem_zero(size);
    service->table.name = name;
    service->table.alias = alias;
    service->table.methods = methods;
    service->table.method_count = method_count;
    service->table.context = service;
    return service;
}

void service_close(const struct rpc_service *table)
{
    struct service *service = (struct service *)table;
    if (service && service->free_more)
        service->free_more(service);
    free(service);
}

char *service_text(const char *text)
{
    return (char *)(text ? text : "");
}

Google__Protobuf__Timestamp *service_time(int64_t wall_ns, Google__Protobuf__Timestamp *storage)
{
    if (!wall_ns)
        return NULL;
    google__protobuf__timestamp__init(storage);
    storage->seconds = wall_ns / 1000000000;
    storage->nanos = (int32_t)(wall_ns % 1000000000);
    if (storage->nanos < 0) {
        storage->nanos += 1000000000;
        storage->seconds--;
    }
    return storage;
}

char *service_client(const struct rpc_call *call)
{
    const struct rpc_caller *caller = rpc_call_caller(call);
    return str_format("pid %u, %s", caller->pid, caller->user ? caller->user : caller->sid);
}
