#include "daemon/rpc/health_service.h"

#include <windows.h>

#include <string.h>

#include "base/memory.h"
#include "grpc/health/v1/health.pb-c.h"

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

struct known {
    char *name;
    serving_status status;
};

/* One Watch call. Whoever finds it over, with nothing under way, ends it. */
struct watcher {
    struct health_service *health;
    struct watcher *next;
    struct rpc_call *call;
    char *name;
    serving_status told;
    bool sending, gone;
};

struct health_service {
    struct rpc_service service;
    SRWLOCK lock;
    struct known *known;
    size_t known_count;
    struct watcher *watchers;
};

static const struct known *find(const struct health_service *health, const char *name)
{
    for (size_t i = 0; i < health->known_count; i++)
        if (strcmp(health->known[i].name, name) == 0)
            return &health->known[i];
    return NULL;
}

static void handle_check(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct health_service *health = context;
    const char *name = ((const Grpc__Health__V1__HealthCheckRequest *)message)->service;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    AcquireSRWLockShared(&health->lock);
    const struct known *known = find(health, name);
    if (known != NULL)
        response.status = known->status;
    ReleaseSRWLockShared(&health->lock);
    if (known != NULL)
        rpc_call_reply(call, &response.base);
    else
        rpc_call_fail(call, error_make(ERROR_KIND_NOT_FOUND, "health check", name, "hcsd has no such service"));
}

static void handle_list(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)message;
    struct health_service *health = context;
    size_t count = health->known_count;
    Grpc__Health__V1__HealthListResponse response = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    Grpc__Health__V1__HealthListResponse__StatusesEntry *entries =
        mem_new_array(count, Grpc__Health__V1__HealthListResponse__StatusesEntry);
    Grpc__Health__V1__HealthCheckResponse *values = mem_new_array(count, Grpc__Health__V1__HealthCheckResponse);
    response.statuses = mem_new_array(count, Grpc__Health__V1__HealthListResponse__StatusesEntry *);
    response.n_statuses = count;
    AcquireSRWLockShared(&health->lock);
    for (size_t i = 0; i < count; i++) {
        grpc__health__v1__health_check_response__init(&values[i]);
        grpc__health__v1__health_list_response__statuses_entry__init(&entries[i]);
        values[i].status = health->known[i].status;
        entries[i].key = health->known[i].name;
        entries[i].value = &values[i];
        response.statuses[i] = &entries[i];
    }
    ReleaseSRWLockShared(&health->lock);
    rpc_call_reply(call, &response.base);
    free(response.statuses);
    free(values);
    free(entries);
}

/* ---- watching ---- */

static void watcher_sent(void *context, bool ok);

/* Sends the present status unless it is known already or a message is under way. */
static void watcher_tell_locked(struct watcher *watcher)
{
    const struct known *known = find(watcher->health, watcher->name);
    serving_status status = known != NULL ? known->status : STATUS(SERVICE_UNKNOWN);
    if (watcher->sending || watcher->gone || watcher->told == status)
        return;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = watcher->told = status;
    watcher->sending = true;
    rpc_call_send(watcher->call, &response.base, watcher_sent, watcher);
}

static void watcher_end(struct watcher *watcher)
{
    struct health_service *health = watcher->health;
    AcquireSRWLockExclusive(&health->lock);
    struct watcher **at = &health->watchers;
    while (*at != watcher)
        at = &(*at)->next;
    *at = watcher->next;
    ReleaseSRWLockExclusive(&health->lock);
    rpc_call_finish(watcher->call);
    free(watcher->name);
    free(watcher);
}

static void watcher_sent(void *context, bool ok)
{
    (void)ok; /* not ok: `gone` comes, or has come */
    struct watcher *watcher = context;
    AcquireSRWLockExclusive(&watcher->health->lock);
    watcher->sending = false;
    bool gone = watcher->gone;
    if (ok)
        watcher_tell_locked(watcher); /* it may have changed meanwhile */
    ReleaseSRWLockExclusive(&watcher->health->lock);
    if (gone)
        watcher_end(watcher);
}

static void watcher_gone(void *context)
{
    struct watcher *watcher = context;
    AcquireSRWLockExclusive(&watcher->health->lock);
    watcher->gone = true;
    bool sending = watcher->sending;
    ReleaseSRWLockExclusive(&watcher->health->lock);
    if (!sending)
        watcher_end(watcher);
}

static void handle_watch(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct health_service *health = context;
    struct watcher *watcher = mem_new(struct watcher);
    watcher->health = health;
    watcher->call = call;
    watcher->name = str_copy(((const Grpc__Health__V1__HealthCheckRequest *)message)->service);
    watcher->told = STATUS(UNKNOWN);
    AcquireSRWLockExclusive(&health->lock);
    watcher->next = health->watchers;
    health->watchers = watcher;
    watcher_tell_locked(watcher);
    ReleaseSRWLockExclusive(&health->lock);
    rpc_call_on_gone(call, watcher_gone, watcher);
}

/* ---- the service ---- */

static const struct rpc_method methods[] = {
    {"Check", &grpc__health__v1__health_check_request__descriptor, &grpc__health__v1__health_check_response__descriptor,
     RPC_UNARY, handle_check},
    {"List", &grpc__health__v1__health_list_request__descriptor, &grpc__health__v1__health_list_response__descriptor,
     RPC_UNARY, handle_list},
    {"Watch", &grpc__health__v1__health_check_request__descriptor, &grpc__health__v1__health_check_response__descriptor,
     RPC_SERVER_STREAM, handle_watch},
};

static void add(struct health_service *health, const char *name)
{
    if (name == NULL)
        return;
    health->known = mem_resize_array(health->known, health->known_count + 1, sizeof *health->known);
    health->known[health->known_count++] = (struct known){str_copy(name), STATUS(NOT_SERVING)};
}

struct health_service *health_service_open(const struct rpc_service *const *services, size_t count)
{
    struct health_service *health = mem_new(struct health_service);
    InitializeSRWLock(&health->lock);
    health->service =
        (struct rpc_service){"grpc.health.v1.Health", NULL, methods, sizeof methods / sizeof methods[0], health};
    add(health, "");
    for (size_t i = 0; i < count; i++) {
        add(health, services[i]->name);
        add(health, services[i]->alias);
    }
    return health;
}

const struct rpc_service *health_service_table(const struct health_service *health)
{
    return &health->service;
}

void health_service_set(struct health_service *health, const char *service, bool serving)
{
    AcquireSRWLockExclusive(&health->lock);
    for (size_t i = 0; i < health->known_count; i++)
        if (service == NULL || strcmp(health->known[i].name, service) == 0)
            health->known[i].status = serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
    for (struct watcher *watcher = health->watchers; watcher != NULL; watcher = watcher->next)
        watcher_tell_locked(watcher);
    ReleaseSRWLockExclusive(&health->lock);
}

void health_service_close(struct health_service *health)
{
    if (health == NULL)
        return;
    for (size_t i = 0; i < health->known_count; i++)
        free(health->known[i].name);
    free(health->known);
    free(health);
}
