#include "object.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define TWIN_STACK (256u << 10)

/* Something that happened to an object. It stays with the object for registrations to come. */
struct notice {
    struct notice *next; /* in order of arrival */
    uint64_t number;
    uint32_t type;
    int32_t status;
    bool twice;
    bool delayed; /* not yet due */
};

struct object {
    struct object *next;
    uint64_t handle;
    enum object_kind kind;
    uint64_t epoch;
    char *name;
    bool lost; /* the service was disconnected */
    struct notice *notices;
};

/* A callback to be made. */
struct delivery {
    struct delivery *next;
    uint32_t type;
    int32_t status;
};

struct registration {
    struct registration *next;
    uint64_t id;
    uint64_t handle; /* 0 when its object was closed */
    HCS_NOTIFICATION_CALLBACK callback;
    void *context;
    struct delivery *queue;
    uint64_t *seen; /* numbers of the notices it was given */
    size_t seen_count;
    bool draining;    /* a thread is at work on the queue */
    bool closing;     /* Unregister has begun */
    unsigned running; /* threads that are, or will be, in the callback */
};

/* The process's own tables. */
static struct {
    SRWLOCK lock;
    CONDITION_VARIABLE settled; /* a registration's `running` fell to 0 */
    struct object *objects;
    struct registration *registrations;
    uint64_t next_handle;
    uint64_t next_notice;
} tables;

static struct object *object_find(uint64_t handle)
{
    struct object *object = tables.objects;
    while (object != NULL && object->handle != handle)
        object = object->next;
    return object;
}

static struct registration *registration_find(uint64_t id)
{
    struct registration *registration = tables.registrations;
    while (registration != NULL && registration->id != id)
        registration = registration->next;
    return registration;
}

/* Looks like a pointer, is a key. */
static uint64_t next_key(void)
{
    return 0x10000 + 16 * ++tables.next_handle;
}

uint64_t object_new(enum object_kind kind, uint64_t epoch, const char *name)
{
    struct object *object = mem_new(struct object);

    object->kind = kind;
    object->epoch = epoch;
    object->name = str_copy(name);
    AcquireSRWLockExclusive(&tables.lock);
    object->handle = next_key();
    object->next = tables.objects;
    tables.objects = object;
    ReleaseSRWLockExclusive(&tables.lock);
    return object->handle;
}

void object_set_name(uint64_t handle, const char *name)
{
    struct object *object;

    AcquireSRWLockExclusive(&tables.lock);
    object = object_find(handle);
    if (object != NULL) {
        free(object->name);
        object->name = str_copy(name);
    }
    ReleaseSRWLockExclusive(&tables.lock);
}

struct error *object_check(uint64_t handle, enum object_kind kind, uint64_t *ret_epoch, char **ret_name)
{
    struct object *object;
    bool good;

    AcquireSRWLockShared(&tables.lock);
    object = object_find(handle);
    good = object != NULL && object->kind == kind && !object->lost;
    if (good) {
        *ret_epoch = object->epoch;
        *ret_name = str_copy(object->name);
    }
    ReleaseSRWLockShared(&tables.lock);
    return good ? NULL
                : error_win32(ERROR_INVALID_HANDLE, "vmcompute", NULL, "no such handle, or the service was lost");
}

bool object_drop(uint64_t handle, enum object_kind kind)
{
    struct object *object = NULL;

    AcquireSRWLockExclusive(&tables.lock);
    for (struct object **place = &tables.objects; *place != NULL; place = &(*place)->next) {
        if ((*place)->handle != handle || (*place)->kind != kind)
            continue;
        object = *place;
        *place = object->next;
        break;
    }
    if (object != NULL)
        for (struct registration *registration = tables.registrations; registration != NULL;
             registration = registration->next)
            if (registration->handle == handle)
                registration->handle = 0;
    ReleaseSRWLockExclusive(&tables.lock);
    if (object == NULL)
        return false;
    while (object->notices != NULL) {
        struct notice *notice = object->notices;
        object->notices = notice->next;
        free(notice);
    }
    free(object->name);
    free(object);
    return true;
}

/* With the lock held exclusively at entry and exit, given up for the callback itself. */
static void registration_call(struct registration *registration, uint32_t type, int32_t status)
{
    ReleaseSRWLockExclusive(&tables.lock);
    registration->callback(type, registration->context, status, NULL);
    AcquireSRWLockExclusive(&tables.lock);
}

static void registration_leave(struct registration *registration)
{
    if (--registration->running == 0)
        WakeAllConditionVariable(&tables.settled);
}

static void CALLBACK drain_run(PTP_CALLBACK_INSTANCE instance, void *context)
{
    struct registration *registration = context;

    (void)instance;
    AcquireSRWLockExclusive(&tables.lock);
    while (registration->queue != NULL) {
        struct delivery *delivery = registration->queue;
        registration->queue = delivery->next;
        registration_call(registration, delivery->type, delivery->status);
        free(delivery);
    }
    registration->draining = false;
    registration_leave(registration);
    ReleaseSRWLockExclusive(&tables.lock);
}

/* A second delivery at the same time as the first, on a thread of its own. */
struct twin {
    struct registration *registration;
    uint32_t type;
    int32_t status;
};

static DWORD WINAPI twin_run(void *context)
{
    struct twin *twin = context;

    AcquireSRWLockExclusive(&tables.lock);
    registration_call(twin->registration, twin->type, twin->status);
    registration_leave(twin->registration);
    ReleaseSRWLockExclusive(&tables.lock);
    free(twin);
    return 0;
}

static void registration_queue(struct registration *registration, uint32_t type, int32_t status)
{
    struct delivery **end = &registration->queue;

    while (*end != NULL)
        end = &(*end)->next;
    *end = mem_new(struct delivery);
    (*end)->type = type;
    (*end)->status = status;
    if (registration->draining)
        return;
    registration->draining = true;
    registration->running++;
    if (!TrySubmitThreadpoolCallback(drain_run, registration, NULL))
        abort();
}

/* Gives a notice to a registration, once. Lock held. */
static void registration_give(struct registration *registration, const struct notice *notice)
{
    if (registration->closing)
        return;
    for (size_t i = 0; i < registration->seen_count; i++)
        if (registration->seen[i] == notice->number)
            return;
    registration->seen = mem_resize_array(registration->seen, registration->seen_count + 1, sizeof *registration->seen);
    registration->seen[registration->seen_count++] = notice->number;
    registration_queue(registration, notice->type, notice->status);
    if (notice->twice) {
        struct twin *twin = mem_new(struct twin);
        *twin = (struct twin){.registration = registration, .type = notice->type, .status = notice->status};
        HANDLE thread = CreateThread(NULL, TWIN_STACK, twin_run, twin, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
        if (thread == NULL)
            abort();
        registration->running++; /* the twin waits for the lock that is held here */
        CloseHandle(thread);
    }
}

static void notice_deliver(uint64_t handle, const struct notice *notice)
{
    for (struct registration *registration = tables.registrations; registration != NULL;
         registration = registration->next)
        if (registration->handle == handle)
            registration_give(registration, notice);
}

struct delay {
    uint64_t handle;
    uint64_t number;
};

static void CALLBACK delay_over(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    struct delay *delay = context;
    struct object *object;

    (void)instance;
    AcquireSRWLockExclusive(&tables.lock);
    object = object_find(delay->handle);
    for (struct notice *notice = object == NULL ? NULL : object->notices; notice != NULL; notice = notice->next) {
        if (notice->number != delay->number)
            continue;
        notice->delayed = false;
        notice_deliver(delay->handle, notice);
    }
    ReleaseSRWLockExclusive(&tables.lock);
    CloseThreadpoolTimer(timer);
    free(delay);
}

/* Lock held. */
static void notice_delay(const struct object *object, const struct notice *notice, uint32_t delay_ms)
{
    struct delay *delay = mem_new(struct delay);
    PTP_TIMER timer = CreateThreadpoolTimer(delay_over, delay, NULL);
    int64_t due = -(int64_t)delay_ms * 10000;
    FILETIME time = {.dwLowDateTime = (DWORD)due, .dwHighDateTime = (DWORD)(due >> 32)};

    delay->handle = object->handle;
    delay->number = notice->number;
    SetThreadpoolTimer(timer, &time, 0, 0);
}

/* Lock held. A newer notice of a type takes the place of an older one for registrations to come. */
static struct notice *notice_add(struct object *object, uint32_t type, int32_t status)
{
    struct notice **place = &object->notices;
    struct notice *notice;

    while (*place != NULL) {
        struct notice *old = *place;
        if (old->type == type) {
            *place = old->next;
            free(old);
        } else {
            place = &old->next;
        }
    }
    notice = mem_new(struct notice);
    notice->number = ++tables.next_notice;
    notice->type = type;
    notice->status = status;
    *place = notice;
    return notice;
}

void object_notify(uint64_t handle, uint32_t type, int32_t status, uint32_t delay_ms, bool twice)
{
    struct object *object;

    AcquireSRWLockExclusive(&tables.lock);
    object = object_find(handle);
    if (object != NULL && !object->lost) {
        struct notice *notice = notice_add(object, type, status);
        notice->twice = twice;
        if (delay_ms > 0) {
            notice->delayed = true;
            notice_delay(object, notice, delay_ms);
        } else {
            notice_deliver(handle, notice);
        }
    }
    ReleaseSRWLockExclusive(&tables.lock);
}

void objects_disconnect(uint64_t epoch)
{
    AcquireSRWLockExclusive(&tables.lock);
    for (struct object *object = tables.objects; object != NULL; object = object->next) {
        if (object->lost || object->epoch != epoch)
            continue;
        object->lost = true;
        notice_deliver(object->handle, notice_add(object, HCS_NOTIFICATION_SERVICE_DISCONNECT, S_OK));
    }
    ReleaseSRWLockExclusive(&tables.lock);
}

struct error *object_register(uint64_t handle, enum object_kind kind, HCS_NOTIFICATION_CALLBACK callback, void *context,
                              HCS_CALLBACK *ret_registration)
{
    struct registration *registration;
    struct object *object;
    struct error *error = NULL;

    AcquireSRWLockExclusive(&tables.lock);
    object = object_find(handle);
    if (object == NULL || object->kind != kind || object->lost) {
        error = error_win32(ERROR_INVALID_HANDLE, "register callback", NULL, NULL);
    } else {
        registration = mem_new(struct registration);
        registration->id = next_key();
        registration->handle = handle;
        registration->callback = callback;
        registration->context = context;
        registration->next = tables.registrations;
        tables.registrations = registration;
        *ret_registration = (HCS_CALLBACK)(UINT_PTR)registration->id;
        for (const struct notice *notice = object->notices; notice != NULL; notice = notice->next)
            if (!notice->delayed)
                registration_give(registration, notice);
    }
    ReleaseSRWLockExclusive(&tables.lock);
    return error;
}

char *object_registered_name(HCS_CALLBACK key)
{
    AcquireSRWLockShared(&tables.lock);
    const struct registration *registration = registration_find((uint64_t)(UINT_PTR)key);
    const struct object *object = registration != NULL ? object_find(registration->handle) : NULL;
    char *name = str_copy(object != NULL ? object->name : "");
    ReleaseSRWLockShared(&tables.lock);
    return name;
}

struct error *object_unregister(HCS_CALLBACK key)
{
    struct registration *registration;
    const struct object *object;

    AcquireSRWLockExclusive(&tables.lock);
    registration = registration_find((uint64_t)(UINT_PTR)key);
    if (registration == NULL || registration->closing) {
        ReleaseSRWLockExclusive(&tables.lock);
        return error_win32(ERROR_INVALID_HANDLE, "unregister callback", NULL, NULL);
    }
    /* Notices that a fault keeps back come now, when Unregister has begun. */
    object = object_find(registration->handle);
    for (const struct notice *notice = object == NULL ? NULL : object->notices; notice != NULL; notice = notice->next)
        if (notice->delayed)
            registration_give(registration, notice);
    registration->closing = true;
    while (registration->running > 0)
        SleepConditionVariableSRW(&tables.settled, &tables.lock, INFINITE, 0);
    for (struct registration **place = &tables.registrations; *place != NULL; place = &(*place)->next) {
        if (*place != registration)
            continue;
        *place = registration->next;
        break;
    }
    ReleaseSRWLockExclusive(&tables.lock);
    free(registration->seen);
    free(registration);
    return NULL;
}
