#include "service/entry.h"

#include <stdatomic.h>

#include "base/memory.h"
#include "base/win.h"

/* Requests that the handler posts. */
#define REQUEST_STOP        1u
#define REQUEST_PRESHUTDOWN 2u
#define REQUEST_SHUTDOWN    4u
#define REQUEST_RELOAD      8u
#define REQUEST_FAIL        16u
#define REQUEST_END         (REQUEST_STOP | REQUEST_PRESHUTDOWN | REQUEST_SHUTDOWN | REQUEST_FAIL)

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

struct entry {
    struct entry_work work;
    struct entry_calls calls;
    HANDLE posted; /* auto-reset */
    _Atomic unsigned requests;
    SERVICE_STATUS_HANDLE handle;
    SERVICE_STATUS status; /* the service's thread */
};

struct error *entry_new(const struct entry_work *work, const struct entry_calls *calls, struct entry **ret_entry)
{
    HANDLE posted = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (posted == NULL)
        return error_win32(GetLastError(), "CreateEvent", "service", NULL);
    struct entry *entry = mem_new(struct entry);
    entry->work = *work;
    entry->calls = *calls;
    entry->posted = posted;
    entry->status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    *ret_entry = entry;
    return NULL;
}

void entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    win_close(entry->posted);
    free(entry);
}

static void post(struct entry *entry, unsigned request)
{
    atomic_fetch_or(&entry->requests, request);
    SetEvent(entry->posted);
}

DWORD WINAPI entry_control(DWORD control, DWORD event_type, void *event_data, void *context)
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

void entry_fail(struct entry *entry)
{
    post(entry, REQUEST_FAIL);
}

static void report(struct entry *entry, DWORD state, DWORD error)
{
    bool pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    SERVICE_STATUS *status = &entry->status;
    status->dwCheckPoint = !pending ? 0 : status->dwCurrentState == state ? status->dwCheckPoint + 1 : 1;
    status->dwCurrentState = state;
    status->dwControlsAccepted = state == SERVICE_RUNNING ? ACCEPTED : 0;
    status->dwWaitHint = pending ? SERVICE_WAIT_HINT_MS : 0;
    /* hcsd's own failures are told by its events; 1066 says that there is one. */
    status->dwWin32ExitCode = error == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
    status->dwServiceSpecificExitCode = error;
    entry->calls.set_status(entry->handle, status);
}

static void checkpoint(void *context)
{
    struct entry *entry = context;
    report(entry, entry->status.dwCurrentState, 0);
}

/* What ends the service, the most urgent first. */
static enum service_stop wait_for_end(struct entry *entry)
{
    for (;;) {
        WaitForSingleObject(entry->posted, INFINITE);
        unsigned requests = atomic_fetch_and(&entry->requests, REQUEST_END);
        if ((requests & REQUEST_SHUTDOWN) != 0)
            return SERVICE_STOP_SHUTDOWN;
        if ((requests & REQUEST_FAIL) != 0)
            return SERVICE_STOP_FAILED;
        if ((requests & REQUEST_PRESHUTDOWN) != 0)
            return SERVICE_STOP_PRESHUTDOWN;
        if ((requests & REQUEST_STOP) != 0)
            return SERVICE_STOP_ASKED;
        if ((requests & REQUEST_RELOAD) != 0)
            entry->work.reload(entry->work.context);
    }
}

static unsigned stop_bound(struct entry *entry, enum service_stop why)
{
    if (why == SERVICE_STOP_SHUTDOWN || why == SERVICE_STOP_FAILED)
        return SERVICE_SHUTDOWN_MS;
    unsigned system = why == SERVICE_STOP_PRESHUTDOWN ? entry->calls.preshutdown_ms(entry->calls.context) : 0;
    if (system == 0)
        return SERVICE_STOP_MS;
    /* Whoever has set a shorter time than we asked for cuts the draining, not the journal. */
    unsigned left = system > 2 * SERVICE_PRESHUTDOWN_RESERVE_MS ? system - SERVICE_PRESHUTDOWN_RESERVE_MS : system / 2;
    return left < SERVICE_STOP_MS ? left : SERVICE_STOP_MS;
}

bool entry_loop(struct entry *entry, SERVICE_STATUS_HANDLE handle)
{
    const struct daemon_progress progress = {.step = checkpoint, .context = entry};
    bool clean = true;
    entry->handle = handle;
    report(entry, SERVICE_START_PENDING, 0);
    struct error *error = entry->work.start(entry->work.context, &progress);
    if (error != NULL) {
        uint32_t code = error_as_hresult(error);
        entry->work.end(entry->work.context);
        report(entry, SERVICE_STOPPED, code != 0 ? code : (uint32_t)error->kind);
        error_free(error);
        return true;
    }
    report(entry, SERVICE_RUNNING, 0);
    enum service_stop why = wait_for_end(entry);
    report(entry, SERVICE_STOP_PENDING, 0);
    clean = entry->work.stop(entry->work.context, why, stop_bound(entry, why), &progress);
    entry->work.end(entry->work.context);
    report(entry, SERVICE_STOPPED, clean && why != SERVICE_STOP_FAILED ? 0 : ERROR_KIND_DEADLINE_EXCEEDED);
    return clean;
}
