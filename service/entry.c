#include "service/entry.h"

#include <stdatomic.h>

#include "base/memory.h"
#include "base/win.h"

/* Requests that the handler posts. */
#define REQUEST_STOP 1u
#define REQUEST_PRESHUTDOWN 2u
#define REQUEST_SHUTDOWN 4u
#define REQUEST_RELOAD 8u
#define REQUEST_FAIL 16u
#define REQUEST_END (REQUEST_STOP | REQUEST_PRESHUTDOWN | REQUEST_SHUTDOWN | REQUEST_FAIL)

#define ACCEPTED                                                                                                       \
    (SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE)

static const struct {
    DWORD control;
    unsigned request;
} controls[] = {
    {SERVICE_CONTROL_STOP, REQUEST_STOP},
    {SERVICE_CONTROL_PRESHUTDOWN, REQUEST_PRESHUTDOWN},
    {SERVICE_CONTROL_SHUTDOWN, REQUEST_SHUTDOWN},
    {SERVICE_CONTROL_PARAMCHANGE, REQUEST_RELOAD},
    {SERVICE_CONTROL_INTERROGATE, 0}, /* the service manager knows the last status */
};

struct service {
    struct service_work work;
    struct service_calls calls;
    HANDLE posted; /* auto-reset */
    _Atomic unsigned requests;
    SERVICE_STATUS_HANDLE handle;
    SERVICE_STATUS status; /* the service's thread */
};

struct error *service_new(const struct service_work *work, const struct service_calls *calls, struct service **ret_service)
{
    HANDLE posted = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (posted == NULL)
        return error_win32(GetLastError(), "CreateEvent", "service", NULL);
    struct service *service = mem_new(struct service);
    service->work = *work;
    service->calls = *calls;
    service->posted = posted;
    service->status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    *ret_service = service;
    return NULL;
}

void service_free(struct service *service)
{
    if (service == NULL)
        return;
    win_close(service->posted);
    free(service);
}

static void post(struct service *service, unsigned request)
{
    atomic_fetch_or(&service->requests, request);
    SetEvent(service->posted);
}

DWORD WINAPI service_control(DWORD control, DWORD event_type, void *event_data, void *context)
{
    (void)event_type;
    (void)event_data;
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        if (controls[i].control != control)
            continue;
        if (controls[i].request != 0)
            post(context, controls[i].request);
        return NO_ERROR;
    }
    return ERROR_CALL_NOT_IMPLEMENTED;
}

void service_fail(struct service *service)
{
    post(service, REQUEST_FAIL);
}

static void report(struct service *service, DWORD state, DWORD error)
{
    bool pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    SERVICE_STATUS *status = &service->status;
    status->dwCheckPoint = !pending ? 0 : status->dwCurrentState == state ? status->dwCheckPoint + 1 : 1;
    status->dwCurrentState = state;
    status->dwControlsAccepted = state == SERVICE_RUNNING ? ACCEPTED : 0;
    status->dwWaitHint = pending ? SERVICE_WAIT_HINT_MS : 0;
    /* hcsd's own failures are told by its events; 1066 says that there is one. */
    status->dwWin32ExitCode = error == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
    status->dwServiceSpecificExitCode = error;
    service->calls.set_status(service->handle, status);
}

static void checkpoint(void *context)
{
    struct service *service = context;
    report(service, service->status.dwCurrentState, 0);
}

/* What ends the service, the most urgent first. */
static enum service_stop wait_for_end(struct service *service)
{
    for (;;) {
        WaitForSingleObject(service->posted, INFINITE);
        unsigned requests = atomic_fetch_and(&service->requests, REQUEST_END);
        if ((requests & REQUEST_SHUTDOWN) != 0)
            return SERVICE_STOP_SHUTDOWN;
        if ((requests & REQUEST_FAIL) != 0)
            return SERVICE_STOP_FAILED;
        if ((requests & REQUEST_PRESHUTDOWN) != 0)
            return SERVICE_STOP_PRESHUTDOWN;
        if ((requests & REQUEST_STOP) != 0)
            return SERVICE_STOP_ASKED;
        if ((requests & REQUEST_RELOAD) != 0)
            service->work.reload(service->work.context);
    }
}

static unsigned stop_bound(struct service *service, enum service_stop why)
{
    if (why == SERVICE_STOP_SHUTDOWN || why == SERVICE_STOP_FAILED)
        return SERVICE_SHUTDOWN_MS;
    unsigned system = why == SERVICE_STOP_PRESHUTDOWN ? service->calls.preshutdown_ms(service->calls.context) : 0;
    if (system == 0)
        return SERVICE_STOP_MS;
    /* Whoever has set a shorter time than we asked for cuts the draining, not the journal. */
    unsigned left = system > 2 * SERVICE_PRESHUTDOWN_RESERVE_MS ? system - SERVICE_PRESHUTDOWN_RESERVE_MS : system / 2;
    return left < SERVICE_STOP_MS ? left : SERVICE_STOP_MS;
}

bool service_loop(struct service *service, SERVICE_STATUS_HANDLE handle)
{
    const struct daemon_progress progress = {.step = checkpoint, .context = service};
    bool clean = true;
    service->handle = handle;
    report(service, SERVICE_START_PENDING, 0);
    struct error *error = service->work.start(service->work.context, &progress);
    if (error != NULL) {
        uint32_t code = error_as_hresult(error);
        service->work.end(service->work.context);
        report(service, SERVICE_STOPPED, code != 0 ? code : (uint32_t)error->kind);
        error_free(error);
        return true;
    }
    report(service, SERVICE_RUNNING, 0);
    enum service_stop why = wait_for_end(service);
    report(service, SERVICE_STOP_PENDING, 0);
    clean = service->work.stop(service->work.context, why, stop_bound(service, why), &progress);
    service->work.end(service->work.context);
    report(service, SERVICE_STOPPED, clean && why != SERVICE_STOP_FAILED ? 0 : ERROR_KIND_DEADLINE_EXCEEDED);
    return clean;
}
